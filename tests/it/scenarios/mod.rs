//! One file a subject; each test is phrased as what must hold.

mod attacks;
mod bad_input;
mod builds;
mod changes;
mod crash;
mod endings;
mod examples;
mod external;
mod files;
mod hooks;
mod images;
mod ipv6;
mod keys;
mod namespaces;
mod policies;
mod recreate;
mod run;
mod signals;
mod surroundings;
mod terminal;
mod verbs;

/// The smallest service: this very program, asleep until it is told to stop.
const SLEEPER: &str = "image: stack.local/self\n    command: [demo, sleep]";
