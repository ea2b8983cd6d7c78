//! `RUN --mount=…`: what is asked for.

use std::ops::Range;

use crate::error::Wrong;
use crate::lex::Flag;

/// One mount of a RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunMount {
    pub(crate) kind: Kind,
    /// Absolute path in the container; empty takes the kind's default.
    pub(crate) target: String,
    pub(crate) bytes: Range<usize>,
}

/// Who else may use a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    Shared,
    Private,
    Locked,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Bind { from: Option<String>, source: String, writable: bool },
    Cache { id: String, from: Option<String>, source: String, sharing: Sharing, read_only: bool, owner: Owner },
    Tmpfs { size: Option<u64> },
    Secret { id: String, required: bool, env: Option<String>, file: bool, owner: Owner },
    Ssh { id: String, required: bool, owner: Owner },
}

/// Owner and mode of what is made for a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

/// Options as they are written; each kind takes what it knows.
struct Options<'f> {
    flag: &'f Flag,
    values: Vec<(String, String)>,
}

/// Parses the value of `--mount`, its variables expanded.
pub(crate) fn parse(flag: &Flag, value: &str) -> Result<RunMount, Wrong> {
    let values = fields(value).into_iter().map(|field| match field.split_once('=') {
        Some((name, value)) => (name.to_ascii_lowercase(), value.to_owned()),
        None => (field.to_ascii_lowercase(), "true".to_owned()),
    });
    let mut options = Options { flag, values: values.collect() };
    let kind = options.take(&["type"]).unwrap_or_else(|| "bind".to_owned());
    let target = options.take(&["target", "dst", "destination"]).unwrap_or_default();
    let kind = match kind.as_str() {
        "bind" => bind(&mut options)?,
        "cache" => cache(&mut options, &target)?,
        "tmpfs" => Kind::Tmpfs { size: options.take(&["size"]).map(|text| size(&text, flag)).transpose()? },
        "secret" => secret(&mut options, &target)?,
        "ssh" => Kind::Ssh {
            id: options.take(&["id"]).unwrap_or_else(|| "default".to_owned()),
            required: options.boolean("required")?.unwrap_or(false),
            owner: options.owner(0o600)?,
        },
        other => return Err(options.wrong(format!("there is no mount of type `{other}`"))),
    };
    if let Some((name, _)) = options.values.first() {
        return Err(options.wrong(format!("this mount has no option `{name}`")));
    }
    let needs_target = matches!(kind, Kind::Bind { .. } | Kind::Cache { .. } | Kind::Tmpfs { .. });
    if needs_target && target.is_empty() {
        return Err(Wrong::new(flag.bytes.clone(), "mount", "the mount has no target").help("add target=/path"));
    }
    Ok(RunMount { kind, target, bytes: flag.bytes.clone() })
}

/// Separated by commas; a field in double quotes keeps them (RFC 4180).
fn fields(value: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for c in value.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields.into_iter().filter(|field| !field.is_empty()).collect()
}

fn bind(options: &mut Options<'_>) -> Result<Kind, Wrong> {
    let from = options.take(&["from"]);
    let source = options.take(&["source", "src"]).unwrap_or_default();
    let read_only = options.boolean("readonly")?.or(options.boolean("ro")?);
    let writable = options.boolean("rw")?.or(options.boolean("readwrite")?).or(read_only.map(|value| !value));
    Ok(Kind::Bind { from, source, writable: writable.unwrap_or(false) })
}

fn cache(options: &mut Options<'_>, target: &str) -> Result<Kind, Wrong> {
    let sharing = match options.take(&["sharing"]).as_deref() {
        None | Some("shared") => Sharing::Shared,
        Some("private") => Sharing::Private,
        Some("locked") => Sharing::Locked,
        Some(other) => return Err(options.wrong(format!("sharing is shared, private or locked, not `{other}`"))),
    };
    let read_only = options.boolean("readonly")?.or(options.boolean("ro")?).unwrap_or(false);
    Ok(Kind::Cache {
        id: options.take(&["id"]).unwrap_or_else(|| target.to_owned()),
        from: options.take(&["from"]),
        source: options.take(&["source", "src"]).unwrap_or_default(),
        sharing,
        read_only,
        owner: options.owner(0o755)?,
    })
}

