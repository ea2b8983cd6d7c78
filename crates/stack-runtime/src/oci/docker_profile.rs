//! A seccomp profile in Docker's JSON: that of the runtime-spec, with conditions on capabilities, architectures and the
//! kernel, which are decided here.

use serde_json::Value;

use super::filter;
use crate::RuntimeError;
use crate::capabilities::{CapabilitySet, named};
use crate::seccomp::Filter;

/// Makes the program of a profile for a container with these capabilities.
///
/// # Errors
/// It is no profile.
pub(crate) fn docker_profile(text: &str, capabilities: CapabilitySet) -> Result<Filter, RuntimeError> {
    let wrong = |error: serde_json::Error| RuntimeError::Profile(error.to_string());
    let mut profile: Value = serde_json::from_str(text).map_err(wrong)?;
    if let Some(map) = profile.get_mut("archMap").map(Value::take) {
        let own = items(&map).find(|entry| entry["architecture"] == "SCMP_ARCH_X86_64");
        let all = own
            .into_iter()
            .flat_map(|entry| [&entry["architecture"]].into_iter().chain(items(&entry["subArchitectures"])));
        profile["architectures"] = all.cloned().collect();
    }
    if let Some(syscalls) = profile.get_mut("syscalls").and_then(Value::as_array_mut) {
        syscalls.retain(|rule| {
            holds(&rule["includes"], capabilities, true) && !holds(&rule["excludes"], capabilities, false)
        });
        for rule in syscalls {
            let Some(fields) = rule.as_object_mut() else { continue };
            // The form of old profiles has one name; empty lists and nulls are as good as nothing.
            if let Some(name) = fields.remove("name").filter(|name| !name.is_null()) {
                fields.insert("names".to_owned(), vec![name].into());
            }
            for key in ["includes", "excludes", "comment"] {
                fields.remove(key);
            }
            fields.retain(|_, value| !value.is_null());
        }
    }
    if let Some(fields) = profile.as_object_mut() {
        fields.remove("archMap");
        fields.retain(|_, value| !value.is_null());
    }
    let profile = serde_json::from_value(profile).map_err(wrong)?;
    filter::lower(&profile).map_err(|error| RuntimeError::Profile(error.to_string()))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whether conditions hold: to include a rule all of them have to, to exclude it one is enough.
fn holds(conditions: &Value, capabilities: CapabilitySet, all: bool) -> bool {
    let has = |name: &Value| {
        let set = name.as_str().and_then(named);
        set.is_some_and(|set| capabilities.with(set) == capabilities)
    };
    let mut verdicts = items(&conditions["caps"]).map(has).collect::<Vec<_>>();
    let arches: Vec<&Value> = items(&conditions["arches"]).collect();
    if !arches.is_empty() {
        verdicts.push(arches.iter().any(|arch| **arch == "amd64" || **arch == "x86_64"));
    }
    if let Some(least) = conditions["minKernel"].as_str() {
        verdicts.push(kernel() >= version(least));
    }
    if all { verdicts.iter().all(|verdict| *verdict) } else { verdicts.iter().any(|verdict| *verdict) }
}

fn kernel() -> (u32, u32) {
    version(&rustix::system::uname().release().to_string_lossy())
}

/// `6.1` of `6.1.0-18-amd64`.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str, capabilities: &[&str]) -> Result<usize, String> {
        let filter = docker_profile(text, CapabilitySet::of_names(capabilities.iter().copied()));
        filter.map(|filter| filter.program.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_rule_counts_only_where_its_conditions_hold() {
        let profile = |conditions: &str| {
            format!(
                r#"{{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [{{"architecture": "SCMP_ARCH_X86_64",
                "subArchitectures": ["SCMP_ARCH_X86"]}}], "syscalls": [
                {{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": ""}},
                {{"names": ["mount"], "action": "SCMP_ACT_ALLOW", {conditions}}}]}}"#
            )
        };
        let with = made(&profile(r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#), &["SYS_ADMIN"]).unwrap();
        let without = made(&profile(r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#), &[]).unwrap();
        assert!(with > without);
        assert_eq!(made(&profile(r#""excludes": {"caps": ["CAP_SYS_ADMIN"]}"#), &["SYS_ADMIN"]).unwrap(), without);
        assert_eq!(made(&profile(r#""includes": {"minKernel": "99.0"}"#), &[]).unwrap(), without);
        assert_eq!(made(&profile(r#""includes": {"minKernel": "4.8", "arches": ["amd64"]}"#), &[]).unwrap(), with);
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        assert!(made("[]", &[]).unwrap_err().starts_with("its seccomp profile: "));
        assert!(made(r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#, &[]).unwrap_err().contains("SCMP_ACT_MAYBE"));
    }
}
