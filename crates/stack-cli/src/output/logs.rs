//! Lines of containers behind their names.

use std::io::{BufWriter, StdoutLock, Write};

use anstyle::{AnsiColor, Style};
use stack_runtime::log::Line;

/// One colour a container, in turn.
const COLORS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
];

/// How lines are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogStyle {
    pub(crate) prefix: bool,
    pub(crate) timestamps: bool,
    pub(crate) color: bool,
}

/// Writes lines to standard output.
pub(crate) struct LogWriter {
    style: LogStyle,
    names: Vec<String>,
    width: usize,
    colored: bool,
    out: BufWriter<StdoutLock<'static>>,
}

impl LogWriter {
    pub(crate) fn new(style: LogStyle) -> Self {
        let choice = anstream::AutoStream::choice(&std::io::stdout());
        let colored = style.color && choice != anstream::ColorChoice::Never;
        Self { style, names: Vec::new(), width: 0, colored, out: BufWriter::new(std::io::stdout().lock()) }
    }

    /// Makes room for a name.
    pub(crate) fn know(&mut self, name: &str) {
        self.width = self.width.max(name.chars().count());
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
    }

    /// Writes a line; `false` when nobody reads any more.
    pub(crate) fn write(&mut self, name: &str, line: &Line) -> bool {
        self.try_write(name, line).is_ok()
    }

    fn try_write(&mut self, name: &str, line: &Line) -> std::io::Result<()> {
        if self.style.prefix {
            let number = self.names.iter().position(|known| known == name).unwrap_or(0);
            let style = if self.colored { COLORS[number % COLORS.len()].on_default() } else { Style::new() };
            write!(self.out, "{style}{name:width$}  |{style:#} ", width = self.width)?;
        }
        if self.style.timestamps {
            let time = jiff::Timestamp::from_nanosecond(i128::from(line.time_ns)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            write!(self.out, "{time:.9} ")?;
        }
        self.out.write_all(&line.text)?;
        self.out.write_all(b"\n")
    }

    pub(crate) fn flush(&mut self) {
        // A reader that is gone is noticed at the next line.
        drop(self.out.flush());
    }
}
