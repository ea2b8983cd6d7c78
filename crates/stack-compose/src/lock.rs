//! `stack.lock` beside the file: what names of images meant when they were pinned.
//!
//! ```yaml
//! version: 1
//! images:
//!   "redis:7": "docker.io/library/redis:7@sha256:…"
//! ```

use std::collections::BTreeMap;

use crate::context::Cx;
use crate::project::Project;
use crate::report::{Code, Problem};
use crate::text::Span;
use crate::yaml::{Node, read};

/// Its name, in the project directory.
pub const LOCK_FILE: &str = "stack.lock";
/// Of the form.
const VERSION: i128 = 1;

/// Reads the lock, where there is one, and puts the images that it names in the place of those of the file.
pub(crate) fn apply(project: &mut Project, cx: &mut Cx<'_>) {
    let path = project.directory.join(LOCK_FILE);
    if !cx.exists(&path) {
        return;
    }
    let Some((file, text)) = cx.read_text(&path, Span::default()) else { return };
    let documents = read(&text, file, &mut cx.report);
    let Some(root) = documents.first() else { return };
    if !matches!(root.get("version").and_then(Node::as_scalar), Some(scalar) if scalar.text.parse() == Ok(VERSION)) {
        let span = root.get("version").map_or(root.span, |version| version.span);
        let problem = Problem::error(Code::InvalidValue, span, format!("{LOCK_FILE} is not of version {VERSION}"));
        return cx.push(problem.help("remove it, and run `stack lock`"));
    }
    for (name, entry) in root.get("images").and_then(Node::as_mapping).into_iter().flatten() {
        match entry.value.as_text().filter(|image| image.contains("@sha256:")) {
            Some(image) => drop(project.locked.insert(name.to_string(), image.to_owned())),
            None => {
                let problem = Problem::error(Code::InvalidValue, entry.value.span, format!("`{name}` has no digest"));
                cx.push(problem.help("remove the line, and run `stack lock`"));
            }
        }
    }
    for service in project.services.values().filter(|service| !service.builds) {
        let Some(image) = service.image.as_ref().filter(|image| !project.is_locked(&image.value)) else { continue };
        let problem =
            Problem::warning(Code::NoEffect, image.span, format!("{LOCK_FILE} does not pin `{}`", image.value));
        cx.push(problem.help("run `stack lock`"));
    }
    let locked = project.locked.clone();
    project.pin_images(&locked);
}

impl Project {
    /// The pinned name of each image of the lock.
    pub fn locked(&self) -> &BTreeMap<String, String> {
        &self.locked
    }

    /// There is nothing to pin, or it is pinned.
    fn is_locked(&self, image: &str) -> bool {
        image.contains("@sha256:") || image.starts_with(BUILT_IN) || self.locked.contains_key(image)
    }
}

/// Images that come with the program.
const BUILT_IN: &str = "stack.local/";

/// A lock with these images, by the names that the file has for them.
pub fn render_lock(images: &BTreeMap<String, String>) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let lines = images.iter().map(|(name, image)| format!("  {}: {}\n", quoted(name), quoted(image)));
    let head = "# What the images of this project are, by `stack lock`. `stack update` asks for newer ones.\n";
    let images: String = lines.collect();
    let images = if images.is_empty() { "images: {}\n".to_owned() } else { format!("images:\n{images}") };
    format!("{head}version: {VERSION}\n{images}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Files;

    const DIGEST: &str =
        "docker.io/library/i:1@sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn files(lock: &str) -> Files {
        let text = "services:\n  a: {image: 'i:1'}\n  b: {image: 'j:2'}\n  c: {image: 'k:1', build: .}\n  \
                    d: {image: stack.local/self}\n";
        Files::new(text).with(LOCK_FILE, lock)
    }

    #[test]
    fn what_is_pinned_is_taken_and_what_is_not_is_said() {
        let lock = render_lock(&[("i:1".to_owned(), DIGEST.to_owned())].into());
        let files = files(&lock);
        let image = |name: &str| files.service(name).container.image;
        assert_eq!((image("a").as_str(), image("b").as_str(), image("c").as_str()), (DIGEST, "j:2", "k:1"));
        let loaded = files.load();
        let warnings: Vec<&str> = loaded.diagnostics.iter().map(|diagnostic| diagnostic.message.as_str()).collect();
        assert_eq!(warnings, ["stack.lock does not pin `j:2`"]);
        assert!(loaded.inputs.iter().any(|path| path.ends_with(LOCK_FILE)));
        // What is shown is what is written.
        assert_eq!(files.shown()["services"]["a"]["image"], "i:1");
    }

    #[test]
    fn a_lock_that_cannot_be_understood_is_an_error() {
        assert_eq!(
            files("version: 2\n").errors(),
            ["1:10 stack.lock is not of version 1; remove it, and run `stack lock`"]
        );
        assert_eq!(
            files("version: 1\nimages: {'i:1': 'i:2'}\n").errors(),
            ["2:17 `i:1` has no digest; remove the line, and run `stack lock`"]
        );
        assert_eq!(files(&render_lock(&BTreeMap::new())).errors(), [""; 0]);
    }
}
