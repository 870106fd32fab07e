//! Card data as it may be journalled: sealed for one transaction of one gateway, a token, a fingerprint (R7, R16).
//!
//! ```text
//! sealed      = nonce (12) ‖ AES-256-GCM(text) ‖ tag (16)
//! associated  = purpose ‖ key version ‖ gateway ‖ transaction, each with its length before it
//! text        = layout (1) ‖ number (length, digits) ‖ expiry (0, or 4 and YYMM) ‖ sequence (2) ‖ chip data (length, bytes)
//! nonce       = incarnation (6) ‖ counter (6)
//! ```
//!
//! A nonce is never used twice under one key: the incarnation is a number that a committed entry gave to this process and to no
//! other, and the counter is this process's own. A process that has no incarnation yet can open, and cannot seal. Keys come out
//! of the keyring, and the current one may change between two calls: each value says which one it is under.
//!
//! Sealed data that is moved to another transaction or gateway does not open. Sensitive authentication data never gets in:
//! of the chip data only the tags that [`filter_icc_data`] keeps.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ring::aead::{Aad, Nonce};
use switch_domain::{
    authorization::Authorization,
    card::{Card, CardToken, Expiry, Pan, Sealed, Sensitive, filter_icc_data},
    id::{GatewayId, MerchantId, RequestId, TerminalId, TransactionId},
    keyring::KeyPurpose,
    limits::INCARNATION_MAX,
    money::{Amount, Currency},
    transaction::{CaptureMode, Fingerprint, Method},
};
use thiserror::Error;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{
    data_keys::DataKeys,
    keys::{KeyFault, Purpose},
};

/// Seals and opens card data, and makes what stands in its place. One for each process.
pub struct Vault {
    keys: Arc<DataKeys>,
    nonces: Nonces,
}

/// Why the vault cannot do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VaultFault {
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The bytes are too short, or what was sealed is no card: written by another version.
    #[error("the sealed data has a layout that this version does not know")]
    Layout,
    /// The chip data is not well formed; the door lets none such in.
    #[error("the chip data is not well formed")]
    ChipData,
    /// This process has no incarnation yet, or the cluster no key: the leader is about to commit them.
    #[error("the vault cannot seal yet")]
    NotReady,
    /// 2^48 nonces are used up; the process must be started anew.
    #[error("no nonce is left")]
    NoncesExhausted,
}

/// What a fingerprint covers (R16): what is asked, never sensitive authentication data.
#[derive(Clone, Copy)]
pub struct FingerprintParts<'a> {
    /// What.
    pub method: Method,
    /// How much; zero where there is no amount.
    pub amount: Amount,
    /// In which currency, where there is one.
    pub currency: Option<Currency>,
    /// The card number. It goes in under the fingerprint's own key: a token would change with the token's key, and an honest
    /// repetition would look like another request.
    pub pan: Option<&'a Pan>,
    /// Who sells.
    pub merchant: Option<&'a MerchantId>,
    /// At which terminal.
    pub terminal: Option<&'a TerminalId>,
    /// Transaction that a follow-up is about.
    pub original: Option<TransactionId>,
    /// Key of the authorization that a void is about.
    pub original_request: Option<&'a RequestId>,
    /// When money is captured.
    pub capture_mode: Option<CaptureMode>,
    /// True for a capture that is the last.
    pub is_final: bool,
}

impl<'a> FingerprintParts<'a> {
    /// A payment, or the verification of a card.
    #[must_use]
    pub fn payment(authorization: &'a Authorization, pan: &'a Pan) -> Self {
        Self {
            amount: authorization.amount,
            currency: Some(authorization.currency),
            pan: Some(pan),
            merchant: Some(&authorization.merchant.id),
            terminal: Some(&authorization.merchant.terminal),
            capture_mode: Some(authorization.capture_mode),
            ..Self::of(if authorization.verification { Method::Verify } else { Method::Authorize })
        }
    }

    /// An increment, a capture that is not final, or a refund.
    #[must_use]
    pub fn follow_up(method: Method, amount: Amount, currency: Currency, original: TransactionId) -> Self {
        Self { amount, currency: Some(currency), original: Some(original), ..Self::of(method) }
    }

    /// A void, by the transaction or by the key of the authorization.
    #[must_use]
    pub fn void(original: Option<TransactionId>, original_request: Option<&'a RequestId>) -> Self {
        Self { original, original_request, ..Self::of(Method::Void) }
    }

    fn of(method: Method) -> Self {
        Self {
            method,
            amount: Amount::ZERO,
            currency: None,
            pan: None,
            merchant: None,
            terminal: None,
            original: None,
            original_request: None,
            capture_mode: None,
            is_final: false,
        }
    }

