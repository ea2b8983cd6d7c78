//! What a plain scalar means. The rules are those of Go's yaml.v3, which docker compose reads files with: booleans of
//! YAML 1.2, numbers of YAML 1.1 without base 60.

use super::node::Value;

/// The meaning of an unquoted, untagged scalar.
pub(crate) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Value::Text;
    }
    if date_and_rest(text).is_some() {
        return Value::Time;
    }
    let plain = text.replace('_', "");
    if let Some(number) = integer(&plain) {
        return Value::Int(number);
    }
    if is_float(&plain) { plain.parse().map_or(Value::Text, Value::Float) } else { Value::Text }
}

/// `2024-1-31`, alone or with a time of day behind `T`, `t` or a blank.
fn date_and_rest(text: &str) -> Option<([u32; 3], &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    let (date, rest) = text.split_at(end);
    let parts: Vec<u32> = date.split('-').map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[year, month, day] = parts.as_slice() else { return None };
    let is_date = date.find('-') == Some(4) && date.len() <= 10 && (1..=12).contains(&month) && (1..=31).contains(&day);
    (is_date && (rest.is_empty() || is_time(rest))).then_some(([year, month, day], rest))
}

/// `T15:4:5.9Z`, `t15:4:5+02:00` or ` 15:4:5`.
fn is_time(text: &str) -> bool {
    let Some(zoned) = text.strip_prefix(['T', 't']).or_else(|| text.strip_prefix(' ')) else { return false };
    let end = zoned.find(['Z', '+', '-']).unwrap_or(zoned.len());
    let (time, zone) = zoned.split_at(end);
    let parts: Vec<&str> = time.split(':').collect();
    let number = |text: &str, most: f64| text.parse().is_ok_and(|number: f64| (0.0..most).contains(&number));
    let good = matches!(parts[..], [h, m, s] if number(h, 24.0) && number(m, 60.0) && number(s, 60.0));
    good && zone.is_empty() == text.starts_with(' ')
}

/// A whole number above those with a sign.
pub(crate) fn unsigned(text: &str) -> Option<u64> {
    text.replace('_', "").parse().ok().filter(|number| i64::try_from(*number).is_err())
}

/// A date as Go writes it in JSON.
pub(crate) fn rfc3339(text: &str) -> String {
    let Some(([year, month, day], rest)) = date_and_rest(text) else { return text.to_owned() };
    let time = if rest.is_empty() { "00:00:00Z" } else { &rest[1..] };
    let zone = if rest.starts_with(' ') { "Z" } else { "" };
    format!("{year:04}-{month:02}-{day:02}T{time}{zone}")
}

/// A number with an optional sign and base: `0x`, `0o`, `0b`, and a bare leading zero for octal.
fn integer(plain: &str) -> Option<i64> {
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        Some(two) if two.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -number } else { number }).ok()
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(plain: &str) -> bool {
    let unsigned = plain.strip_prefix(['-', '+']).unwrap_or(plain);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa && exponent
}

impl Value {
    /// The text that Go prints for the value (`%v`); `text` is what the file says.
    pub(crate) fn printed(self, text: &str) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Int(number) => number.to_string(),
            // Docker compose has these whole numbers in 64 bits without a sign.
            Self::Float(number) => unsigned(text).map_or_else(|| print_float(number), |whole| whole.to_string()),
            Self::Time | Self::Text => text.to_owned(),
        }
    }
}

/// The shortest digits that read back as the same number, with an exponent below 1e-4 and from a million on.
pub(crate) fn print_float(number: f64) -> String {
    if !number.is_finite() {
        let name = if number.is_nan() { "NaN" } else { "Inf" };
        let sign = if number.is_nan() {
            ""
        } else if number > 0.0 {
            "+"
        } else {
            "-"
        };
        return format!("{sign}{name}");
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        let scientific = format!("{number:e}");
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_docker_compose_takes_them_for() {
        let int = |text| match resolve(text) {
            Value::Int(number) => Some(number),
            Value::Null | Value::Bool(_) | Value::Float(_) | Value::Time | Value::Text => None,
        };
        assert_eq!(int("8080"), Some(8080));
        assert_eq!(int("0755"), Some(0o755));
        assert_eq!(int("0o440"), Some(0o440));
        assert_eq!(int("-0x1F"), Some(-31));
        assert_eq!(int("1_000"), Some(1000));
        assert_eq!(int("0"), Some(0));
        for text in ["22:22", "yes", "no", "on", "1.2.3", "0x", "-", "10m", "--1", "1e", "."] {
            assert_eq!(resolve(text), Value::Text, "{text}");
        }
        assert_eq!(resolve("08"), Value::Float(8.0));
        assert_eq!(resolve("1.5"), Value::Float(1.5));
        assert_eq!(resolve(".5e3"), Value::Float(500.0));
        for text in
            ["2024-01-31", "2024-1-2", "2024-01-01T10:00:00Z", "2024-01-01t1:2:3.5+02:00", "2024-01-01 10:00:00"]
        {
            assert_eq!(resolve(text), Value::Time, "{text}");
        }
        for text in ["2024-13-01", "24-01-01", "2024-01", "2024-01-01x", "2024-01-01T10:00:00", "20240-01-01"] {
            assert_ne!(resolve(text), Value::Time, "{text}");
        }
        assert_eq!(rfc3339("2024-1-2"), "2024-01-02T00:00:00Z");
        assert_eq!(resolve("~"), Value::Null);
        assert_eq!(resolve("True"), Value::Bool(true));
    }

    #[test]
    fn numbers_print_as_go_prints_them() {
        let printed = |text: &str| resolve(text).printed(text);
        assert_eq!(printed("1.50"), "1.5");
        assert_eq!(printed("1.0"), "1");
        assert_eq!(printed("0.00001"), "1e-05");
        assert_eq!(printed("1e21"), "1e+21");
        assert_eq!(printed("1000000.0"), "1e+06");
        assert_eq!(printed("12345678.9"), "1.23456789e+07");
        assert_eq!(printed("999999.5"), "999999.5");
        assert_eq!(printed("0755"), "493");
        assert_eq!(printed("12345678901234567890"), "12345678901234567890");
        assert_eq!(printed("123456789012345678901"), "1.2345678901234568e+20");
        assert_eq!(printed("-.inf"), "-Inf");
    }
}
