//! The chart: what it renders to, what it refuses, and that it says the same as the program and its own pages.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use switch_node::config::Config;

use crate::{
    helm::{
        Manifests, NAMESPACE, chart, containers, default_values, lint, list, notes, template, template_for,
        values_files,
    },
    tool::root,
};

/// From the oldest that the chart takes to the newest that there is.
const KUBERNETES: &str = "1.30,1.33,1.35,1.37";

#[tokio::test]
async fn it_passes_lint_and_four_versions_of_kubernetes_with_every_file_of_values() -> anyhow::Result<()> {
    for values in values_files()? {
        lint(&values).await?;
        let rendered = template(&values, &[]).await?.map_err(|said| anyhow::anyhow!("{values}: {said}"))?;
        let manifests = Manifests::read(&rendered, KUBERNETES).await.with_context(|| values.clone())?;
        assert!(!manifests.0.is_empty(), "{values} renders to nothing");
        // A time, a chance or a look at the cluster would show here, and roll every node at every deployment.
        assert_eq!(template(&values, &[]).await?.as_ref(), Ok(&rendered), "{values}");
    }
    Ok(())
}

#[tokio::test]
async fn the_schemas_of_kubernetes_do_bite() -> anyhow::Result<()> {
    let object = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": spec});
    let said = |fault: anyhow::Error| fault.to_string();
    let unknown = Manifests::read(&object(json!({"clusterIPP": "None"})).to_string(), KUBERNETES).await;
    assert!(unknown.map_err(said).expect_err("an unknown field").contains("clusterIPP"));
    let other = json!({"apiVersion": "v1", "kind": "Sevice", "metadata": {"name": "x"}}).to_string();
    assert!(Manifests::read(&other, KUBERNETES).await.map_err(said).expect_err("an unknown kind").contains("Sevice"));
    Ok(())
}

#[tokio::test]
async fn it_refuses_values_that_make_no_switch_and_says_why() -> anyhow::Result<()> {
    let refused = [
        ("trustDomain=\"\"", "trustDomain"),
        ("replicas=2", "replicas"),
        ("colour=\"blue\"", "colour"),
        ("node={\"consensus\":{\"heartbeatMS\":100}}", "heartbeatMS"),
        ("podManagementPolicy=\"OrderedReady\"", "podManagementPolicy"),
        ("image={\"digest\":\"sha256:12\"}", "digest"),
        ("securityContext={\"runAsUser\":0}", "runAsUser"),
        ("environment=\"test\"", "environment"),
        ("persistence={\"accessModes\":[\"ReadWriteMany\"]}", "accessModes"),
        ("ports={\"gateway\":443}", "gateway"),
        ("tls={\"gateway\":{\"roots\":{\"secretName\":\"x\"}}}", "roots"),
        ("initialVoters=5", "initialVoters = 5 is more than replicas = 3"),
        ("terminationGracePeriodSeconds=60", "cuts a drain short"),
        ("node={\"consensus\":{\"electionMinMs\":200}}", "longer than two heartbeats"),
        ("ports={\"plain\":7001}", "four different ports"),
        ("tls={\"mode\":\"certManager\"}", "needs tls.gateway.issuer.name"),
        ("tls={\"link\":{\"issuer\":{\"name\":\"x\"}}}", "set tls.mode to certManager"),
        ("sandbox={\"enabled\":true}", "simulated networks belong to play money only"),
        ("test={\"enabled\":true}", "a test pays with play money only"),
        ("priorityClass={\"create\":true}", "needs priorityClass.name"),
        ("autoscaling={\"enabled\":true}", "autoscaling"),
        ("backup={\"schedule\":\"every night\"}", "schedule"),
        ("backup={\"keep\":0}", "keep"),
        ("extraContainers=[{\"image\":\"x:1\"}]", "name"),
        ("node={\"extraToml\":\"[tls]\\npoll_ms = 1\"}", "only such as the chart does not write"),
        ("service={\"gateways\":{\"type\":\"LoadBalancer\",\"headless\":true}}", "set type to ClusterIP"),
        (
            "service={\"gateways\":{\"loadBalancerSourceRanges\":[\"198.51.100.0/24\"]}}",
            "say in networkPolicy.gateways",
        ),
        ("extraEnv=[{\"name\":\"POD_NAME\",\"value\":\"x\"}]", "give the variable another name"),
    ];
    for (set, why) in refused {
        let rendered = template("ci/minimal-values.yaml", &[set]).await?;
        let said = rendered.err().with_context(|| format!("{set} was taken"))?;
        assert!(said.contains(why), "{set}: {said}");
    }
    let held_back = ["updatePartition=1", "updateStrategy=\"OnDelete\""];
    let said =
        template("ci/minimal-values.yaml", &held_back).await?.err().context("a partition of nothing was taken")?;
    assert!(said.contains("updatePartition = 1 and updateStrategy = OnDelete"), "{said}");
    let shared =
        ["tls={\"mode\":\"certManager\",\"link\":{\"secretName\":\"x\"},\"gateway\":{\"issuer\":{\"name\":\"all\"}},\
         \"peer\":{\"issuer\":{\"name\":\"all\"}},\"operator\":{\"issuer\":{\"name\":\"operators\"}}}"];
    let said =
        template("ci/minimal-values.yaml", &shared).await?.err().context("one issuer for two planes was taken")?;
    assert!(said.contains("issuers of their own"), "{said}");
    Ok(())
}

