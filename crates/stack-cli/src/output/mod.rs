//! Everything that is printed: results on standard output, progress and complaints on standard error.

#[cfg(test)]
mod broken_tests;
mod diagnostics;
mod json;
mod log_lines;
mod plain;
#[cfg(test)]
mod samples;
mod table;
pub(crate) mod tty;
mod words;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use stack_model::{Diagnostic, Failure, Fault, Stamped};

pub(crate) use log_lines::{LineStyle, Speaker, render as log_line};
pub(crate) use table::render as table;
pub(crate) use words::{complaint, elapsed, roughly, short_subject};

use crate::arguments::{Ansi, Progress};
use crate::context::now;
use crate::error::{Casualty, CliError};

const RED: Style = AnsiColor::Red.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();
const DIM: Style = Style::new().dimmed();
/// Where the terminal does not tell its size.
const DEFAULT_SIZE: (usize, usize) = (100, 24);

/// Decides about colour once, for everything that is printed.
pub(crate) fn set_ansi(ansi: Ansi) {
    match ansi {
        Ansi::Auto => {}
        Ansi::Never => anstream::ColorChoice::Never.write_global(),
        Ansi::Always => anstream::ColorChoice::Always.write_global(),
    }
}

/// Whether standard output shows colours.
pub(crate) fn has_colour() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// Writes a result.
pub(crate) fn result(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| CliError::output(&error))
}

/// Writes a result of one line.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    result(format!("{text}\n").as_bytes())
}

/// Says something about what is done.
pub(crate) fn note(text: &str) {
    complain(&format!("{text}\n"));
}

/// Puts a drawing on the terminal.
pub(crate) fn draw(text: &str) {
    complain(text);
}

/// Progress can be drawn in place.
pub(crate) fn is_terminal() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Nobody can be told that nobody can be told.
fn complain(text: &str) {
    drop(anstream::stderr().lock().write_all(text.as_bytes()));
}

/// Shows mistakes in the input.
pub(crate) fn report_diagnostics(diagnostics: &[Diagnostic], texts: &BTreeMap<String, String>) {
    if !diagnostics.is_empty() {
        complain(&diagnostics::render(diagnostics, texts, terminal_size().0));
    }
}

/// Shows mistakes in the input to a program, one a line.
pub(crate) fn report_as_json(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        complain(&format!("{}\n", serde_json::to_string(diagnostic).unwrap_or_default()));
    }
}

/// Shows why a verb failed and returns its exit code.
pub(crate) fn report_error(error: &CliError) -> u8 {
    match error {
        CliError::Code(code) => return *code,
        CliError::Project { diagnostics, texts } => report_diagnostics(diagnostics, texts),
        CliError::Failed(failure) => {
            let (message, hint) = (failure.message.clone(), hint(failure));
            complain(&error_text(&Casualty { message, hint, ..Casualty::default() }));
        }
        CliError::Incomplete(casualties) => {
            for casualty in casualties {
                report_casualty(casualty);
            }
        }
    }
    1
}

/// What to do next; a missing permission has one answer nearly everywhere.
fn hint(failure: &Failure) -> Option<String> {
    let ours = || "run as root, or give directories of your own with --root and --run-dir".to_owned();
    failure.hint.clone().or_else(|| (failure.fault == Fault::Denied).then(ours))
}

/// Shows one part that is missing.
pub(crate) fn report_casualty(casualty: &Casualty) {
    complain(&error_text(casualty));
}

fn error_text(casualty: &Casualty) -> String {
    let Casualty { subject, message, place, hint, waiting, last_lines } = casualty;
    let subject = if subject.is_empty() { String::new() } else { format!("{subject}: ") };
    let mut text = format!("{RED}error{RED:#}: {subject}{message}\n");
    let mut add = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    place.iter().for_each(|place| add(format!("  {DIM}-->{DIM:#} {place}")));
    last_lines.iter().for_each(|line| add(format!("  {DIM}| {line}{DIM:#}")));
    waiting.iter().for_each(|line| add(format!("  {line}")));
    hint.iter().for_each(|hint| add(format!("{CYAN}hint{CYAN:#}: {hint}")));
    text
}

/// Columns and rows of the terminal on standard error.
pub(crate) fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => (size.ws_col.into(), size.ws_row.into()),
        Ok(_) | Err(_) => DEFAULT_SIZE,
    }
}

/// Progress, in one of its forms.
#[derive(Debug)]
pub(crate) enum Display {
    /// In place.
    Tree(tty::Tree),
    /// Line by line.
    Plain(plain::Lines),
    /// As it is.
    Json,
    /// Not at all.
    Quiet,
}

impl Display {
    /// What the user asked for; a tree only where there is a terminal to draw it on.
    pub(crate) fn new(progress: Progress) -> Self {
        match progress {
            Progress::Auto if is_terminal() => Self::Tree(tty::Tree::default()),
            Progress::Tty => Self::Tree(tty::Tree::default()),
            Progress::Auto | Progress::Plain => Self::Plain(plain::Lines::default()),
            Progress::Json => Self::Json,
            Progress::Quiet => Self::Quiet,
        }
    }

    /// Shows an event.
    pub(crate) fn show(&mut self, event: &Stamped) {
        let line = match self {
            Self::Tree(tree) => {
                tree.note(event);
                return;
            }
            Self::Plain(lines) => lines.line(event),
            Self::Json => json::line(event),
            Self::Quiet => None,
        };
        if let Some(line) = line {
            note(&line);
        }
    }

    /// Draws what has changed since the last time.
    pub(crate) fn draw(&mut self) {
        if let Self::Tree(tree) = self {
            let (width, height) = terminal_size();
            complain(&tree.draw(now(), width, height));
        }
    }

    /// When to draw again although nothing happened.
    pub(crate) fn frame(&self) -> Option<Duration> {
        match self {
            Self::Tree(tree) if tree.is_busy() => Some(tty::FRAME),
            Self::Tree(_) | Self::Plain(_) | Self::Json | Self::Quiet => None,
        }
    }

    /// Takes the drawing off the screen, so that something else can be written.
    pub(crate) fn clear(&mut self) {
        if let Self::Tree(tree) = self {
            complain(&tree.erase());
        }
    }

    /// Leaves the last drawing on the screen. What follows is shown as lines.
    pub(crate) fn settle(&mut self) {
        self.draw();
        if matches!(self, Self::Tree(_)) {
            *self = Self::Plain(plain::Lines::default());
        }
    }
}
