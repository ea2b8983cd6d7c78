//! The event stream: one writer, any number of readers, none of which can hold the writer up.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use stack_model::{Event, Now, Stamped};
use tokio::sync::Notify;

/// Events that are kept for readers that come late or read slowly.
const KEPT_MAX: usize = 4096;

/// The events of one supervisor. Lives on one thread; clones are the same stream.
#[derive(Debug, Clone, Default)]
pub struct EventBus {
    inner: Rc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: RefCell<Stream>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Stream {
    kept: VecDeque<Stamped>,
    sequence: u64,
    closed: bool,
    followers: usize,
}

impl EventBus {
    /// A stream without events.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an event.
    pub fn tell(&self, at: Now, event: Event) {
        let mut stream = self.inner.state.borrow_mut();
        stream.sequence += 1;
        let sequence = stream.sequence;
        if stream.kept.len() == KEPT_MAX {
            stream.kept.pop_front();
        }
        stream.kept.push_back(Stamped { sequence, at, event });
        drop(stream);
        self.inner.changed.notify_waiters();
    }

    /// The number of the last event.
    pub fn sequence(&self) -> u64 {
        self.inner.state.borrow().sequence
    }

    /// Says that no event follows.
    pub fn close(&self) {
        self.inner.state.borrow_mut().closed = true;
        self.inner.changed.notify_waiters();
    }

    /// Reads every event with a number above `after`.
    pub fn follow(&self, after: u64) -> Follower {
        self.inner.state.borrow_mut().followers += 1;
        Follower { bus: self.clone(), after }
    }

    /// Ends when the stream is closed and every reader has read it to its end.
    pub async fn drained(&self) {
        loop {
            let changed = self.inner.changed.notified();
            {
                let stream = self.inner.state.borrow();
                if stream.closed && stream.followers == 0 {
                    return;
                }
            }
            changed.await;
        }
    }
}

/// A reader of an [`EventBus`].
#[derive(Debug)]
pub struct Follower {
    bus: EventBus,
    after: u64,
}

impl Follower {
    /// The next event; `None` at the end of the stream. A reader that was too slow is told so.
    pub async fn next(&mut self) -> Option<Stamped> {
        let inner = Rc::clone(&self.bus.inner);
        loop {
            let changed = inner.changed.notified();
            if let Some(next) = self.take() {
                return next;
            }
            changed.await;
        }
    }

    /// `None` when there is nothing yet, `Some(None)` at the end.
    fn take(&mut self) -> Option<Option<Stamped>> {
        let stream = self.bus.inner.state.borrow();
        let first = stream.kept.front().map_or(stream.sequence + 1, |first| first.sequence);
        if self.after + 1 < first {
            let missed = first - self.after - 1;
            self.after = first - 1;
            let at = stream.kept.front().map(|first| first.at).unwrap_or_default();
            let text = format!("{missed} events are no longer kept");
            return Some(Some(Stamped { sequence: self.after, at, event: Event::Warning { text } }));
        }
        let index = usize::try_from(self.after + 1 - first).ok()?;
        if let Some(next) = stream.kept.get(index) {
            self.after = next.sequence;
            return Some(Some(next.clone()));
        }
        stream.closed.then_some(None)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.bus.inner.state.borrow_mut().followers -= 1;
        self.bus.inner.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(text: &str) -> Event {
        Event::Warning { text: text.to_owned() }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn late_readers_get_what_was_and_then_what_comes() {
        let bus = EventBus::new();
        bus.tell(Now(1), warning("a"));
        bus.tell(Now(2), warning("b"));
        let mut follower = bus.follow(1);
        assert_eq!(follower.next().await.unwrap().event, warning("b"));
        bus.tell(Now(3), warning("c"));
        bus.close();
        assert_eq!(follower.next().await.unwrap().sequence, 3);
        assert_eq!(follower.next().await, None);
        drop(follower);
        bus.drained().await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_slow_reader_is_told_what_it_missed() {
        let bus = EventBus::new();
        let mut follower = bus.follow(0);
        for number in 0..=KEPT_MAX {
            bus.tell(Now(0), warning(&number.to_string()));
        }
        assert_eq!(follower.next().await.unwrap().event, warning("1 events are no longer kept"));
        assert_eq!(follower.next().await.unwrap().event, warning("1"));
    }
}
