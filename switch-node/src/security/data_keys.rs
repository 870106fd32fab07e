//! Data keys as this node uses them: out of the replicated keyring, opened once, kept in memory.
//!
//! ```text
//! file wrapping-1.key ─► opens ─► keyring: card 1, card 2 … sealing 1 … (rows, the same on every node)
//!                                     │                  │
//!                                 AES-256-GCM        X25519, for HPKE
//! ```
//!
//! A key is wrapped together with its purpose and version, so a row that was exchanged for another does not open.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;
use ring::{
    aead::{AES_256_GCM, LessSafeKey, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};
use switch_domain::{
    keyring::{DataKey, KeyPurpose, Keyring, Wrapped},
    time::LogTime,
};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{
    keys::{DataKeyBytes, KEY_LEN, KeyFault, KeyStore, Purpose},
    sealing::OpeningKey,
};

/// The data keys of this cluster. Has no `Debug`: nothing may print it.
pub struct DataKeys {
    store: Arc<dyn KeyStore>,
    keyring: watch::Receiver<Arc<Keyring>>,
    card: RwLock<BTreeMap<u32, Arc<LessSafeKey>>>,
    sealing: RwLock<BTreeMap<u32, Arc<OpeningKey>>>,
}

impl DataKeys {
    /// The keys of a keyring, which a store opens.
    pub fn new(store: Arc<dyn KeyStore>, keyring: watch::Receiver<Arc<Keyring>>) -> Self {
        Self { store, keyring, card: RwLock::default(), sealing: RwLock::default() }
    }

    /// The keys that are kept outside the keyring.
    pub fn store(&self) -> &Arc<dyn KeyStore> {
        &self.store
    }

    /// The keyring as applied here.
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keyring.borrow().clone()
    }

    /// Follows the keyring.
    pub fn watch(&self) -> watch::Receiver<Arc<Keyring>> {
        self.keyring.clone()
    }

    /// A card key.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub fn card(&self, version: u32) -> Result<Arc<LessSafeKey>, KeyFault> {
        if let Some(key) = self.card.read().get(&version) {
            return Ok(key.clone());
        }
        let bytes = self.open(&self.keyring(), KeyPurpose::Card, version)?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes[..]).map_err(|_| KeyFault::Failed)?;
        let key = Arc::new(LessSafeKey::new(key));
        self.card.write().insert(version, key.clone());
        Ok(key)
    }

    /// A sealing key, whose public half is the one that is recorded.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub fn sealing(&self, version: u32) -> Result<Arc<OpeningKey>, KeyFault> {
        if let Some(key) = self.sealing.read().get(&version) {
            return Ok(key.clone());
        }
        let keyring = self.keyring();
        let key = Arc::new(OpeningKey::from_bytes(&self.open(&keyring, KeyPurpose::Sealing, version)?)?);
        // The private half is wrapped and bound to its place; the public one stands beside it in clear.
        if keyring.key(KeyPurpose::Sealing, version).and_then(|row| row.public) != Some(key.public()) {
            return Err(KeyFault::OtherPublicHalf(version));
        }
        self.sealing.write().insert(version, key.clone());
        Ok(key)
    }

    /// Opens every key of the keyring that is not open yet, so that no call waits for it, and forgets those that have left it.
    ///
    /// # Errors
    /// The first [`KeyFault`]; the other keys are opened all the same.
    pub fn open_all(&self) -> Result<(), KeyFault> {
        let keyring = self.keyring();
        let mut first = Ok(());
        for (purpose, version) in keyring.keys.keys() {
            let opened = match purpose {
                KeyPurpose::Card => self.card(*version).map(drop),
                KeyPurpose::Sealing => self.sealing(*version).map(drop),
            };
            first = match opened {
                // It has left the keyring meanwhile.
                Err(KeyFault::UnknownDataKey(..)) => first,
                opened => first.and(opened),
            };
        }
        self.card.write().retain(|version, _| keyring.key(KeyPurpose::Card, *version).is_some());
        self.sealing.write().retain(|version, _| keyring.key(KeyPurpose::Sealing, *version).is_some());
        first
    }

    /// The wrapping keys of this node, by name.
    pub fn held(&self) -> Vec<String> {
        let versions = self.store.versions(Purpose::Wrapping).into_iter();
        versions.filter_map(|version| self.wrapping_name(version).ok()).collect()
    }

    /// The name of a wrapping key among nodes: its file's, and the check value of what is in it, `wrapping-2:1f0c55a9`. Nodes whose
    /// files of one version hold different keys have different names for them.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub fn wrapping_name(&self, version: u32) -> Result<String, KeyFault> {
        Ok(format!("{}:{:08x}", wrapping_file(version), self.store.check_value(version)?))
    }

    /// A wrapping key of this node, and the other one that stands in its place among those that another node has; both by name.
    pub fn contradicted(&self, theirs: &[String]) -> Option<(String, String)> {
        self.held().into_iter().find_map(|own| {
            let other = another_of(&own, theirs)?.to_owned();
            Some((own, other))
        })
    }

    fn open(&self, keyring: &Keyring, purpose: KeyPurpose, version: u32) -> Result<DataKeyBytes, KeyFault> {
        let key = keyring.key(purpose, version).ok_or(KeyFault::UnknownDataKey(purpose, version))?;
        self.store.open_wrapped(key.wrapping_version, &associated(purpose, version), &key.wrapped.0)
    }

    /// Makes a new key, for the version that is next in the keyring as applied here. It is nobody's until it is committed.
    /// `wrapping_version` 0 takes the wrapping key of the key before it, or the newest for the first.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub fn make(&self, purpose: KeyPurpose, wrapping_version: u32, author: String) -> Result<DataKey, KeyFault> {
        let keyring = self.keyring();
        let version = keyring.next_version(purpose);
        let wrapping_version = match (wrapping_version, keyring.current(purpose)) {
            (0, None) => self.store.newest(Purpose::Wrapping),
            (0, Some(before)) => before.wrapping_version,
            (asked, _) => asked,
        };
        let mut bytes: DataKeyBytes = Zeroizing::new([0; KEY_LEN]);
        SystemRandom::new().fill(&mut bytes[..]).map_err(|_| KeyFault::Failed)?;
        let public = match purpose {
            KeyPurpose::Card => None,
            KeyPurpose::Sealing => Some(OpeningKey::from_bytes(&bytes)?.public()),
        };
        let wrapped = self.store.wrap(wrapping_version, &associated(purpose, version), &bytes)?;
        Ok(DataKey {
            purpose,
            version,
            wrapping_version,
            wrapped: Wrapped(wrapped.into()),
            public,
            since: LogTime(0),
            until: None,
            author,
        })
    }
}

