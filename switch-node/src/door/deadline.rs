//! How long the caller waits: the `grpc-timeout` header, a duration from the moment the request came in.

use std::time::Duration;

use http::HeaderMap;

/// The time left, if the caller bounded it. No header is not an error here; a service that needs one refuses it (R3).
pub fn time_left(headers: &HeaderMap) -> Result<Option<Duration>, MalformedTimeout> {
    let mut values = headers.get_all(GRPC_TIMEOUT).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(MalformedTimeout::Repeated);
    }
    let shown = || MalformedTimeout::Unreadable(String::from_utf8_lossy(value.as_bytes()).chars().take(16).collect());
    parse(value.as_bytes()).map(Some).ok_or_else(shown)
}

/// The header's value for an onward call that may take `left`, rounded down: never more time than the caller gives.
pub fn header(left: Duration) -> String {
    // Eight digits hold more than a day of milliseconds; above that a second more or less is no matter.
    match left.as_millis() {
        millis if millis <= DIGITS_VALUE_MAX => format!("{millis}m"),
        _ => format!("{}S", u128::from(left.as_secs()).min(DIGITS_VALUE_MAX)),
    }
}

/// `1*8DIGIT` and a unit, to the letter of the gRPC specification.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// A header that is no duration. The caller must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedTimeout {
    /// Two headers, two answers.
    #[error("grpc-timeout is given more than once")]
    Repeated,
    /// Not one to eight digits and a unit.
    #[error("grpc-timeout {0:?} is not one to eight digits and one of H, M, S, m, u, n")]
    Unreadable(String),
}

const GRPC_TIMEOUT: &str = "grpc-timeout";
const DIGITS_MAX: usize = 8;
const DIGITS_VALUE_MAX: u128 = 99_999_999;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (http::HeaderName::from_static(GRPC_TIMEOUT), HeaderValue::from_static(value)))
            .collect()
    }

    fn read(values: &[&'static str]) -> Result<Option<Duration>, MalformedTimeout> {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(GRPC_TIMEOUT, HeaderValue::from_static(value));
        }
        time_left(&map)
    }

    #[test]
    fn every_unit_is_understood() {
        for (value, duration) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("0S", Duration::ZERO),
            ("00000007S", Duration::from_secs(7)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(time_left(&headers(&[value])), Ok(Some(duration)), "{value}");
        }
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for value in ["", "S", "1", "1s", "1 S", " 1S", "+1S", "-1S", "1.5S", "123456789S", "0x1S", "1SS"] {
            assert_eq!(read(&[value]), Err(MalformedTimeout::Unreadable(value.to_owned())), "{value:?}");
        }
        assert_eq!(read(&["1S", "2S"]), Err(MalformedTimeout::Repeated));
    }

    #[test]
    fn the_onward_header_never_gives_more_time() {
        for left in [
            Duration::ZERO,
            Duration::from_nanos(1_999_999),
            Duration::from_secs(30),
            Duration::from_secs(200_000),
            Duration::MAX,
        ] {
            let onward = parse(header(left).as_bytes()).expect("our own header");
            assert!(onward <= left, "{left:?} became {onward:?}");
        }
        assert_eq!(header(Duration::from_millis(1500)), "1500m");
    }
}
