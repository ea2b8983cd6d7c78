//! Units: every number that has one carries it in its type.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A duration in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

/// A share of processor time in billionths of one processor: `1_500_000_000` is one and a half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoCpus(pub u64);

/// A point in time: milliseconds since the Unix epoch. Pure code receives it as an argument.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Now(pub u64);

impl Now {
    /// The point `later` after this one.
    #[must_use]
    pub fn plus(self, later: Millis) -> Self {
        Self(self.0.saturating_add(later.0))
    }

    /// The time that has passed since `earlier`; zero if `earlier` lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Bytes {
    /// The largest binary unit that divides the number, as the file would write it: `128m`, `1536k`, `100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "t"), (30, "g"), (20, "m"), (10, "k")] {
            if self.0 > 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Millis {
    /// Seconds where they are whole: `10s`, else `250ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0 && self.0.is_multiple_of(1000) {
            write!(f, "{}s", self.0 / 1000)
        } else {
            write!(f, "{}ms", self.0)
        }
    }
}

impl fmt::Display for NanoCpus {
    /// A decimal number of processors without trailing zeros: `0.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{rest:09}").trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_print_as_the_file_writes_them() {
        assert_eq!(Bytes(128 << 20).to_string(), "128m");
        assert_eq!(Bytes(1536 << 10).to_string(), "1536k");
        assert_eq!(Bytes(0).to_string(), "0");
        assert_eq!(Bytes(100).to_string(), "100");
        assert_eq!(Millis(10_000).to_string(), "10s");
        assert_eq!(Millis(250).to_string(), "250ms");
        assert_eq!(NanoCpus(500_000_000).to_string(), "0.5");
        assert_eq!(NanoCpus(2_000_000_000).to_string(), "2");
    }
}
