//! The cluster's own keys: which there are, where they come from, and what can be done with them (R7).
//!
//! A [`KeyStore`] is asked to do things and never for a key of its own, so that a hardware module can stand in the place of
//! the files. Files are the same on every node, one a version: `wrapping-1.key`, `token-1.key`, `fingerprint-1.key`, each
//! 64 hexadecimal digits that nobody but the node may read. The wrapping key encrypts data keys, which are made and replaced
//! while the cluster runs and reach the nodes through the journal; tokens and fingerprints must stay what they are for as long
//! as rows are compared with them, so their keys are no data keys. Older versions stay as long as something needs them. A node
//! that lacks a kind of key does not start.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use switch_domain::keyring::KeyPurpose;
use thiserror::Error;
use zeroize::Zeroizing;

/// What a key is for. No key serves two purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Encrypts data keys.
    Wrapping,
    /// Makes tokens of card numbers.
    Token,
    /// Makes fingerprints of requests.
    Fingerprint,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 3] = [Self::Wrapping, Self::Token, Self::Fingerprint];

    /// First part of the names of its files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wrapping => "wrapping",
            Self::Token => "token",
            Self::Fingerprint => "fingerprint",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Keys that can be used and not seen.
pub trait KeyStore: Send + Sync {
    /// The newest version.
    fn newest(&self, purpose: Purpose) -> u32;

    /// Every version, the oldest first.
    fn versions(&self, purpose: Purpose) -> Vec<u32>;

    /// Tells a [`Purpose::Wrapping`] key from another of the same version. Nothing of the key can be learnt from it.
    ///
    /// # Errors
    /// [`KeyFault`].
    fn check_value(&self, version: u32) -> Result<u32, KeyFault>;

    /// Encrypts a data key under a [`Purpose::Wrapping`] key. What comes out differs each time, and opens with the same
    /// associated data only.
    ///
    /// # Errors
    /// [`KeyFault`].
    fn wrap(&self, version: u32, associated: &[u8], key: &DataKeyBytes) -> Result<Vec<u8>, KeyFault>;

    /// Decrypts what [`Self::wrap`] made.
    ///
    /// # Errors
    /// [`KeyFault`].
    fn open_wrapped(&self, version: u32, associated: &[u8], wrapped: &[u8]) -> Result<DataKeyBytes, KeyFault>;

    /// HMAC-SHA-256 under a key of this purpose.
    ///
    /// # Errors
    /// [`KeyFault`].
    fn authenticate(&self, purpose: Purpose, version: u32, message: &[u8]) -> Result<[u8; 32], KeyFault>;
}

/// A data key; wiped on drop.
pub type DataKeyBytes = Zeroizing<[u8; KEY_LEN]>;

/// Bytes of every key.
pub const KEY_LEN: usize = 32;

/// Why a key could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyFault {
    /// This node has no such version; an operator must bring it.
    #[error("{0} key version {1} is not on this node")]
    UnknownVersion(Purpose, u32),
    /// The keyring has no such data key.
    #[error("there is no {0} data key of version {1}")]
    UnknownDataKey(KeyPurpose, u32),
    /// Gateways would seal to a key that does not open.
    #[error("the public half that is recorded for sealing key version {0} is not that of the key")]
    OtherPublicHalf(u32),
    /// Another key, other associated data, or changed bytes.
    #[error("the ciphertext does not belong to this key and this place")]
    Forged,
    /// The store failed.
    #[error("the key store failed")]
    Failed,
}

