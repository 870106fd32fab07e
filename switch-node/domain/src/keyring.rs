//! The data keys of the cluster, wrapped, and the numbers that keep the nonces of its processes apart. Pure: what opens a key is
//! the node's affair.
//!
//! Keys are made by the leader and reach every node as rows; what they are wrapped under never does. No card key is ever taken
//! out again: an open, capturable or refundable transaction may need it (R7), and a version is a few dozen bytes.

use std::{collections::BTreeMap, fmt};

use thiserror::Error;

use crate::{
    id::RequestId,
    limits,
    table::{Key, Made, MadeKey, Row, Table, TableFault},
    time::LogTime,
};

/// What a data key is for. No key serves two purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyPurpose {
    /// Seals card data that is kept.
    Card,
    /// Opens card data that gateways sealed.
    Sealing,
}

impl KeyPurpose {
    /// Every purpose.
    pub const ALL: [Self; 2] = [Self::Card, Self::Sealing];

    /// Its name, as wrapped keys are bound to it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Sealing => "sealing",
        }
    }
}

impl fmt::Display for KeyPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key encrypted under a wrapping key. Prints its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Wrapped(pub Box<[u8]>);

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrapped({} bytes)", self.0.len())
    }
}

/// A data key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKey {
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Counts from 1, for each purpose by itself.
    pub version: u32,
    /// Version of the wrapping key.
    pub wrapping_version: u32,
    /// The key.
    pub wrapped: Wrapped,
    /// Its public half, where it has one.
    pub public: Option<[u8; 32]>,
    /// When it became the current one.
    pub since: LogTime,
    /// From when on gateways may not use it any more; `None` while it is the current one.
    pub until: Option<LogTime>,
    /// SPIFFE id of the operator who asked for it; empty where the cluster made it by itself.
    pub author: String,
}

/// Every data key, and how many incarnations there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    /// Incarnations that were given out.
    pub incarnations: u64,
    /// The keys.
    pub keys: BTreeMap<(KeyPurpose, u32), DataKey>,
}

/// Makes a new data key the current one of its purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddDataKey {
    /// Key of the operator's call, so that a repeated one makes no second key; `None` where the cluster makes it by itself.
    pub request_id: Option<RequestId>,
    /// The key. Its version must be the next one: it is wrapped for that version and opens under no other. `since` and `until`
    /// are set when it is applied.
    pub key: DataKey,
    /// How long gateways may go on using the one before it, milliseconds.
    pub overlap_ms: u64,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyringCommand {
    /// Gives the process that asks a number that no other process ever has.
    Incarnate,
    /// Adds a key.
    Add(Box<AddDataKey>),
}

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyringReply {
    /// The number, from 1.
    Incarnation(u64),
    /// Version of the key that the call made, now or the first time it was made.
    Added(u32),
}

/// Why a command was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyringRefusal {
    /// Somebody else added a key first.
    #[error("version {asked} of the {purpose} key was offered, and version {next} is next")]
    NotNext {
        /// Purpose.
        purpose: KeyPurpose,
        /// Version that was offered.
        asked: u32,
        /// Version that would be taken.
        next: u32,
    },
    /// There are [`limits::DATA_KEYS_MAX`] already.
    #[error("there are {max} {0} keys, which is the bound", max = limits::DATA_KEYS_MAX)]
    Full(KeyPurpose),
    /// All 2^48 numbers are given out.
    #[error("no incarnation is left")]
    IncarnationsExhausted,
    /// The key of the call made something else before.
    #[error("the request_id was used for another change, not for a {0} key: each call has one of its own")]
    RequestIdReused(KeyPurpose),
}

impl Keyring {
    /// Reads the keyring from the table; an empty one where there is none yet.
    ///
    /// # Errors
    /// [`TableFault`].
    pub fn load(table: &dyn Table) -> Result<Self, TableFault> {
        match table.get(&Key::Keyring)? {
            Some(Row::Keyring(keyring)) => Ok(*keyring),
            Some(_) => Err(TableFault("another row stands in the keyring's place".into())),
            None => Ok(Self::default()),
        }
    }

