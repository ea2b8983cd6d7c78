//! One stage: instructions in order, each changing the configuration or, through `steps`, the files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use stack_image::StoredLayer;
use stack_model::Fault;

use crate::cache::NOTE;
use crate::config::Config;
use crate::error::{BuildError, Text, Wrong};
use crate::event::{BuildEvent, StepId};
use crate::graph::{self, Source, Stage, argument};
use crate::lex::{self, Flag, Raw};
use crate::solve::Solver;
use crate::time;
use crate::words::{self, WordError};

/// What a stage has made so far.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) layers: Vec<StoredLayer>,
    pub(crate) config: Config,
    /// Arguments with a value.
    pub(crate) args: BTreeMap<String, String>,
    /// When the last layer was made, in seconds since the epoch.
    pub(crate) created: i64,
    /// CMD was set in the stage itself, so ENTRYPOINT does not take it away.
    cmd_set: bool,
}

impl Snapshot {
    /// The document of the image.
    pub(crate) fn finish(&self, labels: &BTreeMap<String, String>, epoch: Option<i64>) -> Value {
        let mut config = self.config.clone();
        for (name, value) in labels {
            config.add("Labels", name, json!(value));
        }
        config.top("created", json!(time::render(epoch.unwrap_or(self.created))));
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| layer.diff_id().as_str().to_owned()).collect();
        config.finish(&diff_ids)
    }
}

/// A stage under way.
pub(crate) struct StageRun<'s> {
    pub(crate) solver: &'s Solver<'s>,
    stage: &'s Stage,
    pub(crate) state: Snapshot,
    pub(crate) step: StepId,
    /// The step is one of a trigger: mistakes are shown at FROM.
    triggered: bool,
}

impl<'s> StageRun<'s> {
    /// Nothing of this stage is taken from the cache.
    pub(crate) fn is_fresh(&self) -> bool {
        self.solver.request.no_cache_filter.contains(&self.step.name)
    }

    pub(crate) fn run(solver: &'s Solver<'s>, number: usize) -> Result<Snapshot, BuildError> {
        let stage = &solver.graph.stages[number];
        let total = stage.steps.len() + 1;
        let step = StepId { stage: number, name: stage.title(number), number: 1, total };
        let empty = Snapshot {
            layers: Vec::new(),
            config: Config::of_base(json!({})),
            args: BTreeMap::new(),
            created: solver.epoch.unwrap_or(0),
            cmd_set: false,
        };
        let mut run = Self { solver, stage, state: empty, step, triggered: false };
        let text = ["FROM ", stage.from.rest.as_str()].concat();
        run.told(&text, |run| run.begin().map(|()| true))?;
        for trigger in run.triggers()? {
            run.step.total += 1;
            run.step.number += 1;
            run.triggered = true;
            run.instruction(&trigger)?;
        }
        run.triggered = false;
        for raw in &stage.steps {
            run.step.number += 1;
            run.instruction(raw)?;
        }
        Ok(run.state)
    }

    /// Reports the beginning and the end of a step; the work says whether it was made before.
    fn told(&mut self, text: &str, work: impl FnOnce(&mut Self) -> Result<bool, BuildError>) -> Result<(), BuildError> {
        let report = self.solver.report;
        self.solver.check()?;
        let begin = Instant::now();
        report(BuildEvent::Started { step: self.step.clone(), text: text.to_owned() });
        match work(self) {
            Ok(cached) => {
                let milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
                report(BuildEvent::Done { step: self.step.clone(), cached, milliseconds });
                Ok(())
            }
            Err(error) => {
                report(BuildEvent::Failed { step: self.step.clone() });
                Err(error)
            }
        }
    }