/// The name, among these, of another key of the same version.
#[must_use]
pub fn another_of<'a>(name: &str, among: &'a [String]) -> Option<&'a str> {
    let (file, check_value) = name.split_once(':')?;
    let is_other = |other: &&str| other.split_once(':').is_some_and(|(of, value)| of == file && value != check_value);
    among.iter().map(String::as_str).find(is_other)
}

/// The name of a wrapping key's file, without its end.
#[must_use]
pub fn wrapping_file(version: u32) -> String {
    format!("{}-{version}", Purpose::Wrapping)
}

/// What a wrapped key is bound to.
fn associated(purpose: KeyPurpose, version: u32) -> Vec<u8> {
    let name = purpose.name().as_bytes();
    [&b"payswitch data key 1 "[..], name, &version.to_be_bytes()].concat()
}

#[cfg(test)]
pub(crate) mod tests {
    use switch_domain::{
        keyring::{AddDataKey, KeyringCommand, KeyringReply},
        table::MemoryTable,
    };

    use super::*;
    use crate::security::keys::{self, FileKeys};

    /// Keys of a throw-away directory, and a keyring that is applied here and nowhere else.
    pub(crate) struct Ring {
        pub(crate) directory: tempfile::TempDir,
        table: MemoryTable,
        sender: watch::Sender<Arc<Keyring>>,
        now: u64,
    }

    impl Ring {
        pub(crate) fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            keys::generate(directory.path()).expect("keys");
            Self { directory, table: MemoryTable::default(), sender: watch::Sender::new(Arc::default()), now: 0 }
        }

        /// The keys as a process that starts now has them.
        pub(crate) fn process(&self) -> Arc<DataKeys> {
            let store = FileKeys::open(self.directory.path()).expect("keys");
            Arc::new(DataKeys::new(Arc::new(store), self.sender.subscribe()))
        }

        pub(crate) fn apply(&mut self, command: KeyringCommand) -> KeyringReply {
            self.now += 1_000;
            let reply = Keyring::apply(&mut self.table, command, LogTime(self.now)).expect("a table");
            self.sender.send_replace(Arc::new(Keyring::load(&self.table).expect("a keyring")));
            reply.expect("not refused")
        }

        /// Makes a new key the current one.
        pub(crate) fn rotate(&mut self, purpose: KeyPurpose) {
            let key = self.process().make(purpose, 0, String::new()).expect("a key");
            self.apply(KeyringCommand::Add(Box::new(AddDataKey { request_id: None, key, overlap_ms: 1_500 })));
        }

        /// A number that no other process has.
        pub(crate) fn incarnate(&mut self) -> u64 {
            match self.apply(KeyringCommand::Incarnate) {
                KeyringReply::Incarnation(number) => number,
                KeyringReply::Added(_) => panic!("no key was added"),
            }
        }

