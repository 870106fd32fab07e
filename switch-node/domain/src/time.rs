//! Log time: the only time the book knows. The leader assigns it, entries carry it, no clock is read here (R8).

use std::fmt;

/// Milliseconds since 1970-01-01 UTC as the log has them. Never runs backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogTime(pub u64);

/// One day in milliseconds.
pub const DAY_MS: u64 = 86_400_000;

impl LogTime {
    /// This time and some milliseconds more.
    #[must_use]
    pub fn after_ms(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds from `earlier` to this time, zero where it is later.
    #[must_use]
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Days since 1970-01-01 UTC: the day of a limit (R24).
    #[must_use]
    pub fn day(self) -> u32 {
        u32::try_from(self.0 / DAY_MS).unwrap_or(u32::MAX)
    }

    /// Year, month, day, hour, minute and second in UTC.
    #[must_use]
    pub fn civil(self) -> Civil {
        // Days to civil date by the proleptic Gregorian calendar, eras of 400 years starting on 1 March.
        let days = self.0 / DAY_MS + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let second = self.0 / 1_000 % 86_400;
        let part = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
        Civil {
            year: u16::try_from(year).unwrap_or(u16::MAX),
            month: part(month),
            day: part(day),
            hour: part(second / 3_600),
            minute: part(second / 60 % 60),
            second: part(second % 60),
        }
    }

    /// Transmission date and time as ISO 8583 field 7 carries it: MMDDhhmmss in UTC.
    #[must_use]
    pub fn transmission(self) -> TransmissionTime {
        let civil = self.civil();
        let mut digits = [b'0'; 10];
        for (place, value) in [civil.month, civil.day, civil.hour, civil.minute, civil.second].into_iter().enumerate() {
            digits[place * 2] = b'0' + value / 10 % 10;
            digits[place * 2 + 1] = b'0' + value % 10;
        }
        TransmissionTime(digits)
    }
}

/// A date and time of day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

/// ISO 8583 field 7: MMDDhhmmss.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransmissionTime(pub [u8; 10]);

impl TransmissionTime {
    /// The ten digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("0000000000")
    }
}

impl fmt::Debug for TransmissionTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_dates_follow_the_calendar() {
        assert_eq!(LogTime(0).transmission().as_str(), "0101000000");
        assert_eq!(LogTime(1_709_164_799_000).transmission().as_str(), "0228235959");
        assert_eq!(LogTime(1_709_164_800_000).transmission().as_str(), "0229000000");
        let civil = LogTime(1_798_761_599_999).civil();
        assert_eq!((civil.year, civil.month, civil.day, civil.hour), (2026, 12, 31, 23));
    }
}
