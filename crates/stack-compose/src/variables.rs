//! Where `${NAME}` gets its value from.

use std::collections::BTreeMap;

/// Variables of the project: the environment of the command over `.env`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables {
    environment: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
}

impl Variables {
    pub(crate) fn new(environment: BTreeMap<String, String>) -> Self {
        Self { environment, files: BTreeMap::new() }
    }

    /// Adds what a `.env` file says; later files win over earlier ones, and the environment over all.
    pub(crate) fn add(&mut self, name: String, value: String) {
        self.files.insert(name, value);
    }

    /// Sets a variable over everything.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.environment.get(name).or_else(|| self.files.get(name)).cloned()
    }

    /// A variable that counts only when it says something.
    pub(crate) fn get_non_empty(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty())
    }
}
