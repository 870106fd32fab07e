//! Random histories: steps that name things relatively, so that a shorter history still means something.

use super::act::Verdict;

/// What makes a repeated key interesting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    /// Nothing.
    None,
    /// Another digest than that of the content.
    OtherPrint,
    /// Another version of the digest's key.
    OtherVersion,
    /// A key that was first sent before the switch's memory begins, or an amount in another currency.
    Odd,
    /// Another tenant.
    Stranger,
}

/// What a new payment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Authorize.
    Pay,
    /// With partial approvals welcome.
    Partial,
    /// Captured at once.
    Sale,
    /// Verify.
    Check,
}

/// What a network answers, relative to what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes, in full.
    Yes,
    /// Yes, for a part.
    Part,
    /// Yes, for nothing.
    Nothing,
    /// Yes, for a part that it does not name.
    Vague,
    /// Yes, for more.
    More,
    /// Yes, in another currency.
    Foreign,
    /// No.
    No,
    /// Not in the map.
    Nonsense,
}

/// How much, relative to the payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Money {
    /// Nothing.
    Zero,
    /// This much.
    Just(u16),
    /// All that is left to take or to give back.
    Left,
    /// One more than that.
    Beyond,
}

/// One step. `back` counts from the newest.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the fields are named like what they choose
pub enum Step {
    New { key: u8, gateway: u8, kind: Kind, money: Money, network: u8, twist: Twist },
    Raise { back: u8, key: u8, money: Money, twist: Twist },
    Return { back: u8, key: u8, money: Money, twist: Twist },
    Capture { back: u8, key: u8, money: Money, last: bool, twist: Twist },
    Void { back: u8, key: u8, by_key: bool, twist: Twist },
    VoidUnseen { key: u8, gateway: u8, void_key: u8, twist: Twist },
    Failover { back: u8, answer: Option<Answer>, network: u8, stranger: bool },
    Answer { back: u8, late: bool, answer: Answer, code: u8 },
    Unsent { back: u8, late: bool },
    Silent { back: u8, late: bool, garbled: bool },
    LateSend { back: u8, late: bool },
    Debt { back: u8, over: bool, verdict: Verdict, stale: bool, early: bool },
    Park { back: u8, stale: bool },
    Resolve { back: u8, stands: bool },
    Expire { back: u8, release: bool },
    Forget { back: u8, days: u32, window_days: u32 },
    ReadClock { hours: i8 },
    AcceptClock { hours: i8 },
    Wait { milliseconds: u64 },
}
