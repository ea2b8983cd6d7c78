//! Where `${NAME}` gets its value from.

use std::collections::BTreeMap;

use crate::text::{Span, Spanned};

/// Variables of the project: the environment of the command over env files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables {
    environment: BTreeMap<String, String>,
    files: BTreeMap<String, Spanned<String>>,
    /// What an env file said before a later one said something else, in order.
    replaced: Vec<(String, Spanned<String>)>,
}

/// Variables that count where nothing else gives them.
pub(crate) type Below = BTreeMap<String, Spanned<String>>;

impl Variables {
    pub(crate) fn new(environment: BTreeMap<String, String>) -> Self {
        Self { environment, files: BTreeMap::new(), replaced: Vec::new() }
    }

    /// Remembers what an env file said before a later one said something else.
    pub(crate) fn note_replaced(&mut self, name: String, before: Spanned<String>) {
        self.replaced.push((name, before));
    }

    /// Adds what env files say about names that nobody has given yet.
    pub(crate) fn add_below(&mut self, below: Below) {
        for (name, value) in below {
            if self.environment.contains_key(&name) || self.files.contains_key(&name) {
                self.replaced.push((name, value));
            } else {
                self.files.insert(name, value);
            }
        }
    }

    /// Sets a variable over everything.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.environment.get(name).or_else(|| self.files.get(name).map(|value| &value.value)).cloned()
    }

    /// A variable that counts only when it says something.
    pub(crate) fn get_non_empty(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Everything with its value.
    pub(crate) fn all(&self) -> BTreeMap<String, String> {
        let files = self.files.iter().map(|(name, value)| (name.clone(), value.value.clone()));
        let mut all: BTreeMap<String, String> = files.collect();
        all.extend(self.environment.clone());
        all
    }

    /// Every value that was given for a name, the one that counts first; those of the environment stand nowhere.
    pub(crate) fn candidates(&self, name: &str) -> Vec<Spanned<String>> {
        let environment = self.environment.get(name).map(|value| Spanned::new(value.clone(), Span::default()));
        let replaced = self.replaced.iter().rev().filter(|(other, _)| other == name).map(|(_, value)| value.clone());
        environment.into_iter().chain(self.files.get(name).cloned()).chain(replaced).collect()
    }
}