/// Why a directory of key files cannot be used. The node does not start.
#[derive(Debug, Error)]
pub enum KeyFileFault {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name that begins like a key's and has no version.
    #[error("{}: the name must be <purpose>-<version>.key with a version from 1 to 4294967295", .0.display())]
    Name(PathBuf),
    /// Others may read or write it.
    #[error("{}: mode is {mode:04o}, and nobody but the node may read or write a key: chmod 0600", path.display())]
    Mode {
        /// File.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// It belongs to a user who is neither the node's nor root.
    #[error("{}: belongs to user {owner}", path.display())]
    Owner {
        /// File.
        path: PathBuf,
        /// User id.
        owner: u32,
    },
    /// Not 64 hexadecimal digits.
    #[error("{}: a key is 64 hexadecimal digits", .0.display())]
    Form(PathBuf),
    /// The same key twice: purposes and versions must not share one.
    #[error("{} and {} hold the same key", .0.display(), .1.display())]
    Repeated(PathBuf, PathBuf),
    /// No key of a purpose.
    #[error("{}: there is no {purpose}-<version>.key", directory.display())]
    Missing {
        /// Directory.
        directory: PathBuf,
        /// Purpose.
        purpose: Purpose,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

/// Keys out of a directory of files. Has no `Debug`: nothing may print it. What is read is wiped; the expanded keys stay
/// in the memory of ring, which wipes nothing, until the process ends.
pub struct FileKeys {
    wrapping: BTreeMap<u32, WrappingKey>,
    token: BTreeMap<u32, hmac::Key>,
    fingerprint: BTreeMap<u32, hmac::Key>,
}

struct WrappingKey {
    key: LessSafeKey,
    check_value: u32,
}

impl WrappingKey {
    fn new(bytes: &DataKeyBytes) -> Option<Self> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes[..]).ok()?);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &bytes[..]), CHECK_VALUE);
        // Far too short to be a card number, also where all its digits happen to be decimal.
        let check_value = u32::from_be_bytes(*tag.as_ref().first_chunk()?);
        Some(Self { key, check_value })
    }
}

impl FileKeys {
    /// Reads every key of a directory. Files of other names are left alone.
    ///
    /// # Errors
    /// [`KeyFileFault`], with the name of the file.
    pub fn open(directory: &Path) -> Result<Self, KeyFileFault> {
        let io = |source| KeyFileFault::Io { path: directory.to_owned(), source };
        let mut keys = Self { wrapping: BTreeMap::new(), token: BTreeMap::new(), fingerprint: BTreeMap::new() };
        let mut seen: Vec<(PathBuf, DataKeyBytes)> = Vec::new();
        for entry in fs::read_dir(directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let Some((purpose, version)) = key_name(&path)? else { continue };
            let bytes = read(&path)?;
            if let Some((other, _)) = seen.iter().find(|(_, known)| known[..] == bytes[..]) {
                return Err(KeyFileFault::Repeated(other.clone(), path));
            }
            match purpose {
                Purpose::Wrapping => {
                    let key = WrappingKey::new(&bytes).ok_or_else(|| KeyFileFault::Form(path.clone()))?;
                    keys.wrapping.insert(version, key);
                }
                Purpose::Token => {
                    keys.token.insert(version, hmac::Key::new(hmac::HMAC_SHA256, &bytes[..]));
                }
                Purpose::Fingerprint => {
                    keys.fingerprint.insert(version, hmac::Key::new(hmac::HMAC_SHA256, &bytes[..]));
                }
            }
            seen.push((path, bytes));
        }
        for purpose in Purpose::ALL {
            if keys.versions(purpose).is_empty() {
                return Err(KeyFileFault::Missing { directory: directory.to_owned(), purpose });
            }
        }
        Ok(keys)
    }

    fn wrapping(&self, version: u32) -> Result<&WrappingKey, KeyFault> {
        self.wrapping.get(&version).ok_or(KeyFault::UnknownVersion(Purpose::Wrapping, version))
    }
}

impl KeyStore for FileKeys {
    fn newest(&self, purpose: Purpose) -> u32 {
        self.versions(purpose).pop().expect("a store without a key of each purpose does not open")
    }

    fn versions(&self, purpose: Purpose) -> Vec<u32> {
        match purpose {
            Purpose::Wrapping => self.wrapping.keys().copied().collect(),
            Purpose::Token => self.token.keys().copied().collect(),
            Purpose::Fingerprint => self.fingerprint.keys().copied().collect(),
        }
    }

    fn check_value(&self, version: u32) -> Result<u32, KeyFault> {
        Ok(self.wrapping(version)?.check_value)
    }

