//! Capabilities: what root in a container may do (capabilities(7)).

use caps::{CapSet, Capability, CapsHashSet};
use serde::{Deserialize, Serialize};
use stack_model::ContainerSpec;

use crate::error::StepFailure;

/// Podman's eleven: docker's fourteen without MKNOD, NET_RAW and AUDIT_WRITE.
const DEFAULT: [Capability; 11] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_CHROOT,
];

/// Capabilities as bits, in the numbering of the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct CapabilitySet(u64);

impl CapabilitySet {
    /// By name; what does not exist here is left out, as every runtime does.
    pub(crate) fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(names.into_iter().filter_map(named).fold(0, |bits, one| bits | one.0))
    }

    pub(crate) fn of(all: impl IntoIterator<Item = Capability>) -> Self {
        Self(all.into_iter().fold(0, |bits, capability| bits | capability.bitmask()))
    }

    pub(crate) fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    pub(crate) fn contains(self, capability: Capability) -> bool {
        self.0 & capability.bitmask() != 0
    }

    fn to_caps(self) -> CapsHashSet {
        caps::all().into_iter().filter(|capability| self.contains(*capability)).collect()
    }
}

/// What a process has of each kind (capabilities(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CapabilitySets {
    pub(crate) bounding: CapabilitySet,
    pub(crate) permitted: CapabilitySet,
    pub(crate) effective: CapabilitySet,
    pub(crate) inheritable: CapabilitySet,
    pub(crate) ambient: CapabilitySet,
}

/// What a process is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Capabilities {
    /// This much as root, and as any other user nothing that it does not gain by executing a program. Nothing is
    /// inheritable or ambient: a program gains nothing by executing another.
    OfRoot(CapabilitySet),
    /// Each set as it is told, whoever the user is.
    Sets(CapabilitySets),
}

impl Capabilities {
    fn sets(self, is_root: bool) -> CapabilitySets {
        match self {
            Self::OfRoot(set) => {
                let held = if is_root { set } else { CapabilitySet::default() };
                CapabilitySets { bounding: set, permitted: held, effective: held, ..CapabilitySets::default() }
            }
            Self::Sets(sets) => sets,
        }
    }

    /// What no program of the process can exceed.
    pub(crate) fn bounding(self) -> CapabilitySet {
        self.sets(true).bounding
    }
}

/// Drops from the default, then adds; `ALL` means all.
pub(crate) fn render(spec: &ContainerSpec) -> CapabilitySet {
    let all = || CapabilitySet::of(caps::all());
    if spec.privileged {
        return all();
    }
    let mut set = CapabilitySet::of(DEFAULT);
    for name in &spec.cap_drop {
        set.0 &= !named(name).map_or_else(|| all().0, |one| one.0);
    }
    for name in &spec.cap_add {
        set.0 |= named(name).map_or_else(|| all().0, |one| one.0);
    }
    set
}

/// `None` is `ALL`; a name that does not exist is none of them, and the loader has refused it.
pub(crate) fn named(name: &str) -> Option<CapabilitySet> {
    if name.eq_ignore_ascii_case("ALL") {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    Some(full.parse::<Capability>().map_or_else(|_| CapabilitySet::default(), |one| CapabilitySet::of([one])))
}

/// Takes everything else out of the bounding set. Before the change of user: it takes CAP_SETPCAP.
pub(crate) fn bound(set: CapabilitySet) -> Result<(), StepFailure> {
    let failed = |error: caps::errors::CapsError| StepFailure::because("limit capabilities", "", error.to_string());
    let held = caps::read(None, CapSet::Bounding).map_err(failed)?;
    let kept = set.to_caps();
    for capability in held.difference(&kept) {
        caps::drop(None, CapSet::Bounding, *capability).map_err(failed)?;
    }
    Ok(())
}

/// Makes everything effective that is permitted: the change of user has taken that away.
pub(crate) fn raise() -> Result<(), StepFailure> {
    let failed = |error: caps::errors::CapsError| StepFailure::because("raise capabilities", "", error.to_string());
    let permitted = caps::read(None, CapSet::Permitted).map_err(failed)?;
    caps::set(None, CapSet::Effective, &permitted).map_err(failed)
}

/// Sets what the process holds, out of what it has: we ourselves may have less than is wanted.
pub(crate) fn hold(capabilities: Capabilities, is_root: bool) -> Result<(), StepFailure> {
    let failed = |error: caps::errors::CapsError| StepFailure::because("set capabilities", "", error.to_string());
    let CapabilitySets { bounding: _, permitted, effective, inheritable, ambient } = capabilities.sets(is_root);
    let had = caps::read(None, CapSet::Permitted).map_err(failed)?;
    let of = |set: CapabilitySet| set.to_caps().intersection(&had).copied().collect::<CapsHashSet>();
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    caps::set(None, CapSet::Inheritable, &of(inheritable)).map_err(failed)?;
    caps::set(None, CapSet::Effective, &of(effective)).map_err(failed)?;
    caps::set(None, CapSet::Permitted, &of(permitted)).map_err(failed)?;
    for capability in of(ambient) {
        // What is not inheritable as well cannot be ambient.
        if inheritable.contains(capability) && permitted.contains(capability) {
            caps::raise(None, CapSet::Ambient, capability).map_err(failed)?;
        }
    }
    Ok(())
}

/// Leaves only the right to signal processes of other users: all that a process 1 of ours has to do.
pub(crate) fn keep_kill() -> Result<(), StepFailure> {
    let kill = CapabilitySet::of([Capability::CAP_KILL]);
    bound(kill)?;
    hold(Capabilities::OfRoot(kill), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(add: &[&str], drop: &[&str]) -> ContainerSpec {
        let text = serde_json::json!({
            "image": "a", "network": "none", "stop_grace": 10_000, "cap_add": add, "cap_drop": drop,
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn drop_comes_before_add() {
        assert_eq!(render(&spec(&[], &[])).to_caps().len(), 11);
        assert_eq!(render(&spec(&["NET_ADMIN"], &["ALL"])).to_caps(), CapsHashSet::from([Capability::CAP_NET_ADMIN]));
        assert_eq!(render(&spec(&["ALL"], &[])), CapabilitySet::of(caps::all()));
        assert!(!render(&spec(&[], &["CAP_CHOWN"])).to_caps().contains(&Capability::CAP_CHOWN));
    }
}