fn secret(options: &mut Options<'_>, target: &str) -> Result<Kind, Wrong> {
    let id = options.take(&["id", "source", "src"]);
    let env = options.take(&["env"]);
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let Some(id) = id.or_else(|| (!target.is_empty()).then(|| last(target))) else {
        return Err(options.wrong("the secret has no id".to_owned()));
    };
    let file = env.is_none() || !target.is_empty();
    Ok(Kind::Secret {
        id,
        required: options.boolean("required")?.unwrap_or(false),
        env,
        file,
        owner: options.owner(0o400)?,
    })
}

impl Options<'_> {
    fn take(&mut self, names: &[&str]) -> Option<String> {
        let position = self.values.iter().position(|(name, _)| names.contains(&name.as_str()))?;
        Some(self.values.remove(position).1)
    }

    fn boolean(&mut self, name: &str) -> Result<Option<bool>, Wrong> {
        match self.take(&[name]).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(self.wrong(format!("`{name}` is true or false, not `{other}`"))),
        }
    }

    fn owner(&mut self, mode: u32) -> Result<Owner, Wrong> {
        let number = |this: &mut Self, name: &str, radix, default| match this.take(&[name]) {
            None => Ok(default),
            Some(text) => {
                u32::from_str_radix(&text, radix).map_err(|_| this.wrong(format!("`{name}={text}` is not a number")))
            }
        };
        Ok(Owner {
            uid: number(self, "uid", 10, 0)?,
            gid: number(self, "gid", 10, 0)?,
            mode: number(self, "mode", 8, mode)?,
        })
    }

    fn wrong(&self, message: String) -> Wrong {
        Wrong::new(self.flag.bytes.clone(), "mount", message)
    }
}

/// `64m` in bytes.
fn size(text: &str, flag: &Flag) -> Result<u64, Wrong> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kb" => Some(1 << 10),
        "m" | "mb" => Some(1 << 20),
        "g" | "gb" => Some(1 << 30),
        _ => None,
    };
    let size = factor.and_then(|factor: u64| digits.parse::<u64>().ok()?.checked_mul(factor));
    size.ok_or_else(|| Wrong::new(flag.bytes.clone(), "mount", format!("`{text}` is not a size")).help("such as 64m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(value: &str) -> Result<RunMount, Wrong> {
        parse(&Flag { name: "mount".to_owned(), value: None, bytes: 0..1 }, value)
    }

    #[test]
    fn every_type_with_its_options() {
        let kind = |value: &str| mount(value).unwrap().kind;
        assert_eq!(
            kind("target=/a,source=x,from=y,rw"),
            Kind::Bind { from: Some("y".to_owned()), source: "x".to_owned(), writable: true }
        );
        let Kind::Cache { id, sharing, owner, .. } = kind("type=cache,dst=/c,sharing=locked,uid=5,mode=0700") else {
            panic!("not a cache")
        };
        assert_eq!((id.as_str(), sharing, owner.uid, owner.mode), ("/c", Sharing::Locked, 5, 0o700));
        assert_eq!(kind("type=tmpfs,target=/t,size=2m"), Kind::Tmpfs { size: Some(2 << 20) });
        let Kind::Secret { id, env, file, required, .. } = kind("type=secret,id=k,env=K,required") else {
            panic!("not a secret")
        };
        assert_eq!((id.as_str(), env.as_deref(), file, required), ("k", Some("K"), false, true));
        assert!(matches!(kind("type=ssh"), Kind::Ssh { id, .. } if id == "default"));
        for bad in ["type=bind", "type=x,target=/a", "type=tmpfs,target=/a,size=big", "type=bind,target=/a,oops=1"] {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }
}
