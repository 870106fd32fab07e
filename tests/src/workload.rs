//! What gateways ask for: a seeded stream of payments, each with what follows it. Knows nothing of answers and judges
//! nothing; that is the auditor's.

use std::sync::Arc;

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use switch_proto::gateway::v1 as pb;

pub use self::{
    mix::{Kind, Mix},
    story::{Played, Step, Story, play},
};
use crate::{harness::directory::merchants_of, history::Ask};

pub mod input;
mod mix;
pub mod plastic;
mod story;

/// A seeded stream of stories. The same seed and run name give the same stream.
pub struct Workload {
    random: StdRng,
    mix: Arc<Mix>,
    /// Begins every request_id, so that two runs against one cluster never share a key.
    run: String,
    merchants: Vec<String>,
    next: u64,
}

impl Workload {
    /// The stream of `seed` for the gateway `gateway`.
    pub fn new(seed: u64, run: &str, gateway: &str, mix: Mix) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            mix: Arc::new(mix),
            run: run.to_owned(),
            merchants: merchants_of(gateway),
            next: 0,
        }
    }

    /// The next story.
    pub fn story(&mut self) -> Story {
        self.next += 1;
        let key = format!("{}-{}", self.run, self.next);
        let kind = self.mix.pick(&mut self.random);
        let amount = self.amount();
        let card_number = kind.card(&mut self.random);
        let merchant = self.merchant();
        if kind == Kind::Verify {
            let request = pb::VerifyCardRequest {
                request_id: key.clone(),
                currency_code: amount.currency_code,
                card: Some(plastic::keyed(&card_number)),
                merchant: Some(merchant),
                entry_mode: pb::EntryMode::Ecommerce.into(),
                address: None,
            };
            return Story { key, first: Ask::Verify(request), copies: 1, overtaken: None, steps: Vec::new() };
        }
        let mut request = pb::AuthorizeRequest {
            request_id: key.clone(),
            amount: Some(amount),
            card: Some(plastic::any(&card_number, &mut self.random)),
            merchant: Some(merchant),
            capture_mode: pb::CaptureMode::Manual.into(),
            merchant_reference: format!("order-{}", self.next),
            partial_approval_supported: kind == Kind::Partial,
            ..pb::AuthorizeRequest::default()
        };
        if kind == Kind::Sale {
            request.capture_mode = pb::CaptureMode::Automatic.into();
        }
        Story {
            key,
            copies: kind.copies(),
            overtaken: kind.overtaken(),
            steps: kind.steps(&mut self.random),
            first: Ask::Authorize(request),
        }
    }

    /// Between 10.00 and 1000.00 of most currencies; even, and great enough for every share that follows.
    fn amount(&mut self) -> pb::Money {
        let currency = CURRENCIES.choose(&mut self.random).expect("the list is not empty");
        let minor_units = self.random.random_range(500..=50_000) * 2;
        pb::Money { minor_units, currency_code: (*currency).to_owned() }
    }

    fn merchant(&mut self) -> pb::Merchant {
        let merchant_id = self.merchants.choose(&mut self.random).expect("every gateway has merchants").clone();
        let (category_code, name) = CATEGORIES.choose(&mut self.random).expect("the list is not empty");
        pb::Merchant {
            terminal_id: format!("T{:07}", self.random.random_range(0..1000)),
            merchant_id,
            category_code: (*category_code).to_owned(),
            name: (*name).to_owned(),
            city: "Riga".to_owned(),
            country_code: "LV".to_owned(),
        }
    }
}

/// Exponents 2, 2, 0 and 3.
const CURRENCIES: [&str; 4] = ["EUR", "USD", "JPY", "BHD"];
const CATEGORIES: [(&str, &str); 3] = [("5411", "Corner grocery"), ("5942", "Book shop"), ("5812", "Noodle bar")];
