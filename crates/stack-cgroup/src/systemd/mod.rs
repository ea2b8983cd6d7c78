//! A scope for each project: the part of systemd's tree in which it lets us make cgroups (`Delegate=yes`).
//!
//! Three calls over D-Bus, spoken directly ([`message`]): a general client would bring a second async runtime, threads
//! and half a megabyte into every supervisor.

mod connection;
mod message;

use std::path::Path;

use crate::CgroupError;
use crate::detect::{scope_unit, slice};
use connection::{Answer, Connection};
use message::Writer;

/// The scope exists already (org.freedesktop.systemd1(5)).
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// Makes the scope of a project with the calling process and its children in it. One that is there, because containers
/// of a supervisor that was killed keep it alive, is entered by the caller.
pub(crate) fn ensure_scope(project: &Path, directory: &Path) -> Result<(), CgroupError> {
    if directory.join("cgroup.procs").exists() {
        return Ok(());
    }
    let unit = scope_unit(project);
    let mut bus = Connection::open()?;
    // Signals of jobs go to subscribers only.
    bus.call("Subscribe", "", Writer::default())?;
    match bus.call("StartTransientUnit", "ssa(sv)a(sa(sv))", transient_scope(&unit, project, &family()))? {
        Answer::Error { name, .. } if name == UNIT_EXISTS => Ok(()),
        Answer::Error { name, text } => Err(CgroupError::Scope { unit, name, text }),
        Answer::Return(body) => {
            let job = message::first_text(&body).unwrap_or_default();
            match bus.wait_for_job(&job)?.as_str() {
                "done" => Ok(()),
                result => Err(CgroupError::Scope { unit, name: format!("job {result}"), text: String::new() }),
            }
        }
    }
}

/// The arguments of `StartTransientUnit`: name, mode, properties, no further units.
fn transient_scope(unit: &str, project: &Path, pids: &[u32]) -> Writer {
    let mut body = Writer::default();
    body.text(unit);
    body.text("fail");
    body.array(8, |properties| {
        properties.property("Description", "s", |value| value.text(&format!("stack project {}", project.display())));
        properties.property("Slice", "s", |value| value.text(slice()));
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
