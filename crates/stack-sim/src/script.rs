//! What processes do, and what goes wrong.

use stack_model::Millis;

/// What the process of a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    /// It passes its health check from then on.
    pub ready_after: Millis,
    /// It fails its health check until then, instead of having no verdict.
    pub sick: bool,
    /// It ends by itself after this time with this code.
    pub exit: Option<(Millis, i32)>,
    /// Its first runs end with code 1 after 20 ms.
    pub crashes: u32,
    /// How long it takes to stop; `None`: it ignores the signal.
    pub stops_in: Option<Millis>,
}

impl Default for Behaviour {
    /// A server without surprises.
    fn default() -> Self {
        Self { ready_after: Millis(30), sick: false, exit: None, crashes: 0, stops_in: Some(Millis(5)) }
    }
}

/// What goes wrong, each so many times in a thousand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// A step fails before, in the middle of, or after its effect.
    pub fail: u64,
    /// A step panics.
    pub panic: u64,
    /// A wake-up is lost.
    pub lose: u64,
    /// A wake-up comes twice.
    pub duplicate: u64,
    /// A wake-up comes up to a second later, behind others.
    pub delay: u64,
    /// A wake-up comes for no reason, after a step.
    pub noise: u64,
}
