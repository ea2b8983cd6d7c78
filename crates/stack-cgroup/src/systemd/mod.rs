//! A scope for each project, or for a container of an engine: the part of systemd's tree in which it lets us make
//! cgroups (`Delegate=yes`).
//!
//! Three calls over D-Bus, spoken directly ([`message`]): a general client would bring a second async runtime, threads
//! and half a megabyte into every supervisor.

mod connection;
mod message;

use std::path::{Path, PathBuf};

use crate::CgroupError;
use crate::detect::{scope_unit, slice};
use connection::{Answer, Connection};
use message::Writer;

/// The scope exists already (org.freedesktop.systemd1(5)).
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
/// There is no such scope.
const UNIT_MISSING: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// A scope of its own for one container: what `slice:prefix:name` of the OCI runtimes means (their `--systemd-cgroup`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Its name, with `.scope`.
    pub unit: String,
    /// The slice that it is a part of, with `.slice`.
    pub slice: String,
}

impl Scope {
    /// Where its cgroup is, below the hierarchies: `a-b.slice` is a part of `a.slice` (systemd.slice(5)). `None` when the
    /// slice's name cannot be one.
    pub fn path(&self) -> Option<PathBuf> {
        let name = self.slice.strip_suffix(".slice")?;
        let parts: Vec<&str> = if name == "-" { Vec::new() } else { name.split('-').collect() };
        if name.contains('/') || parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        let above = (1..=parts.len()).map(|count| format!("{}.slice", parts[..count].join("-")));
        Some(above.collect::<PathBuf>().join(&self.unit))
    }

    /// Makes the scope around a process.
    ///
    /// # Errors
    /// systemd cannot be reached, or refuses: there is one of that name.
    pub fn start(&self, description: &str, process: u32) -> Result<(), CgroupError> {
        if self.start_unless_there(description, &[process])? {
            return Ok(());
        }
        let text = "there is one of that name".to_owned();
        Err(CgroupError::Scope { unit: self.unit.clone(), name: UNIT_EXISTS.to_owned(), text })
    }

    /// `false` when there is one of that name.
    fn start_unless_there(&self, description: &str, pids: &[u32]) -> Result<bool, CgroupError> {
        let mut bus = subscribed()?;
        let arguments = transient_scope(self, description, pids);
        let answer = bus.call("StartTransientUnit", "ssa(sv)a(sa(sv))", arguments)?;
        conclude(&mut bus, &self.unit, answer, UNIT_EXISTS)
    }
}

/// Ends a scope with whatever is in it, and waits until systemd has forgotten it. One that is gone already is none.
///
/// # Errors
/// systemd cannot be reached, or does not end it.
pub fn stop_scope(unit: &str) -> Result<(), CgroupError> {
    let mut bus = subscribed()?;
    let mut body = Writer::default();
    body.text(unit);
    body.text("replace");
    let answer = bus.call("StopUnit", "ss", body)?;
    conclude(&mut bus, unit, answer, UNIT_MISSING).map(drop)
}

/// Makes the scope of a project with the calling process and its children in it. One that is there, because containers
/// of a supervisor that was killed keep it alive, is entered by the caller.
pub(crate) fn ensure_scope(project: &Path, directory: &Path) -> Result<(), CgroupError> {
    if directory.join("cgroup.procs").exists() {
        return Ok(());
    }
    let scope = Scope { unit: scope_unit(project), slice: slice().to_owned() };
    scope.start_unless_there(&format!("stack project {}", project.display()), &family()).map(drop)
}

/// A connection that is told of the ends of jobs: those signals go to subscribers only.
fn subscribed() -> Result<Connection, CgroupError> {
    let mut bus = Connection::open()?;
    bus.call("Subscribe", "", Writer::default())?;
    Ok(bus)
}

/// Waits for the job of an answer; `false` when the answer is the refusal of that name.
fn conclude(bus: &mut Connection, unit: &str, answer: Answer, expected: &str) -> Result<bool, CgroupError> {
    let unit = unit.to_owned();
    match answer {
        Answer::Error { name, .. } if name == expected => Ok(false),
        Answer::Error { name, text } => Err(CgroupError::Scope { unit, name, text }),
        Answer::Return(body) => {
            let job = message::first_text(&body).unwrap_or_default();
            match bus.wait_for_job(&job)?.as_str() {
                "done" => Ok(true),
                result => Err(CgroupError::Scope { unit, name: format!("job {result}"), text: String::new() }),
            }
        }
    }
}

/// The arguments of `StartTransientUnit`: name, mode, properties, no further units.
fn transient_scope(Scope { unit, slice }: &Scope, description: &str, pids: &[u32]) -> Writer {
    let mut body = Writer::default();
    body.text(unit);
    body.text("fail");
    body.array(8, |properties| {
        properties.property("Description", "s", |value| value.text(description));
        properties.property("Slice", "s", |value| value.text(slice));
        properties.property("PIDs", "au", |value| value.array(4, |list| pids.iter().for_each(|pid| list.number(*pid))));
        properties.property("Delegate", "b", |value| value.number(1));
        // A failed scope would keep its name.
        properties.property("CollectMode", "s", |value| value.text("inactive-or-failed"));
        // `stack` stops its containers itself, in the order of the file.
        properties.property("DefaultDependencies", "b", |value| value.number(0));
    });
    body.array(8, |_| {});
    body
}

/// The calling process and its children: the spawner was forked before the scope existed.
pub(crate) fn family() -> Vec<u32> {
    let mut pids = vec![std::process::id()];
    for task in fs_err::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let children = fs_err::read_to_string(task.path().join("children")).unwrap_or_default();
        pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_a_part_of_those_it_is_named_after() {
        let path = |slice: &str| Scope { unit: "a.scope".to_owned(), slice: slice.to_owned() }.path();
        assert_eq!(path("machine.slice"), Some(PathBuf::from("machine.slice/a.scope")));
        assert_eq!(path("a-b-c.slice"), Some(PathBuf::from("a.slice/a-b.slice/a-b-c.slice/a.scope")));
        assert_eq!(path("-.slice"), Some(PathBuf::from("a.scope")));
        for wrong in ["machine", "a--b.slice", "../a.slice", ".slice", "a/b.slice", "-a.slice"] {
            assert_eq!(path(wrong), None, "{wrong}");
        }
    }
}
