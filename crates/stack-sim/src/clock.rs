//! Time of the simulation.

use std::time::Duration;

use stack_engine::Clock;
use stack_model::Now;
use tokio::time::Instant;

/// When every simulation begins: some day in 2023.
const BEGINNING: u64 = 1_700_000_000_000;

/// tokio's clock, counted from a fixed point in time.
#[derive(Debug, Clone, Copy)]
pub struct SimClock {
    began: Instant,
}

impl SimClock {
    /// A clock that begins now.
    pub fn new() -> Self {
        Self { began: Instant::now() }
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Now {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now(BEGINNING.saturating_add(millis))
    }

    async fn sleep_until(&self, at: Now) {
        tokio::time::sleep(Duration::from_millis(at.since(self.now()).0)).await;
    }
}
