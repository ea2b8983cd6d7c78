//! What is kept of a container between the commands: a directory with its state, its configuration, and the socket
//! that its process waits at until it is started.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{OciError, Runtime};
use crate::process;
use crate::spec::HookSpec;

const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
/// The process listens here until it is started.
pub(super) const START_SOCKET: &str = "start.sock";

/// `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) id: String,
    pub(super) oci_version: String,
    pub(super) pid: u32,
    /// Names the process together with its id (proc_pid_stat(5)).
    pub(super) start_ticks: u64,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    pub(super) cgroup: PathBuf,
    /// The scope of systemd that the cgroup lies in.
    pub(super) scope: Option<String>,
    /// The time of creation, RFC 3339.
    pub(super) created: String,
    pub(super) annotations: Map<String, Value>,
    pub(super) poststart: Vec<HookSpec>,
    pub(super) poststop: Vec<HookSpec>,
    /// What the process keeps beyond its three streams, for programs beside it.
    pub(super) owner: u32,
}

/// One container of a list.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Version of its configuration.
    pub oci_version: String,
    /// Its name.
    pub id: String,
    /// Its process; 0 when it has ended.
    pub pid: u32,
    /// `created`, `running`, `paused` or `stopped`.
    pub status: String,
    /// Where its configuration came from.
    pub bundle: PathBuf,
    /// Its root filesystem.
    pub rootfs: PathBuf,
    /// When it was made.
    pub created: String,
    /// Of its configuration.
    pub annotations: Map<String, Value>,
    /// Who made it.
    pub owner: String,
}

impl State {
    /// Whether its process is still there.
    pub(super) fn is_alive(&self) -> bool {
        process::start_ticks(self.pid) == Some(self.start_ticks)
    }

    /// What a hook and `stack oci state` see, without process and status.
    pub(super) fn shown(&self) -> Map<String, Value> {
        shown(&self.oci_version, &self.id, &self.bundle, &self.annotations)
    }
}

/// The members of the specification's state that never change.
pub(super) fn shown(version: &str, id: &str, bundle: &Path, annotations: &Map<String, Value>) -> Map<String, Value> {
    let mut all = Map::new();
    all.insert("ociVersion".to_owned(), version.into());
    all.insert("id".to_owned(), id.into());
    all.insert("bundle".to_owned(), bundle.to_string_lossy().into());
    if !annotations.is_empty() {
        all.insert("annotations".to_owned(), Value::Object(annotations.clone()));
    }
    all
}

impl Runtime {
    pub(super) fn directory(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// Makes the directory of a new container.
    pub(super) fn claim(&self, id: &str) -> Result<PathBuf, OciError> {
        check_name(id)?;
        let make =
            |recursive: bool, path: &Path| std::fs::DirBuilder::new().recursive(recursive).mode(0o700).create(path);
        make(true, &self.root).map_err(OciError::file(format!("make {}", self.root.display())))?;
        let directory = self.directory(id);
        match make(false, &directory) {
            Ok(()) => Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(OciError::Exists(id.to_owned())),
            Err(error) => Err(OciError::file(format!("make {}", directory.display()))(error)),
        }
    }

    pub(super) fn load(&self, id: &str) -> Result<State, OciError> {
        check_name(id)?;
        let text = match fs::read(self.directory(id).join(STATE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OciError::Missing(id.to_owned())),
            Err(error) => return Err(OciError::file("read the state")(error)),
        };
        serde_json::from_slice(&text).map_err(|error| OciError::file("read the state")(error.into()))
    }

    pub(super) fn save(&self, state: &State, spec: &[u8]) -> Result<(), OciError> {
        let directory = self.directory(&state.id);
        let write = || -> io::Result<()> {
            fs::write(directory.join(CONFIG), spec)?;
            let part = directory.join("state.part");
            fs::write(&part, serde_json::to_vec(state)?)?;
            fs::rename(part, directory.join(STATE))
        };
        write().map_err(OciError::file("write the state"))
    }

    /// The configuration that a container was made from.
    pub(super) fn config(&self, id: &str) -> Result<Spec, OciError> {
        let text = fs::read(self.directory(id).join(CONFIG)).map_err(OciError::file("read the configuration"))?;
        super::document::read_spec(&text)
    }

    pub(super) fn status(&self, state: &State) -> &'static str {
        if !state.is_alive() {
            return "stopped";
        }
        if self.directory(&state.id).join(START_SOCKET).exists() {
            return "created";
        }
        let frozen = stack_cgroup::Tree::detect().is_ok_and(|tree| tree.is_frozen(&state.cgroup));
        if frozen { "paused" } else { "running" }
    }

    /// The state as the specification has it.
    ///
    /// # Errors
    /// There is no such container.
    pub fn state(&self, id: &str) -> Result<Value, OciError> {
        let state = self.load(id)?;
        let status = self.status(&state);
        let mut shown = Map::new();
        for (name, value) in state.shown() {
            if name == "bundle" {
                shown.insert("status".to_owned(), status.into());
                shown.insert("pid".to_owned(), if status == "stopped" { 0.into() } else { state.pid.into() });
            }
            shown.insert(name, value);
        }
        shown.insert("rootfs".to_owned(), state.rootfs.to_string_lossy().into());
        shown.insert("created".to_owned(), state.created.as_str().into());
        shown.insert("owner".to_owned(), "".into());
        Ok(Value::Object(shown))
    }

    /// The names that a regular expression finds something in.
    ///
    /// # Errors
    /// It is not one, or the directory cannot be read.
    pub fn matching(&self, pattern: &str) -> Result<Vec<String>, OciError> {
        let pattern = regex::Regex::new(pattern).map_err(|error| OciError::Usage(error.to_string()))?;
        let names = self.list()?.into_iter().map(|listed| listed.id);
        Ok(names.filter(|name| pattern.is_match(name)).collect())
    }

    /// Every container, by name.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, OciError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(OciError::file("list the containers")(error)),
        };
        let mut all = Vec::new();
        for entry in entries.flatten() {
            let Ok(state) = self.load(&entry.file_name().to_string_lossy()) else { continue };
            let status = self.status(&state);
            all.push(Listed {
                oci_version: state.oci_version,
                id: state.id,
                pid: if status == "stopped" { 0 } else { state.pid },
                status: status.to_owned(),
                bundle: state.bundle,
                rootfs: state.rootfs,
                created: state.created,
                annotations: state.annotations,
                owner: if state.owner == 0 { "root".to_owned() } else { state.owner.to_string() },
            });
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }
}

fn check_name(id: &str) -> Result<(), OciError> {
    let is_name = !id.is_empty() && id.len() <= 1024 && id.chars().all(fits_name) && id != "." && id != "..";
    if is_name { Ok(()) } else { Err(OciError::Name(id.to_owned())) }
}

pub(super) fn fits_name(one: char) -> bool {
    one.is_ascii_alphanumeric() || "_+-.".contains(one)
}

/// The time as RFC 3339 has it, in UTC.
pub fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // The civil calendar by eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{rest:02}.{:09}Z", since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_directory() {
        for good in ["a", "ABC_1.2+3-x", "0af"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
