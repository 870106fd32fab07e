//! Alarms and dashboards: that each alarm fires and keeps silent when it should, that each has its section in the runbook, and
//! that nothing is asked for that the program does not measure.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use switch_node::telemetry::{Kind, METRICS, Metric};
use switch_proto::gateway::v1::Decision;
use switch_tests::{
    harness::Cluster,
    sandbox::cards,
    stage::{self, decision, payment},
};

use crate::{
    helm::{Manifests, chart},
    tool::{Tool, root, said},
};

const PROMTOOL: Tool = Tool { program: "promtool", install: "apt-get install prometheus" };

/// Tests of the alarms, in promtool's own format.
const CASES: [&str; 2] = ["hours.yaml", "weeks.yaml"];

#[tokio::test]
async fn every_alarm_fires_and_every_alarm_keeps_silent() -> anyhow::Result<()> {
    let rules = rules().await?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("rules.json"), rules.to_string())?;
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for cases in CASES {
        let text = std::fs::read_to_string(root().join("tests/tests/peers/alarms").join(cases))?;
        let parsed = Manifests::read(&text, "").await?.0;
        for case in list(&parsed[0]["tests"]).flat_map(|test| list(&test["alert_rule_test"])) {
            let alarm = case["alertname"].as_str().context("a case names its alarm")?.to_owned();
            if list(&case["exp_alerts"]).next().is_some() { &mut firing } else { &mut silent }.insert(alarm);
        }
        std::fs::write(folder.path().join(cases), text)?;
        promtool(folder.path(), &["test", "rules", cases]).await?;
    }
    let alarms: BTreeSet<String> = alarms(&rules).into_keys().collect();
    assert_eq!((&firing, &silent), (&alarms, &alarms), "alarms that are never seen firing, or never silent");
    Ok(())
}

/// A test that cannot fail shows nothing.
#[tokio::test]
async fn an_alarm_that_never_fires_is_noticed() -> anyhow::Result<()> {
    let mut rules = rules().await?;
    for rule in
        rules["groups"].as_array_mut().into_iter().flatten().flat_map(|group| group["rules"].as_array_mut()).flatten()
    {
        if rule["alert"] == "PaymentSwitchNoLeader" {
            rule["expr"] = json!("vector(0) > 1");
        }
    }
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("rules.json"), rules.to_string())?;
    std::fs::copy(root().join("tests/tests/peers/alarms/hours.yaml"), folder.path().join("hours.yaml"))?;
    let failed = promtool(folder.path(), &["test", "rules", "hours.yaml"]).await;
    let said = failed.err().context("promtool noticed nothing")?.to_string();
    assert!(said.contains("PaymentSwitchNoLeader"), "{said}");
    Ok(())
}

#[tokio::test]
async fn every_alarm_has_its_line_its_section_and_its_link() -> anyhow::Result<()> {
    let rules =
        rules_with("rules={\"enabled\":true,\"runbookUrl\":\"https://runbooks.example.org/payment-switch\"}").await?;
    let alarms = alarms(&rules);
    for (alarm, rule) in &alarms {
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning"].contains(&severity), "{alarm} has severity {severity:?}");
        for annotation in ["summary", "runbook"] {
            let line = rule["annotations"][annotation].as_str().unwrap_or_default();
            assert!(!line.is_empty() && !line.contains('\n'), "{alarm} has no {annotation} in one line");
        }
        let link = format!("https://runbooks.example.org/payment-switch#{}", alarm.to_lowercase());
        assert_eq!(rule["annotations"]["runbook_url"], json!(link));
    }
    let runbook = std::fs::read_to_string(chart().join("RUNBOOK.md"))?;
    let sections: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let named: Vec<&str> = alarms.keys().map(String::as_str).collect();
    let unordered: BTreeSet<&str> = sections.iter().copied().collect();
    assert_eq!(unordered, named.into_iter().collect(), "sections of RUNBOOK.md and alarms");
    assert_eq!(unordered.len(), sections.len(), "a section stands twice in RUNBOOK.md");
    Ok(())
}

