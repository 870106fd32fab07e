//! Money: amounts in minor units and ISO 4217 currencies. Arithmetic is checked; there are no floats and no rounding
//! but the one that R11 names.

use std::fmt;

use thiserror::Error;

/// The greatest amount and the greatest sum, in minor units: what ISO 8583 field 4 (n12) can carry (R11).
pub const AMOUNT_MAX: u64 = 999_999_999_999;

/// An amount in minor units, 0 to [`AMOUNT_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u64);

/// Why a number is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AmountFault {
    /// Below zero.
    #[error("amount {0} is negative")]
    Negative(i64),
    /// Above [`AMOUNT_MAX`].
    #[error("amount {0} is above {AMOUNT_MAX}")]
    TooGreat(u64),
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Parses minor units as they arrive on the wire.
    ///
    /// # Errors
    /// [`AmountFault`] outside 0 to [`AMOUNT_MAX`].
    pub fn parse(minor_units: i64) -> Result<Self, AmountFault> {
        let value = u64::try_from(minor_units).map_err(|_| AmountFault::Negative(minor_units))?;
        if value > AMOUNT_MAX {
            return Err(AmountFault::TooGreat(value));
        }
        Ok(Self(value))
    }

    /// Minor units.
    #[must_use]
    pub const fn minor_units(self) -> u64 {
        self.0
    }

    /// Minor units as protobuf carries them; the range makes the conversion exact.
    #[must_use]
    pub const fn to_wire(self) -> i64 {
        self.0 as i64
    }

    /// True for zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` above [`AMOUNT_MAX`].
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        let sum = self.0.checked_add(other.0)?;
        (sum <= AMOUNT_MAX).then_some(Self(sum))
    }

    /// The difference, or `None` below zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The difference, zero where the other is greater.
    #[must_use]
    pub fn saturating_minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This amount raised by basis points, rounded down and capped at [`AMOUNT_MAX`] (R11).
    #[must_use]
    pub fn raised_by_basis_points(self, basis_points: u32) -> Self {
        let extra = u128::from(self.0) * u128::from(basis_points) / 10_000;
        let sum = u128::from(self.0) + extra;
        Self(u64::try_from(sum).unwrap_or(AMOUNT_MAX).min(AMOUNT_MAX))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An ISO 4217 currency: an index into the table of those that are in use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(u8);

/// Not an ISO 4217 alphabetic code in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("unknown currency code")]
pub struct UnknownCurrency;

impl Currency {
    /// Finds a currency by its alphabetic code, three capital letters.
    ///
    /// # Errors
    /// [`UnknownCurrency`] where the code is not in use.
    pub fn parse(code: &str) -> Result<Self, UnknownCurrency> {
        CURRENCIES
            .binary_search_by(|(alphabetic, _, _)| (*alphabetic).cmp(code))
            .map(|index| Self(index as u8)) // the table has fewer than 256 rows, asserted below
            .map_err(|_| UnknownCurrency)
    }

    /// Alphabetic code, for example `EUR`.
    #[must_use]
    pub fn code(self) -> &'static str {
        CURRENCIES[usize::from(self.0)].0
    }

    /// Numeric code as ISO 8583 field 49 carries it, 1 to 999.
    #[must_use]
    pub fn numeric(self) -> u16 {
        CURRENCIES[usize::from(self.0)].1
    }

    /// Decimals of the minor unit, 0 to 4.
    #[must_use]
    pub fn exponent(self) -> u8 {
        CURRENCIES[usize::from(self.0)].2
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

const _: () = assert!(CURRENCIES.len() < 256, "a currency is kept as a byte");

/// Alphabetic code, numeric code, exponent; ISO 4217 list one, sorted by alphabetic code. Precious metals, testing codes
/// and units of account are left out: no card is charged in them.
#[rustfmt::skip]
const CURRENCIES: &[(&str, u16, u8)] = &[
    ("AED", 784, 2), ("AFN", 971, 2), ("ALL", 8, 2), ("AMD", 51, 2), ("AOA", 973, 2), ("ARS", 32, 2), ("AUD", 36, 2),
    ("AWG", 533, 2), ("AZN", 944, 2), ("BAM", 977, 2), ("BBD", 52, 2), ("BDT", 50, 2), ("BGN", 975, 2), ("BHD", 48, 3),
    ("BIF", 108, 0), ("BMD", 60, 2), ("BND", 96, 2), ("BOB", 68, 2), ("BRL", 986, 2), ("BSD", 44, 2), ("BTN", 64, 2),
    ("BWP", 72, 2), ("BYN", 933, 2), ("BZD", 84, 2), ("CAD", 124, 2), ("CDF", 976, 2), ("CHF", 756, 2), ("CLF", 990, 4),
    ("CLP", 152, 0), ("CNY", 156, 2), ("COP", 170, 2), ("CRC", 188, 2), ("CUP", 192, 2), ("CVE", 132, 2), ("CZK", 203, 2),
    ("DJF", 262, 0), ("DKK", 208, 2), ("DOP", 214, 2), ("DZD", 12, 2), ("EGP", 818, 2), ("ERN", 232, 2), ("ETB", 230, 2),
    ("EUR", 978, 2), ("FJD", 242, 2), ("FKP", 238, 2), ("GBP", 826, 2), ("GEL", 981, 2), ("GHS", 936, 2), ("GIP", 292, 2),
    ("GMD", 270, 2), ("GNF", 324, 0), ("GTQ", 320, 2), ("GYD", 328, 2), ("HKD", 344, 2), ("HNL", 340, 2), ("HTG", 332, 2),
    ("HUF", 348, 2), ("IDR", 360, 2), ("ILS", 376, 2), ("INR", 356, 2), ("IQD", 368, 3), ("IRR", 364, 2), ("ISK", 352, 0),
    ("JMD", 388, 2), ("JOD", 400, 3), ("JPY", 392, 0), ("KES", 404, 2), ("KGS", 417, 2), ("KHR", 116, 2), ("KMF", 174, 0),
    ("KPW", 408, 2), ("KRW", 410, 0), ("KWD", 414, 3), ("KYD", 136, 2), ("KZT", 398, 2), ("LAK", 418, 2), ("LBP", 422, 2),
    ("LKR", 144, 2), ("LRD", 430, 2), ("LSL", 426, 2), ("LYD", 434, 3), ("MAD", 504, 2), ("MDL", 498, 2), ("MGA", 969, 2),
    ("MKD", 807, 2), ("MMK", 104, 2), ("MNT", 496, 2), ("MOP", 446, 2), ("MRU", 929, 2), ("MUR", 480, 2), ("MVR", 462, 2),
    ("MWK", 454, 2), ("MXN", 484, 2), ("MYR", 458, 2), ("MZN", 943, 2), ("NAD", 516, 2), ("NGN", 566, 2), ("NIO", 558, 2),
    ("NOK", 578, 2), ("NPR", 524, 2), ("NZD", 554, 2), ("OMR", 512, 3), ("PAB", 590, 2), ("PEN", 604, 2), ("PGK", 598, 2),
    ("PHP", 608, 2), ("PKR", 586, 2), ("PLN", 985, 2), ("PYG", 600, 0), ("QAR", 634, 2), ("RON", 946, 2), ("RSD", 941, 2),
    ("RUB", 643, 2), ("RWF", 646, 0), ("SAR", 682, 2), ("SBD", 90, 2), ("SCR", 690, 2), ("SDG", 938, 2), ("SEK", 752, 2),
    ("SGD", 702, 2), ("SHP", 654, 2), ("SLE", 925, 2), ("SOS", 706, 2), ("SRD", 968, 2), ("SSP", 728, 2), ("STN", 930, 2),
    ("SVC", 222, 2), ("SYP", 760, 2), ("SZL", 748, 2), ("THB", 764, 2), ("TJS", 972, 2), ("TMT", 934, 2), ("TND", 788, 3),
    ("TOP", 776, 2), ("TRY", 949, 2), ("TTD", 780, 2), ("TWD", 901, 2), ("TZS", 834, 2), ("UAH", 980, 2), ("UGX", 800, 0),
    ("USD", 840, 2), ("UYI", 940, 0), ("UYU", 858, 2), ("UYW", 927, 4), ("UZS", 860, 2), ("VED", 926, 2), ("VES", 928, 2),
    ("VND", 704, 0), ("VUV", 548, 0), ("WST", 882, 2), ("XAF", 950, 0), ("XCD", 951, 2), ("XOF", 952, 0), ("XPF", 953, 0),
    ("YER", 886, 2), ("ZAR", 710, 2), ("ZMW", 967, 2), ("ZWG", 924, 2),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_currency_table_is_sorted_and_found_whole() {
        for (code, numeric, exponent) in CURRENCIES {
            let currency = Currency::parse(code).expect("every row is found");
            assert_eq!((currency.code(), currency.numeric(), currency.exponent()), (*code, *numeric, *exponent));
        }
        assert!(CURRENCIES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(Currency::parse("eur"), Err(UnknownCurrency));
        assert_eq!(Currency::parse("XAU"), Err(UnknownCurrency));
        assert_eq!(Currency::parse(""), Err(UnknownCurrency));
    }

    #[test]
    fn r11_amounts_end_at_twelve_digits() {
        assert_eq!(Amount::parse(-1), Err(AmountFault::Negative(-1)));
        assert_eq!(Amount::parse(1_000_000_000_000), Err(AmountFault::TooGreat(1_000_000_000_000)));
        let greatest = Amount::parse(999_999_999_999).expect("the greatest amount");
        assert_eq!(greatest.plus(Amount(1)), None);
        assert_eq!(Amount(1).minus(Amount(2)), None);
    }

    #[test]
    fn r11_tolerance_rounds_down_and_is_capped() {
        assert_eq!(Amount(999).raised_by_basis_points(1_500), Amount(1_148));
        assert_eq!(Amount(100).raised_by_basis_points(0), Amount(100));
        assert_eq!(Amount(AMOUNT_MAX).raised_by_basis_points(u32::MAX), Amount(AMOUNT_MAX));
    }
}