    fn begin(&mut self) -> Result<(), BuildError> {
        self.state = match &self.stage.base {
            Source::Scratch | Source::Directory(_) => Snapshot { config: Config::empty(), ..self.state.clone() },
            Source::Stage(number) => Snapshot { cmd_set: false, ..(*self.solver.wait(*number)?).clone() },
            Source::Image(name) => {
                let image = self.solver.image(name).map_err(|error| self.at_base(error))?;
                let config = Config::of_base(image.config);
                let created = self.solver.epoch.unwrap_or_else(|| config.created());
                Snapshot { layers: image.layers, config, created, ..self.state.clone() }
            }
        };
        if let Source::Directory(_) = self.stage.base {
            let wrong = Wrong::new(self.stage.from.bytes.clone(), "from", "a directory cannot be a base image");
            return Err(self.mistake(wrong.help("use COPY --from with this context")));
        }
        Ok(())
    }

    /// Says which line wanted an image that cannot be had.
    fn at_base(&self, error: BuildError) -> BuildError {
        let reason = stack_model::Failure::from_error(error.fault(), &error).message;
        let wrong = Wrong::new(self.stage.from.places.range(0..1), "base-image", "the base image cannot be had");
        let wrong = Wrong { help: error.hint(), ..wrong };
        self.solver.graph.text.failure(wrong, error.fault(), Some(reason))
    }

    fn triggers(&mut self) -> Result<Vec<Raw>, BuildError> {
        // Only a child image follows triggers, not a stage on top of a stage that has just noted them.
        if !matches!(self.stage.base, Source::Image(_)) {
            return Ok(Vec::new());
        }
        let mut triggers = Vec::new();
        for text in self.state.config.list("OnBuild") {
            let raw = lex::lex_trigger(&text).and_then(|raw| match raw {
                Some(raw) => graph::check(&raw).map(|()| Some(raw)),
                None => Ok(None),
            });
            self.triggered = true;
            triggers.extend(raw.map_err(|wrong| self.mistake(wrong))?);
        }
        self.state.config.remove("OnBuild");
        Ok(triggers)
    }

    /// A mistake, shown where it is.
    pub(crate) fn mistake(&self, wrong: Wrong) -> BuildError {
        self.text().mistake(self.placed(wrong))
    }

    pub(crate) fn failure(&self, wrong: Wrong, fault: Fault, reason: Option<String>) -> BuildError {
        self.text().failure(self.placed(wrong), fault, reason)
    }

    fn text(&self) -> &Text {
        &self.solver.graph.text
    }

    fn placed(&self, wrong: Wrong) -> Wrong {
        if !self.triggered {
            return wrong;
        }
        let message = format!("{} (ONBUILD of the base image)", wrong.message);
        Wrong { bytes: self.stage.from.bytes.clone(), message, ..wrong }
    }

    pub(crate) fn escape(&self) -> char {
        if self.triggered { '\\' } else { self.solver.graph.escape }
    }

    /// ENV stands before ARG.
    pub(crate) fn lookup(&self, name: &str) -> Option<String> {
        let env = self.state.config.env().into_iter().find(|(known, _)| known == name).map(|(_, value)| value);
        env.or_else(|| self.state.args.get(name).cloned())
    }

    pub(crate) fn at_word(&self, raw: &Raw, start: usize, error: WordError) -> BuildError {
        let at = raw.places.of(start + error.at);
        self.mistake(Wrong::new(at..at + 1, "variable", error.message))
    }

    pub(crate) fn expand(&self, raw: &Raw, start: usize, word: &str) -> Result<String, BuildError> {
        words::expand(word, self.escape(), &|name| self.lookup(name)).map_err(|error| self.at_word(raw, start, error))
    }

    pub(crate) fn expand_flag(&self, flag: &Flag) -> Result<String, BuildError> {
        let value = flag.value.as_deref().unwrap_or_default();
        // Quotes were taken off already; a backslash is one.
        words::expand_document(value, &|name| self.lookup(name))
            .map_err(|error| self.mistake(Wrong::new(flag.bytes.clone(), "variable", error.message)))
    }

