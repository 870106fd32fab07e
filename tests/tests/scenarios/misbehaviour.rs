//! Networks that answer late, twice, wrongly, to nobody or not at all: what is told, and that the books agree afterwards.

use switch_proto::{
    gateway::v1::{self as pb, Decision, DecisionSource, NetworkState, ReversalState, Sent},
    operator::v1::{ConfirmResolutionRequest, OwedMessage, Resolution, WithdrawResolutionRequest},
};
use switch_tests::{
    auditor::report::Verdict,
    eventually::eventually,
    harness::{Cluster, NETWORKS, OperatorClient},
    history::Told,
    sandbox::cards,
    stage::{self, SOON},
};

/// What one card makes of a payment.
struct Row {
    card: &'static str,
    decision: Decision,
    reason: &'static str,
    /// Any of these, once everything is at rest; none where nothing is reversed.
    reversed: &'static [ReversalState],
}

const fn row(card: &'static str, decision: Decision, reason: &'static str, reversed: &'static [ReversalState]) -> Row {
    Row { card, decision, reason, reversed }
}

use ReversalState::{Acknowledged, NotFound};

const TABLE: [Row; 16] = [
    row(cards::NO_ANSWER, Decision::TimedOut, "NO_ANSWER", &[Acknowledged]),
    // A network where a reversal that comes first kills its original acknowledges it, the other finds nothing (R21).
    row(cards::SWALLOWED, Decision::TimedOut, "NO_ANSWER", &[Acknowledged, NotFound]),
    row(cards::LATE, Decision::TimedOut, "NO_ANSWER", &[Acknowledged]),
    row(cards::LATE_ARRIVAL, Decision::TimedOut, "NO_ANSWER", &[Acknowledged, NotFound]),
    row(cards::SLOW, Decision::Approved, "", &[]),
    row(cards::DUPLICATE_ANSWER, Decision::Approved, "", &[]),
    row(cards::CONFLICTING_ANSWER, Decision::Approved, "", &[]),
    row(cards::STRAY_ANSWER, Decision::Approved, "", &[]),
    row(cards::GARBLED, Decision::TimedOut, "INVALID_NETWORK_ANSWER", &[Acknowledged]),
    row(cards::UNDECODABLE, Decision::TimedOut, "NO_ANSWER", &[Acknowledged]),
    row(cards::UNMAPPED_CODE, Decision::TimedOut, "INVALID_NETWORK_ANSWER", &[Acknowledged]),
    row(cards::GREATER_AMOUNT, Decision::TimedOut, "INVALID_NETWORK_ANSWER", &[Acknowledged]),
    row(cards::OTHER_CURRENCY, Decision::TimedOut, "INVALID_NETWORK_ANSWER", &[Acknowledged]),
    row(cards::CUT, Decision::TimedOut, "CONNECTION_LOST", &[Acknowledged]),
    row(cards::SIGN_OFF, Decision::Approved, "", &[]),
    row(cards::REVERSAL_UNANSWERED, Decision::Approved, "", &[]),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_network_does_a_gateway_is_told_the_truth_and_the_books_agree() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let mut told = Vec::new();
    // Euros go to the network where a reversal that comes first kills its original, dollars to the one where it does not.
    for (network, currency) in NETWORKS.into_iter().zip(["EUR", "USD"]) {
        for Row { card, decision, reason, reversed } in TABLE {
            let name = cards::ALL.iter().find(|known| known.number == card).map_or("", |known| known.name);
            let amount = pb::Money { minor_units: 1000, currency_code: currency.to_owned() };
            let request = stage::payment(&format!("{name}-{currency}"), card, 0);
            let request = pb::AuthorizeRequest { amount: Some(amount), ..request };
            let answer = gateway.authorize(request.clone()).await?;
            let outcome = stage::outcome(&answer);
            assert_eq!((outcome.decision(), &*outcome.reason), (decision, reason), "{name} {currency}");
            assert_eq!(answer.network, network, "{name} {currency}");
            let (sent, source) = match decision {
                Decision::Approved => (Sent::Sent, DecisionSource::Issuer),
                _ => (Sent::Unknown, DecisionSource::Switch),
            };
            assert_eq!((outcome.sent(), outcome.source()), (sent, source), "{name} {currency}");
            told.push((name, request, answer, reversed));
            // Some take the connection with them.
            cluster.ready().await?;
        }
    }
    cluster.rest().await?;
    for (name, request, answer, reversed) in told {
        let again = gateway.authorize(request).await?;
        assert_eq!(Told::new(&again), Told::new(&answer), "{name}: told once, told for ever");
        let states = stage::reversals(&stage::read(&gateway, &answer.transaction_id).await?);
        let as_expected = match states.as_slice() {
            [] => reversed.is_empty(),
            [state] => reversed.contains(state),
            _ => false,
        };
        assert!(as_expected, "{name}: {states:?} instead of one of {reversed:?}");
    }
    cluster.judge().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn follow_ups_that_go_wrong_touch_themselves_only() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let cases = [
        (cards::REFUND_DECLINED, Decision::Declined),
        (cards::REFUND_NO_ANSWER, Decision::TimedOut),
        (cards::INCREMENT_DECLINED, Decision::Declined),
        (cards::INCREMENT_NO_ANSWER, Decision::TimedOut),
    ];
    for (n, (card, decision)) in cases.into_iter().enumerate() {
        let paid = gateway.authorize(stage::payment(&format!("pay-{n}"), card, 1000)).await?;
        let id = paid.transaction_id.as_str();
        let increments = [cards::INCREMENT_DECLINED, cards::INCREMENT_NO_ANSWER].contains(&card);
        if increments {
            let raised = gateway.increment(stage::increment(&format!("raise-{n}"), id, 500)).await?;
            assert_eq!(stage::decision(&raised), decision, "increment {n}");
            // An increment that is in doubt or declined does not count (R11).
            let too_much = stage::refusal(gateway.capture(stage::capture(&format!("over-{n}"), id, 1001, true)).await);
            assert_eq!(too_much.1, "AMOUNT_EXCEEDS");
        }
        gateway.capture(stage::capture(&format!("take-{n}"), id, 1000, true)).await?;
        if !increments {
            let back = gateway.refund(stage::refund(&format!("back-{n}"), id, 300)).await?;
            assert_eq!(stage::decision(&back), decision, "refund {n}");
        }
        cluster.rest().await?;
        let seen = stage::read(&gateway, id).await?;
        let totals = seen.totals.unwrap_or_default();
        assert_eq!((totals.captured_minor_units, totals.refunded_minor_units), (1000, 0), "{n}");
        let reversed: &[ReversalState] = if decision == Decision::TimedOut { &[Acknowledged] } else { &[] };
        assert_eq!(stage::reversals(&seen), reversed, "{n}");
        if !increments {
            // Once the doubt is over, the whole may be given back.
            gateway.refund(stage::refund(&format!("again-{n}"), id, 1)).await?;
        }
    }
    let paid = gateway.authorize(stage::payment("advice", cards::ADVICE_UNANSWERED, 1000)).await?;
    let taken = gateway.capture(stage::capture("advice-1", &paid.transaction_id, 1000, true)).await?;
    assert_eq!((stage::decision(&taken), taken.network_state()), (Decision::Approved, NetworkState::Pending));
    eventually(SOON, "the third copy is acknowledged", || async {
        let seen = stage::read(&gateway, &paid.transaction_id).await?;
        let states: Vec<_> =
            seen.operations.iter().filter_map(|o| o.result.as_ref()).map(|r| r.network_state()).collect();
        anyhow::ensure!(states.last() == Some(&NetworkState::Acknowledged), "{states:?}");
        Ok(())
    })
    .await?;
    cluster.judge().await.map(drop)
}