    /// Applies one command.
    ///
    /// # Errors
    /// Outer: [`TableFault`]. Inner: [`KeyringRefusal`].
    pub fn apply(
        table: &mut dyn Table,
        command: KeyringCommand,
        now: LogTime,
    ) -> Result<Result<KeyringReply, KeyringRefusal>, TableFault> {
        let mut keyring = Self::load(table)?;
        let reply = match command {
            KeyringCommand::Incarnate => keyring.incarnate(),
            KeyringCommand::Add(add) => {
                let AddDataKey { request_id, key, overlap_ms } = *add;
                let (purpose, called) = (key.purpose, request_id.map(Key::OperatorRequest));
                if let Some(called) = &called {
                    match table.get(called)? {
                        Some(Row::Made(Made::Key(made))) if made.purpose == purpose => {
                            return Ok(Ok(KeyringReply::Added(made.version)));
                        }
                        Some(_) => return Ok(Err(KeyringRefusal::RequestIdReused(purpose))),
                        None => {}
                    }
                }
                let added = keyring.add(key, overlap_ms, now);
                if let (Some(called), Ok(version)) = (called, added) {
                    table.put(called, Row::Made(Made::Key(MadeKey { purpose, version })));
                }
                added.map(KeyringReply::Added)
            }
        };
        if reply.is_ok() {
            table.put(Key::Keyring, Row::Keyring(Box::new(keyring)));
        }
        Ok(reply)
    }

    fn incarnate(&mut self) -> Result<KeyringReply, KeyringRefusal> {
        if self.incarnations >= limits::INCARNATION_MAX {
            return Err(KeyringRefusal::IncarnationsExhausted);
        }
        self.incarnations += 1;
        Ok(KeyringReply::Incarnation(self.incarnations))
    }

    fn add(&mut self, key: DataKey, overlap_ms: u64, now: LogTime) -> Result<u32, KeyringRefusal> {
        let (purpose, version) = (key.purpose, key.version);
        let next = self.next_version(purpose);
        if version != next {
            return Err(KeyringRefusal::NotNext { purpose, asked: version, next });
        }
        // What gateways sealed is opened once, when it comes in: behind its end nothing needs such a key.
        self.keys.retain(|(of, _), old| *of != KeyPurpose::Sealing || old.until.is_none_or(|until| until > now));
        if self.keys.keys().filter(|(of, _)| *of == purpose).count() >= limits::DATA_KEYS_MAX {
            return Err(KeyringRefusal::Full(purpose));
        }
        for old in self.keys.values_mut().filter(|old| old.purpose == purpose && old.until.is_none()) {
            old.until = Some(now.after_ms(overlap_ms));
        }
        self.keys.insert((purpose, version), DataKey { since: now, until: None, ..key });
        Ok(version)
    }

    /// The version that a new key of this purpose must have.
    #[must_use]
    pub fn next_version(&self, purpose: KeyPurpose) -> u32 {
        self.current(purpose).map_or(1, |key| key.version.saturating_add(1))
    }

    /// The key for what is new, `None` before the first.
    #[must_use]
    pub fn current(&self, purpose: KeyPurpose) -> Option<&DataKey> {
        self.keys.range((purpose, 0)..=(purpose, u32::MAX)).next_back().map(|(_, key)| key)
    }

    /// One key.
    #[must_use]
    pub fn key(&self, purpose: KeyPurpose, version: u32) -> Option<&DataKey> {
        self.keys.get(&(purpose, version))
    }

    /// The keys that gateways may seal to, the current one first.
    pub fn published(&self, now: LogTime) -> impl Iterator<Item = &DataKey> {
        let keys = self.keys.range((KeyPurpose::Sealing, 0)..=(KeyPurpose::Sealing, u32::MAX)).rev();
        keys.map(|(_, key)| key).filter(move |key| key.until.is_none_or(|until| until > now))
    }

