//! Stages, what each is made from, and which of them a target needs.

use std::collections::{BTreeMap, BTreeSet};

use stack_model::{Build, NamedContext};

use crate::error::{BuildError, Text, Wrong};
use crate::lex::{self, Raw};
use crate::words::{self, WordError};

/// A Dockerfile, split at FROM.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) text: Text,
    pub(crate) escape: char,
    pub(crate) stages: Vec<Stage>,
    /// Arguments in front of the first FROM, with their values.
    pub(crate) globals: BTreeMap<String, Option<String>>,
}

/// What is between one FROM and the next.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) name: Option<String>,
    pub(crate) from: Raw,
    pub(crate) base: Source,
    pub(crate) steps: Vec<Raw>,
    /// The stages that it reads.
    pub(crate) needs: BTreeSet<usize>,
}

impl Stage {
    /// As progress shows it.
    pub(crate) fn title(&self, number: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("stage-{number}"))
    }
}

/// Something with files in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Nothing.
    Scratch,
    /// Another stage.
    Stage(usize),
    /// An image.
    Image(String),
    /// A directory of the request.
    Directory(std::path::PathBuf),
}

/// Keywords of a stage.
const KEYWORDS: [&str; 17] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

pub(crate) fn parse(text: Text, request: &Build) -> Result<Graph, BuildError> {
    match stages(&text.text, request) {
        Ok((escape, stages, globals)) => Ok(Graph { text, escape, stages, globals }),
        Err(wrong) => Err(text.mistake(wrong)),
    }
}

type Parts = (char, Vec<Stage>, BTreeMap<String, Option<String>>);

fn stages(text: &str, request: &Build) -> Result<Parts, Wrong> {
    let lex::Lexed { instructions, escape } = lex::lex(text)?;
    let mut stages: Vec<Stage> = Vec::new();
    let mut globals = platform_arguments();
    for raw in instructions {
        check(&raw)?;
        match (raw.keyword.as_str(), stages.last_mut()) {
            ("FROM", _) => {
                let stage = from(raw, escape, &stages, &globals, request)?;
                stages.push(stage);
            }
            ("ARG", None) => global(&raw, escape, &mut globals, request)?,
            (_, None) => {
                let message = format!("{} stands in front of the first FROM", raw.keyword);
                return Err(Wrong::new(raw.keyword_bytes, "no-stage", message).help("only ARG may stand there"));
            }
            (_, Some(_)) => {
                let needs = references(&raw, &stages, request)?;
                let stage = stages.last_mut().expect("there is one, as matched");
                stage.needs.extend(needs);
                stage.steps.push(raw);
            }
        }
    }
    if stages.is_empty() {
        return Err(Wrong::new(0..0, "no-stage", "there is no FROM").help("begin with `FROM image` or `FROM scratch`"));
    }
    Ok((escape, stages, globals))
}

/// What can be said of an instruction without its surroundings.
pub(crate) fn check(raw: &Raw) -> Result<(), Wrong> {
    let known = raw.keyword == "FROM" || KEYWORDS.contains(&raw.keyword.as_str());
    if !known {
        let message = format!("there is no instruction {}", raw.keyword);
        let wrong = Wrong::new(raw.keyword_bytes.clone(), "unknown-instruction", message);
        let near = KEYWORDS.iter().chain(["FROM"].iter()).find(|known| is_near(known, &raw.keyword));
        return Err(match near {
            Some(near) => wrong.help(format!("is {near} meant?")),
            None => wrong,
        });
    }
    let allowed: &[&str] = match raw.keyword.as_str() {
        "FROM" => &["platform"],
        "RUN" => &["mount", "network", "security", "device"],
        "COPY" => &["from", "chown", "chmod", "link", "parents", "exclude"],
        "ADD" => &["chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack"],
        "HEALTHCHECK" => &["interval", "timeout", "start-period", "start-interval", "retries"],
        _ => &[],
    };
    for flag in &raw.flags {
        if !allowed.contains(&flag.name.as_str()) {
            let message = format!("{} has no flag --{}", raw.keyword, flag.name);
            let wrong = Wrong::new(flag.bytes.clone(), "unknown-flag", message);
            return Err(wrong.help(format!("it has --{}", allowed.join(", --"))));
        }
    }
    if raw.rest.is_empty() {
        let message = format!("{} needs an argument", raw.keyword);
        return Err(Wrong::new(raw.keyword_bytes.clone(), "missing-argument", message));
    }
    Ok(())
}