/// The verdict is `unknown`: only an operator can say what a network does with what it refuses.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_network_refuses_for_ever_is_parked_and_makes_the_verdict_unknown() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let paid = gateway.authorize(stage::payment("reversal", cards::REVERSAL_REFUSED, 1000)).await?;
    gateway.void(stage::void("reversal-1", &paid.transaction_id)).await?;
    let sold = gateway.authorize(stage::payment("advice", cards::ADVICE_REFUSED, 300)).await?;
    gateway.capture(stage::capture("advice-1", &sold.transaction_id, 300, true)).await?;
    eventually(SOON, "both are parked", || async {
        let states = stage::reversals(&stage::read(&gateway, &paid.transaction_id).await?);
        anyhow::ensure!(states == [ReversalState::Parked], "{states:?}");
        let seen = stage::read(&gateway, &sold.transaction_id).await?;
        let advice = seen.operations.last().and_then(|operation| operation.result.as_ref()).map(|r| r.network_state());
        anyhow::ensure!(advice == Some(NetworkState::Parked), "{advice:?}");
        Ok(())
    })
    .await?;
    let report = cluster.audit().await?;
    assert_eq!(report.verdict, Verdict::Unknown, "{}", report.in_words());
    assert_eq!(report.unknown_counts.get("S8"), Some(&2), "{}", report.in_words());
    assert_eq!(report.unknown_minor_units.get("EUR"), Some(&1300), "{}", report.in_words());
    cluster.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_it_takes_two_persons_to_close_what_is_parked() -> anyhow::Result<()> {
    let _turn = stage::turn().await;
    let cluster = stage::three().start().await?;
    let gateway = cluster.gateway("shop");
    let paid = gateway.authorize(stage::payment("reversal", cards::REVERSAL_REFUSED, 1000)).await?;
    let voided = gateway.void(stage::void("reversal-1", &paid.transaction_id)).await?;
    eventually(SOON, "it is parked", || async {
        let states = stage::reversals(&stage::read(&gateway, &paid.transaction_id).await?);
        anyhow::ensure!(states == [ReversalState::Parked], "{states:?}");
        Ok(())
    })
    .await?;
    let owed = only_owed(&cluster).await?;
    let node = cluster.node(cluster.wait_leader(SOON).await?.node);
    let anna = node.operator();
    let second = cluster.another_operator("bruno")?;
    let bruno = OperatorClient::new(node.operator_address(), &second)?;
    let refused = |reason: &str| Err(reason.to_owned());

    // One alone proposes, and everybody sees what, by whom and on what evidence; nothing is corrected.
    let wrong = stage::propose(anna, &owed, Resolution::Reversed, "ticket 1").await?;
    let proposed = only_owed(&cluster).await?.proposed.unwrap_or_default();
    assert_eq!((&proposed.proposal_id, proposed.resolution()), (&wrong, Resolution::Reversed));
    assert_eq!((proposed.evidence.as_str(), &proposed.author), ("ticket 1", &cluster.pki().operator_uri("ops")));
    assert_eq!(proposed.expires_unix_ms - proposed.since_unix_ms, 86_400_000, "a day");
    assert_eq!(confirm(anna, &owed, &wrong).await, refused("SAME_PERSON"));
    let another = stage::propose(&bruno, &owed, Resolution::Stands, "ticket 2").await;
    assert_eq!(another.map(drop).map_err(|status| stage::reason(&status).1), refused("ALREADY_PROPOSED"));
    assert_eq!(stage::reversals(&stage::read(&gateway, &paid.transaction_id).await?), [ReversalState::Parked]);

    // It was a mistake: the second person takes it back, and nobody can confirm it any more.
    assert_eq!(withdraw(&bruno, &owed, &wrong).await, Ok(()));
    assert_eq!(only_owed(&cluster).await?.proposed, None);
    assert_eq!(withdraw(anna, &owed, &wrong).await, refused("NOT_PROPOSED"));
    assert_eq!(confirm(&bruno, &owed, &wrong).await, refused("NOT_PROPOSED"));

    // A proposal outlives the leader that took it.
    let right = stage::propose(anna, &owed, Resolution::Stands, "settlement file, line 17").await?;
    let next = cluster.transfer(1 + node.number() % cluster.nodes().len()).await?;
    let bruno = OperatorClient::new(cluster.node(next.node).operator_address(), &second)?;
    eventually(SOON, "the second person confirms", || confirm(&bruno, &owed, &right)).await?;
    assert_eq!(confirm(&bruno, &owed, &right).await, Ok(()), "a repeated call finds what it did");
    let seen = stage::read(&gateway, &paid.transaction_id).await?;
    assert_eq!(stage::reversals(&seen), [ReversalState::Resolved]);
    let told: Vec<_> = seen.operations.iter().filter_map(|own| own.result.as_ref()).map(stage::decision).collect();
    assert_eq!(told, [stage::decision(&paid), stage::decision(&voided)], "what was told stays told");
    assert_eq!(stage::owed(&cluster).await?, []);
    cluster.close().await
}

