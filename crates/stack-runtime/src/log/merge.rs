//! Several logs as one, by time.

use std::collections::VecDeque;
use std::io;
use std::ops::RangeInclusive;

use super::reader::{Line, LogReader};

/// Merges the logs of several containers; `T` says whose a line is.
#[derive(Debug)]
pub struct LogMerge<T> {
    sources: Vec<Source<T>>,
}

#[derive(Debug)]
struct Source<T> {
    tag: T,
    reader: LogReader,
    lines: VecDeque<Line>,
    /// It has said that there is no line, and nothing has happened since.
    dry: bool,
}

impl<T> Default for LogMerge<T> {
    fn default() -> Self {
        Self { sources: Vec::new() }
    }
}

impl<T> LogMerge<T> {
    /// Adds a log.
    pub fn push(&mut self, tag: T, reader: LogReader) {
        self.sources.push(Source { tag, reader, lines: VecDeque::new(), dry: false });
    }

    /// Whose logs these are.
    pub fn tags(&self) -> impl Iterator<Item = &T> {
        self.sources.iter().map(|source| &source.tag)
    }

    /// Drops all but the last `count` lines of each log so far, as `--tail` wants it, and those of other times
    /// (nanoseconds since the epoch).
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn keep_tail(&mut self, count: Option<usize>, times_ns: RangeInclusive<u64>) -> io::Result<()> {
        if count.is_none() && times_ns == (0..=u64::MAX) {
            return Ok(());
        }
        for source in &mut self.sources {
            while let Some(line) = source.reader.next_line()? {
                if !times_ns.contains(&line.time_ns) {
                    continue;
                }
                source.lines.push_back(line);
                if count.is_some_and(|count| source.lines.len() > count) {
                    source.lines.pop_front();
                }
            }
        }
        Ok(())
    }

    /// Looks again at logs that had no more lines.
    pub fn refresh(&mut self) {
        for source in &mut self.sources {
            source.dry = false;
        }
    }

    /// The earliest line of all that is there.
    ///
    /// # Errors
    /// A log cannot be read.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend the tag")]
    pub fn next(&mut self) -> io::Result<Option<(&T, Line)>> {
        for source in &mut self.sources {
            if source.lines.is_empty() && !source.dry {
                match source.reader.next_line()? {
                    Some(line) => source.lines.push_back(line),
                    None => source.dry = true,
                }
            }
        }
        Ok(self.pop_earliest())
    }

    /// Ends the logs that `ended` names: their lines without an end become lines. Call it when nobody writes to them.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn finish(&mut self, ended: impl Fn(&T) -> bool) -> io::Result<()> {
        for source in self.sources.iter_mut().filter(|source| ended(&source.tag)) {
            while let Some(line) = source.reader.next_line()? {
                source.lines.push_back(line);
            }
            source.lines.extend(source.reader.take_rest()?);
        }
        Ok(())
    }

    /// Forgets the logs that `gone` names.
    pub fn remove(&mut self, gone: impl Fn(&T) -> bool) {
        self.sources.retain(|source| !gone(&source.tag));
    }

    fn pop_earliest(&mut self) -> Option<(&T, Line)> {
        let time = |source: &Source<T>| source.lines.front().map(|line| line.time_ns);
        let ready = self.sources.iter_mut().filter_map(|source| Some((time(source)?, source)));
        let (_, source) = ready.min_by_key(|(time, _)| *time)?;
        let line = source.lines.pop_front()?;
        Some((&source.tag, line))
    }
}
