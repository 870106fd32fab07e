//! Card data. What is clear lives in [`Card`]: it cannot be printed, copied or compared, and it is wiped when dropped. What
//! may be journalled is [`CardReference`]: a keyed token, the first and last digits, and the sealed number (R7).

use std::fmt;

use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::time::LogTime;

/// Why card data cannot be used. Never holds a digit of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CardFault {
    /// The number is missing.
    #[error("card number is missing")]
    NumberMissing,
    /// The number is not 12 to 19 digits.
    #[error("card number is not 12 to 19 digits")]
    NumberForm,
    /// The check digit is wrong; judged only for ranges that carry one (R22).
    #[error("card number has a wrong check digit")]
    CheckDigit,
    /// The expiry is missing or no month.
    #[error("expiry is missing or not a month from 2000 to 2099")]
    Expiry,
    /// The card verification value is not 3 or 4 digits.
    #[error("card verification value is not 3 or 4 digits")]
    VerificationValue,
    /// Track 2 is not a track 2.
    #[error("track 2 is malformed")]
    Track2,
    /// The EMV data is no well-formed BER-TLV of at most 255 bytes.
    #[error("chip data is malformed")]
    IccData,
    /// The PIN block is not 8 or 16 bytes.
    #[error("PIN block is not 8 or 16 bytes")]
    PinBlock,
    /// The cryptogram is not 8 to 64 bytes.
    #[error("cryptogram is not 8 to 64 bytes")]
    Cryptogram,
    /// The card sequence number is above 999.
    #[error("card sequence number is above 999")]
    SequenceNumber,
}

/// A card number or network token, 12 to 19 digits. Wiped on drop; prints as first six and last four digits.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Pan {
    digits: [u8; 19],
    length: u8,
}

impl Pan {
    /// Parses it. The check digit is judged apart, see [`Self::has_check_digit`].
    ///
    /// # Errors
    /// [`CardFault::NumberMissing`], [`CardFault::NumberForm`].
    pub fn parse(text: &str) -> Result<Self, CardFault> {
        if text.is_empty() {
            return Err(CardFault::NumberMissing);
        }
        if !(12..=19).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(CardFault::NumberForm);
        }
        let mut digits = [0; 19];
        digits[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { digits, length: text.len() as u8 })
    }

    /// The digits, for the wire to a network and for sealing. Nothing else may call it.
    #[must_use]
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.digits[..usize::from(self.length)]).unwrap_or_default()
    }

    /// True where the last digit is the Luhn check digit of the others (ISO/IEC 7812-1 annex B).
    #[must_use]
    pub fn has_check_digit(&self) -> bool {
        let sum: u32 = self.digits[..usize::from(self.length)]
            .iter()
            .rev()
            .enumerate()
            .map(|(place, byte)| {
                let digit = u32::from(byte - b'0');
                if place % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
            })
            .sum();
        sum.is_multiple_of(10)
    }

    /// The number filled up with zeros to 19 digits, as a number: what ranges are compared with.
    #[must_use]
    pub fn range_key(&self) -> u64 {
        (0..19).fold(0, |key, place| {
            let digit = if place < usize::from(self.length) { self.digits[place] - b'0' } else { 0 };
            key * 10 + u64::from(digit)
        })
    }

    /// First six digits; eight of a number of 16 digits or more (PCI DSS 3.4.1 and the brands' truncation rules).
    #[must_use]
    pub fn bin(&self) -> Truncated {
        let shown = if self.length >= 16 { 8 } else { 6 };
        Truncated::of(&self.digits[..shown])
    }

    /// Last four digits.
    #[must_use]
    pub fn last4(&self) -> Truncated {
        Truncated::of(&self.digits[usize::from(self.length) - 4..usize::from(self.length)])
    }

    /// True where a text contains this number's digits in a row (R7: free text must not).
    #[must_use]
    pub fn stands_in(&self, text: &str) -> bool {
        let mut digits = Zeroizing::new(String::with_capacity(text.len()));
        digits.extend(text.chars().filter(char::is_ascii_digit));
        digits.contains(self.expose())
    }
}