/// The one thing that is owed.
async fn only_owed(cluster: &Cluster) -> anyhow::Result<OwedMessage> {
    let mut owed = stage::owed(cluster).await?;
    anyhow::ensure!(owed.len() == 1, "{owed:?}");
    Ok(owed.swap_remove(0))
}

/// An operator's word; the reason where it is refused.
async fn confirm(by: &OperatorClient, owed: &OwedMessage, proposal: &str) -> Result<(), String> {
    let (gateway_id, attempt_id, proposal_id) = (owed.gateway_id.clone(), owed.attempt_id.clone(), proposal.to_owned());
    let request = stage::timed(ConfirmResolutionRequest { gateway_id, attempt_id, proposal_id });
    by.reversals().confirm_resolution(request).await.map(drop).map_err(|status| stage::reason(&status).1)
}

/// See [`confirm`].
async fn withdraw(by: &OperatorClient, owed: &OwedMessage, proposal: &str) -> Result<(), String> {
    let (gateway_id, attempt_id, proposal_id) = (owed.gateway_id.clone(), owed.attempt_id.clone(), proposal.to_owned());
    let request = stage::timed(WithdrawResolutionRequest { gateway_id, attempt_id, proposal_id });
    by.reversals().withdraw_resolution(request).await.map(drop).map_err(|status| stage::reason(&status).1)
}
