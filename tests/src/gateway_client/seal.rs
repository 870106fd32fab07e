//! Card data sealed to the switch's public key, as a gateway does it: by the contract's text alone, with nothing of the switch.

use hpke::{Deserializable as _, OpModeS, Serializable as _};
use prost::Message as _;
use switch_proto::gateway::v1::{self as pb, card::Source};

use crate::history::Ask;

type Kem = hpke::kem::X25519HkdfSha256;
type Kdf = hpke::kdf::HkdfSha256;
type Aead = hpke::aead::AesGcm256;

const INFO: &[u8] = b"payswitch.gateway.v1.SealedCard";

/// Seals a share of what a gateway sends.
#[derive(Debug, Clone)]
pub(super) struct Sealer {
    gateway_id: String,
    key: pb::SealingKey,
    one_in: u64,
}

impl Sealer {
    /// To the current key of a list, one payment in so many.
    pub(super) fn new(list: pb::ListSealingKeysResponse, one_in: u64) -> anyhow::Result<Self> {
        let key = list.keys.into_iter().next();
        let key = key.ok_or_else(|| anyhow::anyhow!("the switch publishes no key"))?;
        Ok(Self { gateway_id: list.gateway_id, key, one_in: one_in.max(1) })
    }

    /// What goes over the wire for `ask`. The same request_id is always treated alike.
    pub(super) fn seal(&self, ask: &Ask) -> anyhow::Result<Ask> {
        let mut ask = ask.clone();
        let (card, method, request_id) = match &mut ask {
            Ask::Authorize(request) => (&mut request.card, "Authorize", &request.request_id),
            Ask::Verify(request) => (&mut request.card, "VerifyCard", &request.request_id),
            Ask::Increment(_) | Ask::Capture(_) | Ask::Void(_) | Ask::Refund(_) => return Ok(ask),
        };
        let chosen = request_id.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        if let Some(clear) = card.as_ref().filter(|_| chosen.is_multiple_of(self.one_in)) {
            *card = Some(sealed(clear, &self.key, &self.gateway_id, method, request_id)?);
        }
        Ok(ask)
    }
}

/// A card, sealed to `key` for one request of one gateway.
pub fn sealed(
    card: &pb::Card,
    key: &pb::SealingKey,
    gateway_id: &str,
    method: &str,
    request_id: &str,
) -> anyhow::Result<pb::Card> {
    let wrong = |error| anyhow::anyhow!("HPKE: {error}");
    let public = <Kem as hpke::Kem>::PublicKey::from_bytes(&key.public_key).map_err(wrong)?;
    let mut associated = Vec::new();
    for part in [gateway_id, method, request_id] {
        associated.extend_from_slice(&u32::try_from(part.len())?.to_be_bytes());
        associated.extend_from_slice(part.as_bytes());
    }
    let text = card.encode_to_vec();
    let (encapsulated, ciphertext) =
        hpke::single_shot_seal::<Aead, Kdf, Kem>(&OpModeS::Base, &public, INFO, &text, &associated).map_err(wrong)?;
    let sealed = pb::SealedCard {
        key_id: key.key_id.clone(),
        encapsulated_key: encapsulated.to_bytes().to_vec().into(),
        ciphertext: ciphertext.into(),
    };
    Ok(pb::Card { source: Some(Source::Sealed(sealed)) })
}
