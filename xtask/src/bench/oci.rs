//! `stack oci run` beside crun and runc: one bundle, one program that does nothing, in turn.
//!
//! All three run where the peers are installed, in a mount namespace without the version 2 cgroups of hybrid machines:
//! crun refuses those. The times are taken there by one shell that starts nothing else.

use std::path::Path;

use super::report::{Report, Unit};
use crate::run::{self, program};

/// The sides by the names of their programs.
const SIDES: [&str; 3] = ["stack-oci", "crun", "runc"];

/// Rounds of which the medians are taken, whatever the others have: one lasts milliseconds.
const ROUNDS: usize = 60;

/// Measures and returns the table. `directory` is one that the peers see too.
pub(super) fn measure(binary: &Path, peers: &Path, directory: &Path) -> Result<Report, Box<dyn std::error::Error>> {
    let bundle = directory.join("oci");
    for place in ["bin", "dev", "proc", "sys"] {
        fs_err::create_dir_all(bundle.join("rootfs").join(place))?;
    }
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|file| Path::new(file).exists());
    fs_err::copy(busybox.ok_or("install busybox-static")?, bundle.join("rootfs/bin/busybox"))?;
    let stack = directory.join(SIDES[0]);
    fs_err::copy(binary, &stack)?;
    run::run(program(&stack).current_dir(&bundle).arg("spec"))?;
    configure(&bundle)?;
    let script = script(directory);
    let mut report = Report::new(SIDES.to_vec(), ROUNDS);
    let text = run::output(program(peers).args(["unshare", "--mount", "bash", "-c", &script]))?;
    for line in text.lines() {
        let (side, nanos) = line.split_once(' ').ok_or("a line without a time")?;
        report.add("run of a program that does nothing", side, Unit::Milliseconds, nanos.parse::<f64>()? / 1e6);
    }
    Ok(report)
}

/// The configuration that `spec` writes, without a terminal and with another program.
fn configure(bundle: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let file = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs_err::read(&file)?)?;
    // The oldest version: all three know it.
    config["ociVersion"] = "1.0.2".into();
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["/bin/busybox", "true"]);
    fs_err::write(&file, config.to_string())?;
    Ok(())
}

/// `EPOCHREALTIME` is bash's clock in microseconds, read without a process.
fn script(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "umount /sys/fs/cgroup/unified 2>/dev/null; cd {directory}/oci; PATH={directory}:$PATH
         for round in $(seq {ROUNDS}); do for side in {}; do
           from=$EPOCHREALTIME; $side run bench-$round || exit 1; to=$EPOCHREALTIME
           echo $side $(( (${{to/./}} - ${{from/./}}) * 1000 ))
         done; done",
        SIDES.join(" ")
    )
}
