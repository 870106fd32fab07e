//! Station ②: which network, and which next. The directory says what serves a card, the links say what is in service; both are
//! looked at when a stop is taken, so that a choice never waits.

use std::sync::Arc;

use switch_domain::{
    authorization::Authorization,
    card::Pan,
    directory::Network,
    id::{LinkId, NetworkId, RouteId},
    money::{Amount, Currency},
    outcome::{DeclineReason, ResponseCode},
    route::{Candidate, Unroutable},
    transaction::{Terms, Transaction},
};

use crate::{
    journal::shared::Standing,
    link::{Links, Reserved},
};

/// Why nobody is asked: told as a decline of the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unserved(pub DeclineReason);

impl From<DeclineReason> for Unserved {
    fn from(reason: DeclineReason) -> Self {
        Self(reason)
    }
}

/// Why there is no further stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nowhere {
    /// No network that is left is enabled and in service.
    OutOfService,
    /// One is, and its links are full.
    Full,
}

/// One network to ask, over one link that is in service.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Route that named it.
    pub route: Option<RouteId>,
    /// Network.
    pub network: NetworkId,
    /// Link.
    pub link: LinkId,
    /// Terms of the network's profile as it is now.
    pub terms: Terms,
}

/// The networks that may be asked, in order.
pub struct Itinerary {
    standing: Arc<Standing>,
    candidates: Vec<Candidate>,
    named: bool,
    next: usize,
    category: String,
    permitted: Vec<ResponseCode>,
    room: Option<Reserved>,
}

/// Plans the way of a new payment.
///
/// # Errors
/// [`Unserved`] with the reason that is told.
pub fn plan(standing: &Arc<Standing>, pan: &Pan, authorization: &Authorization) -> Result<Itinerary, Unserved> {
    let gateway = standing.directory.gateways.get(&authorization.gateway);
    let merchant = gateway.and_then(|gateway| gateway.merchants.get(&authorization.merchant.id));
    if !gateway.is_some_and(|gateway| gateway.enabled) || !merchant.is_some_and(|merchant| merchant.enabled) {
        return Err(Unserved(DeclineReason::Disabled));
    }
    let limit = gateway.and_then(|gateway| gateway.limits.get(&authorization.currency));
    if limit.is_some_and(|limit| !limit.per_operation.is_zero() && authorization.amount > limit.per_operation) {
        return Err(Unserved(DeclineReason::SwitchLimit));
    }
    let routed = standing.routes.choose(pan, authorization.currency, authorization.amount).map_err(|why| {
        Unserved(match why {
            Unroutable::NoRange | Unroutable::NoRoute => DeclineReason::NoRoute,
            Unroutable::CheckDigit => DeclineReason::InvalidCardNumber,
        })
    })?;
    Ok(Itinerary {
        standing: standing.clone(),
        candidates: routed.candidates().to_vec(),
        named: true,
        next: 0,
        category: authorization.merchant.category.as_str().to_owned(),
        permitted: Vec::new(),
        room: None,
    })
}

/// The way of a follow-up: back to the network where its original stands, and nowhere else.
pub fn return_to(standing: &Arc<Standing>, original: &Transaction) -> Option<Itinerary> {
    let (_, standing_attempt) = original.first().standing_attempt()?;
    let network = standing_attempt.network.clone();
    let route = RouteId::parse("follow-up").ok()?;
    Some(Itinerary {
        standing: standing.clone(),
        candidates: vec![Candidate { route, network }],
        named: false,
        next: 0,
        category: original.merchant.category.as_str().to_owned(),
        permitted: Vec::new(),
        room: None,
    })
}

impl Itinerary {
    /// The next network that is enabled and has a link in service with room, which is kept for this payment: what the journal has
    /// is not refused for lack of it. Remembers whose answers permit another one.
    ///
    /// # Errors
    /// [`Nowhere`]: there is none left.
    pub fn next(&mut self, links: &Links) -> Result<Stop, Nowhere> {
        let mut nowhere = Nowhere::OutOfService;
        while let Some(candidate) = self.candidates.get(self.next) {
            self.next += 1;
            let network = self.standing.directory.networks.get(&candidate.network).filter(|network| network.enabled);
            let Some(network) = network else { continue };
            let Some(link) = links.of_network(&candidate.network) else { continue };
            let Some(room) = links.reserve(link.id()) else {
                nowhere = Nowhere::Full;
                continue;
            };
            self.room = Some(room);
            self.permitted.clone_from(&network.failover_codes);
            return Ok(Stop {
                route: self.named.then(|| candidate.route.clone()),
                network: candidate.network.clone(),
                link: link.id().clone(),
                terms: network.terms(&self.category),
            });
        }
        Err(nowhere)
    }

    /// The room on the link of the last stop, for whoever sends now.
    pub fn take_room(&mut self) -> Option<Reserved> {
        self.room.take()
    }

    /// True where another network may be left to ask.
    pub fn has_next(&self) -> bool {
        self.next < self.candidates.len()
    }

    /// True where the network asked last allows another one to be asked after this code (R17).
    pub fn permits(&self, code: &ResponseCode) -> bool {
        self.permitted.contains(code)
    }
}

impl Standing {
    /// What a gateway may authorize in one day in a currency; zero for no limit (R24).
    pub fn day_limit(&self, gateway: &switch_domain::id::GatewayId, currency: Currency) -> Amount {
        let gateway = self.directory.gateways.get(gateway);
        gateway.and_then(|gateway| gateway.limits.get(&currency)).map_or(Amount::ZERO, |limit| limit.per_day)
    }

    /// A network's profile.
    pub fn network(&self, network: &NetworkId) -> Option<&Network> {
        self.directory.networks.get(network)
    }
}
