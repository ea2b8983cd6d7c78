//! The Debian packages that tests and images need.

use std::path::Path;

use crate::Outcome;
use crate::run::{self, program};

/// Each package with a file that shows it is installed.
const PACKAGES: [(&str, &str); 10] = [
    ("build-essential", "/usr/bin/cc"),
    ("busybox-static", "/usr/bin/busybox"),
    ("debootstrap", "/usr/sbin/debootstrap"),
    ("docker-registry", "/usr/bin/docker-registry"),
    ("iproute2", "/usr/sbin/ip"),
    ("nftables", "/usr/sbin/nft"),
    ("openssl", "/usr/bin/openssl"),
    ("skopeo", "/usr/bin/skopeo"),
    ("umoci", "/usr/bin/umoci"),
    ("xz-utils", "/usr/bin/xz"),
];

fn missing() -> Vec<&'static str> {
    PACKAGES.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect()
}

/// Installs what is missing.
pub(crate) fn run() -> Outcome {
    let missing = missing();
    if missing.is_empty() {
        println!("all packages are installed");
        return Ok(());
    }
    // Debian starts a registry of its own on installation; the tests bring one with their own configuration.
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let kept_quiet = !policy.exists();
    if kept_quiet {
        fs_err::write(policy, "#!/bin/sh\nexit 101\n")?;
        fs_err::set_permissions(policy, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    let installed = install(&missing);
    if kept_quiet {
        fs_err::remove_file(policy)?;
    }
    installed
}

fn install(packages: &[&str]) -> Outcome {
    run::run(program("apt-get").args(["update", "-q"]))?;
    let apt = ["install", "-q", "-y", "--no-install-recommends"];
    run::run(program("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(apt).args(packages))
}
