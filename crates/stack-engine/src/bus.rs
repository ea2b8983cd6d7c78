//! The stream of events: one writer, any number of readers, and no reader can hold up the writer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use stack_model::{Event, Now, Stamped};
use tokio::sync::Notify;

/// What the ring holds at most, in events; a plan counts as one for each of its lines. Two hundred services can come up
/// without a reader missing anything.
const WEIGHT_MAX: usize = 4096;

/// Events with their numbers. Clones are the same bus; it stays on one thread.
#[derive(Debug, Clone, Default)]
pub struct EventBus {
    ring: Rc<RefCell<Ring>>,
    changed: Rc<Notify>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Rc<Stamped>>,
    weight: usize,
    /// Number of the last event.
    last: u64,
    closed: bool,
    followers: usize,
}

/// A reader of the bus.
#[derive(Debug)]
pub struct Events {
    bus: EventBus,
    /// The last number that was given out.
    seen: u64,
}

impl EventBus {
    /// A bus without events.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event and tells its number.
    pub fn publish(&self, at: Now, event: Event) -> u64 {
        let mut ring = self.ring.borrow_mut();
        ring.last += 1;
        ring.weight += weight(&event);
        let stamped = Stamped { sequence: ring.last, at, event };
        ring.events.push_back(Rc::new(stamped));
        while ring.weight > WEIGHT_MAX && ring.events.len() > 1 {
            let oldest = ring.events.pop_front();
            ring.weight -= oldest.map_or(0, |oldest| weight(&oldest.event));
        }
        self.changed.notify_waiters();
        ring.last
    }

    /// The number of the last event; 0 before the first.
    pub fn last(&self) -> u64 {
        self.ring.borrow().last
    }

    /// Reads every event with a number above `after`, then those to come. A reader that falls behind the ring gets a
    /// warning in place of what it missed.
    pub fn follow(&self, after: u64) -> Events {
        self.ring.borrow_mut().followers += 1;
        // A number from another supervisor's life may lie ahead of this one's.
        Events { bus: self.clone(), seen: after.min(self.last()) }
    }

    /// Says that nothing more will come: readers end when they have read the rest.
    pub fn close(&self) {
        self.ring.borrow_mut().closed = true;
        self.changed.notify_waiters();
    }

    /// Waits until no reader is left.
    pub async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            if self.ring.borrow().followers == 0 {
                return;
            }
            changed.await;
        }
    }
}

impl Events {
    /// The next event; `None` when the bus is closed and everything was read. Cancel-safe.
    pub async fn next(&mut self) -> Option<Stamped> {
        loop {
            // Taken before the look at the ring, so that nothing that comes in between is missed.
            let notify = Rc::clone(&self.bus.changed);
            let changed = notify.notified();
            if let Some(stamped) = self.take() {
                return Some(stamped);
            }
            if self.bus.ring.borrow().closed {
                return None;
            }
            changed.await;
        }
    }

    /// The next event, if there is one now.
    pub fn take(&mut self) -> Option<Stamped> {
        let ring = self.bus.ring.borrow();
        let first = ring.events.front()?;
        let missed = first.sequence.saturating_sub(self.seen + 1);
        if missed > 0 {
            self.seen = first.sequence - 1;
            let text = format!("{missed} events are not shown: they came faster than they were read");
            return Some(Stamped { sequence: self.seen, at: first.at, event: Event::Warning { text } });
        }
        let place = usize::try_from(self.seen + 1 - first.sequence).ok()?;
        let stamped = Stamped::clone(ring.events.get(place)?);
        self.seen = stamped.sequence;
        Some(stamped)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.bus.ring.borrow_mut().followers -= 1;
        self.bus.changed.notify_waiters();
    }
}

fn weight(event: &Event) -> usize {
    match event {
        Event::Planned { plan, .. } => 1 + plan.ops.len() + plan.blocked.len(),
        Event::Accepted { .. }
        | Event::Rejected { .. }
        | Event::Started(_)
        | Event::Finished { .. }
        | Event::Failed { .. }
        | Event::Exited { .. }
        | Event::Health { .. }
        | Event::Progress { .. }
        | Event::Converged { .. }
        | Event::Down
        | Event::Warning { .. } => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converged(generation: u64) -> Event {
        Event::Converged { generation }
    }

    #[tokio::test]
    async fn a_reader_gets_the_backlog_then_what_comes_then_the_end() {
        let bus = EventBus::new();
        for generation in 1..=3 {
            bus.publish(Now(generation), converged(generation));
        }
        let mut events = bus.follow(1);
        assert_eq!(events.next().await.map(|stamped| stamped.sequence), Some(2));
        assert_eq!(events.next().await.map(|stamped| stamped.sequence), Some(3));
        let publish = async {
            tokio::task::yield_now().await;
            bus.publish(Now(4), Event::Down);
            bus.close();
        };
        let (next, ()) = tokio::join!(events.next(), publish);
        assert_eq!(next.map(|stamped| stamped.event), Some(Event::Down));
        assert_eq!(events.next().await, None);
        drop(events);
        bus.drained().await;
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_missed() {
        let bus = EventBus::new();
        let mut events = bus.follow(0);
        let count = u64::try_from(WEIGHT_MAX).unwrap() + 10;
        for generation in 1..=count {
            bus.publish(Now(generation), converged(generation));
        }
        let first = events.next().await.unwrap();
        assert_eq!(first.sequence, 10);
        assert!(matches!(&first.event, Event::Warning { text } if text.starts_with("10 events")), "{first:?}");
        assert_eq!(events.next().await.unwrap().event, converged(11));
    }

    #[tokio::test]
    async fn a_number_of_an_earlier_supervisor_does_not_hide_events() {
        let bus = EventBus::new();
        let mut events = bus.follow(900);
        bus.publish(Now(1), Event::Down);
        assert_eq!(events.next().await.unwrap().sequence, 1);
    }
}
