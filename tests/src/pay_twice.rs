//! One key, twice: what `helm test` asks of an installation with play money. The second answer must be the first one again, and
//! not a second payment.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Parser;
use switch_proto::gateway::v1::{self as pb, Decision};

use crate::{channel::TlsFiles, gateway_client::GatewayClient, history::History, sandbox::cards, stage};

/// Pays twice with one key and says whether that was one payment. Exits 1 where it was not, or was none.
#[derive(Debug, Parser)]
#[command(name = "dev pay-twice")]
pub struct Args {
    /// Door for gateways, as its certificate names it.
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: String,

    /// PEM chain of a gateway's certificate.
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,

    /// PEM key of that certificate.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// PEM roots of the door's certificate.
    #[arg(long, value_name = "FILE")]
    roots: PathBuf,

    /// Merchant that the directory assigns to the gateway.
    #[arg(long)]
    merchant: String,
}

/// Pays twice; gives the transaction that both calls were told.
///
/// # Errors
/// Says what was told instead.
pub async fn run(args: Args) -> anyhow::Result<String> {
    let Args { endpoint, certificate, key, roots, merchant } = args;
    let files = TlsFiles { certificate, key, roots };
    let gateway = GatewayClient::new("pay-twice", &[endpoint], &files, 1, History::default())?;
    // Eight digits in a row are no card number, whatever chance makes of them.
    let key = format!("pay-twice-{:08x}-{:08x}", rand::random::<u32>(), rand::random::<u32>());
    let payment = pb::AuthorizeRequest {
        merchant: Some(pb::Merchant { merchant_id: merchant, ..stage::merchant("shop") }),
        ..stage::payment(&key, cards::APPROVED_VISA, AMOUNT)
    };
    let first = gateway.authorize(payment.clone()).await.context("the first payment was not answered")?;
    let second = gateway.authorize(payment).await.context("the same key was not answered again")?;
    compare(&first, &second)?;
    Ok(first.transaction_id)
}

fn compare(first: &pb::OperationResult, second: &pb::OperationResult) -> anyhow::Result<()> {
    let (decided, again) = (decision(first), decision(second));
    ensure!(decided == Decision::Approved, "the payment was told {decided:?}");
    ensure!(again == decided, "the same key was told {again:?} then");
    let (one, other) = (&first.transaction_id, &second.transaction_id);
    ensure!(one == other, "one key made two payments, {one} and {other}");
    ensure!(second.replayed, "the second answer does not say that it repeats the first");
    Ok(())
}

fn decision(result: &pb::OperationResult) -> Decision {
    result.outcome.as_ref().map_or(Decision::Unspecified, pb::Outcome::decision)
}

/// Cents.
const AMOUNT: i64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(decision: Decision, transaction_id: &str, replayed: bool) -> pb::OperationResult {
        let outcome = Some(pb::Outcome { decision: decision.into(), ..pb::Outcome::default() });
        pb::OperationResult {
            transaction_id: transaction_id.to_owned(),
            outcome,
            replayed,
            ..pb::OperationResult::default()
        }
    }

    #[test]
    fn only_one_payment_that_is_told_again_passes() {
        let approval = |transaction_id, replayed| told(Decision::Approved, transaction_id, replayed);
        let first = approval("a", false);
        let said = |first: &pb::OperationResult, second: pb::OperationResult| {
            compare(first, &second).map_err(|error| error.to_string())
        };
        assert_eq!(said(&first, approval("a", true)), Ok(()));
        assert_eq!(said(&first, approval("b", false)), Err("one key made two payments, a and b".to_owned()));
        let words = "the second answer does not say that it repeats the first";
        assert_eq!(said(&first, approval("a", false)), Err(words.to_owned()));
        let declined = told(Decision::Declined, "a", false);
        assert_eq!(said(&declined, declined.clone()), Err("the payment was told Declined".to_owned()));
    }
}
