//! The configuration of an image, from its JSON (OCI image-spec `config.md` and Docker's health check) to the model.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use nix::sys::signal::Signal;
use serde::Deserialize;
use stack_model::{Healthcheck, ImageConfig, Millis, Probe};

use crate::digest::Digest;
use crate::platform::Platform;

/// What the store needs to know of a configuration.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) config: ImageConfig,
    pub(crate) platform: Platform,
    pub(crate) diff_ids: Vec<Digest>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("it is not the expected JSON")]
    Json(#[from] serde_json::Error),
    #[error("stop signal `{0}` is unknown")]
    Signal(String),
    #[error("health check `{0}` is unknown")]
    Healthcheck(String),
}

#[derive(Deserialize)]
struct Document {
    #[serde(flatten)]
    platform: Platform,
    config: Option<Container>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Option<Vec<Digest>>,
}

/// Go writes `null` for what is empty, hence every `Option`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
    healthcheck: Option<Check>,
}

/// Times are nanoseconds; 0 is the default (Docker's `HealthConfig`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    test: Option<Vec<String>>,
    interval: Option<u64>,
    timeout: Option<u64>,
    start_period: Option<u64>,
    start_interval: Option<u64>,
    retries: Option<u32>,
}

pub(crate) fn parse_config(bytes: &[u8]) -> Result<Parsed, ConfigError> {
    let document: Document = serde_json::from_slice(bytes)?;
    let container = document.config.unwrap_or_default();
    let split = |line: &String| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    };
    let config = ImageConfig {
        env: container.env.iter().flatten().map(split).collect(),
        entrypoint: container.entrypoint.unwrap_or_default(),
        cmd: container.cmd.unwrap_or_default(),
        working_dir: container.working_dir.unwrap_or_default(),
        user: container.user.unwrap_or_default(),
        stop_signal: container.stop_signal.filter(|text| !text.is_empty()).map(|text| signal(&text)).transpose()?,
        healthcheck: container.healthcheck.map(healthcheck).transpose()?.flatten(),
        volumes: container.volumes.unwrap_or_default().into_keys().collect::<BTreeSet<_>>(),
        labels: container.labels.unwrap_or_default(),
    };
    Ok(Parsed { config, platform: document.platform, diff_ids: document.rootfs.diff_ids.unwrap_or_default() })
}

/// First real-time signal for programs: the C library keeps 32 and 33 (signal(7)).
const RTMIN: i32 = 34;
/// Last signal (signal(7)).
const RTMAX: i32 = 64;

/// The number of a signal by its name or number: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
pub fn parse_signal(text: &str) -> Option<i32> {
    signal(text).ok()
}

fn signal(text: &str) -> Result<i32, ConfigError> {
    let unknown = || ConfigError::Signal(text.to_owned());
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=RTMAX).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = if let Some(offset) = name.strip_prefix("RTMIN") {
        Some((RTMIN, offset))
    } else {
        name.strip_prefix("RTMAX").map(|offset| (RTMAX, offset))
    };
    if let Some((base, offset)) = real_time {
        let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().map_err(|_| unknown())? };
        return Some(base.saturating_add(offset)).filter(|number| (RTMIN..=RTMAX).contains(number)).ok_or_else(unknown);
    }
    Signal::from_str(&format!("SIG{name}")).map(|signal| signal as i32).map_err(|_| unknown())
}

/// `None` when the image only inherits, which is what an empty test says.
fn healthcheck(check: Check) -> Result<Option<Healthcheck>, ConfigError> {
    let test = check.test.unwrap_or_default();
    let probe = match test.split_first().map(|(kind, rest)| (kind.as_str(), rest)) {
        None => return Ok(None),
        Some(("NONE", _)) => Probe::None,
        Some(("CMD", command)) if !command.is_empty() => Probe::Exec(command.to_vec()),
        Some(("CMD-SHELL", [line])) => Probe::Shell(line.clone()),
        Some(_) => return Err(ConfigError::Healthcheck(test.join(" "))),
    };
    let time = |nanoseconds: Option<u64>, default_ms: u64| match nanoseconds {
        None | Some(0) => Millis(default_ms),
        Some(nanoseconds) => Millis(nanoseconds.div_ceil(1_000_000)),
    };
    Ok(Some(Healthcheck {
        probe,
        interval: time(check.interval, 30_000),
        timeout: time(check.timeout, 30_000),
        retries: check.retries.filter(|count| *count > 0).unwrap_or(3),
        start_period: time(check.start_period, 0),
        start_interval: time(check.start_interval, 5_000),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_configuration() {
        let text = br#"{"architecture":"amd64","os":"linux","config":{"User":"redis","Env":["A=b=c","PATH=/bin"],
            "Entrypoint":["/e"],"Cmd":null,"WorkingDir":"/data","Volumes":{"/data":{}},"Labels":{"a":"b"},
            "StopSignal":"SIGQUIT","ExposedPorts":{"80/tcp":{}},
            "Healthcheck":{"Test":["CMD-SHELL","curl -f /"],"Interval":5000000000,"Retries":2}},
            "rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":"x"}]}"#;
        let parsed = parse_config(text).unwrap();
        assert_eq!(parsed.config.env[0], ("A".to_owned(), "b=c".to_owned()));
        assert_eq!(parsed.config.entrypoint, ["/e"]);
        assert!(parsed.config.cmd.is_empty());
        assert_eq!(parsed.config.stop_signal, Some(3));
        assert_eq!(parsed.config.volumes.iter().collect::<Vec<_>>(), ["/data"]);
        let check = parsed.config.healthcheck.unwrap();
        assert_eq!(check.probe, Probe::Shell("curl -f /".to_owned()));
        assert_eq!((check.interval, check.timeout, check.retries), (Millis(5000), Millis(30_000), 2));
        assert_eq!(parsed.platform.to_string(), "linux/amd64");
    }

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [("15", 15), ("TERM", 15), ("sigint", 2), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)] {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for bad in ["0", "65", "SIGNOPE", "RTMIN+99", "-1"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_empty_health_check_is_none() {
        let parse = |check: &str| {
            let text = format!(r#"{{"config":{{"Healthcheck":{check}}},"rootfs":{{"diff_ids":null}}}}"#);
            parse_config(text.as_bytes()).map(|parsed| parsed.config.healthcheck)
        };
        assert!(parse(r#"{"Test":[]}"#).unwrap().is_none());
        assert_eq!(parse(r#"{"Test":["NONE"]}"#).unwrap().unwrap().probe, Probe::None);
        assert!(parse(r#"{"Test":["WHAT"]}"#).is_err());
    }
}
