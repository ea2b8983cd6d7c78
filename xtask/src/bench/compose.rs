//! The files that both sides read.

use std::fmt::Write;

/// The image of every service.
pub(super) const IMAGE: &str = "busybox:latest";
/// The same with another environment: what an edited `image` leads to.
pub(super) const OTHER_IMAGE: &str = "busybox:other";
/// The variable by which [`OTHER_IMAGE`] is recognised in a process.
pub(super) const OTHER_MARK: &str = "STACK_BENCH=other";
/// Ends at once when it is asked to: what is measured is the system, not the application.
const POLITE: &str = "trap 'exit 0' TERM; sleep 100000 & wait";

/// What a project looks like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Number of services.
    pub(super) count: usize,
    /// Each depends on the one before it.
    chained: bool,
    /// Process 1 does not hear SIGTERM.
    pub(super) deaf: bool,
}

impl Shape {
    pub(super) fn flat(count: usize) -> Self {
        Self { count, chained: false, deaf: false }
    }

    pub(super) fn chain(count: usize) -> Self {
        Self { count, chained: true, deaf: false }
    }

    pub(super) fn deaf(count: usize) -> Self {
        Self { count, chained: false, deaf: true }
    }
}

/// The whole file of a shape.
pub(super) fn file(shape: Shape) -> String {
    let mut text = "services:\n".to_owned();
    for number in 1..=shape.count {
        let command = if shape.deaf { "[sleep, '100000']".to_owned() } else { format!("[sh, -c, \"{POLITE}\"]") };
        let after =
            if shape.chained && number > 1 { format!("    depends_on: [s{}]\n", number - 1) } else { String::new() };
        let _ =
            write!(text, "  s{number}:\n    image: {IMAGE}\n    pull_policy: never\n    command: {command}\n{after}");
    }
    text
}

/// One service with a memory limit.
pub(super) fn limited(image: &str, mebibytes: u32) -> String {
    format!(
        "services:\n  s1:\n    image: {image}\n    pull_policy: never\n    command: [sh, -c, \"{POLITE}\"]\n    mem_limit: {mebibytes}m\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_has_one_edge_less_than_services() {
        let text = file(Shape::chain(10));
        assert_eq!((text.matches("image:").count(), text.matches("depends_on: [s").count()), (10, 9));
    }
}