/// One letter too many, too few or wrong, or two swapped.
fn is_near(known: &str, typed: &str) -> bool {
    let (a, b) = (known.as_bytes(), typed.as_bytes());
    let start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let end = a[start..].iter().rev().zip(b[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (rest_a, rest_b) = (a.len() - start - end, b.len() - start - end);
    rest_a.max(rest_b) <= 1 || (rest_a, rest_b) == (2, 2) && a[start] == b[start + 1] && a[start + 1] == b[start]
}

fn from(
    raw: Raw,
    escape: char,
    stages: &[Stage],
    globals: &BTreeMap<String, Option<String>>,
    request: &Build,
) -> Result<Stage, Wrong> {
    let lookup = |name: &str| globals.get(name).cloned().flatten();
    let words = lex::shell_words(&raw.rest, escape);
    let place = |index: usize| {
        let (start, word) = &words[index];
        raw.places.range(*start..start + word.len())
    };
    let name = match words.as_slice() {
        [_] => None,
        [_, (_, keyword), (_, name)] if keyword.eq_ignore_ascii_case("as") => Some(name.to_ascii_lowercase()),
        _ => {
            return Err(Wrong::new(raw.bytes.clone(), "from", "FROM is `FROM image` or `FROM image AS name`"));
        }
    };
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
    };
    if let Some(name) = name.as_deref().filter(|name| !is_name(name)) {
        let message = format!("`{name}` cannot name a stage");
        return Err(Wrong::new(place(2), "stage-name", message).help("a letter, then letters, digits, - _ ."));
    }
    let text = words::expand(&words[0].1, escape, &lookup).map_err(|error| at_word(&raw, words[0].0, error))?;
    if text.is_empty() {
        let message = "the name of the base image is empty";
        return Err(Wrong::new(place(0), "from", message).help("give the argument in it a value with --build-arg"));
    }
    if let Some(flag) = raw.flags.iter().find(|flag| flag.name == "platform") {
        let value = flag.value.clone().unwrap_or_default();
        let value = words::expand(&value, escape, &lookup)
            .map_err(|error| Wrong::new(flag.bytes.clone(), "variable", error.message))?;
        check_platform(&value).map_err(|message| Wrong::new(flag.bytes.clone(), "platform", message))?;
    }
    let base = resolve(&text, stages, request);
    let needs = match &base {
        Source::Stage(number) => BTreeSet::from([*number]),
        Source::Scratch | Source::Image(_) | Source::Directory(_) => BTreeSet::new(),
    };
    Ok(Stage { name, from: raw, base, steps: Vec::new(), needs })
}

/// Only what this machine runs can be built on it.
pub(crate) fn check_platform(text: &str) -> Result<(), String> {
    let (os, architecture, variant) = stack_image::platform();
    let mut parts = text.split('/');
    let same = parts.next() == Some(os.as_str())
        && parts.next() == Some(architecture.as_str())
        && parts.next().is_none_or(|wanted| variant.is_empty() || wanted == variant);
    if same || text.is_empty() {
        Ok(())
    } else {
        Err(format!("`{text}` cannot be built here: this machine is {os}/{architecture}"))
    }
}

fn at_word(raw: &Raw, start: usize, error: WordError) -> Wrong {
    let at = raw.places.of(start + error.at);
    Wrong::new(at..at + 1, "variable", error.message)
}

/// What a name of FROM or `--from` means.
fn resolve(text: &str, stages: &[Stage], request: &Build) -> Source {
    if let Some(context) = request.contexts.get(text) {
        return match context {
            NamedContext::Directory(path) => Source::Directory(path.clone()),
            NamedContext::Image(name) | NamedContext::Built(name) => Source::Image(name.clone()),
        };
    }
    let lower = text.to_ascii_lowercase();
    // Of two stages with one name the later counts.
    if let Some(number) = stages.iter().rposition(|stage| stage.name.as_ref() == Some(&lower)) {
        return Source::Stage(number);
    }
    if text == "scratch" { Source::Scratch } else { Source::Image(text.to_owned()) }
}

/// What `--from` of a step means.
pub(crate) fn resolve_from(text: &str, stages: &[Stage], request: &Build) -> Source {
    match text.parse::<usize>() {
        Ok(number) if number < stages.len() => Source::Stage(number),
        Ok(_) | Err(_) => resolve(text, stages, request),
    }
}

/// The stages that a step reads.
fn references(raw: &Raw, stages: &[Stage], request: &Build) -> Result<Vec<usize>, Wrong> {
    let mut found = Vec::new();
    let own = stages.len() - 1;
    for flag in &raw.flags {
        let value = flag.value.as_deref().unwrap_or_default();
        let from = match flag.name.as_str() {
            "from" => Some(value),
            "mount" => value.split(',').find_map(|option| option.strip_prefix("from=")),
            _ => None,
        };
        let Some(from) = from else { continue };
        if from.contains('$') {
            let message = "variables cannot stand in `from`";
            return Err(
                Wrong::new(flag.bytes.clone(), "from", message).help("use FROM $image AS name, and the name here")
            );
        }
        match resolve_from(from, stages, request) {
            Source::Stage(number) if number == own => {
                let message = "a stage cannot copy from itself";
                return Err(Wrong::new(flag.bytes.clone(), "from", message));
            }
            Source::Stage(number) => found.push(number),
            Source::Scratch | Source::Image(_) | Source::Directory(_) => {}
        }
    }
    Ok(found)
}

fn platform_arguments() -> BTreeMap<String, Option<String>> {
    let (os, architecture, variant) = stack_image::platform();
    let whole = match variant.as_str() {
        "" => format!("{os}/{architecture}"),
        variant => format!("{os}/{architecture}/{variant}"),
    };
    let values = [("PLATFORM", whole), ("OS", os), ("ARCH", architecture), ("VARIANT", variant)];
    let both = values
        .into_iter()
        .flat_map(|(name, value)| ["BUILD", "TARGET"].map(|side| (format!("{side}{name}"), Some(value.clone()))));
    both.collect()
}

fn global(
    raw: &Raw,
    escape: char,
    globals: &mut BTreeMap<String, Option<String>>,
    request: &Build,
) -> Result<(), Wrong> {
    for (start, word) in lex::shell_words(&raw.rest, escape) {
        let (name, default) = match word.split_once('=') {
            Some((name, default)) => (name.to_owned(), Some((start + name.len() + 1, default))),
            None => (word.clone(), None),
        };
        let default = match default {
            Some((start, default)) => {
                let lookup = |name: &str| globals.get(name).cloned().flatten();
                Some(words::expand(default, escape, &lookup).map_err(|error| at_word(raw, start, error))?)
            }
            None => None,
        };
        let value = argument(request, &name).or(default).or_else(|| globals.get(&name).cloned().flatten());
        globals.insert(name, value);
    }
    Ok(())
}

/// The value that the request gives an argument.
pub(crate) fn argument(request: &Build, name: &str) -> Option<String> {
    request.args.get(name).cloned().flatten()
}

impl Graph {
    /// The stage that is to be built.
    pub(crate) fn target(&self, wanted: Option<&str>) -> Result<usize, BuildError> {
        let Some(wanted) = wanted else { return Ok(self.stages.len() - 1) };
        let lower = wanted.to_ascii_lowercase();
        if let Some(number) = self.stages.iter().rposition(|stage| stage.name.as_ref() == Some(&lower)) {
            return Ok(number);
        }
        match wanted.parse::<usize>() {
            Ok(number) if number < self.stages.len() => Ok(number),
            Ok(_) | Err(_) => {
                let names: Vec<&str> = self.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
                let hint = if names.is_empty() { None } else { Some(format!("it has {}", names.join(", "))) };
                Err(BuildError::Request { message: format!("{} has no stage `{wanted}`", self.text.name), hint })
            }
        }
    }

    /// A stage and all that it needs, in order.
    pub(crate) fn closure(&self, target: usize) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut open = vec![target];
        while let Some(number) = open.pop() {
            if needed.insert(number) {
                open.extend(&self.stages[number].needs);
            }
        }
        needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(text: &str, args: &[(&str, &str)]) -> Result<Graph, BuildError> {
        let args = args.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
        let request = Build { args, ..Build::default() };
        parse(Text { name: "Dockerfile".to_owned(), text: text.to_owned() }, &request)
    }

    #[test]
    fn unused_stages_are_not_needed() {
        let text = "ARG V=1\nFROM base:$V AS a\nFROM scratch AS unused\nRUN x\nFROM a AS b\nFROM scratch\n\
                    COPY --from=b /x /x\nRUN --mount=type=bind,from=0,target=/a y\n";
        let graph = graph(text, &[("V", "2")]).unwrap();
        assert_eq!(graph.stages[0].base, Source::Image("base:2".to_owned()));
        assert_eq!(graph.stages[2].base, Source::Stage(0));
        assert_eq!(graph.closure(3).into_iter().collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!(graph.target(Some("B")).unwrap(), 2);
        assert_eq!(graph.target(None).unwrap(), 3);
        assert!(graph.target(Some("nope")).is_err());
    }

    #[track_caller]
    fn refused(text: &str, place: (u32, u32), words: &str) {
        match graph(text, &[]) {
            Err(BuildError::Dockerfile(mistake)) => {
                let origin = &mistake.diagnostic.labels[0].origin;
                assert!(mistake.diagnostic.message.contains(words), "{}", mistake.diagnostic.message);
                assert_eq!((origin.line, origin.column), place, "{text}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mistakes_are_pointed_at() {
        refused("FROM a\nRUNN x\n", (2, 1), "no instruction RUNN");
        refused("RUN x\n", (1, 1), "in front of the first FROM");
        refused("# nothing\n", (1, 1), "no FROM");
        refused("FROM a\nCOPY --own=1 a b\n", (2, 6), "no flag --own");
        refused("FROM a\n\n  ENV\n", (3, 3), "needs an argument");
        refused("FROM a AS\n", (1, 1), "FROM is");
        refused("FROM a AS 1x\n", (1, 11), "cannot name a stage");
        refused("FROM a AS x\nCOPY --from=x a b\n", (2, 6), "from itself");
        refused("FROM $NO\n", (1, 6), "empty");
        refused("FROM ${NO:?wanted}\n", (1, 6), "wanted");
        refused("FROM --platform=plan9/mips a\n", (1, 6), "cannot be built here");
        refused("FROM a\nCOPY --from=$X a b\n", (2, 6), "variables cannot stand");
    }
}