    fn instruction(&mut self, raw: &Raw) -> Result<(), BuildError> {
        let flags = raw.flags.iter().map(|flag| match &flag.value {
            Some(value) => format!("--{}={value} ", flag.name),
            None => format!("--{} ", flag.name),
        });
        let flags: String = flags.collect();
        let text = format!("{} {flags}{}", raw.keyword, raw.rest);
        self.told(&text, |run| match raw.keyword.as_str() {
            "RUN" => run.run_step(raw),
            "COPY" | "ADD" => run.copy_step(raw),
            "WORKDIR" => run.workdir(raw),
            _ => {
                run.configure(raw)?;
                let created_by = format!("{} {}", raw.keyword, raw.rest);
                run.note(&created_by, None);
                Ok(true)
            }
        })
    }

    /// Adds to the history of the image.
    pub(crate) fn note(&mut self, created_by: &str, key: Option<&str>) {
        let mut entry = json!({ "created": time::render(self.state.created), "created_by": created_by });
        match key {
            Some(key) => entry["comment"] = json!(format!("{NOTE}{key}")),
            None => entry["empty_layer"] = json!(true),
        }
        self.state.config.note(entry);
    }

    /// Instructions that change the configuration only.
    fn configure(&mut self, raw: &Raw) -> Result<(), BuildError> {
        match raw.keyword.as_str() {
            "ARG" => self.arg(raw),
            "ENV" => {
                let pairs = self.pairs(raw)?;
                pairs.iter().for_each(|(name, value)| self.state.config.set_env(name, value));
                Ok(())
            }
            "LABEL" => {
                let pairs = self.pairs(raw)?;
                pairs.iter().for_each(|(name, value)| self.state.config.add("Labels", name, json!(value)));
                Ok(())
            }
            "CMD" => {
                let command = self.command(&raw.rest);
                self.state.config.set("Cmd", json!(command));
                self.state.cmd_set = true;
                Ok(())
            }
            "ENTRYPOINT" => {
                let command = self.command(&raw.rest);
                self.state.config.set("Entrypoint", json!(command));
                if !self.state.cmd_set {
                    self.state.config.remove("Cmd");
                }
                Ok(())
            }
            "USER" => {
                let user = self.expand(raw, 0, &raw.rest)?;
                self.state.config.set("User", json!(user));
                Ok(())
            }
            "STOPSIGNAL" => self.stop_signal(raw),
            "SHELL" => match list(&raw.rest) {
                Some(shell) if !shell.is_empty() => {
                    self.state.config.set("Shell", json!(shell));
                    Ok(())
                }
                _ => {
                    let wrong = Wrong::new(raw.places.range(0..raw.rest.len()), "shell", "SHELL takes a JSON list");
                    Err(self.mistake(wrong.help("such as SHELL [\"/bin/bash\", \"-c\"]")))
                }
            },
            "EXPOSE" => self.expose(raw),
            "VOLUME" => self.volume(raw),
            "HEALTHCHECK" => self.healthcheck(raw),
            "MAINTAINER" => {
                self.state.config.top("author", json!(raw.rest));
                Ok(())
            }
            "ONBUILD" => self.onbuild(raw),
            other => {
                let message = format!("{other} cannot stand here");
                Err(self.mistake(Wrong::new(raw.keyword_bytes.clone(), "unknown-instruction", message)))
            }
        }
    }