/// An option that is misspelt anywhere must not be taken for one that was left out.
#[tokio::test]
async fn the_schema_knows_every_value_and_takes_no_other() -> anyhow::Result<()> {
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(chart().join("values.schema.json"))?)?;
    let text = std::fs::read_to_string(chart().join("values.yaml"))?;
    for (path, ..) in documented(&text)? {
        let mut known = &schema;
        for key in path.split('.') {
            assert_eq!(known["additionalProperties"], false, "{path}: anything goes beside {key}");
            known = &known["properties"][key];
            assert!(known.is_object(), "{path}: the schema does not know {key}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn whoever_installs_it_is_warned_of_every_guard_that_is_down() -> anyhow::Result<()> {
    let digest = "0123456789abcdef".repeat(4);
    let pinned = [format!("image.digest=\"sha256:{digest}\""), format!("backup.image.digest=\"sha256:{digest}\"")];
    let warnings = async |set: &[&str]| -> anyhow::Result<Vec<String>> {
        let set: Vec<&str> = pinned.iter().map(String::as_str).chain(set.iter().copied()).collect();
        let notes = notes("values-production.yaml", &set).await?;
        Ok(notes.lines().filter_map(|line| line.strip_prefix("WARNING: ")).map(str::to_owned).collect())
    };
    assert_eq!(warnings(&[]).await?, [""; 0]);
    let down: [(&[&str], &str); 9] = [
        (&["networkPolicy.enabled=false"], "networkPolicy.enabled = false"),
        (&["networkPolicy.links=[]"], "networkPolicy.links is empty"),
        (&["replicas=1", "initialVoters=1"], "1 node"),
        (&["image.digest=\"\""], "image.digest is empty"),
        (&["backup.image.digest=\"\""], "backup.image.digest is empty"),
        (&["antiAffinity=\"soft\""], "antiAffinity = soft"),
        (&["podDisruptionBudget.enabled=false"], "podDisruptionBudget.enabled = false"),
        (&["persistence.whenDeleted=\"Delete\""], "persistence.whenDeleted = Delete"),
        (&["persistence.whenScaled=\"Delete\""], "persistence.whenScaled = Delete"),
    ];
    for (set, about) in down {
        let told = warnings(set).await?;
        let subjects: Vec<_> = told.iter().filter_map(|warning| Some(warning.split_once(':')?.0)).collect();
        assert_eq!(subjects, [about], "{set:?}");
    }
    Ok(())
}

/// Kubernetes of a cloud has a suffix behind its version, which counts as less than the version itself.
#[tokio::test]
async fn it_is_for_kubernetes_from_its_first_good_version_on_whoever_builds_it() -> anyhow::Result<()> {
    for taken in ["v1.30.0", "v1.30.0-gke.1", "v1.33.8-gke.1900", "v1.37.1-eks-7f7b1d2"] {
        template_for(taken).await?.map_err(|said| anyhow::anyhow!("{taken}: {said}"))?;
    }
    let said = template_for("v1.29.15").await?.err().context("a version was taken that cannot run it")?;
    assert!(said.contains("kubeVersion: >=1.30.0-0"), "{said}");
    Ok(())
}

/// Artifact Hub shows this list, and whoever mirrors images copies from it.
#[tokio::test]
async fn its_own_page_lists_the_images_that_it_starts() -> anyhow::Result<()> {
    let about = std::fs::read_to_string(chart().join("Chart.yaml"))?;
    let annotations = &Manifests::read(&about, "").await?.0[0]["annotations"];
    let listed = annotations["artifacthub.io/images"].as_str().context("no list of images")?;
    let listed = &Manifests::read(listed, "").await?.0[0];
    let listed: BTreeSet<&str> = list(listed).filter_map(|image| image["image"].as_str()).collect();
    let everything = [
        "environment=\"sandbox\"",
        "sandbox={\"enabled\":true}",
        "backup={\"enabled\":true}",
        "test={\"enabled\":true}",
    ];
    let manifests = Manifests::render("ci/minimal-values.yaml", &everything).await?;
    let pods = manifests.pods().flat_map(|(_, pod)| containers(pod));
    let started: BTreeSet<&str> = pods.filter_map(|container| container["image"].as_str()).collect();
    assert_eq!(started, listed);
    Ok(())
}

/// Strings in what is taken over into the nodes' pods may hold templates.
#[tokio::test]
async fn what_is_added_to_the_nodes_may_hold_templates() -> anyhow::Result<()> {
    let manifests = Manifests::render("ci/everything-values.yaml", &[]).await?;
    let template = &manifests.the("StatefulSet")["spec"]["template"];
    let (pod, node) = (&template["spec"], &template["spec"]["containers"][0]);
    assert_eq!(template["metadata"]["labels"]["example.org/rack"], "pay-spread");
    assert_eq!(template["metadata"]["annotations"]["example.org/backup"], "false");
    assert_eq!(list(&node["env"]).last(), Some(&json!({"name": "MODULE_SLOT", "value": "tills"})));
    assert_eq!(list(&node["volumeMounts"]).last(), Some(&json!({"name": "module", "mountPath": "/opt/tills"})));
    let volume = json!({"name": "module", "configMap": {"name": "pay-extra"}});
    assert_eq!(list(&pod["volumes"]).last(), Some(&volume));
    let added: Vec<_> = containers(pod).skip(1).map(|container| (&container["name"], &container["image"])).collect();
    let image = json!("registry.example/module:0.1.0");
    assert_eq!(added, [(&json!("module"), &image), (&json!("look"), &image)]);
    assert!(manifests.of("ConfigMap").any(|map| map["metadata"]["name"] == "pay-extra"));
    Ok(())
}

/// Helm puts `global` into every chart that is part of another.
#[tokio::test]
async fn it_can_be_part_of_another_chart() -> anyhow::Result<()> {
    let set = ["global={\"region\":\"north\"}", "enabled=true"];
    template("ci/minimal-values.yaml", &set).await?.map(drop).map_err(|said| anyhow::anyhow!(said))
}

#[tokio::test]
async fn every_node_gets_a_configuration_that_the_program_takes() -> anyhow::Result<()> {
    for (values, replicas) in [("ci/minimal-values.yaml", 3), ("ci/everything-values.yaml", 5), ("values-dev.yaml", 1)]
    {
        let manifests = Manifests::render(values, &[]).await?;
        let set = manifests.the("StatefulSet");
        let name = set["metadata"]["name"].as_str().context("a name")?;
        let service = set["spec"]["serviceName"].as_str().context("a service")?;
        let files = manifests.of("ConfigMap").find(|map| map["metadata"]["name"] == name).context("configurations")?;
        let files = files["data"].as_object().context("files")?;
        assert_eq!(files.len(), replicas, "{values}");

        let folder = tempfile::tempdir()?;
        let mut peers = BTreeSet::new();
        for ordinal in 0..replicas {
            let file = format!("{name}-{ordinal}.toml");
            let text = files.get(&file).and_then(Value::as_str).with_context(|| format!("no {file}"))?;
            let path = folder.path().join(&file);
            std::fs::write(&path, text)?;
            let config = Config::load(&path)?;
            assert_eq!(config.peers.len(), replicas);
            let host = format!("{name}-{ordinal}.{service}.{NAMESPACE}.svc.");
            for address in [config.peer_address(), config.gateway_address(), config.operator_address()] {
                assert!(address.starts_with(&host), "{address} is not {host}…");
            }
            peers.insert(config.peer_address());
            let mounts = set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].as_array();
            let mounted = |path: &std::path::Path| {
                mounts.into_iter().flatten().filter_map(|m| m["mountPath"].as_str()).any(|m| path.starts_with(m))
            };
            let tls = &config.tls;
            let planes = [&tls.gateway, &tls.peer, &tls.operator, &tls.link].into_iter().flat_map(|plane| {
                [&plane.certificate, &plane.key, &plane.roots].into_iter().chain(&plane.revocation_lists)
            });
            for path in planes.chain([&config.keys.directory, &config.data_dir]) {
                assert!(mounted(path), "{values}: nothing is mounted at {}", path.display());
            }
        }
        assert_eq!(peers.len(), replicas, "{values}: nodes share an address");
    }
    Ok(())
}

/// A new option that the chart leaves out would silently keep its default.
#[tokio::test]
async fn every_option_of_a_node_is_in_its_configuration() -> anyhow::Result<()> {
    let example: toml::Table = std::fs::read_to_string(root().join("switch-node/node.example.toml"))?.parse()?;
    let manifests = Manifests::render("ci/everything-values.yaml", &[]).await?;
    let configuration = manifests.of("ConfigMap").find_map(|map| map["data"]["till-0.toml"].as_str());
    let rendered: toml::Table = configuration.context("no configuration of the first node")?.parse()?;
    let missing: Vec<_> = options(&example, "").difference(&options(&rendered, "")).cloned().collect();
    // Card networks' lists would come with a link's, which the example shows empty.
    assert_eq!(missing, ["tls.link.revocation_lists"], "options of node.example.toml that the chart does not write");
    Ok(())
}

fn options(table: &toml::Table, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            toml::Value::Table(table) => found.extend(options(table, &format!("{path}."))),
            _ => _ = found.insert(path),
        }
    }
    found
}

