//! Times as image configurations write them (RFC 3339, UTC).

use jiff::Timestamp;

/// `1970-01-01T00:00:00Z` of seconds since the epoch.
pub(crate) fn render(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// Seconds since the epoch; fractions are dropped.
pub(crate) fn parse(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

pub(crate) fn now() -> i64 {
    Timestamp::now().as_second()
}
