//! `clock show`.

use serde_json::json;
use switch_proto::operator::v1::{GetClockRequest, GetClockResponse, cluster_service_client::ClusterServiceClient};

use crate::{
    cli::Global,
    failure::Failure,
    output::{Sheet, hex},
    session::Session,
};

pub(super) async fn show(global: &Global) -> Result<Sheet, Failure> {
    let ask = async |channel, request| ClusterServiceClient::new(channel).get_clock(request).await;
    Ok(sheet(&Session::new(global)?.read(GetClockRequest {}, ask).await?))
}

pub(super) fn sheet(clock: &GetClockResponse) -> Sheet {
    let GetClockResponse { node_id, wall_unix_ms, log_unix_ms, disagreement, accepted } = clock;
    let item = json!({
        "node_id": hex(*node_id),
        "wall_unix_ms": wall_unix_ms,
        "log_unix_ms": log_unix_ms,
        "disagreement": disagreement.as_ref().map(|found| json!({
            "node_id": hex(found.node_id),
            "wall_unix_ms": found.wall_unix_ms,
            "log_unix_ms": found.log_unix_ms,
        })),
        "accepted": accepted.as_ref().map(|accepted| json!({
            "wall_unix_ms": accepted.wall_unix_ms,
            "log_unix_ms": accepted.log_unix_ms,
            "author": accepted.author,
            "reason": accepted.reason,
        })),
    });
    let mut facts = vec![
        ("leader", hex(*node_id)),
        ("wall clock", wall_unix_ms.to_string()),
        ("log time", log_unix_ms.to_string()),
        ("wall clock ahead", seconds(wall_unix_ms - log_unix_ms)),
        ("waits for an operator", if disagreement.is_some() { "yes" } else { "no" }.to_owned()),
    ];
    if let Some(found) = disagreement {
        facts.push(("noticed by", hex(found.node_id)));
        facts.push(("then ahead by", seconds(found.wall_unix_ms - found.log_unix_ms)));
    }
    if let Some(accepted) = accepted {
        facts.push(("accepted by", accepted.author.clone()));
        facts.push(("because", accepted.reason.clone()));
        facts.push(("accepted ahead by", seconds(accepted.wall_unix_ms - accepted.log_unix_ms)));
    }
    let rows = facts.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    Sheet::of("Clock", [item]).with(&["FACT", "VALUE"], rows).named("clock", [hex(*node_id)])
}

fn seconds(milliseconds: i64) -> String {
    format!("{} s", milliseconds / 1_000)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use switch_proto::operator::v1::{ClockAcceptance, ClockDisagreement};

    use super::*;
    use crate::cli::Output;

    #[test]
    fn a_disagreement_shows_who_noticed_it_and_how_large_it_was() {
        let disagreement = ClockDisagreement { node_id: 3, wall_unix_ms: 1_000, log_unix_ms: 7_201_000 };
        let clock = GetClockResponse {
            node_id: 2,
            wall_unix_ms: 10_000_000,
            log_unix_ms: 10_001_000,
            disagreement: Some(disagreement),
            accepted: Some(ClockAcceptance { author: "spiffe://x/operator/anna".to_owned(), ..Default::default() }),
        };
        let sheet = sheet(&clock);
        let table = sheet.table();
        for line in
            ["wall clock ahead       -1 s", "noticed by             0000000000000003", "-7200 s", "operator/anna"]
        {
            assert!(table.contains(line), "{line} in\n{table}");
        }
        let read: Value = serde_json::from_str(&sheet.show(Output::Json).expect("JSON")).expect("JSON");
        assert_eq!(read["items"][0]["disagreement"]["log_unix_ms"], 7_201_000);
    }
}
