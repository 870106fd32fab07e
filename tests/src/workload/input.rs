//! Payments from a file, one JSON object a line.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use switch_proto::gateway::v1 as pb;

use super::{Story, plastic};
use crate::{harness::directory::merchants_of, history::Ask, sandbox::cards};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    /// Key; made up from the run and the line where it is missing.
    pub request_id: Option<String>,
    /// Minor units.
    pub amount: i64,
    /// ISO 4217 alphabetic code.
    pub currency: String,
    /// A number, or the name of a sandbox card such as `no_answer`.
    pub card: String,
    /// How the card is read.
    #[serde(default)]
    pub source: CardSource,
    /// Merchant id; the gateway's first where it is missing.
    pub merchant: Option<String>,
    /// Merchant category code.
    pub category: Option<String>,
    /// True captures at once.
    #[serde(default)]
    pub capture: bool,
    /// True where an approval for less is welcome.
    #[serde(default)]
    pub partial: bool,
}

/// How a card is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the names of the contract
pub enum CardSource {
    #[default]
    Keyed,
    MagneticStripe,
    Chip,
    ContactlessChip,
    NetworkToken,
    StoredCredential,
}

/// Reads a file of payments for `gateway`.
pub fn read(path: &Path, run: &str, gateway: &str) -> anyhow::Result<Vec<Story>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let stories = lines.map(|(number, line)| {
        let payment = serde_json::from_str::<Payment>(line)
            .with_context(|| format!("{}:{} is no payment", path.display(), number + 1))?;
        Ok(payment.story(run, number + 1, gateway))
    });
    stories.collect()
}

impl Payment {
    fn story(self, run: &str, line: usize, gateway: &str) -> Story {
        let key = self.request_id.unwrap_or_else(|| format!("{run}-{line}"));
        let by_name = cards::ALL.iter().find(|card| card.name.eq_ignore_ascii_case(&self.card));
        let number = by_name.map_or(self.card, |card| card.number.to_owned());
        let card = match self.source {
            CardSource::Keyed => plastic::keyed(&number),
            CardSource::MagneticStripe => plastic::swiped(&number),
            CardSource::Chip => plastic::chip(&number, false),
            CardSource::ContactlessChip => plastic::chip(&number, true),
            CardSource::NetworkToken => plastic::wallet(&number),
            CardSource::StoredCredential => plastic::on_file(&number),
        };
        let capture = if self.capture { pb::CaptureMode::Automatic } else { pb::CaptureMode::Manual };
        let request = pb::AuthorizeRequest {
            request_id: key.clone(),
            amount: Some(pb::Money { minor_units: self.amount, currency_code: self.currency }),
            card: Some(card),
            merchant: Some(pb::Merchant {
                merchant_id: self.merchant.unwrap_or_else(|| merchants_of(gateway).swap_remove(0)),
                category_code: self.category.unwrap_or_else(|| "5999".to_owned()),
                name: "From a file".to_owned(),
                city: "Riga".to_owned(),
                country_code: "LV".to_owned(),
                terminal_id: "T0000001".to_owned(),
            }),
            capture_mode: capture.into(),
            partial_approval_supported: self.partial,
            ..pb::AuthorizeRequest::default()
        };
        Story { key, first: Ask::Authorize(request), copies: 1, overtaken: None, steps: Vec::new() }
    }
}