    fn wrap(&self, version: u32, associated: &[u8], key: &DataKeyBytes) -> Result<Vec<u8>, KeyFault> {
        // Random: a wrapping key encrypts a few thousand data keys in its life, far from the 2^32 that random nonces allow.
        let mut wrapped = vec![0; NONCE_LEN];
        SystemRandom::new().fill(&mut wrapped).map_err(|_| KeyFault::Failed)?;
        let nonce = Nonce::try_assume_unique_for_key(&wrapped).map_err(|_| KeyFault::Failed)?;
        let mut text = key.clone();
        let tag = self.wrapping(version)?.key.seal_in_place_separate_tag(nonce, Aad::from(associated), &mut text[..]);
        wrapped.extend_from_slice(&text[..]);
        wrapped.extend_from_slice(tag.map_err(|_| KeyFault::Failed)?.as_ref());
        Ok(wrapped)
    }

    fn open_wrapped(&self, version: u32, associated: &[u8], wrapped: &[u8]) -> Result<DataKeyBytes, KeyFault> {
        let (nonce, text) = wrapped.split_first_chunk::<NONCE_LEN>().ok_or(KeyFault::Forged)?;
        let mut text = Zeroizing::new(text.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.wrapping(version)?.key.open_in_place(nonce, Aad::from(associated), &mut text);
        let opened: &[u8] = opened.map_err(|_| KeyFault::Forged)?;
        opened.try_into().map(Zeroizing::new).map_err(|_| KeyFault::Forged)
    }

    fn authenticate(&self, purpose: Purpose, version: u32, message: &[u8]) -> Result<[u8; 32], KeyFault> {
        let key = match purpose {
            Purpose::Wrapping => None, // no key serves two purposes
            Purpose::Token => self.token.get(&version),
            Purpose::Fingerprint => self.fingerprint.get(&version),
        };
        let tag = hmac::sign(key.ok_or(KeyFault::UnknownVersion(purpose, version))?, message);
        tag.as_ref().try_into().map_err(|_| KeyFault::Failed)
    }
}

/// Makes a first key of every purpose in `directory`, which is made where it is not there. Nothing is overwritten.
///
/// # Errors
/// [`KeyFileFault`].
pub fn generate(directory: &Path) -> Result<(), KeyFileFault> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|source| KeyFileFault::Io { path: directory.to_owned(), source })?;
    Purpose::ALL.into_iter().try_for_each(|purpose| generate_version(directory, purpose, 1))
}

/// Makes one version of one key. Nothing is overwritten.
///
/// # Errors
/// [`KeyFileFault`].
pub fn generate_version(directory: &Path, purpose: Purpose, version: u32) -> Result<(), KeyFileFault> {
    let path = directory.join(format!("{purpose}-{version}.key"));
    let mut key: DataKeyBytes = Zeroizing::new([0; KEY_LEN]);
    SystemRandom::new().fill(&mut key[..]).map_err(|_| KeyFileFault::Random)?;
    let mut digits = Zeroizing::new([0; 2 * KEY_LEN + 1]);
    for (place, byte) in key.iter().enumerate() {
        digits[2 * place] = HEX[usize::from(byte >> 4)];
        digits[2 * place + 1] = HEX[usize::from(byte & 15)];
    }
    digits[2 * KEY_LEN] = b'\n';
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(&digits[..]).and_then(|()| file.sync_all()))
        .map_err(|source| KeyFileFault::Io { path, source })
}

/// Purpose and version out of a file's name; `None` where it is no key's.
fn key_name(path: &Path) -> Result<Option<(Purpose, u32)>, KeyFileFault> {
    let Some(stem) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".key")) else {
        return Ok(None);
    };
    let Some((name, version)) = stem.split_once('-') else { return Ok(None) };
    let Some(purpose) = Purpose::ALL.into_iter().find(|purpose| purpose.name() == name) else { return Ok(None) };
    // One name a version: `01` beside `1` would be two keys in one place.
    match version.parse() {
        Ok(number) if number > 0 && version == u32::to_string(&number) => Ok(Some((purpose, number))),
        _ => Err(KeyFileFault::Name(path.to_owned())),
    }
}

