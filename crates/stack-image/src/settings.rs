//! What a person may set once for all projects: `mirror: 127.0.0.1:5000`, `host_access: ask`.

use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::Deserialize;

use crate::error::ImageError;

/// A mirror of Docker Hub; counts more than the files.
const MIRROR: &str = "STACK_MIRROR";
/// The file of the machine.
const OF_THE_MACHINE: &str = "/etc/stack/config.yaml";

/// The file, whole. A key that is not known is a mistake: nothing is silently ignored.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    mirror: Option<String>,
    host_access: Option<AccessPolicy>,
}

/// What is done about a file that asks for something of the machine itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessPolicy {
    /// Nothing.
    Allow,
    /// It is said, once.
    #[default]
    Tell,
    /// It is refused until somebody agrees.
    Ask,
}

/// The policy of this machine and user.
///
/// # Errors
/// A file cannot be read or understood.
pub fn access_policy() -> Result<AccessPolicy, ImageError> {
    first(|settings| settings.host_access).map(Option::unwrap_or_default)
}

/// Who is asked for images of Docker Hub: `host[:port]`, with `http://` in front when it is spoken to in the clear.
///
/// # Errors
/// A file cannot be read or understood.
pub(crate) fn mirror() -> Result<Option<String>, ImageError> {
    if let Some(mirror) = std::env::var(MIRROR).ok().filter(|mirror| !mirror.is_empty()) {
        return Ok(Some(mirror));
    }
    first(|settings| settings.mirror.filter(|mirror| !mirror.is_empty()))
}

/// What the first file says about something that says anything.
fn first<T>(choose: impl Fn(Settings) -> Option<T>) -> Result<Option<T>, ImageError> {
    for path in files() {
        if let Some(found) = choose(read(&path)?) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The user's own file, then the machine's.
fn files() -> impl Iterator<Item = PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = given("XDG_CONFIG_HOME").or_else(|| given("HOME").map(|home| home.join(".config")));
    home.map(|home| home.join("stack/config.yaml")).into_iter().chain([PathBuf::from(OF_THE_MACHINE)])
}

fn read(path: &Path) -> Result<Settings, ImageError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Settings::default()),
        Err(error) => return Err(ImageError::store("read", path)(error)),
    };
    let parsed = serde_yaml::from_str::<Option<Settings>>(&text);
    let wrong = |error: serde_yaml::Error| std::io::Error::other(error.to_string());
    parsed.map(Option::unwrap_or_default).map_err(|error| ImageError::store("understand", path)(wrong(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        assert_eq!(read(&path).unwrap(), Settings::default());
        let with = |text: &str| {
            fs::write(&path, text).unwrap();
            read(&path)
        };
        assert_eq!(with("mirror: 127.0.0.1:5000\n").unwrap().mirror.as_deref(), Some("127.0.0.1:5000"));
        assert_eq!(with("# nothing yet\n").unwrap(), Settings::default());
        assert_eq!(with("host_access: ask\n").unwrap().host_access, Some(AccessPolicy::Ask));
        for wrong in ["miror: a\n", "host_access: yes\n", "mirror: [a]\n", "mirror"] {
            let error = with(wrong).unwrap_err();
            assert!(error.to_string().contains("config.yaml"), "{wrong}: {error}");
        }
    }
}
