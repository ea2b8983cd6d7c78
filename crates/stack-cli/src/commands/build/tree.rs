//! Progress of builds as a tree that is drawn again in place: a row a step, with its last line of output while it runs.

use std::time::Instant;

use stack_build::{BuildEvent, StepId};

use crate::output::elapsed;
use crate::output::tty::{CYAN, DIM, GREEN, RED, cut, pad, spinner};

/// The tree.
#[derive(Debug, Default)]
pub(super) struct Tree {
    rows: Vec<Row>,
    began: Option<Instant>,
    /// Lines on the screen that the next drawing replaces.
    drawn: usize,
}

#[derive(Debug)]
struct Row {
    service: String,
    step: StepId,
    text: String,
    state: State,
    began: Instant,
    /// What the step wrote last.
    said: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Busy,
    Cached,
    Done { milliseconds: u64 },
    Failed,
}

impl Tree {
    /// Takes an event of the build of a service.
    pub(super) fn note(&mut self, service: &str, event: &BuildEvent, now: Instant) {
        self.began.get_or_insert(now);
        let (BuildEvent::Started { step, .. }
        | BuildEvent::Output { step, .. }
        | BuildEvent::Done { step, .. }
        | BuildEvent::Failed { step }) = event;
        let known = self.rows.iter().position(|row| row.service == service && row.step == *step);
        let index = known.unwrap_or_else(|| {
            let (text, said) = (String::new(), String::new());
            let row =
                Row { service: service.to_owned(), step: step.clone(), text, state: State::Busy, began: now, said };
            // Those of one stage stand together, in the order of the stages.
            let key = |row: &Row| (row.service.clone(), row.step.clone());
            let place = self.rows.iter().position(|other| key(other) > key(&row)).unwrap_or(self.rows.len());
            self.rows.insert(place, row);
            place
        });
        let row = &mut self.rows[index];
        match event {
            BuildEvent::Started { text, .. } => row.text = text.split_whitespace().collect::<Vec<_>>().join(" "),
            BuildEvent::Output { line, .. } => line.trim().clone_into(&mut row.said),
            BuildEvent::Done { cached: true, .. } => row.state = State::Cached,
            BuildEvent::Done { milliseconds, .. } => row.state = State::Done { milliseconds: *milliseconds },
            BuildEvent::Failed { .. } => row.state = State::Failed,
        }
    }

    /// The text that replaces the last drawing: at most `height` - 1 lines, none wider than `width`.
    pub(super) fn draw(&mut self, now: Instant, (width, height): (usize, usize)) -> String {
        let mut text = match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        };
        let lines = self.lines(now, width, height);
        self.drawn = lines.len();
        lines.iter().for_each(|line| text.extend([line.as_str(), "\n"]));
        text
    }

    /// Leaves the last drawing on the screen: the next stands below it.
    pub(super) fn leave(&mut self) {
        self.drawn = 0;
    }

    fn lines(&self, now: Instant, width: usize, height: usize) -> Vec<String> {
        let Some(began) = self.began else { return Vec::new() };
        let done = self.rows.iter().filter(|row| row.state != State::Busy).count();
        let total = elapsed(now.duration_since(began));
        let mut lines = vec![cut(&format!("build {done}/{} {total}", self.rows.len()), width)];
        let room = height.saturating_sub(2).max(1);
        let busy = |row: &Row| row.state == State::Busy && !row.said.is_empty();
        let wanted: usize = self.rows.iter().map(|row| 1 + usize::from(busy(row))).sum();
        // What is under way is worth more than what is done, once the screen is too small for both.
        let mut to_hide = wanted.saturating_sub(room);
        for row in &self.rows {
            if to_hide > 0 && matches!(row.state, State::Cached | State::Done { .. }) {
                to_hide -= 1;
                continue;
            }
            lines.push(row.line(now, width));
            if busy(row) {
                lines.push(format!("{DIM}{}{DIM:#}", cut(&format!("     {}", row.said), width)));
            }
        }
        lines.truncate(room + 1);
        lines
    }
}

impl Row {
    fn line(&self, now: Instant, width: usize) -> String {
        let running = now.duration_since(self.began);
        let (mark, style, time) = match self.state {
            State::Busy => (spinner(crate::context::now()), CYAN, elapsed(running)),
            State::Cached => ('✔', DIM, "cached".to_owned()),
            State::Done { milliseconds } => ('✔', GREEN, elapsed(std::time::Duration::from_millis(milliseconds))),
            State::Failed => ('✘', RED, "failed".to_owned()),
        };
        let StepId { name, number, total, .. } = &self.step;
        let service = if self.service.is_empty() { String::new() } else { format!("{} ", self.service) };
        let subject = cut(&format!("{service}{name} {number}/{total}"), width / 3);
        // Mark, spaces and time surround the text.
        let room = width.saturating_sub(subject.chars().count() + time.chars().count() + 6);
        let text = pad(&cut(&self.text, room), room.min(40));
        format!(" {style}{mark}{style:#} {subject}  {text} {DIM}{time}{DIM:#}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn step(number: usize) -> StepId {
        StepId { stage: 0, name: "base".to_owned(), number, total: 3 }
    }

    fn tree(began: Instant) -> Tree {
        let mut tree = Tree::default();
        let started = |number, text: &str| BuildEvent::Started { step: step(number), text: text.to_owned() };
        tree.note("web", &started(1, "FROM  debian"), began);
        tree.note("web", &BuildEvent::Done { step: step(1), cached: true, milliseconds: 0 }, began);
        tree.note("web", &started(2, "COPY . /"), began);
        tree.note("web", &BuildEvent::Done { step: step(2), cached: false, milliseconds: 1200 }, began);
        tree.note("web", &started(3, "RUN make"), began);
        tree.note("web", &BuildEvent::Output { step: step(3), line: "compiling".to_owned() }, began);
        tree
    }

    fn drawing(tree: &mut Tree, now: Instant, size: (usize, usize)) -> Vec<String> {
        let text = anstream::adapter::strip_str(&tree.draw(now, size)).to_string();
        text.lines().map(|line| line.trim_start_matches(|c: char| " ⣾⣽⣻⢿⡿⣟⣯⣷".contains(c)).to_owned()).collect()
    }

    #[test]
    fn a_row_a_step_and_the_last_words_of_what_runs() {
        let began = Instant::now();
        let lines = drawing(&mut tree(began), began + Duration::from_secs(2), (80, 24));
        assert_eq!(lines[0], "build 2/3 2.0s");
        assert!(lines[1].starts_with("✔ web base 1/3  FROM debian") && lines[1].ends_with("cached"), "{lines:?}");
        assert!(lines[2].starts_with("✔ web base 2/3  COPY . /") && lines[2].ends_with("1.2s"), "{lines:?}");
        assert!(lines[3].starts_with("web base 3/3  RUN make") && lines[3].ends_with("2.0s"), "{lines:?}");
        assert_eq!(lines[4], "compiling");
    }

    #[test]
    fn a_small_screen_shows_what_is_under_way() {
        let began = Instant::now();
        let lines = drawing(&mut tree(began), began, (40, 4));
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].contains("RUN make") && lines[2] == "compiling", "{lines:?}");
        assert!(
            tree(began).draw(began, (20, 24)).lines().all(|line| anstream::adapter::strip_str(line)
                .to_string()
                .chars()
                .count()
                <= 20)
        );
        let mut tree = tree(began);
        assert!(!tree.draw(began, (40, 24)).starts_with('\x1b'));
        assert!(tree.draw(began, (40, 24)).starts_with("\x1b[5A\x1b[J"));
    }
}
