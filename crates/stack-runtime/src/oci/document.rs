//! Reading configurations and processes.

use oci_spec::runtime::{Capability, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::OciError;

/// Reads a configuration.
pub(super) fn read_spec(text: &[u8]) -> Result<Spec, OciError> {
    read(text, "/process").map_err(|error| OciError::Spec(error.to_string()))
}

/// Reads what `exec` is to run.
pub(super) fn read_process(text: &[u8]) -> Result<Process, OciError> {
    read(text, "").map_err(|error| OciError::Spec(format!("process: {error}")))
}

/// Where the first reading fails, what engines take for granted is put in place. A capability that this program does not
/// know is left out, like one that the kernel does not have; a user that is not named is root.
fn read<T: DeserializeOwned>(text: &[u8], process: &str) -> Result<T, serde_json::Error> {
    serde_json::from_slice(text).or_else(|error| {
        let mut whole: Value = serde_json::from_slice(text)?;
        let before = whole.clone();
        if let Some(process) = whole.pointer_mut(process).filter(|process| process.is_object()) {
            let sets = process.get_mut("capabilities").and_then(Value::as_object_mut);
            for names in sets.into_iter().flat_map(|sets| sets.values_mut()).filter_map(Value::as_array_mut) {
                names.retain(|name| serde_json::from_value::<Capability>(name.clone()).is_ok());
            }
            for id in ["uid", "gid"] {
                if process["user"][id].is_null() {
                    process["user"][id] = 0.into();
                }
            }
        }
        if whole == before { Err(error) } else { serde_json::from_value(whole) }
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
        assert_eq!(read_process(br#"{"args":["a"],"cwd":"/","user":{"gid":7}}"#).unwrap().user().gid(), 7);
        let process = read_process(text("CAP_OF_TOMORROW", r#""/""#).as_bytes()).unwrap();
        let bounding = process.capabilities().as_ref().and_then(|sets| sets.bounding().clone()).unwrap();
        assert_eq!(bounding.into_iter().collect::<Vec<_>>(), [Capability::Kill]);
        let error = read_process(text("CAP_OF_TOMORROW", "1").as_bytes()).unwrap_err().to_string();
        assert!(error.contains("integer `1`"), "{error}");
    }
}
