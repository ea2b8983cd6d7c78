//! Programs that are run inside a container at two points of its life, and how far they have come.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A program to run inside a container, beside its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Program and arguments; never empty.
    pub command: Vec<String>,
    /// Instead of the container's user.
    #[serde(default)]
    pub user: Option<String>,
    /// With all capabilities.
    #[serde(default)]
    pub privileged: bool,
    /// Instead of the container's working directory.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Variables over those of the container.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// A point in the life of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its process has started.
    PostStart,
    /// Its process is about to be asked to stop.
    PreStop,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PostStart => "post_start",
            Self::PreStop => "pre_stop",
        })
    }
}

/// How far the hooks of one run of a container have come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Those after the start.
    #[serde(default)]
    pub post_start: HookState,
    /// Those before the stop.
    #[serde(default)]
    pub pre_stop: HookState,
}

impl Hooks {
    /// How far those of a stage have come.
    pub fn of(&self, stage: Stage) -> &HookState {
        match stage {
            Stage::PostStart => &self.post_start,
            Stage::PreStop => &self.pre_stop,
        }
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, stage: Stage) -> &mut HookState {
        match stage {
            Stage::PostStart => &mut self.post_start,
            Stage::PreStop => &mut self.pre_stop,
        }
    }
}

/// How far the hooks of one stage have come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookState {
    /// None of them was begun.
    #[default]
    Pending,
    /// They run.
    Running,
    /// All of them ended with exit code 0.
    Done {
        /// The generation that asked for them.
        generation: u64,
    },
    /// One of them did not; those after it were not run.
    Failed {
        /// The generation that asked for them.
        generation: u64,
        /// Which one, and how.
        text: String,
    },
}
