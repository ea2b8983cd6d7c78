//! Waiting for an observable fact, never for a time.

use std::time::{Duration, Instant};

/// A fact that does not hold by then will not: the machine may be busy with other tests.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `fact` gives a value, and returns it.
///
/// # Panics
/// When it does not within 30 seconds; the message says what was waited for and what was last seen.
pub fn eventually<T>(what: &str, mut fact: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match fact() {
            Ok(value) => return value,
            Err(seen) => assert!(start.elapsed() < DEADLINE, "never: {what}; last seen: {seen}"),
        }
        // A look is a poll(2) on nothing: the facts come from other processes and have no event of their own here.
        let _ = rustix::event::poll(
            &mut [],
            Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: PAUSE.subsec_nanos().into() }),
        );
    }
}
