//! Reading configurations and processes.

use oci_spec::runtime::{Capability, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::OciError;

/// Reads a configuration.
pub(super) fn read_spec(text: &[u8]) -> Result<Spec, OciError> {
    read(text, "/process/capabilities").map_err(|error| OciError::Spec(error.to_string()))
}

/// Reads what `exec` is to run.
pub(super) fn read_process(text: &[u8]) -> Result<Process, OciError> {
    read(text, "/capabilities").map_err(|error| OciError::Spec(format!("process: {error}")))
}

/// A capability that this program does not know is left out, like one that the kernel does not have ("any value which
/// cannot be mapped to a relevant kernel interface [...] MUST be logged as a warning", runtime-spec): the first reading
/// fails for it.
fn read<T: DeserializeOwned>(text: &[u8], capabilities: &str) -> Result<T, serde_json::Error> {
    serde_json::from_slice(text).or_else(|error| {
        let mut whole: Value = serde_json::from_slice(text)?;
        let sets = whole.pointer_mut(capabilities).and_then(Value::as_object_mut);
        let mut is_changed = false;
        for names in sets.into_iter().flat_map(|sets| sets.values_mut()).filter_map(Value::as_array_mut) {
            let before = names.len();
            names.retain(|name| serde_json::from_value::<Capability>(name.clone()).is_ok());
            is_changed |= names.len() != before;
        }
        if is_changed { serde_json::from_value(whole) } else { Err(error) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_capabilities_are_left_out_and_nothing_else_is() {
        let text = |name: &str, cwd: &str| {
            format!(
                r#"{{"args":["a"],"cwd":{cwd},"user":{{"uid":0,"gid":0}},"capabilities":{{"bounding":["{name}","CAP_KILL"]}}}}"#
            )
        };
        let process = read_process(text("CAP_OF_TOMORROW", r#""/""#).as_bytes()).unwrap();
        let bounding = process.capabilities().as_ref().and_then(|sets| sets.bounding().clone()).unwrap();
        assert_eq!(bounding.into_iter().collect::<Vec<_>>(), [Capability::Kill]);
        let error = read_process(text("CAP_OF_TOMORROW", "1").as_bytes()).unwrap_err().to_string();
        assert!(error.contains("integer `1`"), "{error}");
    }
}
