//! A gateway's request once it is parsed: what is asked, without the card. Checked at the door and never again.

use crate::{
    id::{GatewayId, RequestId, TransactionId},
    money::{Amount, Currency},
    outcome::AnswerText,
    time::LogTime,
    transaction::{CaptureMode, EntryMode, Merchant, Method},
};

/// How card and cardholder were vouched for, as far as it may be kept. The proofs themselves, 3-D Secure's authentication
/// value and a token's cryptogram, are sensitive authentication data and stand in [`Card`](crate::card::Card) alone (R7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Result of 3-D Secure.
    pub three_d_secure: Option<ThreeDSecure>,
    /// Name of the wallet that a network token came from, 32 characters at most, or empty.
    pub wallet: AnswerText,
    /// Why a stored card is used, and who started that.
    pub stored: Option<StoredCredential>,
}

/// Result of 3-D Secure without its authentication value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreeDSecure {
    /// Protocol version such as `2.2.0`.
    pub version: AnswerText,
    /// Directory server transaction id, a UUID.
    pub directory_server_transaction_id: AnswerText,
    /// How it ended.
    pub status: AuthenticationStatus,
}

/// How 3-D Secure ended (EMV 3-D Secure, `transStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationStatus {
    /// Y: authenticated.
    Authenticated,
    /// N: not authenticated.
    NotAuthenticated,
    /// U: it could not be performed.
    Unavailable,
    /// A: attempted; there is a proof of the attempt.
    Attempted,
    /// R: the issuer rejects and asks that no authorization be tried.
    Rejected,
    /// C: a challenge is due.
    ChallengeDue,
    /// D: a challenge is due, away from this page.
    DecoupledChallengeDue,
    /// I: for information only.
    Informational,
}

impl AuthenticationStatus {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Authenticated,
        Self::NotAuthenticated,
        Self::Unavailable,
        Self::Attempted,
        Self::Rejected,
        Self::ChallengeDue,
        Self::DecoupledChallengeDue,
        Self::Informational,
    ];

    /// Its letter.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::Authenticated => "Y",
            Self::NotAuthenticated => "N",
            Self::Unavailable => "U",
            Self::Attempted => "A",
            Self::Rejected => "R",
            Self::ChallengeDue => "C",
            Self::DecoupledChallengeDue => "D",
            Self::Informational => "I",
        }
    }

    /// Of its letter.
    #[must_use]
    pub fn parse(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.letter() == letter)
    }
}

/// A payment with card data that the merchant keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCredential {
    /// Who started it.
    pub initiator: CredentialInitiator,
    /// Why the stored card is used.
    pub reason: CredentialReason,
}

/// Who started a payment with a stored card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialInitiator {
    /// The cardholder.
    Cardholder,
    /// The merchant, without the cardholder.
    Merchant,
}

/// Why a stored card is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialReason {
    /// A fixed series of payments.
    Recurring,
    /// One purchase paid in parts.
    Installment,
    /// An event that was agreed on, at no fixed date.
    Unscheduled,
    /// A cardholder chose the stored card.
    CardOnFile,
}

/// A payment or a verification of a card that a gateway asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Tenant.
    pub gateway: GatewayId,
    /// Its key.
    pub request_id: RequestId,
    /// Amount; zero for a verification.
    pub amount: Amount,
    /// Currency.
    pub currency: Currency,
    /// True for a verification.
    pub verification: bool,
    /// When money is captured.
    pub capture_mode: CaptureMode,
    /// How the card entered.
    pub entry_mode: EntryMode,
    /// True where the cardholder starts the payment: only then an expired card is declined by the switch (R22).
    pub cardholder_initiated: bool,
    /// How card and cardholder were vouched for.
    pub credentials: Credentials,
    /// Who sells.
    pub merchant: Merchant,
    /// The merchant's own reference.
    pub merchant_reference: AnswerText,
    /// True where an approval for less is welcome.
    pub partial_supported: bool,
    /// When the gateway first sent this key, if it says.
    pub first_sent: Option<LogTime>,
    /// Electronic commerce indicator, or empty.
    pub electronic_commerce_indicator: AnswerText,
    /// Street for address verification, or empty.
    pub street: AnswerText,
    /// Postal code for address verification, or empty.
    pub postal_code: AnswerText,
    /// For stored credentials: the network's own id of the first transaction, or empty.
    pub original_network_transaction_id: AnswerText,
}

/// An increment or a refund that a gateway asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUp {
    /// Tenant.
    pub gateway: GatewayId,
    /// Its key.
    pub request_id: RequestId,
    /// The original.
    pub transaction: TransactionId,
    /// How much.
    pub amount: Amount,
    /// Currency.
    pub currency: Currency,
}

/// What a network is asked, beside the card and the identity: the fields that no reversal needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What for.
    pub method: Method,
    /// When money is captured; automatic makes one financial message.
    pub capture_mode: CaptureMode,
    /// Amount.
    pub amount: Amount,
    /// Currency.
    pub currency: Currency,
    /// How the card entered.
    pub entry_mode: EntryMode,
    /// How card and cardholder were vouched for.
    pub credentials: Credentials,
    /// Who sells.
    pub merchant: Merchant,
    /// True where an approval for less is welcome.
    pub partial_supported: bool,
    /// Electronic commerce indicator, or empty.
    pub electronic_commerce_indicator: AnswerText,
    /// Street, or empty.
    pub street: AnswerText,
    /// Postal code, or empty.
    pub postal_code: AnswerText,
    /// The network's own id of an earlier transaction, or empty.
    pub original_network_transaction_id: AnswerText,
}
