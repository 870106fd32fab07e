//! Card data that a gateway sealed to the switch: HPKE (RFC 9180) in base mode, with X25519, HKDF-SHA256 and AES-256-GCM.
//!
//! What is bound to a message stands byte for byte at `SealedCard` in the gateway's contract; [`INFO`] and [`associated`] are
//! that text as code.

use hpke::{Deserializable as _, Kem as _, OpModeR, Serializable as _, inout::InOutBuf};
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use super::keys::{DataKeyBytes, KeyFault};

/// How keys are agreed on.
pub type Kem = hpke::kem::X25519HkdfSha256;
/// How they are derived.
pub type Kdf = hpke::kdf::HkdfSha256;
/// How the message is encrypted.
pub type Aead = hpke::aead::AesGcm256;

/// What every message is sealed for.
pub const INFO: &[u8] = b"payswitch.gateway.v1.SealedCard";

/// Longest ciphertext: a card with every field full is a tenth of it.
pub const CIPHERTEXT_BYTES_MAX: usize = 4_096;

/// First part of the name of a key, before its version.
const KEY_ID: &str = "sealing-";

/// The private half of a sealing key. Has no `Debug`.
pub struct OpeningKey {
    private: <Kem as hpke::Kem>::PrivateKey,
    public: [u8; 32],
}

/// Why a sealed card cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealingFault {
    /// There is no such key, or not any more.
    #[error("the key is not one that the switch publishes now")]
    KeyUnknown,
    /// Another key, another request, or changed bytes.
    #[error("it does not open for this request")]
    Forged,
    /// The key is there, and this node cannot use it.
    #[error(transparent)]
    Key(#[from] KeyFault),
}

impl OpeningKey {
    /// The key whose private half these bytes are.
    ///
    /// # Errors
    /// [`KeyFault::Failed`] where they are no key.
    pub fn from_bytes(bytes: &DataKeyBytes) -> Result<Self, KeyFault> {
        let private = <Kem as hpke::Kem>::PrivateKey::from_bytes(&bytes[..]).map_err(|_| KeyFault::Failed)?;
        let mut public = [0; 32];
        public.copy_from_slice(&Kem::sk_to_pk(&private).to_bytes());
        Ok(Self { private, public })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Opens a message.
    ///
    /// # Errors
    /// [`SealingFault::Forged`].
    pub fn open(
        &self,
        encapsulated: &[u8],
        ciphertext: &[u8],
        associated: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealingFault> {
        let forged = |_| SealingFault::Forged;
        if ciphertext.len() > CIPHERTEXT_BYTES_MAX {
            return Err(SealingFault::Forged);
        }
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated).map_err(forged)?;
        let split = ciphertext.len().checked_sub(TAG_LEN).ok_or(SealingFault::Forged)?;
        let (text, tag) = ciphertext.split_at(split);
        let tag = hpke::aead::AeadTag::<Aead>::from_bytes(tag).map_err(forged)?;
        let mut text = Zeroizing::new(text.to_vec());
        let mut context = hpke::setup_receiver::<Aead, Kdf, Kem>(&OpModeR::Base, &self.private, &encapsulated, INFO)
            .map_err(forged)?;
        if context.open_inout_detached(InOutBuf::from(&mut text[..]), associated, &tag).is_err() {
            text.zeroize();
            return Err(SealingFault::Forged);
        }
        Ok(text)
    }
}

/// What a message is bound to: gateway id, method and request_id, each with its length in four bytes before it.
#[must_use]
pub fn associated(gateway: &str, method: &str, request_id: &str) -> Vec<u8> {
    let parts = [gateway, method, request_id];
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| 4 + part.len()).sum());
    for part in parts {
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

/// The name of a sealing key.
#[must_use]
pub fn key_id(version: u32) -> String {
    format!("{KEY_ID}{version}")
}

/// The version that a key's name says.
#[must_use]
pub fn version_of(id: &str) -> Option<u32> {
    let version = id.strip_prefix(KEY_ID)?.parse().ok()?;
    (key_id(version) == id).then_some(version)
}

const TAG_LEN: usize = 16;

#[cfg(test)]
mod tests;
