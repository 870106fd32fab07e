//! What the layers of the message stack may ask about the leader they stand on; a test gives its own.

use std::time::Duration;

use switch_domain::{
    id::{GatewayId, LeaderId, RequestId, TransactionId},
    transaction::Method,
};

use super::call::Ask;
use crate::flow::{Flow, Pace};

/// What a gateway may call, from the directory as it is now; zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallLimits {
    /// New payments a second.
    pub requests_per_second: u32,
    /// New payments that may come at once after a pause; zero is one second's worth.
    pub burst: u32,
    /// Payments under way at once.
    pub concurrent: u32,
}

/// The tenant behind a call (R10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its id.
    pub gateway: GatewayId,
    /// What it may call.
    pub limits: CallLimits,
}

/// A leader, as the layers see it. Nothing here waits.
pub trait Outlook: Send + Sync {
    /// The tenant that a principal acts for; `None` for nobody's.
    fn caller(&self, principal: &str) -> Option<Caller>;

    /// True where the key of a payment is in this node's table: then nothing new is asked. A look at what is applied here, not
    /// a linearizable read: a key that is missed is found again behind the layers, and only waits in the wrong line.
    fn is_known(&self, gateway: &GatewayId, ask: &Ask) -> bool;

    /// Payments that the links in service can have in flight together.
    fn room(&self) -> u32;

    /// What the stations took since this was last asked.
    fn pace(&self) -> Pace;

    /// What a new payment must have left of its time at least, or it is refused before the journal (R3).
    fn payment_needs(&self) -> Duration;

    /// The leader id that this node reigns under; `None` where it does not.
    fn reign(&self) -> Option<LeaderId>;
}

impl Outlook for Flow {
    fn caller(&self, principal: &str) -> Option<Caller> {
        let standing = self.journal().standing();
        let gateway = standing.directory.gateway_of(principal)?;
        let limits = CallLimits {
            requests_per_second: gateway.requests_per_second,
            burst: gateway.burst,
            concurrent: gateway.concurrent,
        };
        Some(Caller { gateway: gateway.id.clone(), limits })
    }

    fn is_known(&self, gateway: &GatewayId, ask: &Ask) -> bool {
        let original = match ask.method() {
            Method::Authorize | Method::Verify => None,
            Method::Increment | Method::Refund | Method::Capture | Method::Void => {
                let Ok(original) = ask.original().parse::<TransactionId>() else { return false };
                Some(original)
            }
        };
        let Ok(request_id) = RequestId::parse(ask.request_id()) else { return false };
        self.knows(gateway, original, &request_id)
    }

    fn room(&self) -> u32 {
        Self::room(self)
    }

    fn pace(&self) -> Pace {
        Self::pace(self)
    }

    fn payment_needs(&self) -> Duration {
        Self::payment_needs(self)
    }

    fn reign(&self) -> Option<LeaderId> {
        self.journal().reign().map(|reign| reign.leader)
    }
}
