//! Where in the tree a walk is, for messages.

use std::fmt;

/// A place on the way down from the root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    /// A fixed key.
    Key(&'a str),
    /// A name that the user chose, and what it names.
    Named(&'static str, &'a str),
    Item,
}

impl<'a> At<'a> {
    pub(crate) const ROOT: At<'static> = At { parent: None, step: Step::Root };

    pub(crate) fn key(&'a self, key: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Key(key) }
    }

    pub(crate) fn named(&'a self, what: &'static str, name: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Named(what, name) }
    }

    pub(crate) fn item(&'a self) -> At<'a> {
        At { parent: Some(self), step: Step::Item }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.step, self.parent) {
            (Step::Root, _) => f.write_str("the project"),
            (Step::Key(key), _) => write!(f, "`{key}`"),
            (Step::Named("", name), Some(parent)) => write!(f, "`{name}` of {parent}"),
            (Step::Named("", name), None) => write!(f, "`{name}`"),
            (Step::Named(what, name), _) => write!(f, "{what} `{name}`"),
            (Step::Item, Some(parent)) => write!(f, "an item of {parent}"),
            (Step::Item, None) => f.write_str("an item"),
        }
    }
}