    /// Canonical: every part in its place with its length, absent ones as empty. A layout that changes makes every
    /// repetition look like another request, so it has a number.
    fn message(&self) -> Message {
        let mut message = Message::new(b"payswitch fingerprint 1");
        message.part(match self.method {
            Method::Authorize => b"authorize",
            Method::Increment => b"increment",
            Method::Capture => b"capture",
            Method::Void => b"void",
            Method::Refund => b"refund",
            Method::Verify => b"verify",
        });
        message.part(&self.amount.minor_units().to_be_bytes());
        message.part(self.currency.map_or("", Currency::code).as_bytes());
        message.part(self.pan.map_or("", Pan::expose).as_bytes());
        message.part(self.merchant.map_or("", MerchantId::as_str).as_bytes());
        message.part(self.terminal.map_or("", TerminalId::as_str).as_bytes());
        message.part(self.original.map(|id| id.to_string()).unwrap_or_default().as_bytes());
        message.part(self.original_request.map_or("", RequestId::as_str).as_bytes());
        message.part(match self.capture_mode {
            None => b"",
            Some(CaptureMode::Manual) => b"manual",
            Some(CaptureMode::Automatic) => b"automatic",
        });
        message.part(if self.is_final { b"final" } else { b"" });
        message
    }
}

impl Vault {
    /// A vault with these keys, which can open, and can seal once it has an incarnation.
    #[must_use]
    pub fn new(keys: Arc<DataKeys>) -> Self {
        Self { keys, nonces: Nonces { incarnation: watch::Sender::new(None), used: AtomicU64::new(0) } }
    }

    /// Gives this process its incarnation: a number that a committed entry gave to nobody else. The first one stays.
    pub fn incarnate(&self, incarnation: u64) {
        self.nonces.incarnation.send_if_modified(|own| {
            let is_first = own.is_none();
            own.get_or_insert(incarnation);
            is_first
        });
    }

    /// Whether this process has its incarnation.
    #[must_use]
    pub fn is_incarnated(&self) -> bool {
        self.nonces.incarnation.borrow().is_some()
    }

    /// Whether this process can seal.
    #[must_use]
    pub fn can_seal(&self) -> bool {
        self.is_incarnated() && self.keys.keyring().current(KeyPurpose::Card).is_some()
    }

    /// Waits until this process can seal.
    pub async fn ready(&self) {
        let (mut keyring, mut incarnation) = (self.keys.watch(), self.nonces.incarnation.subscribe());
        // The senders live as long as the node.
        let _ = keyring.wait_for(|keyring| keyring.current(KeyPurpose::Card).is_some()).await;
        let _ = incarnation.wait_for(Option::is_some).await;
    }

    /// Seals what a reversal or a refund will need, under the current key, for one transaction of one gateway.
    ///
    /// # Errors
    /// [`VaultFault`].
    pub fn seal(&self, card: &Card, gateway: &GatewayId, transaction: TransactionId) -> Result<Sealed, VaultFault> {
        let keyring = self.keys.keyring();
        let key_version = keyring.current(KeyPurpose::Card).ok_or(VaultFault::NotReady)?.version;
        let key = self.keys.card(key_version)?;
        let nonce = self.nonces.next()?;
        let mut text = layout(card)?;
        let associated = associated(key_version, gateway, transaction);
        // The layout left room for the tag: a buffer that grew here would leave its clear text behind.
        let sealed =
            key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&associated), &mut *text);
        sealed.map_err(|_| KeyFault::Failed)?;
        let mut bytes = Vec::with_capacity(NONCE_LEN + text.len());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&text);
        Ok(Sealed { key_version, bytes: bytes.into_boxed_slice() })
    }

    /// Opens what was sealed for this transaction of this gateway.
    ///
    /// # Errors
    /// [`VaultFault`].
    pub fn unseal(&self, sealed: &Sealed, gateway: &GatewayId, transaction: TransactionId) -> Result<Card, VaultFault> {
        let (nonce, text) = sealed.bytes.split_first_chunk::<NONCE_LEN>().ok_or(VaultFault::Layout)?;
        let associated = associated(sealed.key_version, gateway, transaction);
        let mut text = Zeroizing::new(text.to_vec());
        let (key, nonce) = (self.keys.card(sealed.key_version)?, Nonce::assume_unique_for_key(*nonce));
        let text = key.open_in_place(nonce, Aad::from(&associated), &mut text).map_err(|_| KeyFault::Forged)?;
        read_layout(text).ok_or(VaultFault::Layout)
    }

    /// What stands in a card number's place: the same for the same number in one cluster.
    ///
    /// # Errors
    /// [`VaultFault`] where the key store fails.
    pub fn token(&self, pan: &Pan) -> Result<CardToken, VaultFault> {
        let version = self.keys.store().newest(Purpose::Token);
        let mut message = Message::new(b"payswitch card token 1");
        message.part(pan.expose().as_bytes());
        Ok(CardToken(first_half(self.keys.store().authenticate(Purpose::Token, version, &message.0)?)))
    }

    /// A digest of what is asked, under the newest key, or under that of a stored one to compare with (R16).
    ///
    /// # Errors
    /// [`KeyFault::UnknownVersion`] where this node lacks that version.
    pub fn fingerprint(&self, version: Option<u32>, parts: &FingerprintParts<'_>) -> Result<Fingerprint, VaultFault> {
        let key_version = version.unwrap_or_else(|| self.keys.store().newest(Purpose::Fingerprint));
        let digest = self.keys.store().authenticate(Purpose::Fingerprint, key_version, &parts.message().0)?;
        Ok(Fingerprint { key_version, digest: first_half(digest) })
    }
}

