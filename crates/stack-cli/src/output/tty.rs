//! Progress as a tree that is drawn again in place.

use std::collections::BTreeMap;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use stack_model::{Blocked, Event, Health, Key, Now, OpReport, Plan, Stamped, Until};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::words;

/// Time between two drawings while something is under way.
pub(crate) const FRAME: Duration = Duration::from_millis(100);
const SPINNER: [char; 8] = ['⣾', '⣽', '⣻', '⢿', '⡿', '⣟', '⣯', '⣷'];
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const CYAN: Style = AnsiColor::Cyan.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();

/// The tree.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    rows: Vec<Row>,
    /// What things wait for once their present step is done.
    waits: BTreeMap<Key, String>,
    began: Option<Now>,
    /// Lines on the screen that the next drawing replaces.
    drawn: usize,
}

#[derive(Debug)]
struct Row {
    key: Key,
    text: String,
    mark: Mark,
    began: Now,
    ended: Now,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Busy,
    Waiting,
    Done,
    Failed,
}

impl Tree {
    /// Takes an event; `true` when something changed that is shown.
    pub(crate) fn note(&mut self, stamped: &Stamped) -> bool {
        let at = stamped.at;
        self.began.get_or_insert(at);
        match &stamped.event {
            Event::Started(op) => self.set_step(op, words::step(op).doing, Mark::Busy, at),
            Event::Finished { op, .. } if self.waits.contains_key(&op.key) => {
                let text = self.waits[&op.key].clone();
                self.set(&op.key, text, Mark::Waiting, at);
            }
            // The signal is sent; the end of the process is an event of its own.
            Event::Finished { op, .. } if words::is_signal(op) => self.set_step(op, "stopping", Mark::Busy, at),
            Event::Finished { op, .. } => self.set_step(op, words::step(op).done, Mark::Done, at),
            Event::Failed { op, failure, .. } => {
                let verb = op.action.split(' ').next().unwrap_or_default();
                self.set_step(op, &words::complaint(verb, &failure.message), Mark::Failed, at);
            }
            Event::Progress { key, text, done, total } => {
                let share = if *total > 0 { format!(" {}%", done.saturating_mul(100) / total) } else { String::new() };
                self.set(key, format!("{text}{share}"), Mark::Busy, at);
            }
            Event::Planned { plan, .. } => self.note_waiting(plan, at),
            Event::Exited { service, index, exit, .. } => {
                let key = Key::Container(service.clone(), *index);
                let mark = if exit.code == Some(0) || exit.requested { Mark::Done } else { Mark::Failed };
                let text = if exit.requested { "stopped".to_owned() } else { exit.to_string() };
                self.set(&key, text, mark, at);
            }
            Event::Health { service, index, health, .. } => {
                let key = Key::Container(service.clone(), *index);
                match health {
                    Health::Healthy => self.set(&key, "healthy".to_owned(), Mark::Done, at),
                    Health::Unhealthy { .. } => self.set(&key, "unhealthy".to_owned(), Mark::Failed, at),
                    Health::None | Health::Starting => return false,
                }
            }
            Event::Accepted { .. }
            | Event::Rejected { .. }
            | Event::Converged { .. }
            | Event::Down
            | Event::Warning { .. } => return false,
        }
        true
    }

    /// Something is under way, so the spinner turns.
    pub(crate) fn is_busy(&self) -> bool {
        self.rows.iter().any(|row| matches!(row.mark, Mark::Busy | Mark::Waiting))
    }

    fn set_step(&mut self, op: &OpReport, text: &str, mark: Mark, at: Now) {
        // Rules and names are part of what the containers are; only their failure is news.
        if matches!(op.key, Key::Ruleset | Key::Names) && mark != Mark::Failed {
            return;
        }
        let reason = words::reason(op).filter(|_| mark != Mark::Failed);
        let text = reason.map_or_else(|| text.to_owned(), |reason| format!("{text} ({reason})"));
        self.set(&op.key, text, mark, at);
    }

    fn set(&mut self, key: &Key, text: String, mark: Mark, at: Now) {
        let position = self.rows.iter().position(|row| row.key == *key);
        let position = position.unwrap_or_else(|| {
            let began = Row { key: key.clone(), text: String::new(), mark, began: at, ended: at };
            self.rows.push(began);
            self.rows.len() - 1
        });
        let row = &mut self.rows[position];
        row.text = text;
        row.mark = mark;
        row.ended = at;
    }

