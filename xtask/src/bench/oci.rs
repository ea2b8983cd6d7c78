//! `stack oci run` and `exec` beside crun and runc: one bundle, one program that does nothing, in turn.
//!
//! All three run where the peers are installed, in a mount namespace without the version 2 cgroups of hybrid machines:
//! crun refuses those. The times are taken there by one shell that starts nothing else.

use std::path::Path;

use super::report::{Report, Unit};
use crate::run::{self, program};

/// The sides by the names of their programs.
const SIDES: [&str; 3] = ["stack-oci", "crun", "runc"];

/// The bundle of the containers that programs are run beside: one process each.
const HELD: &str = "held/config.json";
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
    configure(&bundle, "config.json", &["/bin/busybox", "true"])?;
    configure(&bundle, HELD, &["/bin/busybox", "sleep", "1000"])?;
    let script = script(directory);
    let mut report = Report::new(SIDES.to_vec(), ROUNDS);
    let text = run::output(program(peers).args(["unshare", "--mount", "bash", "-c", &script]))?;
    for line in text.lines() {
        let [side, verb, micros] = line.split(' ').collect::<Vec<_>>()[..] else { return Err("no time".into()) };
        let name = format!("{verb} of a program that does nothing");
        report.add(&name, side, Unit::Milliseconds, micros.parse::<f64>()? / 1e3);
    }
    Ok(report)
}

/// The configuration that `spec` writes, without a terminal and with another program.
fn configure(bundle: &Path, name: &str, args: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    let mut config: serde_json::Value = serde_json::from_slice(&fs_err::read(bundle.join("config.json"))?)?;
    // The oldest version: all three know it.
    config["ociVersion"] = "1.0.2".into();
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = args.into();
    config["root"]["path"] = bundle.join("rootfs").display().to_string().into();
    let file = bundle.join(name);
    fs_err::create_dir_all(file.parent().unwrap_or(bundle))?;
    fs_err::write(&file, config.to_string())?;
    Ok(())
}

/// `EPOCHREALTIME` is bash's clock in microseconds, read without a process.
fn script(directory: &Path) -> String {
    let directory = directory.display();
    let sides = SIDES.join(" ");
    format!(
        "umount /sys/fs/cgroup/unified 2>/dev/null; cd {directory}/oci; PATH={directory}:$PATH
         for side in {sides}; do $side run -d -b held held-$side >/dev/null </dev/null || exit 1; done
         timed() {{
           local from=$EPOCHREALTIME; \"$@\" || exit 1; local to=$EPOCHREALTIME
           echo $1 $2 $(( ${{to/./}} - ${{from/./}} ))
         }}
         for round in $(seq {ROUNDS}); do for side in {sides}; do
           timed $side run bench-$round; timed $side exec held-$side /bin/busybox true
         done; done
         for side in {sides}; do $side delete --force held-$side; done"
    )
}