fn read(path: &Path) -> Result<DataKeyBytes, KeyFileFault> {
    let io = |source| KeyFileFault::Io { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    let shut = if owner == rustix::process::geteuid().as_raw() {
        0o077
    } else if owner == 0 {
        // A volume that root mounts for the node's group: nobody else is in it.
        0o037
    } else {
        return Err(KeyFileFault::Owner { path: path.to_owned(), owner });
    };
    if mode & shut != 0 {
        return Err(KeyFileFault::Mode { path: path.to_owned(), mode });
    }
    // One byte more than a key and its line's end: a longer file is no key.
    let mut text = Zeroizing::new([0; 2 * KEY_LEN + 2]);
    let mut length = 0;
    let mut file = file.take(text.len() as u64);
    while length < text.len() {
        match file.read(&mut text[length..]).map_err(io)? {
            0 => break,
            more => length += more,
        }
    }
    let text = text[..length].strip_suffix(b"\n").unwrap_or(&text[..length]);
    let mut key: DataKeyBytes = Zeroizing::new([0; KEY_LEN]);
    if text.len() != 2 * KEY_LEN {
        return Err(KeyFileFault::Form(path.to_owned()));
    }
    for (byte, digits) in key.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (hex(digits[0]), hex(digits[1]));
        *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or_else(|| KeyFileFault::Form(path.to_owned()))?;
    }
    Ok(key)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

const NONCE_LEN: usize = 12;
/// What check values are the HMAC of: nothing else is authenticated with a wrapping key.
const CHECK_VALUE: &[u8] = b"payswitch check value of a wrapping key 1";
const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn generated() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        generate(directory.path()).expect("keys");
        directory
    }

    /// Why the vault's keys do not open; the store itself cannot be printed.
    fn fault(directory: &Path) -> KeyFileFault {
        FileKeys::open(directory).err().expect("a fault")
    }

    #[test]
    fn the_newest_version_is_used_and_every_one_can_be() {
        let directory = generated();
        generate_version(directory.path(), Purpose::Token, 10).expect("a key");
        generate_version(directory.path(), Purpose::Token, 9).expect("a key");
        fs::write(directory.path().join("README"), "not a key").expect("a file");
        let keys = FileKeys::open(directory.path()).expect("keys");
        assert_eq!([1, 10, 1], Purpose::ALL.map(|purpose| keys.newest(purpose)));
        let of = |version| keys.authenticate(Purpose::Token, version, b"x");
        assert!(of(1) != of(9) && of(9) != of(10) && of(1).is_ok());
        assert_eq!(of(2), Err(KeyFault::UnknownVersion(Purpose::Token, 2)));
        assert_eq!(keys.authenticate(Purpose::Wrapping, 1, b"x"), Err(KeyFault::UnknownVersion(Purpose::Wrapping, 1)));
    }

    #[test]
    fn a_node_without_a_kind_of_key_does_not_start() {
        for purpose in Purpose::ALL {
            let directory = generated();
            fs::remove_file(directory.path().join(format!("{purpose}-1.key"))).expect("it is there");
            let fault = fault(directory.path());
            assert!(matches!(&fault, KeyFileFault::Missing { purpose: missing, .. } if *missing == purpose), "{fault}");
        }
        assert!(matches!(fault(Path::new("/nowhere")), KeyFileFault::Io { .. }));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_by_name() {
        for mode in [0o640, 0o604, 0o666, 0o620, 0o610] {
            let directory = generated();
            let path = directory.path().join("wrapping-1.key");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
            let fault = fault(directory.path());
            assert!(matches!(&fault, KeyFileFault::Mode { path: named, mode: is } if *named == path && *is == mode));
            assert!(fault.to_string().contains("wrapping-1.key"), "{fault}");
        }
        let directory = generated();
        fs::set_permissions(directory.path().join("wrapping-1.key"), fs::Permissions::from_mode(0o400)).expect("ours");
        assert!(FileKeys::open(directory.path()).is_ok());
    }

    #[test]
    fn what_is_no_key_is_refused_by_name() {
        let zeros = "0".repeat(63);
        for text in ["", "0", &zeros, &format!("{zeros}g"), &format!("{zeros}0\n\n"), &format!("{zeros}00")] {
            let directory = generated();
            fs::write(directory.path().join("token-1.key"), text).expect("ours");
            assert!(matches!(fault(directory.path()), KeyFileFault::Form(_)), "{text:?}");
        }
        for name in [
            "wrapping-.key",
            "wrapping-0.key",
            "wrapping-01.key",
            "wrapping-x.key",
            "wrapping-4294967296.key",
            "wrapping-+2.key",
        ] {
            let directory = generated();
            fs::write(directory.path().join(name), "").expect("ours");
            assert!(matches!(fault(directory.path()), KeyFileFault::Name(_)), "{name}");
        }
    }

    #[test]
    fn no_key_serves_two_purposes() {
        let directory = generated();
        fs::copy(directory.path().join("wrapping-1.key"), directory.path().join("token-2.key")).expect("ours");
        assert!(matches!(fault(directory.path()), KeyFileFault::Repeated(..)));
    }

    #[test]
    fn a_data_key_opens_under_its_own_wrapping_key_and_in_its_own_place_only() {
        let directory = generated();
        generate_version(directory.path(), Purpose::Wrapping, 2).expect("a key");
        let keys = FileKeys::open(directory.path()).expect("keys");
        let key: DataKeyBytes = Zeroizing::new([9; KEY_LEN]);
        let wrapped = keys.wrap(1, b"here", &key).expect("wrapped");
        assert_ne!(wrapped, keys.wrap(1, b"here", &key).expect("wrapped"), "the nonce is the same");
        assert!(wrapped.windows(KEY_LEN).all(|window| window != &key[..]));
        let opened = |version, place: &[u8], wrapped: &[u8]| keys.open_wrapped(version, place, wrapped);
        assert!(opened(1, b"here", &wrapped).is_ok_and(|opened| opened[..] == key[..]));
        assert_eq!(opened(2, b"here", &wrapped).err(), Some(KeyFault::Forged));
        assert_eq!(opened(1, b"there", &wrapped).err(), Some(KeyFault::Forged));
        assert_eq!(opened(3, b"here", &wrapped).err(), Some(KeyFault::UnknownVersion(Purpose::Wrapping, 3)));
        for place in 0..wrapped.len() {
            let mut flipped = wrapped.clone();
            flipped[place] ^= 1;
            assert_eq!(opened(1, b"here", &flipped).err(), Some(KeyFault::Forged), "byte {place}");
            assert_eq!(opened(1, b"here", &wrapped[..place]).err(), Some(KeyFault::Forged), "{place} bytes");
        }
    }

    #[test]
    fn r7_a_check_value_is_that_of_the_key_and_of_no_other() {
        let directory = generated();
        generate_version(directory.path(), Purpose::Wrapping, 2).expect("a key");
        let path = directory.path().join("wrapping-1.key");
        let key = fs::read_to_string(&path).expect("a key");
        let of = |version| FileKeys::open(directory.path()).expect("keys").check_value(version);
        let before = of(1).expect("a check value");
        assert_eq!(of(1), Ok(before), "every process has the same");
        assert_ne!(of(2), Ok(before));
        assert_eq!(of(3), Err(KeyFault::UnknownVersion(Purpose::Wrapping, 3)));
        assert!(!key.contains(&format!("{before:08x}")), "it shows a part of the key");

        let other: String = key.chars().rev().collect();
        fs::write(&path, other.trim_start()).expect("ours");
        assert_ne!(of(1), Ok(before), "another key under the same version");
    }

    #[test]
    fn generating_overwrites_nothing() {
        let directory = generated();
        let before = fs::read(directory.path().join("wrapping-1.key")).expect("a key");
        assert!(matches!(generate(directory.path()), Err(KeyFileFault::Io { .. })));
        assert_eq!(fs::read(directory.path().join("wrapping-1.key")).expect("a key"), before);
        assert_eq!(fs::metadata(directory.path().join("wrapping-1.key")).expect("a key").mode() & 0o777, 0o600);
    }
}
