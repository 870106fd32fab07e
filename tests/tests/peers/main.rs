//! Strangers' tools against the switch: a gRPC client that shares nothing with it but the contracts, the linter that people
//! who read contracts for a living use, and what Kubernetes and Prometheus say of the chart. Runs with `--features peers`; a
//! tool that is missing is an error that says what to install.
#![cfg(feature = "peers")]

mod alarms;
mod chart;
mod helm;
mod policies;
mod tool;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use switch_tests::{harness::Cluster, stage};

use tool::{PYTHON, Tool, root, said};

const BUF: Tool = Tool { program: "buf", install: "pip install buf-bin==1.75.0" };
const STUBS: Tool = Tool { program: "python3", install: "pip install grpcio grpcio-tools" };
const HPKE: Tool = Tool { program: "python3", install: "pip install grpcio grpcio-tools pyhpke==0.6.5" };

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_gateway_pays_repeats_captures_refunds_and_reads_on_another_node() -> anyhow::Result<()> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let (script, promised) = (block(&readme, "python", 0)?, block(&readme, "text", 1)?);
    let _turn = stage::turn().await;
    let cluster = Cluster::three().with_sandbox().start().await?;
    cluster.context().write()?;
    let stubs = stubs(cluster.folder()).await?;
    let gateway = cluster.folder().join("gateway.py");
    std::fs::write(&gateway, script)?;

    let mut python = PYTHON.command();
    python.arg(&gateway).arg(cluster.folder()).env("PYTHONPATH", &stubs);
    let output = PYTHON.run(python).await?;
    ensure!(output.status.success(), "the README's gateway failed:\n{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), promised, "{}", said(&output));
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_implementation_of_hpke_seals_is_opened_in_its_own_place_only() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = Cluster::three().with_sandbox().start().await?;
    cluster.context().write()?;
    let stubs = stubs(cluster.folder()).await?;
    let mut python = HPKE.command();
    python.arg("tests/tests/peers/sealed_gateway.py").arg(cluster.folder()).env("PYTHONPATH", &stubs);
    let output = HPKE.run(python).await?;
    ensure!(output.status.success(), "the gateway failed; is it there? {}\n{}", HPKE.install, said(&output));
    let moved = ["another request_id", "another gateway", "another method"];
    let refused = moved.into_iter().flat_map(|what| vec![format!("{what} INVALID_ARGUMENT"); 3]);
    let paid = ["DECISION_APPROVED", "the same payment in the clear: replayed", "DECISION_APPROVED"];
    let expected: Vec<_> = paid.into_iter().map(str::to_owned).chain(refused).collect();
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>(), expected, "{}", said(&output));
    cluster.judge().await.map(drop)
}

#[tokio::test]
async fn the_readmes_commands_are_the_ones_that_are_tried_here() -> anyhow::Result<()> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let commands = block(&readme, "sh", 1)?;
    let protoc = format!("python3 {}\n", protoc_arguments("stubs", "proto/payswitch/gateway/v1/*.proto").join(" "));
    assert!(commands.contains(&protoc), "the README lacks: {protoc}");
    Ok(())
}

#[tokio::test]
async fn the_contracts_pass_buf_lint_with_every_comment_in_place() -> anyhow::Result<()> {
    let mut lint = BUF.command();
    lint.args(["lint", "proto"]);
    let output = BUF.run(lint).await?;
    ensure!(output.status.success(), "buf lint proto:\n{}", said(&output));
    Ok(())
}

/// Python modules made from the gateway's contract; the folder that holds them.
async fn stubs(folder: &Path) -> anyhow::Result<PathBuf> {
    let stubs = folder.join("stubs");
    std::fs::create_dir_all(&stubs)?;
    let mut protoc = STUBS.command();
    protoc.args(protoc_arguments(&stubs.display().to_string(), ""));
    let contracts = root().join("proto/payswitch/gateway/v1");
    for entry in std::fs::read_dir(&contracts).with_context(|| format!("{} cannot be read", contracts.display()))? {
        protoc.arg(Path::new("proto/payswitch/gateway/v1").join(entry?.file_name()));
    }
    let output = STUBS.run(protoc).await?;
    ensure!(output.status.success(), "no Python stubs; is it there? {}\n{}", STUBS.install, said(&output));
    Ok(stubs)
}

fn protoc_arguments(into: &str, contracts: &str) -> Vec<String> {
    let arguments = format!("-m grpc_tools.protoc -I proto --python_out={into} --grpc_python_out={into} {contracts}");
    arguments.split_whitespace().map(str::to_owned).collect()
}

/// The fenced block number `nth`, from 0, of a language in a Markdown text.
fn block<'a>(markdown: &'a str, language: &str, nth: usize) -> anyhow::Result<&'a str> {
    let fence = format!("\n```{language}\n");
    let from = markdown.match_indices(&fence).nth(nth).with_context(|| format!("no {language} block {nth}"))?.0;
    let rest = &markdown[from + fence.len()..];
    let end = rest.find("\n```").with_context(|| format!("{language} block {nth} never ends"))?;
    Ok(&rest[..=end])
}
