//! Progress of builds: a tree on a terminal, else lines.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use stack_build::{BuildEvent, LAST_LINES, StepId};

use super::tree::Tree;
use crate::arguments;
use crate::output;

/// What is shown of an instruction.
const TEXT_CHARS_MAX: usize = 100;
/// Lines of a step that are kept for the case that it fails.
const KEPT_LINES_MAX: usize = 1000;

/// Progress of builds; several stages and services write at the same time.
#[derive(Debug)]
pub(super) struct Progress(Mutex<State>);

#[derive(Debug)]
struct State {
    form: Form,
    /// What steps wrote, by service and step, where it is not shown as it comes.
    kept: BTreeMap<(String, StepId), VecDeque<String>>,
    /// What steps that failed wrote.
    last_words: Vec<String>,
}

#[derive(Debug)]
enum Form {
    /// Line by line, each with its stage.
    Lines,
    /// In place.
    Tree(Tree),
    /// Only what led to a failure.
    Quiet,
}

impl Progress {
    pub(super) fn new(progress: arguments::Progress, is_quiet: bool) -> Self {
        let form = match progress {
            _ if is_quiet => Form::Quiet,
            arguments::Progress::Quiet => Form::Quiet,
            arguments::Progress::Auto if output::is_terminal() => Form::Tree(Tree::default()),
            arguments::Progress::Tty => Form::Tree(Tree::default()),
            arguments::Progress::Auto | arguments::Progress::Plain | arguments::Progress::Json => Form::Lines,
        };
        Self(Mutex::new(State { form, kept: BTreeMap::new(), last_words: Vec::new() }))
    }

    /// Does something that is shown; afterwards nothing is drawn over what is said next.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let is_drawn = matches!(self.lock().form, Form::Tree(_));
        let done = std::thread::scope(|scope| {
            if !is_drawn {
                return work();
            }
            let (over, wait) = channel::<()>();
            scope.spawn(move || {
                while wait.recv_timeout(output::tty::FRAME) == Err(RecvTimeoutError::Timeout) {
                    self.lock().draw();
                }
            });
            let done = work();
            drop(over);
            done
        });
        let mut state = self.lock();
        state.draw();
        if let Form::Tree(tree) = &mut state.form {
            // The next work begins another tree below this one.
            *tree = Tree::default();
        }
        std::mem::take(&mut state.last_words).iter().for_each(|line| output::note(line));
        done
    }

    /// Does something that has the terminal to itself.
    pub(super) fn aside(&self, work: impl FnOnce()) {
        let mut state = self.lock();
        state.draw();
        if let Form::Tree(tree) = &mut state.form {
            tree.leave();
        }
        work();
    }

    /// Shows an event of the build of a service, or of a directory.
    pub(super) fn show(&self, service: Option<&str>, event: BuildEvent) {
        self.lock().show(service, &event);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn draw(&mut self) {
        if let Form::Tree(tree) = &mut self.form {
            output::draw(&tree.draw(Instant::now(), output::terminal_size()));
        }
    }

    fn show(&mut self, service: Option<&str>, event: &BuildEvent) {
        match &mut self.form {
            Form::Lines => return output::note(&line(service, event)),
            Form::Tree(tree) => tree.note(service.unwrap_or_default(), event, Instant::now()),
            Form::Quiet => {}
        }
        let key = |step: &StepId| (service.unwrap_or_default().to_owned(), step.clone());
        match event {
            BuildEvent::Output { step, .. } => {
                let lines = self.kept.entry(key(step)).or_default();
                if lines.len() == KEPT_LINES_MAX {
                    lines.pop_front();
                }
                lines.push_back(line(service, event));
            }
            BuildEvent::Done { step, .. } => drop(self.kept.remove(&key(step))),
            BuildEvent::Failed { step } => {
                // The error itself has the last lines.
                let lines = self.kept.remove(&key(step)).unwrap_or_default();
                let earlier = lines.len().saturating_sub(LAST_LINES);
                self.last_words.extend(lines.into_iter().take(earlier));
                self.last_words.push(line(service, event));
            }
            BuildEvent::Started { .. } => {}
        }
    }
}

fn line(service: Option<&str>, event: &BuildEvent) -> String {
    let service = service.map_or(String::new(), |service| format!("{service} "));
    let head = |step: &StepId| format!("[{service}{} {}/{}]", step.name, step.number, step.total);
    match event {
        BuildEvent::Started { step, text } => format!("{} {}", head(step), instruction(text)),
        BuildEvent::Output { step, line } => format!("{}   {line}", head(step)),
        BuildEvent::Done { step, cached: true, .. } if step.number > 1 => format!("{} done before", head(step)),
        BuildEvent::Done { step, milliseconds, .. } => {
            format!("{} done in {}.{} s", head(step), milliseconds / 1000, milliseconds / 100 % 10)
        }
        BuildEvent::Failed { step } => format!("{} failed", head(step)),
    }
}

/// An instruction on one line.
fn instruction(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
