//! Sizes, durations and shares of processors as the file writes them.

use std::fmt::Write as _;

use crate::yaml::{Node, Value};

/// Why a text is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnitError {
    /// It is not a number.
    NotANumber,
    /// The number is not followed by a unit, and needs one.
    NoUnit,
    /// The unit is none of the known ones.
    UnknownUnit,
    /// It does not fit.
    TooLarge,
}

/// Bytes: a decimal number and `b`, `k`, `m`, `g`, `t` or `p` with an optional `b` or `ib`; powers of 1024.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    // The unit begins behind the last digit, dot or blank, so `1e3k` is a thousand of them.
    let end = text.rfind(|c: char| c.is_ascii_digit() || matches!(c, '.' | ' ')).ok_or(UnitError::NotANumber)?;
    let (number, unit) = (text[..=end].strip_suffix(' ').unwrap_or(&text[..=end]), &text[end + 1..]);
    let not_one =
        if text.starts_with(|c: char| c.is_ascii_digit()) { UnitError::UnknownUnit } else { UnitError::NotANumber };
    let number = parse_float(number).filter(|number| *number >= 0.0).ok_or(not_one)?;
    let unit = unit.to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(UnitError::UnknownUnit),
    };
    let bytes = number * f64::from(1u32 << (shift % 30)) * if shift >= 30 { f64::from(1u32 << 30) } else { 1.0 };
    whole(bytes)
}

/// A duration in nanoseconds: numbers with `ns`, `us`, `ms`, `s`, `m`, `h`, `d` or `w`, one after another.
pub(crate) fn parse_duration(text: &str) -> Result<u64, UnitError> {
    let mut rest = text.trim();
    let mut total = 0u64;
    if rest.is_empty() {
        return Err(UnitError::NotANumber);
    }
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        let number: f64 = number.parse().map_err(|_| UnitError::NotANumber)?;
        let length = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(length);
        let nanos = match unit.trim() {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3_600e9,
            "d" => 86_400e9,
            "w" => 604_800e9,
            // Go takes a bare zero.
            "" if number == 0.0 => 1.0,
            "" => return Err(UnitError::NoUnit),
            _ => return Err(UnitError::UnknownUnit),
        };
        total = total.checked_add(whole(number * nanos)?).ok_or(UnitError::TooLarge)?;
        rest = next;
    }
    Ok(total)
}

/// Billionths of a processor: a decimal number.
pub(crate) fn parse_cpus(text: &str) -> Result<u64, UnitError> {
    let cpus: f64 = text.trim().parse().map_err(|_| UnitError::NotANumber)?;
    if !cpus.is_finite() || cpus < 0.0 {
        return Err(UnitError::NotANumber);
    }
    whole((cpus * 1e9).round())
}

/// Permission bits: a number as YAML reads it, or a text in octal.
pub(crate) fn octal(node: &Node) -> Option<u32> {
    let mode = match node.as_scalar().map(|scalar| (scalar.value, &*scalar.text)) {
        Some((Value::Int(number), _)) => u32::try_from(number).ok(),
        Some((Value::Text, text)) => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
        _ => None,
    };
    mode.filter(|mode| *mode <= 0o7777)
}

/// A decimal number as Go reads it: with an exponent, and `_` between digits.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let between = |at: usize, byte: u8| {
        let digit = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit);
        byte != b'_' || digit(at.checked_sub(1)) && digit(at.checked_add(1))
    };
    let well_formed = text.bytes().enumerate().all(|(at, byte)| between(at, byte));
    well_formed.then(|| text.replace('_', "").parse().ok()).flatten()
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// Ten years of nanoseconds and eight thousand terabytes both fit below 2^63.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
fn whole(number: f64) -> Result<u64, UnitError> {
    if (0.0..9.2e18).contains(&number) { Ok(number as u64) } else { Err(UnitError::TooLarge) }
}

/// A duration as Go prints it: `1m30s`, `500ms`, `0s`.
pub(crate) fn print_duration(nanos: u64) -> String {
    let fraction = |value: u64, unit: u64| {
        let rest = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        let rest = rest.trim_end_matches('0');
        if rest.is_empty() { (value / unit).to_string() } else { format!("{}.{rest}", value / unit) }
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanos, 1_000_000)),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let mut text = String::new();
            // Writing to a String does not fail.
            let _ok = match (minutes / 60, minutes % 60) {
                (0, 0) => Ok(()),
                (0, minutes) => write!(text, "{minutes}m"),
                (hours, minutes) => write!(text, "{hours}h{minutes}m"),
            };
            text + &fraction(nanos % 60_000_000_000, 1_000_000_000) + "s"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_take_every_spelling() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("1b", 1),
            ("64M", 64 << 20),
            ("1.5g", 3 << 29),
            ("2 GB", 2 << 30),
            ("1kib", 1024),
            ("1t", 1 << 40),
            ("1p", 1 << 50),
            ("1e3", 1000),
            ("1e3k", 1_024_000),
            ("1_000", 1000),
            ("+5", 5),
            ("7 ", 7),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_bytes("many"), Err(UnitError::NotANumber));
        assert_eq!(parse_bytes(""), Err(UnitError::NotANumber));
        assert_eq!(parse_bytes("1x"), Err(UnitError::UnknownUnit));
        assert_eq!(parse_bytes(" 7"), Err(UnitError::NotANumber));
        assert_eq!(parse_bytes("1__0"), Err(UnitError::UnknownUnit));
        assert_eq!(parse_bytes("-1"), Err(UnitError::NotANumber));
        assert_eq!(parse_bytes("99999999p"), Err(UnitError::TooLarge));
    }

    #[test]
    fn durations_read_and_print_as_go_has_them() {
        for (text, printed) in [
            ("1m30s", "1m30s"),
            ("90s", "1m30s"),
            ("2m", "2m0s"),
            ("500ms", "500ms"),
            ("1.5s", "1.5s"),
            ("1500us", "1.5ms"),
            ("1d", "24h0m0s"),
            ("1h5s", "1h0m5s"),
            ("0", "0s"),
            ("15us", "15µs"),
        ] {
            assert_eq!(parse_duration(text).map(print_duration).as_deref(), Ok(printed), "{text}");
        }
        assert_eq!(parse_duration("10"), Err(UnitError::NoUnit));
        assert_eq!(parse_duration("10x"), Err(UnitError::UnknownUnit));
        assert_eq!(parse_duration("soon"), Err(UnitError::NotANumber));
        assert_eq!(parse_duration(""), Err(UnitError::NotANumber));
    }

    #[test]
    fn processors_are_decimal() {
        assert_eq!(parse_cpus("0.5"), Ok(500_000_000));
        assert_eq!(parse_cpus("2"), Ok(2_000_000_000));
        assert_eq!(parse_cpus("NaN"), Err(UnitError::NotANumber));
        assert_eq!(parse_cpus("-1"), Err(UnitError::NotANumber));
    }
}
