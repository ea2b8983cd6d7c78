//! What the plan must remember and cannot see: the journal's content.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Failure, Key, Now, ServiceName};

/// Memory of the engine. Losing it must not restart a container: it only loses patience and numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Grows with every container that was created, so that two never share an identifier.
    pub sequence: u64,
    /// Restarts of each container in its current crash loop, by service and number.
    #[serde(default, with = "pairs")]
    pub restarts: BTreeMap<(ServiceName, u32), Restarts>,
    /// Operations that failed, by what they were about.
    #[serde(default, with = "pairs")]
    pub failed: BTreeMap<Key, Failed>,
}

/// A crash loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// Restarts since the last stable run.
    pub count: u32,
    /// The last one.
    pub last: Now,
}

/// An operation that failed and will be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The operation as the plan shows it.
    pub op: String,
    /// Why.
    pub failure: Failure,
    /// How often in a row.
    pub attempts: u32,
    /// When it may be tried again.
    pub not_before: Now,
    /// The generation it failed under; a newer one tries at once.
    pub generation: u64,
}

/// Maps with keys that JSON cannot have, as lists of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S, K, V>(map: &BTreeMap<K, V>, serializer: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        K: Serialize,
        V: Serialize,
    {
        serializer.collect_seq(map.iter())
    }

    pub(super) fn deserialize<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        D: Deserializer<'de>,
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}