    fn arg(&mut self, raw: &Raw) -> Result<(), BuildError> {
        for (start, word) in lex::shell_words(&raw.rest, self.escape()) {
            let (name, default) = match word.split_once('=') {
                Some((name, default)) => (name, Some((start + name.len() + 1, default))),
                None => (word.as_str(), None),
            };
            let default = match default {
                Some((start, default)) => Some(self.expand(raw, start, default)?),
                // Without a value of its own it is that of the argument in front of FROM.
                None => self.solver.graph.globals.get(name).cloned().flatten(),
            };
            // One without a value that a stage below has set stays.
            if let Some(value) = argument(self.solver.request, name).or(default) {
                self.state.args.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }

    /// `name=value …`, or `name the rest`.
    fn pairs(&self, raw: &Raw) -> Result<Vec<(String, String)>, BuildError> {
        let words = lex::shell_words(&raw.rest, self.escape());
        let is_old = words.first().is_some_and(|(_, word)| !word.contains('='));
        if is_old {
            let name = &words[0].1;
            let Some((start, _)) = words.get(1) else {
                let message = format!("{} needs a name and a value", raw.keyword);
                return Err(self.mistake(Wrong::new(raw.places.range(0..name.len()), "missing-argument", message)));
            };
            return Ok(vec![(self.expand(raw, 0, name)?, self.expand(raw, *start, &raw.rest[*start..])?)]);
        }
        let mut pairs = Vec::new();
        for (start, word) in words {
            let Some((name, value)) = word.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                let message = format!("`{word}` is not of the form name=value");
                let wrong = Wrong::new(raw.places.range(start..start + word.len()), "pair", message);
                return Err(self.mistake(wrong.help("put quotes around values with spaces")));
            };
            pairs.push((self.expand(raw, start, name)?, self.expand(raw, start + name.len() + 1, value)?));
        }
        Ok(pairs)
    }

    /// The JSON list, or the shell with the line.
    pub(crate) fn command(&self, text: &str) -> Vec<String> {
        match list(text) {
            Some(list) => list,
            None => self.shell().into_iter().chain([text.to_owned()]).collect(),
        }
    }

    pub(crate) fn shell(&self) -> Vec<String> {
        let shell = self.state.config.list("Shell");
        if shell.is_empty() { vec!["/bin/sh".to_owned(), "-c".to_owned()] } else { shell }
    }

    fn stop_signal(&mut self, raw: &Raw) -> Result<(), BuildError> {
        let signal = self.expand(raw, 0, &raw.rest)?;
        if stack_image::parse_signal(&signal).is_none() {
            let message = format!("there is no signal `{signal}`");
            return Err(self.mistake(Wrong::new(raw.places.range(0..raw.rest.len()), "signal", message)));
        }
        self.state.config.set("StopSignal", json!(signal));
        Ok(())
    }

    fn expose(&mut self, raw: &Raw) -> Result<(), BuildError> {
        let ports = words::expand_words(&raw.rest, self.escape(), &|name| self.lookup(name))
            .map_err(|error| self.at_word(raw, 0, error))?;
        for port in ports {
            let Some((first, last, protocol)) = port_range(&port) else {
                let message = format!("`{port}` is not a port");
                let wrong = Wrong::new(raw.places.range(0..raw.rest.len()), "port", message);
                return Err(self.mistake(wrong.help("such as 80, 53/udp or 8000-8010")));
            };
            for port in first..=last {
                self.state.config.add("ExposedPorts", &format!("{port}/{protocol}"), json!({}));
            }
        }
        Ok(())
    }

    fn volume(&mut self, raw: &Raw) -> Result<(), BuildError> {
        let paths = match list(&raw.rest) {
            Some(list) => list.iter().map(|path| self.expand(raw, 0, path)).collect::<Result<Vec<_>, _>>()?,
            None => words::expand_words(&raw.rest, self.escape(), &|name| self.lookup(name))
                .map_err(|error| self.at_word(raw, 0, error))?,
        };
        for path in paths {
            if path.is_empty() {
                let wrong = Wrong::new(raw.places.range(0..raw.rest.len()), "volume", "the path is empty");
                return Err(self.mistake(wrong));
            }
            self.state.config.add("Volumes", &path, json!({}));
        }
        Ok(())
    }

    fn healthcheck(&mut self, raw: &Raw) -> Result<(), BuildError> {
        let (kind, rest) = raw.rest.split_once(char::is_whitespace).unwrap_or((&raw.rest, ""));
        let rest = rest.trim();
        let wrong = |message: &str| Wrong::new(raw.places.range(0..kind.len()), "health-check", message);
        let test = match kind.to_ascii_uppercase().as_str() {
            "NONE" if rest.is_empty() => vec!["NONE".to_owned()],
            "CMD" if rest.is_empty() => return Err(self.mistake(wrong("CMD needs a command"))),
            "CMD" => match list(rest) {
                Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
                None => vec!["CMD-SHELL".to_owned(), rest.to_owned()],
            },
            _ => return Err(self.mistake(wrong("HEALTHCHECK goes on with CMD or NONE"))),
        };
        let mut check = json!({ "Test": test });
        for flag in &raw.flags {
            let value = self.expand_flag(flag)?;
            let bad = |message: String| self.mistake(Wrong::new(flag.bytes.clone(), "health-check", message));
            let (name, number) = match flag.name.as_str() {
                "retries" => {
                    let number = value.parse::<u64>().map_err(|_| bad(format!("`{value}` is not a number")))?;
                    ("Retries", number)
                }
                name => {
                    let name = match name {
                        "interval" => "Interval",
                        "timeout" => "Timeout",
                        "start-period" => "StartPeriod",
                        _ => "StartInterval",
                    };
                    let time =
                        nanoseconds(&value).ok_or_else(|| bad(format!("`{value}` is not a time such as 1m30s")))?;
                    (name, time)
                }
            };
            if number != 0 {
                check[name] = json!(number);
            }
        }
        self.state.config.set("Healthcheck", check);
        Ok(())
    }

    fn onbuild(&mut self, raw: &Raw) -> Result<(), BuildError> {
        let keyword = raw.rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if matches!(keyword.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
            let message = format!("{keyword} cannot be a trigger");
            return Err(self.mistake(Wrong::new(raw.places.range(0..keyword.len()), "onbuild", message)));
        }
        let mut text = raw.rest.clone();
        for document in &raw.documents {
            text.push_str(&["\n", &document.content, &document.name].concat());
        }
        let checked = lex::lex_trigger(&text).and_then(|raw| raw.as_ref().map_or(Ok(()), graph::check));
        checked.map_err(|wrong| self.mistake(Wrong { bytes: raw.bytes.clone(), ..wrong }))?;
        let mut triggers = self.state.config.list("OnBuild");
        triggers.push(text);
        self.state.config.set("OnBuild", json!(triggers));
        Ok(())
    }

    /// The working directory, `/` unless it was set.
    pub(crate) fn directory(&self) -> String {
        let directory = self.state.config.text("WorkingDir");
        if directory.is_empty() { "/".to_owned() } else { directory }
    }

    /// A path of the image, relative to its root: relative ones begin at the working directory.
    pub(crate) fn absolute(&self, path: &str) -> PathBuf {
        if path.starts_with('/') {
            return crate::sources::relative(path);
        }
        crate::sources::relative(&[self.directory().as_str(), "/", path].concat())
    }
}

/// A list of texts in JSON.
pub(crate) fn list(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') { serde_json::from_str(text).ok() } else { None }
}

fn port_range(text: &str) -> Option<(u16, u16, String)> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    // `127.0.0.1:80:80` of old files: only the last part says what is exposed.
    let ports = ports.rsplit(':').next()?;
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    let protocol = protocol.to_ascii_lowercase();
    let is_known = matches!(protocol.as_str(), "tcp" | "udp" | "sctp");
    (first <= last && is_known).then_some((first, last, protocol))
}

/// Go's `time.ParseDuration`: `1h2m3.5s`.
fn nanoseconds(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut total) = (text, 0_f64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
        let (unit, factor) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        total += number * factor;
        rest = &rest[unit.len()..];
    }
    (total > 0.0 && total < 9e18).then_some(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_ports() {
        assert_eq!(nanoseconds("1m30s"), Some(90_000_000_000));
        assert_eq!(nanoseconds("500ms"), Some(500_000_000));
        assert_eq!(nanoseconds("1.5h"), Some(5_400_000_000_000));
        for bad in ["", "5", "5x", "s", "-1s"] {
            assert_eq!(nanoseconds(bad), None, "{bad}");
        }
        assert_eq!(port_range("80"), Some((80, 80, "tcp".to_owned())));
        assert_eq!(port_range("53/UDP"), Some((53, 53, "udp".to_owned())));
        assert_eq!(port_range("8000-8002"), Some((8000, 8002, "tcp".to_owned())));
        for bad in ["x", "80/icmp", "9-8", "70000"] {
            assert_eq!(port_range(bad), None, "{bad}");
        }
    }
}
