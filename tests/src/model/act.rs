//! What happens, in plain numbers: the input of the model, and what it expects of the book.

use super::payment::{DebtState, Terms};

/// An attempt: gateway, payment, ask and number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Gateway.
    pub gateway: u8,
    /// Payment.
    pub payment: u128,
    /// Index of the ask.
    pub ask: usize,
    /// Number of the try, from 1.
    pub number: usize,
}

/// Digest of what is asked: version of the key, digest.
pub type Print = (u32, u64);

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Network.
    pub network: u8,
    /// Its terms.
    pub terms: Terms,
    /// Term of the process that asks.
    pub owner: u64,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new payment.
    New {
        /// Its id.
        id: u128,
        /// A verification.
        check: bool,
        /// Captured with the approval.
        sale: bool,
        /// Less than asked is welcome.
        partial: bool,
    },
    /// An increment.
    Raise(u128),
    /// A refund.
    Return(u128),
}

/// What a network says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Yes.
    Yes {
        /// For how much, `None` for what was asked.
        amount: Option<u64>,
        /// In another currency.
        foreign: bool,
        /// Approval code.
        code: u8,
    },
    /// Yes, for a part, without saying for which.
    Vague {
        /// Approval code.
        code: u8,
    },
    /// No.
    No,
    /// Something that is not in the map.
    Nonsense,
}

/// Why a request may go elsewhere.
#[derive(Clone, Copy, Debug)]
pub enum Elsewhere {
    /// Nothing left.
    Unsent,
    /// An answer.
    Answered(Says),
}

/// What a network says to a reversal or an advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Done,
    /// Done before.
    Duplicate,
    /// Not known.
    NotFound,
    /// Never.
    Refused,
    /// Later.
    Later,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Act {
    /// A request is opened.
    Open {
        /// Tenant.
        gateway: u8,
        /// Key.
        key: u32,
        /// Digest.
        print: Print,
        /// Amount.
        amount: u64,
        /// Another currency than the book's usual one.
        foreign: bool,
        /// Milliseconds since the gateway first sent it.
        age_ms: u64,
        /// Where to.
        route: Route,
        /// What for.
        purpose: Purpose,
        /// Limit of the day, zero for none.
        day_limit: u64,
    },
    /// The next network is asked.
    Failover {
        /// Attempt that ends.
        at: At,
        /// Why.
        because: Elsewhere,
        /// Where to.
        route: Route,
    },
    /// A network answers.
    Answer(At, Says),
    /// Nothing left.
    Unsent(At),
    /// No answer; true where it was garbled.
    Silent(At, bool),
    /// Bytes left late.
    LateSend(At),
    /// A capture.
    Capture {
        /// Tenant.
        gateway: u8,
        /// Key.
        key: u32,
        /// Digest.
        print: Print,
        /// Payment.
        payment: u128,
        /// Amount.
        amount: u64,
        /// Another currency.
        foreign: bool,
        /// The last one.
        last: bool,
    },
    /// A void.
    Void {
        /// Tenant.
        gateway: u8,
        /// Key.
        key: u32,
        /// Digest.
        print: Print,
        /// Payment by id, or by the key of its authorization.
        target: Result<u128, u32>,
    },
    /// A network answers a reversal, or an advice where true.
    DebtAnswer {
        /// Which.
        at: At,
        /// True for the advice of a capture.
        advice: bool,
        /// Generation.
        generation: u16,
        /// Answer.
        verdict: Verdict,
        /// When the copy that was answered left.
        sent: u64,
    },
    /// The budget of a reversal or an advice is used up.
    Park {
        /// Which.
        at: At,
        /// True for the advice of a capture.
        advice: bool,
        /// Generation.
        generation: u16,
    },
    /// An operator closes a parked one; true where the money stands.
    Resolve(At, bool),
    /// Validity ends; true where the hold is released.
    Expire(u8, u128, bool),
    /// A payment is to be forgotten.
    Forget {
        /// Tenant.
        gateway: u8,
        /// Payment.
        payment: u128,
        /// When it last changed.
        last_event: u64,
        /// Days that payments are kept, zero for the default.
        days: u32,
        /// Days in which captured money may be returned, zero for the default.
        window_days: u32,
    },
    /// A leader's wall clock shows this.
    ReadClock(u64),
    /// An operator says that it is right.
    AcceptClock(u64),
}

/// What is told, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Approved.
    Approved,
    /// Approved for less.
    Partial,
    /// Declined.
    Declined,
    /// Not answered.
    TimedOut,
    /// Voided.
    Voided,
    /// Nobody knows.
    Unresolved,
}

/// What the book must reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A permission to send this attempt.
    Send(At),
    /// Told.
    Told {
        /// Decision.
        word: Word,
        /// Approved amount.
        approved: u64,
        /// Told before.
        replayed: bool,
        /// Where its reversal stands.
        reversal: Option<DebtState>,
        /// Where its advice stands.
        advice: Option<DebtState>,
    },
    /// Still open.
    Wait(u128, usize),
    /// Refused, by the refusal's name.
    No(&'static str),
    /// Noted.
    Noted,
    /// Worthless.
    Ignored,
}