    /// True where a key of this purpose is to be made: there is none, or the current one is as old as `period_ms`.
    #[must_use]
    pub fn is_due(&self, purpose: KeyPurpose, now: LogTime, period_ms: u64) -> bool {
        self.current(purpose).is_none_or(|key| now >= key.since.after_ms(period_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        directory::{Change, Directory, DirectoryCommand, DirectoryRefusal},
        table::MemoryTable,
    };

    fn key(purpose: KeyPurpose, version: u32) -> DataKey {
        DataKey {
            purpose,
            version,
            wrapping_version: 1,
            wrapped: Wrapped(Box::new([7; 60])),
            public: None,
            since: LogTime(0),
            until: None,
            author: String::new(),
        }
    }

    fn add(table: &mut MemoryTable, key: DataKey, now: u64) -> Result<KeyringReply, KeyringRefusal> {
        let add = AddDataKey { request_id: None, key, overlap_ms: 100 };
        Keyring::apply(table, KeyringCommand::Add(Box::new(add)), LogTime(now)).expect("a table")
    }

    fn keyring(table: &MemoryTable) -> Keyring {
        Keyring::load(table).expect("a table")
    }

    #[test]
    fn no_incarnation_is_given_out_twice_and_they_end() {
        let mut table = MemoryTable::default();
        let mut incarnate = || Keyring::apply(&mut table, KeyringCommand::Incarnate, LogTime(1)).expect("a table");
        assert_eq!([incarnate(), incarnate()], [1, 2].map(|number| Ok(KeyringReply::Incarnation(number))));
        let last = Keyring { incarnations: limits::INCARNATION_MAX - 1, ..Keyring::default() };
        table.put(Key::Keyring, Row::Keyring(Box::new(last)));
        let mut incarnate = || Keyring::apply(&mut table, KeyringCommand::Incarnate, LogTime(1)).expect("a table");
        assert_eq!(incarnate(), Ok(KeyringReply::Incarnation(limits::INCARNATION_MAX)));
        assert_eq!(incarnate(), Err(KeyringRefusal::IncarnationsExhausted));
    }

    #[test]
    fn only_the_next_version_is_taken_and_the_one_before_it_ends_after_the_overlap() {
        let mut table = MemoryTable::default();
        assert_eq!(add(&mut table, key(KeyPurpose::Sealing, 1), 10), Ok(KeyringReply::Added(1)));
        for asked in [0, 1, 3] {
            let refusal = KeyringRefusal::NotNext { purpose: KeyPurpose::Sealing, asked, next: 2 };
            assert_eq!(add(&mut table, key(KeyPurpose::Sealing, asked), 20), Err(refusal));
        }
        assert_eq!(add(&mut table, key(KeyPurpose::Sealing, 2), 20), Ok(KeyringReply::Added(2)));
        let ring = keyring(&table);
        let published = |now| ring.published(LogTime(now)).map(|key| key.version).collect::<Vec<_>>();
        assert_eq!((published(20), published(119), published(120)), (vec![2, 1], vec![2, 1], vec![2]));
        assert_eq!(ring.current(KeyPurpose::Sealing).map(|key| (key.version, key.since)), Some((2, LogTime(20))));
        assert!(ring.current(KeyPurpose::Card).is_none());
    }

    #[test]
    fn r7_card_keys_stay_and_sealing_keys_go_when_they_have_ended() {
        let mut table = MemoryTable::default();
        for version in 1..=5 {
            for purpose in KeyPurpose::ALL {
                add(&mut table, key(purpose, version), u64::from(version) * 1_000).expect("added");
            }
        }
        let kept: Vec<_> = keyring(&table).keys.into_keys().collect();
        let cards = (1..=5).map(|version| (KeyPurpose::Card, version));
        let sealing = [4, 5].map(|version| (KeyPurpose::Sealing, version));
        assert_eq!(kept, cards.chain(sealing).collect::<Vec<_>>());
    }

    #[test]
    fn an_operators_call_that_is_repeated_makes_one_key() {
        let mut table = MemoryTable::default();
        let request_id = RequestId::parse("rotate-1").ok();
        let mut call = |version, now| {
            let add = AddDataKey { request_id: request_id.clone(), key: key(KeyPurpose::Card, version), overlap_ms: 0 };
            Keyring::apply(&mut table, KeyringCommand::Add(Box::new(add)), LogTime(now)).expect("a table")
        };
        assert_eq!([call(1, 1), call(2, 2)], [Ok(KeyringReply::Added(1)); 2]);
        assert_eq!(keyring(&table).next_version(KeyPurpose::Card), 2);
    }

    /// A fault there was: a call under the key of another one was told the version of what that one had made.
    #[test]
    fn a_key_of_a_call_that_made_something_else_is_refused() {
        let mut table = MemoryTable::default();
        let request = |text: &str| RequestId::parse(text).expect("a key");
        let mut call = |text, purpose| {
            let add = AddDataKey { request_id: Some(request(text)), key: key(purpose, 1), overlap_ms: 0 };
            Keyring::apply(&mut table, KeyringCommand::Add(Box::new(add)), LogTime(1)).expect("a table")
        };
        assert_eq!(call("rotate-1", KeyPurpose::Card), Ok(KeyringReply::Added(1)));
        let reused = Err(KeyringRefusal::RequestIdReused(KeyPurpose::Sealing));
        assert_eq!(call("rotate-1", KeyPurpose::Sealing), reused);
        assert!(keyring(&table).current(KeyPurpose::Sealing).is_none(), "and nothing is made");

        let change = |text| DirectoryCommand {
            request_id: request(text),
            author: "ann".into(),
            expected_version: 0,
            changes: vec![Change::SetRetentionDays(500)],
        };
        let refused = Directory::apply(&mut table, change("rotate-1")).expect("a table");
        assert_eq!(refused, Err(DirectoryRefusal::RequestIdReused));
        assert!(Directory::apply(&mut table, change("change-1")).expect("a table").is_ok());
        let add = AddDataKey { request_id: Some(request("change-1")), key: key(KeyPurpose::Sealing, 1), overlap_ms: 0 };
        let refused = Keyring::apply(&mut table, KeyringCommand::Add(Box::new(add)), LogTime(1)).expect("a table");
        assert_eq!(refused, Err(KeyringRefusal::RequestIdReused(KeyPurpose::Sealing)));
    }

    #[test]
    fn there_is_a_bound_and_it_refuses() {
        let keys = (1..)
            .take(limits::DATA_KEYS_MAX)
            .map(|version| ((KeyPurpose::Card, version), key(KeyPurpose::Card, version)));
        let mut full = Keyring { incarnations: 0, keys: keys.collect() };
        let next = full.next_version(KeyPurpose::Card);
        assert_eq!(full.add(key(KeyPurpose::Card, next), 0, LogTime(1)), Err(KeyringRefusal::Full(KeyPurpose::Card)));
        assert_eq!(full.add(key(KeyPurpose::Sealing, 1), 0, LogTime(1)), Ok(1));
    }

    #[test]
    fn a_key_is_due_when_there_is_none_and_when_its_period_is_over() {
        let mut table = MemoryTable::default();
        assert!(keyring(&table).is_due(KeyPurpose::Card, LogTime(0), 1_000));
        add(&mut table, key(KeyPurpose::Card, 1), 500).expect("added");
        let due = |now| keyring(&table).is_due(KeyPurpose::Card, LogTime(now), 1_000);
        assert!(!due(500) && !due(1_499) && due(1_500));
    }

    #[test]
    fn a_wrapped_key_prints_its_length_only() {
        let text = format!("{:?}", key(KeyPurpose::Card, 1));
        assert!(text.contains("Wrapped(60 bytes)") && !text.contains("7, 7"), "{text}");
    }
}
