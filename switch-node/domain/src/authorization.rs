//! A gateway's request once it is parsed: what is asked, without the card. Checked at the door and never again.

use crate::{
    id::{GatewayId, RequestId, TransactionId},
    money::{Amount, Currency},
    outcome::AnswerText,
    time::LogTime,
    transaction::{CaptureMode, EntryMode, Merchant, Method},
};

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
