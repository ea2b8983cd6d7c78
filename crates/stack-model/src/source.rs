//! Where things were written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Now, ProjectName};

/// A place in an input file. Lines and columns count from one; columns count characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The file as the user would name it: relative to the project directory where it lies below it.
    pub file: String,
    /// Line, from 1; 0 when the thing stands in no file (a default, a flag).
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => f.write_str(&self.file),
            (line, 0) => write!(f, "{}:{line}", self.file),
            (line, column) => write!(f, "{}:{line}:{column}", self.file),
        }
    }
}

/// What somebody agreed that a project may do with this machine: the content of its file in [`ProjectSource::trust`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// The directory of the project: another one of the same name is another project.
    pub directory: PathBuf,
    /// Keys of the file with their values.
    pub wishes: BTreeSet<String>,
}

impl Trust {
    /// The file of a project in a directory of such files.
    pub fn file(directory: &Path, project: &ProjectName) -> PathBuf {
        directory.join(format!("{project}.json"))
    }

    /// Whether somebody agreed to this in the project of this directory.
    pub fn covers(&self, directory: &Path, wish: &str) -> bool {
        self.directory == directory && self.wishes.contains(wish)
    }
}

/// Everything the loader needs to read a project again: the supervisor keeps it and reloads on every save.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectSource {
    /// Compose files in order, absolute. Empty: discover them from `working_dir` upwards.
    pub files: Vec<PathBuf>,
    /// Where the command was run, absolute.
    pub working_dir: PathBuf,
    /// `--project-directory`, absolute.
    pub project_dir: Option<PathBuf>,
    /// `-p`.
    pub project_name: Option<String>,
    /// `--profile`, repeatable; `COMPOSE_PROFILES` is read from `environment`.
    pub profiles: Vec<String>,
    /// `--env-file`, absolute; empty: `.env` of the project directory.
    pub env_files: Vec<PathBuf>,
    /// The environment of the command that asked.
    pub environment: BTreeMap<String, String>,
    /// What the command read from its standard input, for the file `-`.
    #[serde(default)]
    pub stdin: Option<String>,
    /// The directory where it is written what somebody agreed to, one file a project; `None`: a file may ask for anything.
    #[serde(default)]
    pub trust: Option<PathBuf>,
    /// When the command was given.
    pub asked: Now,
}
