//! A table as a value, rendered or read back.

use std::collections::BTreeMap;

use netlink_packet_netfilter::nftables::InetHookNumber;

use super::attribute::Attributes;

/// A table of family `inet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its maps, by name.
    pub maps: BTreeMap<String, Map>,
    /// Its chains in the order of creation.
    pub chains: Vec<Chain>,
}

/// A dictionary whose keys and values are concatenations of fields, each padded to four bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Type of the keys as the `nft` command numbers it, for people who list the table.
    pub key_type: u32,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Type of the values.
    pub value_type: u32,
    /// Bytes of a value.
    pub value_bytes: u32,
    /// What is in it.
    pub elements: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A list of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where packets enter it; `None` if only other chains jump to it.
    pub hook: Option<Hook>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// Where a base chain hangs. Its policy is to accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: String,
    /// The hook.
    pub number: InetHookNumber,
    /// The order among chains of the same hook; the lowest is first.
    pub priority: i32,
}

/// Matches and a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What is executed, in order, until something does not match: attributes as the kernel keeps them
    /// (`NFTA_RULE_EXPRESSIONS`).
    pub expressions: Vec<u8>,
    /// Shown by `nft list table`, and read back by us.
    pub comment: Option<String>,
}

impl Table {
    /// Whether `found`, read from the kernel, is this table: the same maps, elements, chains and rules in the same
    /// order. The kernel may spell out defaults that were left away here.
    pub fn is_held_by(&self, found: &Self) -> bool {
        let Self { name, maps, chains } = self;
        // Chains are dumped in no order that is promised.
        let same_chain = |chain: &Chain| {
            let other = found.chains.iter().find(|other| other.name == chain.name);
            other.is_some_and(|other| chain.is_held_by(other))
        };
        *name == found.name
            && *maps == found.maps
            && chains.len() == found.chains.len()
            && chains.iter().all(same_chain)
    }
}

impl Chain {
    fn is_held_by(&self, found: &Self) -> bool {
        self.hook == found.hook
            && self.rules.len() == found.rules.len()
            && self.rules.iter().zip(&found.rules).all(|(rule, found)| rule.is_held_by(found))
    }
}

impl Rule {
    fn is_held_by(&self, found: &Self) -> bool {
        self.comment == found.comment && Attributes(&self.expressions).is_held_by(Attributes(&found.expressions))
    }
}
