//! What applying a command asks the leader to do. An effect is only a wake-up: what is owed stands in the table, and a new
//! leader finds it there by one scan.

use crate::id::{AttemptRef, GatewayId, LinkId, TransactionId};

/// A wake-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A reversal or an advice is to be sent.
    LaneDue {
        /// Link it goes to.
        link: LinkId,
        /// Which; for advices the capture's own id.
        attempt: AttemptRef,
    },
    /// An operation has been decided: wake those who wait for it. Performed on every node.
    Settled {
        /// Tenant.
        gateway: GatewayId,
        /// Transaction.
        transaction: TransactionId,
        /// Index of the operation.
        operation: u16,
    },
    /// The gateway has a new event. Performed on every node.
    Event {
        /// Tenant.
        gateway: GatewayId,
    },
}