        /// Changes the keyring by hand, as a damaged or forged disk would.
        pub(crate) fn tamper(&mut self, change: impl FnOnce(&mut Keyring)) {
            self.sender.send_modify(|keyring| change(Arc::make_mut(keyring)));
        }
    }

    #[test]
    fn keys_reach_every_node_that_has_the_wrapping_key() {
        let mut ring = Ring::new();
        let (one, other) = (ring.process(), ring.process());
        ring.rotate(KeyPurpose::Card);
        ring.rotate(KeyPurpose::Sealing);
        assert_eq!((one.open_all(), other.open_all()), (Ok(()), Ok(())));
        let public = one.keyring().key(KeyPurpose::Sealing, 1).and_then(|key| key.public);
        assert_eq!(other.sealing(1).ok().map(|key| key.public()), public);
        assert!(one.card(1).is_ok());
        assert_eq!(one.card(2).err(), Some(KeyFault::UnknownDataKey(KeyPurpose::Card, 2)));
    }

    #[test]
    fn a_key_in_the_place_of_another_does_not_open() {
        let mut ring = Ring::new();
        ring.rotate(KeyPurpose::Card);
        ring.rotate(KeyPurpose::Card);
        ring.rotate(KeyPurpose::Sealing);
        ring.tamper(|keyring| {
            let first = keyring.keys[&(KeyPurpose::Card, 1)].wrapped.clone();
            for (place, key) in &mut keyring.keys {
                if *place != (KeyPurpose::Card, 1) {
                    key.wrapped = first.clone();
                }
            }
        });
        let keys = ring.process();
        assert!(keys.card(1).is_ok());
        assert_eq!(keys.card(2).err(), Some(KeyFault::Forged));
        assert_eq!(keys.sealing(1).err(), Some(KeyFault::Forged));
        assert_eq!(keys.open_all(), Err(KeyFault::Forged));
    }

    #[test]
    fn a_sealing_key_whose_public_half_was_exchanged_is_not_used() {
        let mut ring = Ring::new();
        ring.rotate(KeyPurpose::Sealing);
        ring.tamper(|keyring| {
            let key = keyring.keys.get_mut(&(KeyPurpose::Sealing, 1)).expect("a key");
            key.public = Some([9; 32]);
        });
        let keys = ring.process();
        assert_eq!(keys.sealing(1).err(), Some(KeyFault::OtherPublicHalf(1)));
        assert_eq!(keys.open_all(), Err(KeyFault::OtherPublicHalf(1)));
    }

    #[test]
    fn r7_a_node_names_the_wrapping_keys_that_it_has_by_version_and_content() {
        let (ring, elsewhere) = (Ring::new(), Ring::new());
        let behind = ring.process();
        keys::generate_version(ring.directory.path(), Purpose::Wrapping, 2).expect("a key");
        let ahead = ring.process();
        let files = |keys: &DataKeys| {
            keys.held().iter().map(|name| name.split(':').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            (files(&behind), files(&ahead)),
            (vec!["wrapping-1".into()], vec!["wrapping-1".into(), "wrapping-2".into()])
        );
        assert_eq!(behind.held()[0], ahead.held()[0], "one file has one name on every node");
        assert_eq!((behind.contradicted(&ahead.held()), ahead.contradicted(&behind.held())), (None, None));

        let other = elsewhere.process();
        assert_eq!(files(&other), files(&behind));
        let both = (behind.held().remove(0), other.held().remove(0));
        assert_ne!(both.0, both.1, "the files have one name and different keys in them");
        assert_eq!(behind.contradicted(&other.held()), Some(both));
    }

    #[test]
    fn a_new_wrapping_key_is_used_when_it_is_asked_for_and_stays_in_use() {
        let mut ring = Ring::new();
        ring.rotate(KeyPurpose::Card);
        let behind = ring.process();
        keys::generate_version(ring.directory.path(), Purpose::Wrapping, 2).expect("a key");
        ring.rotate(KeyPurpose::Card);
        let wrapped_under = |version| ring.process().keyring().keys[&(KeyPurpose::Card, version)].wrapping_version;
        assert_eq!((wrapped_under(1), wrapped_under(2)), (1, 1));
        let key = ring.process().make(KeyPurpose::Card, 2, String::new()).expect("a key");
        ring.apply(KeyringCommand::Add(Box::new(AddDataKey { request_id: None, key, overlap_ms: 0 })));
        ring.rotate(KeyPurpose::Card);
        let versions: Vec<_> = ring.process().keyring().keys.values().map(|key| key.wrapping_version).collect();
        assert_eq!(versions, [1, 1, 2, 2]);
        assert_eq!(behind.open_all(), Err(KeyFault::UnknownVersion(Purpose::Wrapping, 2)));
        assert_eq!(ring.process().open_all(), Ok(()));
    }

    #[test]
    fn a_sealing_key_that_left_the_keyring_leaves_the_memory() {
        let mut ring = Ring::new();
        let keys = ring.process();
        ring.rotate(KeyPurpose::Sealing);
        keys.open_all().expect("opened");
        for _ in 0..3 {
            ring.rotate(KeyPurpose::Sealing); // each a second after the one before, with an overlap of a second and a half
        }
        keys.open_all().expect("opened");
        assert_eq!(keys.sealing(1).err(), Some(KeyFault::UnknownDataKey(KeyPurpose::Sealing, 1)));
        assert!(keys.sealing(4).is_ok());
    }
}
