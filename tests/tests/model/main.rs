//! The book against its reference: random histories on few keys, more than 100,000 commands a run, compared after each.
//!
//! The seed is printed first; `MODEL_SEED=<number>` plays the same histories again, `MODEL_CASES=<number>` more or fewer.

#[path = "../../../switch-node/domain/src/book/tests/invariants.rs"]
mod invariants;
mod strategy;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
};

use proptest::{
    collection::vec,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use switch_domain as domain;
use switch_tests::model::pair::{Checks, Pair};

const CASES: u32 = 1_000;
/// Any length below it, so that a failing history can be shortened to what matters.
const STEPS_MAX: usize = 600;

#[test]
fn the_book_agrees_with_its_reference() {
    let seed = number("MODEL_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let cases = number("MODEL_CASES").and_then(|cases| u32::try_from(cases).ok()).unwrap_or(CASES);
    eprintln!("MODEL_SEED={seed} MODEL_CASES={cases}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let checks = Checks { table: invariants::check_invariants, transition: invariants::check_transition };
    let replies: RefCell<BTreeMap<&'static str, u64>> = RefCell::default();
    let result = runner.run(&vec(strategy::step(), 1..STEPS_MAX), |steps| {
        // A failed comparison panics with both sides; proptest shortens the history.
        let played = catch_unwind(AssertUnwindSafe(|| {
            let mut pair = Pair::new(checks);
            steps.iter().for_each(|step| pair.play(*step));
            pair.compare_all();
            pair.replies
        }));
        let counts = played.map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_owned());
            TestCaseError::fail(text)
        })?;
        for (name, count) in counts {
            *replies.borrow_mut().entry(name).or_default() += count;
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("MODEL_SEED={seed}: {failure}");
    }
    let replies = replies.into_inner();
    let played: u64 = replies.values().sum();
    eprintln!("{played} commands: {replies:?}");
    if cases >= CASES {
        assert!(played >= 100_000, "only {played} commands");
        for name in INTERESTING {
            let count = replies.get(name).copied().unwrap_or(0);
            assert!(count >= 20, "the generator made {name} only {count} times");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What every run must have seen.
const INTERESTING: &[&str] = &[
    "Send",
    "Approved",
    "Partial",
    "Declined",
    "TimedOut",
    "Voided",
    "Unresolved",
    "Replayed",
    "Wait",
    "Noted",
    "Forgotten",
    "Ignored",
    "FingerprintVersion",
    "KeyReused",
    "KeyTooOld",
    "NotFound",
    "InDoubt",
    "AlreadyVoided",
    "UseRefund",
    "NotAuthorized",
    "NotReversible",
    "Expired",
    "FinallyCaptured",
    "CurrencyMismatch",
    "AmountZero",
    "AmountExceeds",
    "Declined(SwitchLimit)",
    "Declined(NetworkInDoubt)",
];