#[tokio::test]
async fn alarms_and_dashboards_ask_only_for_what_is_measured() -> anyhow::Result<()> {
    let rules = rules().await?;
    let recorded: BTreeSet<&str> = each_rule(&rules).filter_map(|rule| rule["record"].as_str()).collect();
    let mut asked: BTreeMap<String, String> = BTreeMap::new();
    for rule in each_rule(&rules) {
        let expression = rule["expr"].as_str().context("a rule has an expression")?;
        asked.extend(names(expression).map(|name| (name, expression.to_owned())));
    }
    for expression in expressions_of_dashboards()? {
        asked.extend(names(&expression).map(|name| (name, expression.clone())));
    }
    assert!(asked.len() > 15, "only {} names are found in rules and dashboards", asked.len());
    for (name, expression) in &asked {
        assert!(recorded.contains(name.as_str()) || is_measured(name), "{name} is not measured: {expression}");
    }
    assert!(!is_measured("payswitch_made_up") && !is_measured("payswitch_raft_is_leader_bucket"));
    Ok(())
}

/// What a node shows is what Prometheus's own reader of it has nothing to say about: names, units, kinds, help.
#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_no_fault_with_the_page_of_a_running_node() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = Cluster::three().with_sandbox().start().await?;
    let paid = cluster.gateway("shop").authorize(payment("paid", cards::APPROVED_VISA, 1_000)).await?;
    assert_eq!(decision(&paid), Decision::Approved);
    for node in cluster.nodes() {
        let (status, page) = node.page("/metrics").await?;
        ensure!(status == 200 && page.contains("payswitch_raft_is_leader"), "status {status}: {page}");
        check_metrics(cluster.folder(), &page).await?;
    }
    let wrong = "# HELP payswitch_calls Calls\n# TYPE payswitch_calls counter\npayswitch_calls 1\n";
    let said = check_metrics(cluster.folder(), wrong).await.err().context("promtool noticed nothing")?.to_string();
    assert!(said.contains("counter metrics should have \"_total\" suffix"), "{said}");
    cluster.judge().await.map(drop)
}

#[tokio::test]
async fn every_metric_is_asked_for_by_an_alarm_or_a_panel() -> anyhow::Result<()> {
    let rules = rules().await?;
    let asked_by_rules = each_rule(&rules).filter_map(|rule| rule["expr"].as_str().map(str::to_owned));
    let asked: BTreeSet<String> =
        asked_by_rules.chain(expressions_of_dashboards()?).flat_map(|text| names(&text).collect::<Vec<_>>()).collect();
    let unseen: Vec<&str> = METRICS
        .iter()
        .filter(|metric| !asked.iter().any(|name| is_of(metric, name)))
        .map(|metric| metric.name)
        .collect();
    assert!(unseen.is_empty(), "nobody looks at {unseen:?}");
    Ok(())
}

#[tokio::test]
async fn every_expression_of_every_dashboard_is_one() -> anyhow::Result<()> {
    let check = async |expressions: Vec<String>| {
        let number = |(number, expression)| json!({"record": format!("dashboard:{number}"), "expr": expression});
        let rules: Vec<Value> = expressions.into_iter().enumerate().map(number).collect();
        let folder = tempfile::tempdir()?;
        std::fs::write(
            folder.path().join("rules.json"),
            json!({"groups": [{"name": "x", "rules": rules}]}).to_string(),
        )?;
        promtool(folder.path(), &["check", "rules", "rules.json"]).await
    };
    let expressions = expressions_of_dashboards()?;
    assert!(expressions.len() > 15, "only {} expressions", expressions.len());
    check(expressions).await?;
    assert!(check(vec!["sum(rate(payswitch_rpc_requests_total[5m])".to_owned()]).await.is_err());
    Ok(())
}

