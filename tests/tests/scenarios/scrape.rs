//! A page of metrics, read.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use switch_tests::harness::Node;

/// A page of metrics.
pub(super) struct Scrape {
    /// As it came.
    pub(super) text: String,
    /// Name, kind and meaning, as the page says.
    pub(super) metrics: BTreeMap<String, (String, String)>,
}

impl Scrape {
    /// What a node shows now.
    pub(super) async fn of(node: &Node) -> anyhow::Result<Self> {
        let (status, text) = node.page("/metrics").await?;
        ensure!(status == 200, "status {status}");
        let said = |what: &'static str| {
            let lines = text.lines().filter_map(move |line| line.strip_prefix(what)?.split_once(' '));
            lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect::<BTreeMap<_, _>>()
        };
        let meanings = said("# HELP ");
        let metrics = said("# TYPE ").into_iter().map(|(name, kind)| {
            let meaning = meanings.get(&name).cloned().unwrap_or_default();
            (name, (kind, meaning))
        });
        let metrics = metrics.collect();
        Ok(Self { metrics, text })
    }

    /// The value of the series with these labels, in this order.
    pub(super) fn value(&self, name: &str, labels: &str) -> anyhow::Result<f64> {
        let series = format!("{name}{{{labels}}} ");
        let value = self.text.lines().find_map(|line| line.strip_prefix(&series));
        Ok(value.with_context(|| format!("no series {series}"))?.parse()?)
    }

    /// Labels and value of every series of a metric.
    pub(super) fn series(&self, name: &str) -> anyhow::Result<Vec<(&str, f64)>> {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
        lines.map(|(labels, value)| Ok((labels, value.parse()?))).collect()
    }
}
