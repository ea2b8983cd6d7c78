//! Values of the options of `build`.

use std::path::PathBuf;

use stack_model::SecretSource;

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn optional_pair(text: &str) -> Result<(String, Option<String>), String> {
    Ok(match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    })
}

pub(super) fn host(text: &str) -> Result<(String, String), String> {
    let (name, address) = text.split_once(['=', ':']).ok_or("expected NAME:ADDRESS")?;
    let address = address.trim_matches(['[', ']']);
    let is_address = address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok();
    if is_address { Ok((name.to_owned(), address.to_owned())) } else { Err(format!("`{address}` is not an address")) }
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        unit => return Err(format!("`{unit}` is not a unit")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("`{text}` is not a size"))?;
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is too large"))
}

pub(super) fn secret(text: &str) -> Result<(String, SecretSource), String> {
    let (mut id, mut file, mut variable) = (None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => file = Some(PathBuf::from(value)),
            Some(("env", value)) => variable = Some(value.to_owned()),
            Some(("type", "file" | "env")) => {}
            _ => return Err(format!("`{field}` is not id=…, src=… or env=…")),
        }
    }
    let id = id.ok_or("the secret has no id")?;
    let source = match (file, variable) {
        (Some(file), None) => SecretSource::File(file),
        (None, Some(name)) => SecretSource::Variable(name),
        // As docker does: the variable of that name.
        (None, None) => SecretSource::Variable(id.clone()),
        (Some(_), Some(_)) => return Err("a secret comes from src or from env, not from both".to_owned()),
    };
    Ok((id, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_options() {
        assert_eq!(secret("id=a,src=b"), Ok(("a".to_owned(), SecretSource::File("b".into()))));
        assert_eq!(secret("id=a,env=B"), Ok(("a".to_owned(), SecretSource::Variable("B".to_owned()))));
        assert_eq!(secret("id=a"), Ok(("a".to_owned(), SecretSource::Variable("a".to_owned()))));
        assert!(secret("src=b").is_err() && secret("id=a,what=b").is_err() && secret("id=a,src=b,env=c").is_err());
        assert_eq!(host("db:10.0.0.1"), Ok(("db".to_owned(), "10.0.0.1".to_owned())));
        assert_eq!(host("six=[::1]"), Ok(("six".to_owned(), "::1".to_owned())));
        assert!(host("db").is_err() && host("db:x").is_err());
        assert_eq!((size("64m"), size("1")), (Ok(64 << 20), Ok(1)));
        assert!(size("m").is_err() && size("1x").is_err());
    }
}