/// Parts with their lengths before them, so that no two lists of parts give the same bytes. Wiped.
struct Message(Zeroizing<Vec<u8>>);

impl Message {
    fn new(purpose: &[u8]) -> Self {
        // Enough for every message of this file: a buffer that grows leaves its contents behind.
        let mut message = Self(Zeroizing::new(Vec::with_capacity(512)));
        message.part(purpose);
        message
    }

    fn part(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("parts are short texts");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }
}

fn associated(key_version: u32, gateway: &GatewayId, transaction: TransactionId) -> Zeroizing<Vec<u8>> {
    let mut message = Message::new(b"payswitch sealed card");
    message.part(&key_version.to_be_bytes());
    message.part(gateway.as_str().as_bytes());
    message.part(&transaction.number().to_be_bytes());
    message.0
}

fn first_half(digest: [u8; 32]) -> [u8; 16] {
    let mut kept = [0; 16];
    kept.copy_from_slice(&digest[..16]);
    kept
}

/// The clear text of a card, with room for the tag.
fn layout(card: &Card) -> Result<Zeroizing<Vec<u8>>, VaultFault> {
    let kept = filter_icc_data(card.icc_data.expose()).map_err(|_| VaultFault::ChipData)?;
    let kept = Zeroizing::new(kept);
    let number = card.pan.expose().as_bytes();
    let mut text = Zeroizing::new(Vec::with_capacity(10 + number.len() + kept.len() + TAG_LEN));
    text.push(LAYOUT);
    text.push(number.len() as u8); // 12 to 19
    text.extend_from_slice(number);
    match card.expiry {
        None => text.push(0),
        Some(expiry) => {
            text.push(4);
            text.extend_from_slice(&expiry.yymm());
        }
    }
    text.extend_from_slice(&card.sequence_number.to_be_bytes());
    text.push(kept.len() as u8); // at most 255
    text.extend_from_slice(&kept);
    Ok(text)
}

fn read_layout(text: &[u8]) -> Option<Card> {
    let mut rest = text;
    let mut take = |length: usize| {
        let (taken, left) = rest.split_at_checked(length)?;
        rest = left;
        Some(taken)
    };
    if take(1)? != [LAYOUT] {
        return None;
    }
    let number_len = take(1)?[0];
    let pan = Pan::parse(std::str::from_utf8(take(usize::from(number_len))?).ok()?).ok()?;
    let expiry = match take(1)?[0] {
        0 => None,
        4 => Some(Expiry::from_yymm(std::str::from_utf8(take(4)?).ok()?).ok()?),
        _ => return None,
    };
    let sequence_number = u16::from_be_bytes(take(2)?.try_into().ok()?);
    let icc_len = take(1)?[0];
    let icc_data = Sensitive::new(take(usize::from(icc_len))?.to_vec());
    rest.is_empty().then(|| Card { icc_data, ..Card::of_number(pan, expiry, sequence_number) })
}

/// Nonces that nobody has used.
struct Nonces {
    incarnation: watch::Sender<Option<u64>>,
    used: AtomicU64,
}

impl Nonces {
    fn next(&self) -> Result<[u8; NONCE_LEN], VaultFault> {
        let incarnation = (*self.incarnation.borrow()).ok_or(VaultFault::NotReady)?;
        let used = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            (used <= COUNTER_MAX && incarnation <= INCARNATION_MAX).then(|| used + 1)
        });
        let used = used.map_err(|_| VaultFault::NoncesExhausted)?;
        let mut nonce = [0; NONCE_LEN];
        nonce[..6].copy_from_slice(&incarnation.to_be_bytes()[2..]);
        nonce[6..].copy_from_slice(&used.to_be_bytes()[2..]);
        Ok(nonce)
    }
}

/// The greatest counter that fits its 48 bits.
const COUNTER_MAX: u64 = (1 << 48) - 1;
const LAYOUT: u8 = 1;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

#[cfg(test)]
mod tests;