#[tokio::test]
async fn dashboards_reach_grafana_as_they_are() -> anyhow::Result<()> {
    let manifests = Manifests::render("ci/everything-values.yaml", &[]).await?;
    let maps = manifests.of("ConfigMap").find(|map| map["metadata"]["labels"]["grafana"] == "1");
    let shipped = maps.context("no ConfigMap with dashboards")?["data"].as_object().context("dashboards")?;
    for (file, text) in dashboards()? {
        assert_eq!(shipped.get(&file), Some(&json!(text)), "{file}");
        let dashboard: Value = serde_json::from_str(&text).with_context(|| file.clone())?;
        let panels: Vec<&Value> = list(&dashboard["panels"]).collect();
        let ids: BTreeSet<_> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(ids.len(), panels.len(), "{file}: panels share an id");
        let silent = panels
            .iter()
            .find(|panel| panel["type"] != "row" && panel["description"].as_str().is_none_or(str::is_empty));
        assert_eq!(silent, None, "{file}: a panel does not say what it shows");
    }
    Ok(())
}

/// The rules as the chart gives them to the Prometheus operator.
async fn rules() -> anyhow::Result<Value> {
    rules_with("rules={\"enabled\":true}").await
}

async fn rules_with(set: &str) -> anyhow::Result<Value> {
    let manifests = Manifests::render("ci/minimal-values.yaml", &[set]).await?;
    let rules = &manifests.the("PrometheusRule")["spec"];
    ensure!(rules.is_object(), "no PrometheusRule");
    Ok(rules.clone())
}

fn each_rule(rules: &Value) -> impl Iterator<Item = &Value> {
    list(&rules["groups"]).flat_map(|group| list(&group["rules"]))
}

fn alarms(rules: &Value) -> BTreeMap<String, &Value> {
    each_rule(rules).filter_map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule))).collect()
}

/// Names in an expression that belong to the switch.
fn names(expression: &str) -> impl Iterator<Item = String> {
    let in_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    expression.split(move |letter| !in_name(letter)).filter(|word| word.starts_with("payswitch")).map(str::to_owned)
}

/// True for a metric of the program, as it is scraped.
fn is_measured(name: &str) -> bool {
    METRICS.iter().any(|metric| is_of(metric, name))
}

/// True where a metric is scraped under this name.
fn is_of(metric: &Metric, name: &str) -> bool {
    match metric.kind {
        Kind::Histogram(_) => {
            name.strip_prefix(metric.name).is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest))
        }
        Kind::Counter | Kind::Gauge => name == metric.name,
    }
}

/// Dashboards of the chart: file, text.
fn dashboards() -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(chart().join("dashboards"))? {
        let entry = entry?;
        found.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read_to_string(entry.path())?));
    }
    ensure!(!found.is_empty(), "the chart has no dashboard");
    Ok(found)
}

/// Every expression of every panel, and every metric that a choice is made from; Grafana's own variables put in.
fn expressions_of_dashboards() -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for (file, text) in dashboards()? {
        let dashboard: Value = serde_json::from_str(&text).with_context(|| file.clone())?;
        let panels = list(&dashboard["panels"]).flat_map(|panel| list(&panel["targets"]));
        found.extend(
            panels.filter_map(|target| target["expr"].as_str()).map(|expr| expr.replace("$__rate_interval", "5m")),
        );
        let choices = list(&dashboard["templating"]["list"]).filter_map(|choice| choice["query"].as_str());
        let series = choices
            .filter_map(|query| query.strip_prefix("label_values(")?.rsplit_once(", ").map(|(series, _)| series));
        found.extend(series.map(str::to_owned));
    }
    Ok(found)
}

/// What promtool says of a page of metrics.
async fn check_metrics(folder: &Path, page: &str) -> anyhow::Result<()> {
    let file = folder.join("metrics.txt");
    std::fs::write(&file, page)?;
    let mut promtool = PROMTOOL.command();
    promtool.args(["check", "metrics"]).stdin(std::fs::File::open(&file)?);
    let output = PROMTOOL.run(promtool).await?;
    ensure!(output.status.success() && output.stderr.is_empty(), "promtool check metrics:\n{}", said(&output));
    Ok(())
}

async fn promtool(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut promtool = PROMTOOL.command();
    promtool.args(arguments).current_dir(folder);
    let output = PROMTOOL.run(promtool).await?;
    ensure!(output.status.success(), "promtool {arguments:?}:\n{}", said(&output));
    Ok(())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