    fn note_waiting(&mut self, plan: &Plan, at: Now) {
        let is_news = |blocked: &&Blocked| match blocked.until {
            Until::Dependency { .. } | Until::Image(_) => !matches!(blocked.key, Key::Ruleset | Key::Names),
            Until::Time(..) | Until::Done(_) | Until::Exited(_) | Until::Hooks(..) | Until::Failed(_) => false,
        };
        let waits = plan.blocked.iter().filter(is_news);
        self.waits = waits.map(|blocked| (blocked.key.clone(), format!("waiting {}", blocked.until))).collect();
        let busy = |key: &Key| self.rows.iter().any(|row| row.key == *key && row.mark == Mark::Busy);
        let planned = |key: &Key| plan.ops.iter().any(|op| op.key == *key);
        let idle: Vec<(Key, String)> = self
            .waits
            .iter()
            .filter(|(key, _)| !busy(key) && !planned(key))
            .map(|(key, text)| (key.clone(), text.clone()))
            .collect();
        for (key, text) in idle {
            self.set(&key, text, Mark::Waiting, at);
        }
    }

    /// The text that replaces the last drawing: at most `height` - 1 lines, none wider than `width`.
    pub(crate) fn draw(&mut self, now: Now, width: usize, height: usize) -> String {
        let mut text = self.erase();
        if self.rows.is_empty() {
            return text;
        }
        let lines = self.lines(now, width, height);
        self.drawn = lines.len();
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// The text that takes the last drawing off the screen.
    pub(crate) fn erase(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }

    fn lines(&self, now: Now, width: usize, height: usize) -> Vec<String> {
        let done = self.rows.iter().filter(|row| row.mark == Mark::Done).count();
        let time = words::elapsed(Duration::from_millis(now.since(self.began.unwrap_or(now)).0));
        let mut lines = vec![format!("{done}/{} {DIM}{time}{DIM:#}", self.rows.len())];
        let room = height.saturating_sub(2).max(1);
        // What is under way is worth more than what is done, once the screen is too small for both.
        let hidden = self.rows.len().saturating_sub(room);
        let mut to_hide = hidden;
        let subjects: Vec<String> = self.rows.iter().map(|row| words::subject(&row.key)).collect();
        let column = subjects.iter().map(|subject| subject.width()).max().unwrap_or(0).min(width / 3);
        for (row, subject) in self.rows.iter().zip(&subjects) {
            if to_hide > 0 && row.mark == Mark::Done {
                to_hide -= 1;
                continue;
            }
            lines.push(row.line(subject, column, now, width));
        }
        lines.truncate(room + 1);
        lines
    }
}

impl Row {
    fn line(&self, subject: &str, column: usize, now: Now, width: usize) -> String {
        let (mark, style) = match self.mark {
            Mark::Busy => (spinner(now), CYAN),
            Mark::Waiting => (spinner(now), YELLOW),
            Mark::Done => ('✔', GREEN),
            Mark::Failed => ('✘', RED),
        };
        let end = if matches!(self.mark, Mark::Busy | Mark::Waiting) { now } else { self.ended };
        let time = words::elapsed(Duration::from_millis(end.since(self.began).0));
        let subject = pad(&cut(subject, column), column);
        // Mark, spaces and time surround the text.
        let room = width.saturating_sub(column + time.width() + 6);
        let text = pad(&cut(&self.text, room), room.min(24));
        format!(" {style}{mark}{style:#} {subject}  {style}{text}{style:#} {DIM}{time}{DIM:#}")
    }
}

pub(crate) fn spinner(now: Now) -> char {
    let frame = now.0 / u64::try_from(FRAME.as_millis()).unwrap_or(1);
    SPINNER[usize::try_from(frame % SPINNER.len() as u64).unwrap_or(0)]
}

/// The beginning of a text, at most `width` columns of it.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let text = text.lines().next().unwrap_or_default();
    if width == 0 {
        return String::new();
    }
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    short
}

pub(crate) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn drawing(width: usize, height: usize) -> String {
        let mut tree = Tree::default();
        for event in samples::events() {
            tree.note(&event);
        }
        anstream::adapter::strip_str(&tree.draw(Now(2000), width, height)).to_string()
    }

    #[test]
    fn a_row_a_thing() {
        insta::assert_snapshot!(drawing(80, 24), @r"
        3/4 1.9s
         ✔ image web:2      pulled                   200ms
         ✔ network default  created                  100ms
         ✔ container web-1  created (compose.yaml:9 image web:1 -> web:2) 100ms
         ✘ container db-1   unhealthy                300ms
        ");
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_or_higher() {
        for (width, height) in [(30, 24), (20, 3), (80, 4)] {
            let drawing = drawing(width, height);
            assert!(drawing.lines().all(|line| line.width() <= width), "{width}\n{drawing}");
            assert!(drawing.lines().count() < height, "{height}\n{drawing}");
        }
    }

    #[test]
    fn a_drawing_replaces_the_last_one() {
        let mut tree = Tree::default();
        assert_eq!(tree.draw(Now(0), 80, 24), "");
        tree.note(&samples::events()[0]);
        assert!(!tree.draw(Now(0), 80, 24).starts_with('\x1b'));
        assert!(tree.draw(Now(0), 80, 24).starts_with("\x1b[2A\x1b[J"));
    }
}
