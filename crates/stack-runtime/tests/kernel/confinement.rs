//! What the kernel says about a container's process: its filter and what follows from it.

use stack_model::{Container, Seccomp, Security};

use crate::bed::{Bed, container};

const STATUS: &str = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | tr -d '\\t\\n '";

fn unconfined(line: &str) -> Container {
    let mut container = container(line);
    container.spec.security.seccomp = Seccomp::Unconfined;
    container
}

pub(crate) fn every_container_has_a_filter_unless_it_is_trusted(bed: &Bed) {
    assert_eq!(bed.shell(STATUS).1, "NoNewPrivs:0Seccomp:2");
    let mut user = container(&format!("{STATUS} # as a user"));
    user.process.user = "app".to_owned();
    assert_eq!(bed.run(&user).1, "NoNewPrivs:0Seccomp:2");
    let mut privileged = container(&format!("{STATUS} # privileged"));
    privileged.spec.privileged = true;
    assert_eq!(bed.run(&privileged).1, "NoNewPrivs:0Seccomp:0");
    assert_eq!(bed.run(&unconfined(&format!("{STATUS} # unconfined"))).1, "NoNewPrivs:0Seccomp:0");
    for name in ["", "app"] {
        let mut strict = container(&format!("{STATUS} # strict {name}"));
        strict.process.user = name.to_owned();
        strict.spec.security = Security { no_new_privileges: true, ..Security::default() };
        assert_eq!(bed.run(&strict).1, "NoNewPrivs:1Seccomp:2");
    }
}

/// The filter says no where the capabilities would say yes: a user namespace needs none.
pub(crate) fn namespaces_are_made_with_sys_admin_only(bed: &Bed) {
    let (exit, text) = bed.shell("unshare -U true");
    assert!(exit.code == Some(1) && text.contains("not permitted"), "{text}");
    let mut admin = container("unshare -U true # with SYS_ADMIN");
    admin.spec.cap_add = ["SYS_ADMIN".to_owned()].into();
    assert_eq!(bed.run(&admin), (stack_model::Exit { code: Some(0), ..Default::default() }, String::new()));
    assert_eq!(bed.run(&unconfined("unshare -U true # unconfined")).0.code, Some(0));
}

/// A working directory that only root may enter is entered before the user changes, as Docker does.
pub(crate) fn a_user_starts_in_a_directory_of_root(bed: &Bed) {
    let mut user = container("pwd; ls . 2>/dev/null || echo closed");
    user.process.user = "app".to_owned();
    user.process.cwd = "/data".to_owned();
    assert_eq!(bed.run(&user).1, "/data\nclosed\n");
}
