//! Random steps, biased so that few payments see much: newest things are chosen most, answers are mostly yes, time mostly
//! stands still.

use proptest::prelude::*;
use switch_tests::model::{
    act::Verdict,
    step::{Answer, Kind, Money, Step, Twist},
};

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..3_u8, 0..2_u8, kind(), money(), network(), twist()).prop_map(|(key, gateway, kind, money, network, twist)| {
            Step::New { key, gateway, kind, money, network, twist }
        }),
        5 => (back(), key(), money(), twist())
            .prop_map(|(back, key, money, twist)| Step::Raise { back, key, money, twist }),
        6 => (back(), key(), money(), twist())
            .prop_map(|(back, key, money, twist)| Step::Return { back, key, money, twist }),
        8 => (back(), key(), money(), prop::bool::weighted(0.4), twist())
            .prop_map(|(back, key, money, last, twist)| Step::Capture { back, key, money, last, twist }),
        3 => (back(), key(), any::<bool>(), twist())
            .prop_map(|(back, key, by_key, twist)| Step::Void { back, key, by_key, twist }),
        1 => (0..4_u8, 0..2_u8, 0..9_u8, twist())
            .prop_map(|(key, gateway, void_key, twist)| Step::VoidUnseen { key, gateway, void_key, twist }),
        4 => (back(), prop::option::of(answer()), network(), prop::bool::weighted(0.1))
            .prop_map(|(back, answer, network, stranger)| Step::Failover { back, answer, network, stranger }),
        26 => (back(), prop::bool::weighted(0.25), answer(), 0..3_u8)
            .prop_map(|(back, late, answer, code)| Step::Answer { back, late, answer, code }),
        3 => (back(), prop::bool::weighted(0.3)).prop_map(|(back, late)| Step::Unsent { back, late }),
        6 => (back(), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(back, late, garbled)| Step::Silent { back, late, garbled }),
        3 => (back(), prop::bool::weighted(0.7)).prop_map(|(back, late)| Step::LateSend { back, late }),
        20 => (back(), prop::bool::weighted(0.15), verdict(), prop::bool::weighted(0.1), prop::bool::weighted(0.3))
            .prop_map(|(back, over, verdict, stale, early)| Step::Debt { back, over, verdict, stale, early }),
        3 => (back(), prop::bool::weighted(0.1)).prop_map(|(back, stale)| Step::Park { back, stale }),
        3 => (back(), any::<bool>()).prop_map(|(back, stands)| Step::Resolve { back, stands }),
        3 => (back(), any::<bool>()).prop_map(|(back, release)| Step::Expire { back, release }),
        6 => (back(), prop_oneof![Just(0_u32), Just(180), Just(1)], prop_oneof![3 => Just(0_u32), 1 => Just(700)])
            .prop_map(|(back, days, window_days)| Step::Forget { back, days, window_days }),
        1 => hours().prop_map(|hours| Step::ReadClock { hours }),
        2 => hours().prop_map(|hours| Step::AcceptClock { hours }),
        5 => prop_oneof![
            6 => Just(1_000_u64),
            6 => Just(10_000),
            6 => Just(30_000),
            2 => Just(86_400_000),
            1 => Just(7 * 86_400_000),
            1 => Just(200 * 86_400_000),
        ].prop_map(|milliseconds| Step::Wait { milliseconds }),
    ]
}

/// Keys of follow-ups: mostly new ones, often enough the same.
fn key() -> impl Strategy<Value = u8> {
    prop_oneof![3 => 3..60_u8, 2 => 0..3_u8]
}

/// How far a wall clock is ahead.
fn hours() -> impl Strategy<Value = i8> {
    prop_oneof![4 => Just(0_i8), 1 => Just(1), 1 => Just(2), 1 => Just(-2), 1 => Just(30)]
}

fn back() -> impl Strategy<Value = u8> {
    prop_oneof![5 => Just(0_u8), 3 => Just(1), 2 => 2..4_u8, 1 => 4..8_u8]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![6 => Just(Kind::Pay), 3 => Just(Kind::Partial), 3 => Just(Kind::Sale), 1 => Just(Kind::Check)]
}

fn network() -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(0_u8), 3 => Just(1), 1 => Just(2), 2 => Just(3)]
}

fn money() -> impl Strategy<Value = Money> {
    prop_oneof![
        1 => Just(Money::Zero),
        4 => Just(Money::Just(100)),
        3 => Just(Money::Just(333)),
        1 => Just(Money::Just(1)),
        5 => Just(Money::Left),
        1 => Just(Money::Beyond),
    ]
}

fn twist() -> impl Strategy<Value = Twist> {
    prop_oneof![
        22 => Just(Twist::None),
        1 => Just(Twist::OtherPrint),
        1 => Just(Twist::OtherVersion),
        2 => Just(Twist::Odd),
        1 => Just(Twist::Stranger),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        12 => Just(Answer::Yes),
        4 => Just(Answer::Part),
        1 => Just(Answer::Nothing),
        1 => Just(Answer::Vague),
        1 => Just(Answer::More),
        1 => Just(Answer::Foreign),
        4 => Just(Answer::No),
        1 => Just(Answer::Nonsense),
    ]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        5 => Just(Verdict::Done),
        1 => Just(Verdict::Duplicate),
        4 => Just(Verdict::NotFound),
        1 => Just(Verdict::Refused),
        1 => Just(Verdict::Later),
    ]
}