impl fmt::Debug for Pan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = Truncated::of(&self.digits[..6]);
        write!(f, "{}{}{}", first.as_str(), "*".repeat(usize::from(self.length) - 10), self.last4().as_str())
    }
}

/// Up to eight digits that may be shown and stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Truncated {
    digits: [u8; 8],
    length: u8,
}

impl Truncated {
    fn of(digits: &[u8]) -> Self {
        let mut kept = [0; 8];
        kept[..digits.len()].copy_from_slice(digits);
        Self { digits: kept, length: digits.len() as u8 }
    }

    /// Reads one back from disk.
    ///
    /// # Errors
    /// [`CardFault::NumberForm`] where it is not at most eight digits.
    pub fn parse(text: &str) -> Result<Self, CardFault> {
        if text.len() > 8 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(CardFault::NumberForm);
        }
        Ok(Self::of(text.as_bytes()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Month and year of expiry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    year: u16,
    month: u8,
}

impl Expiry {
    /// Parses it.
    ///
    /// # Errors
    /// [`CardFault::Expiry`] where it is no month from 2000 to 2099.
    pub fn parse(year: u32, month: u32) -> Result<Self, CardFault> {
        if !(2000..=2099).contains(&year) || !(1..=12).contains(&month) {
            return Err(CardFault::Expiry);
        }
        Ok(Self { year: year as u16, month: month as u8 })
    }

    /// From YYMM as ISO 8583 field 14 and track 2 carry it.
    ///
    /// # Errors
    /// [`CardFault::Expiry`].
    pub fn from_yymm(text: &str) -> Result<Self, CardFault> {
        let number: u32 = text.parse().map_err(|_| CardFault::Expiry)?;
        if text.len() != 4 {
            return Err(CardFault::Expiry);
        }
        Self::parse(2000 + number / 100, number % 100)
    }

    /// YYMM.
    #[must_use]
    pub fn yymm(self) -> [u8; 4] {
        let digit = |value: u16| b'0' + (value % 10) as u8;
        let (year, month) = (self.year % 100, u16::from(self.month));
        [digit(year / 10), digit(year), digit(month / 10), digit(month)]
    }

    /// True where the card has expired everywhere: judged at the month's end in UTC−12 (R22).
    #[must_use]
    pub fn has_passed(self, now: LogTime) -> bool {
        let west = LogTime(now.0.saturating_sub(12 * 3_600_000)).civil();
        (west.year, west.month) > (self.year, self.month)
    }
}

impl fmt::Debug for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Expiry(**/**)")
    }
}

/// Sensitive authentication data: held in memory until the network has answered, never journalled, never printed (R7).
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub struct Sensitive(Vec<u8>);

impl Sensitive {
    /// Takes bytes over; they are wiped on drop.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for the wire to a network. Nothing else may call it.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The clear card data of one request. Lives in the flow's task on the leader only.
pub struct Card {
    /// Number or token.
    pub pan: Pan,
    /// Expiry where it is known.
    pub expiry: Option<Expiry>,
    /// Card sequence number, 0 to 999.
    pub sequence_number: u16,
    /// Card verification value.
    pub verification_value: Sensitive,
    /// Track 2.
    pub track2: Sensitive,
    /// ISO 8583 field 55 as the terminal sent it.
    pub icc_data: Sensitive,
    /// Encrypted PIN block.
    pub pin_block: Sensitive,
    /// Token cryptogram or 3-D Secure authentication value.
    pub cryptogram: Sensitive,
}

impl Card {
    /// Card data with a number alone, as the vault gives it back for reversals and refunds.
    #[must_use]
    pub fn of_number(pan: Pan, expiry: Option<Expiry>, sequence_number: u16) -> Self {
        Self {
            pan,
            expiry,
            sequence_number,
            verification_value: Sensitive::default(),
            track2: Sensitive::default(),
            icc_data: Sensitive::default(),
            pin_block: Sensitive::default(),
            cryptogram: Sensitive::default(),
        }
    }
}

/// Takes number and expiry out of track 2: `PAN = YYMM service-code discretionary`, separator `=` or `D` (ISO/IEC 7813).
///
/// # Errors
/// [`CardFault::Track2`], [`CardFault::NumberForm`].
pub fn parse_track2(track: &str) -> Result<(Pan, Expiry), CardFault> {
    if track.len() > 37 {
        return Err(CardFault::Track2);
    }
    let (number, rest) = track.split_once(['=', 'D']).ok_or(CardFault::Track2)?;
    if rest.len() < 7 || !rest.bytes().all(|b| b.is_ascii_digit() || b == b'F') {
        return Err(CardFault::Track2);
    }
    let pan = Pan::parse(number).map_err(|_| CardFault::Track2)?;
    let expiry = Expiry::from_yymm(&rest[..4]).map_err(|_| CardFault::Track2)?;
    Ok((pan, expiry))
}

/// EMV tags that may be kept, sealed, for reversals (R7). The track equivalents 56, 57, 5A, 9F6B, 9F1F and 9F20 are card
/// data or sensitive authentication data and are not among them.
const ICC_TAGS_KEPT: &[u32] = &[
    0x71, 0x72, 0x82, 0x84, 0x8a, 0x91, 0x95, 0x9a, 0x9c, 0x5f2a, 0x5f34, 0x9f02, 0x9f03, 0x9f06, 0x9f09, 0x9f10,
    0x9f1a, 0x9f1e, 0x9f26, 0x9f27, 0x9f33, 0x9f34, 0x9f35, 0x9f36, 0x9f37, 0x9f41, 0x9f53, 0x9f6e,
];

/// Reads EMV data as a sequence of BER-TLV objects and keeps the allowed ones (R7).
///
/// # Errors
/// [`CardFault::IccData`] where it is longer than 255 bytes or not well formed.
pub fn filter_icc_data(data: &[u8]) -> Result<Vec<u8>, CardFault> {
    if data.len() > 255 {
        return Err(CardFault::IccData);
    }
    let mut kept = Vec::with_capacity(data.len());
    let mut rest = data;
    while !rest.is_empty() {
        let start = rest;
        let mut tag = u32::from(rest[0]);
        rest = &rest[1..];
        if tag & 0x1f == 0x1f {
            // A second byte, and a third where the second has its high bit set; EMV uses no longer tags.
            for _ in 0..2 {
                let next = *rest.first().ok_or(CardFault::IccData)?;
                rest = &rest[1..];
                tag = tag << 8 | u32::from(next);
                if next & 0x80 == 0 {
                    break;
                }
            }
        }
        let mut length = usize::from(*rest.first().ok_or(CardFault::IccData)?);
        rest = &rest[1..];
        if length == 0x81 {
            length = usize::from(*rest.first().ok_or(CardFault::IccData)?);
            rest = &rest[1..];
        } else if length > 0x7f {
            return Err(CardFault::IccData);
        }
        if length > rest.len() {
            return Err(CardFault::IccData);
        }
        rest = &rest[length..];
        if ICC_TAGS_KEPT.contains(&tag) {
            kept.extend_from_slice(&start[..start.len() - rest.len()]);
        }
    }
    Ok(kept)
}

/// Card data encrypted under a key of the cluster; what it holds and how is the node's vault's affair.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Version of the key.
    pub key_version: u32,
    /// Nonce and ciphertext.
    pub bytes: Box<[u8]>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(v{}, {} bytes)", self.key_version, self.bytes.len())
    }
}

/// A keyed hash of the card number: stable in one cluster, useless without its key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CardToken(pub [u8; 16]);

impl fmt::Display for CardToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CardToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is kept of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardReference {
    /// First six or eight digits.
    pub bin: Truncated,
    /// Last four digits.
    pub last4: Truncated,
    /// Keyed token.
    pub token: CardToken,
    /// Number, expiry, sequence number and filtered chip data, sealed; `None` once shredded (R9).
    pub sealed: Option<Sealed>,
}

#[cfg(test)]
mod tests {
    use super::*;

    // Numbers of this test are made at run time: no card-number-like digits stand in the source.
    fn number(prefix: &str) -> String {
        let stem = format!("{prefix}{}", "0".repeat(15 - prefix.len()));
        (0..10)
            .map(|check| format!("{stem}{check}"))
            .find(|n| Pan::parse(n).is_ok_and(|p| p.has_check_digit()))
            .expect("one")
    }

    #[test]
    fn r7_a_number_prints_masked_whatever_the_format() {
        let pan = Pan::parse(&number("99")).expect("a number");
        let text = format!("{pan:?} {pan:#?} {:?} {:?}", pan.bin(), pan.last4());
        assert!(!text.contains(pan.expose()));
        assert!(text.contains("990000******"));
    }

    #[test]
    fn the_check_digit_finds_one_wrong_digit() {
        let good = number("99");
        assert!(Pan::parse(&good).expect("a number").has_check_digit());
        let bad = good.replacen('9', "8", 1);
        assert!(!Pan::parse(&bad).expect("a number").has_check_digit());
    }

    #[test]
    fn numbers_of_another_form_are_refused() {
        assert_eq!(Pan::parse("").err(), Some(CardFault::NumberMissing));
        assert_eq!(Pan::parse(&"1".repeat(11)).err(), Some(CardFault::NumberForm));
        assert_eq!(Pan::parse(&"1".repeat(20)).err(), Some(CardFault::NumberForm));
        assert_eq!(Pan::parse("12345678901a").err(), Some(CardFault::NumberForm));
    }

    #[test]
    fn r7_free_text_with_the_number_is_found_through_its_spaces() {
        let pan = Pan::parse(&number("99")).expect("a number");
        let spaced: String = pan.expose().chars().flat_map(|c| [c, ' ']).collect();
        assert!(pan.stands_in(&format!("order {spaced}")));
        assert!(!pan.stands_in("order 4711"));
    }

    #[test]
    fn r22_a_card_expires_at_the_months_end_in_the_last_time_zone() {
        let expiry = Expiry::parse(2024, 2).expect("a month");
        let midnight = 1_709_251_200_000; // 2024-03-01T00:00:00Z
        assert!(!expiry.has_passed(LogTime(midnight + 12 * 3_600_000 - 1)));
        assert!(expiry.has_passed(LogTime(midnight + 12 * 3_600_000)));
        assert_eq!(&expiry.yymm(), b"2402");
        assert_eq!(Expiry::parse(2024, 13), Err(CardFault::Expiry));
    }

    #[test]
    fn r7_track_two_gives_number_and_expiry_only() {
        let track = format!("{}=2512101000000000", number("99"));
        let (pan, expiry) = parse_track2(&track).expect("a track");
        assert_eq!((pan.expose(), &expiry.yymm()), (number("99").as_str(), b"2512"));
        assert_eq!(parse_track2("12345").err(), Some(CardFault::Track2));
        assert_eq!(parse_track2(&"9".repeat(38)).err(), Some(CardFault::Track2));
    }

    #[test]
    fn r7_track_equivalents_are_dropped_from_chip_data() {
        let data = [0x57, 2, 0x11, 0x11, 0x9f, 0x26, 1, 0xaa, 0x5a, 1, 0x22, 0x9f, 0x6b, 1, 0x33, 0x82, 2, 1, 2];
        assert_eq!(filter_icc_data(&data), Ok(vec![0x9f, 0x26, 1, 0xaa, 0x82, 2, 1, 2]));
        assert_eq!(filter_icc_data(&[0x9f]), Err(CardFault::IccData));
        assert_eq!(filter_icc_data(&[0x82, 5, 1]), Err(CardFault::IccData));
        assert_eq!(filter_icc_data(&[0; 256]), Err(CardFault::IccData));
    }
}
