//! How messages print that can hold card data: by their name alone, whatever is in them (R7). `build.rs` keeps their `Debug`
//! from being derived; a message that contains one of them prints the rest of itself.

use std::fmt;

macro_rules! opaque {
    ($($package:ident: $($message:ident $(:: $oneof:ident)?),+;)+) => {$($(
        impl fmt::Debug for crate::$package::v1::$message $(:: $oneof)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message $(:: $oneof)?)).finish_non_exhaustive()
            }
        }
    )+)+};
}

opaque! {
    gateway: AuthorizeRequest, AuthorizeStreamRequest, Card, card::Source, CardExpiry, Chip, KeyedCard, MagneticStripe,
        NetworkToken, SealedCard, StoredCredential, ThreeDSecure, VerifyCardRequest;
    network: CardData;
    peer: ForwardRequest;
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message as _;

    use crate::{
        gateway::v1::{self as gateway, card::Source},
        network::v1::{self as network, exchange_request::Body},
        peer::v1::ForwardRequest,
    };

    /// The one digit of every number and every secret below. Nothing else in these messages has it.
    const DIGIT: &str = "9";

    fn digits(count: usize) -> String {
        DIGIT.repeat(count)
    }

    fn secret(count: usize) -> Bytes {
        digits(count).into()
    }

    fn expiry() -> Option<gateway::CardExpiry> {
        Some(gateway::CardExpiry { month: 9, year: 2099 })
    }

    /// A card of every kind, with every field filled.
    fn sources() -> [Source; 6] {
        [
            Source::Keyed(gateway::KeyedCard {
                primary_account_number: digits(16),
                expiry: expiry(),
                card_verification_value: digits(3),
            }),
            Source::MagneticStripe(gateway::MagneticStripe {
                track2: digits(37),
                fallback: true,
                pin_block: secret(8),
            }),
            Source::Chip(gateway::Chip {
                primary_account_number: digits(16),
                expiry: expiry(),
                icc_data: secret(20),
                card_sequence_number: 9,
                contactless: true,
                track2_equivalent: digits(37),
                pin_block: secret(16),
            }),
            Source::NetworkToken(gateway::NetworkToken {
                token: digits(16),
                expiry: expiry(),
                cryptogram: secret(20),
                electronic_commerce_indicator: "05".into(),
                wallet: "wallet".into(),
            }),
            Source::StoredCredential(gateway::StoredCredential {
                primary_account_number: digits(16),
                expiry: expiry(),
                initiator: 1,
                reason: 1,
                original_network_transaction_id: "first".into(),
            }),
            Source::Sealed(gateway::SealedCard {
                key_id: "key".into(),
                encapsulated_key: secret(32),
                ciphertext: secret(64),
            }),
        ]
    }

    fn payment(source: Source) -> gateway::AuthorizeRequest {
        gateway::AuthorizeRequest {
            request_id: format!("order-{}", digits(16)),
            amount: Some(gateway::Money { minor_units: 1_000, currency_code: "EUR".into() }),
            card: Some(gateway::Card { source: Some(source) }),
            three_d_secure: Some(gateway::ThreeDSecure {
                authentication_value: secret(20),
                ..gateway::ThreeDSecure::default()
            }),
            merchant_reference: digits(16),
            ..gateway::AuthorizeRequest::default()
        }
    }

    fn request_fields() -> network::RequestFields {
        network::RequestFields {
            amount_minor_units: 1_000,
            merchant_name: "Corner Shop".into(),
            card: Some(network::CardData {
                primary_account_number: digits(16),
                expiry: digits(4),
                card_verification_value: digits(4),
                track2: digits(37),
                icc_data: secret(20),
                pin_block: secret(8),
                cryptogram: secret(20),
                sequence_number: 9,
            }),
            ..network::RequestFields::default()
        }
    }

    /// Every way of printing it with `Debug`.
    fn printed(message: &dyn std::fmt::Debug) -> String {
        format!("{message:?} {message:#?} {message:x?}")
    }

    #[test]
    fn r7_what_a_gateway_asks_prints_no_digit_of_its_card() {
        for source in sources() {
            let payment = payment(source.clone());
            let texts = [
                printed(&source),
                printed(&payment),
                printed(&payment.three_d_secure),
                printed(&gateway::AuthorizeStreamRequest {
                    request: Some(payment.clone()),
                    ..gateway::AuthorizeStreamRequest::default()
                }),
                printed(&gateway::VerifyCardRequest {
                    card: payment.card.clone(),
                    ..gateway::VerifyCardRequest::default()
                }),
                printed(&ForwardRequest { message: payment.encode_to_vec().into(), ..ForwardRequest::default() }),
            ];
            for text in texts {
                assert!(!text.contains(DIGIT) && !text.contains("39, 39") && text.contains(".."), "{text}");
            }
        }
    }

    #[test]
    fn r7_what_a_network_is_asked_prints_no_digit_of_the_card() {
        let (request, card) = (Some(request_fields()), request_fields().card);
        let bodies = [
            Body::Authorization(network::AuthorizationRequest { request: request.clone() }),
            Body::Financial(network::FinancialRequest { request }),
            Body::Advice(network::Advice { card: card.clone(), ..network::Advice::default() }),
            Body::Reversal(network::Reversal { card, ..network::Reversal::default() }),
        ];
        for body in bodies {
            let text = printed(&network::ExchangeRequest { correlation_id: 1, body: Some(body) });
            assert!(!text.contains(DIGIT) && !text.contains("39, 39") && text.contains("CardData"), "{text}");
        }
    }
}
