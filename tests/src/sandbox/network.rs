//! One simulated card network: its books, its chance and its standing, shared by every conversation with it.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use ring::hmac;
use tokio::{sync::watch, time::Instant};

use super::{
    books::{Books, Cursor, Policy, Whose},
    conduct::{Dice, Standing},
    proto,
};

/// One card network.
#[derive(Debug)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// What is fixed about its books.
    pub policy: Policy,
    /// How it behaves now.
    pub standing: watch::Sender<Standing>,
    /// Held for microseconds, never across a wait.
    pub(super) ledger: Mutex<Ledger>,
    pub(super) card_key: hmac::Key,
    pub(super) conversations: AtomicU32,
    pub(super) signed_on: AtomicU32,
    started: Instant,
    started_us: i64,
    prefix: String,
}

/// What changes with every message.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) books: Books,
    pub(super) dice: Dice,
}

impl Network {
    /// A network with empty books. `epoch` is the wall time now; from here on its clock is tokio's, which tests may
    /// pause.
    pub fn new(name: &str, policy: Policy, seed: u64, epoch: SystemTime) -> Self {
        let started_us = epoch.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
        let initials: String = name.chars().filter(char::is_ascii_alphabetic).take(2).collect();
        Self {
            name: name.into(),
            policy,
            standing: watch::Sender::new(Standing::normal()),
            ledger: Mutex::new(Ledger { books: Books::new(policy), dice: Dice::new(seed) }),
            card_key: hmac::Key::new(hmac::HMAC_SHA256, format!("sandbox {name} {seed}").as_bytes()),
            conversations: AtomicU32::new(0),
            signed_on: AtomicU32::new(0),
            started: Instant::now(),
            started_us,
            prefix: format!("{}{}", initials.to_uppercase(), base36(started_us as u64 / 1_000_000)),
        }
    }

    /// The network's id of a request; unique, over restarts too.
    pub fn transaction_id(&self, sequence: u64) -> String {
        format!("{}{:0>6}", self.prefix, base36(sequence))
    }

    /// Microseconds since 1970.
    pub(super) fn time_us(&self, now: Instant) -> i64 {
        self.started_us + now.saturating_duration_since(self.started).as_micros() as i64
    }

    /// Looks at the books between two messages.
    pub fn read<T>(&self, look: impl FnOnce(&Books) -> T) -> T {
        look(&self.ledger.lock().books)
    }

    /// One page of records, and where the next begins.
    pub fn page(&self, cursor: Cursor) -> (Vec<proto::Record>, Option<Cursor>) {
        let transaction_id = |sequence| self.transaction_id(sequence);
        self.read(|books| books.page(cursor, Whose { network: &self.name, transaction_id: &transaction_id }))
    }

    /// All records, for tests of a size that fits.
    pub fn records(&self) -> Vec<proto::Record> {
        let mut records = Vec::new();
        let mut cursor = Some(Cursor::new(false));
        while let Some(at) = cursor {
            let (page, next) = self.page(at);
            records.extend(page);
            cursor = next;
        }
        records
    }

    /// Forgets every entry.
    pub fn reset(&self) {
        self.ledger.lock().books.reset();
    }

    /// What it is doing.
    pub fn status(&self, address: String) -> proto::NetworkStatus {
        let standing = self.standing.borrow().clone();
        proto::NetworkStatus {
            network: self.name.clone(),
            address,
            mode: standing.mode.into(),
            conduct: Some(standing.conduct),
            reversal_first_kills_original: self.policy.reversal_first_kills_original,
            conversations: self.conversations.load(Ordering::Relaxed),
            signed_on: self.signed_on.load(Ordering::Relaxed),
            counters: Some(self.read(|books| books.counters)),
        }
    }
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit((number % 36) as u32, 36).expect("below 36").to_ascii_uppercase());
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}