/// The README's table is made from values.yaml; where they differ, this prints the table as it should be.
#[tokio::test]
async fn the_readmes_table_is_that_of_the_values() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(chart().join("values.yaml"))?;
    let documented = documented(&text)?;
    let mut leaves = BTreeSet::new();
    leaf_paths(&default_values().await?, "", &mut leaves);
    let named: BTreeSet<String> = documented.iter().map(|(path, ..)| path.clone()).collect();
    for path in &leaves {
        let by = |name: &String| path == name || path.starts_with(&format!("{name}."));
        assert!(named.iter().any(by), "{path} has no comment of its own in values.yaml");
    }
    let rows = documented.iter().map(|(path, default, meaning)| format!("| `{path}` | `{default}` | {meaning} |\n"));
    let table = format!("| value | default | meaning |\n|---|---|---|\n{}", rows.collect::<String>());
    let readme = std::fs::read_to_string(chart().join("README.md"))?;
    ensure!(readme.contains(&table), "charts/payment-switch/README.md lacks this table:\n\n{table}");
    Ok(())
}

/// Every line of values.yaml that holds a value: its path, the value, the comment above it.
fn documented(text: &str) -> anyhow::Result<Vec<(String, String, String)>> {
    let (mut path, mut comment, mut found) = (Vec::<&str>::new(), String::new(), Vec::new());
    for line in text.lines() {
        let bare = line.trim_start();
        if bare.is_empty() {
            comment.clear();
        } else if let Some(words) = bare.strip_prefix("# ") {
            comment = if comment.is_empty() { words.to_owned() } else { format!("{comment} {words}") };
        } else {
            let (key, value) = bare.split_once(':').with_context(|| format!("no value: {line}"))?;
            path.truncate((line.len() - bare.len()) / 2);
            path.push(key);
            let value = value.trim();
            if !value.is_empty() {
                ensure!(!comment.is_empty(), "{} has no comment above it", path.join("."));
                found.push((path.join("."), value.to_owned(), std::mem::take(&mut comment)));
            }
            comment.clear();
        }
    }
    Ok(found)
}

fn leaf_paths(values: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    match values.as_object() {
        Some(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                leaf_paths(value, &path, found);
            }
        }
        _ => _ = found.insert(prefix.to_owned()),
    }
}
