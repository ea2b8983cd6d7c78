//! Pulling an image of ten layers and 500 MB from a registry on loopback, and starting from sixty layers beside one.
//!
//! All sides run among the peers, where the registry's loopback is theirs, too.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::docker::Docker;
use super::layers;
use super::report::{Report, Unit};
use super::stack::Stack;
use super::{Side, memory, milliseconds};
use crate::Outcome;
use crate::run::{self, program};

const LAYERS: usize = 10;
const LAYER_BYTES: usize = 50 << 20;
/// Layers of the image that a container starts from.
const MANY: usize = 60;
/// Another registry may have the usual port.
const PORT: u16 = 5091;
/// Between two looks at the memory of who pulls.
const LOOK: Duration = Duration::from_millis(5);
/// Its own name, by which its memory is told from that of others.
const PROGRAM: &str = "stack-pull";
/// The registry answers at once.
const PATIENCE: Duration = Duration::from_secs(15);

type Failed = Box<dyn std::error::Error>;

/// A registry among the peers, with the image.
struct Served {
    child: Child,
    /// Where its own process id is: the child is the script.
    pid_file: PathBuf,
}

impl Drop for Served {
    fn drop(&mut self) {
        // The script waits for the registry and would leave it running.
        let registry = fs_err::read_to_string(&self.pid_file).ok().and_then(|pid| pid.trim().parse().ok());
        if let Some(pid) = registry.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        drop(self.child.wait());
    }
}

/// Who pulls: a column, how, how to forget, and the processes whose memory counts.
struct Puller {
    column: &'static str,
    pull: Vec<String>,
    forget: Vec<String>,
    processes: &'static [&'static str],
}

/// Pulls with each in turn.
pub(super) fn measure(directory: &Path, binary: &Path, docker: &Docker, rounds: usize, report: &mut Report) -> Outcome {
    println!("== pull of {LAYERS} layers, {} MB", (LAYERS * LAYER_BYTES) >> 20);
    let place = directory.join("pull");
    fs_err::create_dir_all(&place)?;
    for (name, from) in [(PROGRAM, binary), ("docker-registry", Path::new("/usr/bin/docker-registry"))] {
        fs_err::copy(from, place.join(name))?;
    }
    let _registry = serve(&place, docker)?;
    let mut files = layers::files(Path::new("/usr"))?;
    pull(&place, docker, "files", rounds, report, |_| layers::taken(&mut files, LAYER_BYTES))?;
    pull(&place, docker, "noise", rounds, report, |number| Ok(layers::noise(number, LAYER_BYTES)))
}

/// Pushes an image of such layers and lets each pull it in turn.
fn pull(
    place: &Path,
    docker: &Docker,
    what: &str,
    rounds: usize,
    report: &mut Report,
    layer: impl FnMut(usize) -> Result<Vec<layers::File>, Failed>,
) -> Outcome {
    let archive = place.join("image.tar");
    layers::write_archive(&archive, "bench/pull:1", LAYERS, layer)?;
    let image = format!("127.0.0.1:{PORT}/bench/{what}:1");
    let target = format!("docker://{image}");
    let source = format!("docker-archive:{}", archive.display());
    docker.run(&["skopeo", "copy", "-q", "--dest-tls-verify=false", &source, &target])?;
    fs_err::remove_file(&archive)?;
    fs_err::write(place.join("compose.yaml"), format!("services:\n  s:\n    image: {image}\n"))?;
    let (row, memory_row) = (format!("pull of 10 layers, 500 MB of {what}"), format!("peak memory, {what}"));
    for _ in 0..rounds {
        for puller in pullers(place, &image) {
            let words: Vec<&str> = puller.pull.iter().map(String::as_str).collect();
            let (time, bytes) = watch(puller.processes, || docker.run(&words).map(drop))?;
            report.add(&row, puller.column, Unit::Milliseconds, time);
            let mebibytes = bytes as f64 / f64::from(1 << 20);
            report.add(&memory_row, puller.column, Unit::Mebibytes, mebibytes);
            docker.run(&puller.forget.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// Starts from many layers and from one.
pub(super) fn start(directory: &Path, stack: &Stack, rounds: usize, report: &mut Report) -> Outcome {
    for (count, name) in [(MANY, "many"), (1, "one")] {
        let archive = directory.join("layers.tar");
        layers::write_archive(&archive, &format!("bench/{name}:1"), count, |number| Ok(layers::noise(number, 4096)))?;
        let project = directory.join("stack").join(name);
        fs_err::create_dir_all(&project)?;
        let file = format!(
            "services:\n  s:\n    image: bench/{name}:1\n    pull_policy: never\n    command: [/bin/busybox, sleep, '1000']\n    init: true\n"
        );
        fs_err::write(project.join("compose.yaml"), file)?;
        run::output(&mut stack.command(&project, &["load", &archive.display().to_string()]))?;
    }
    for _ in 0..rounds * 3 {
        for (name, row) in [("many", "up -d from 60 layers"), ("one", "up -d from 1 layer")] {
            let project = directory.join("stack").join(name);
            let begin = Instant::now();
            run::output(&mut stack.command(&project, &["up", "-d"]))?;
            report.add(row, stack.name(), Unit::Milliseconds, milliseconds(begin.elapsed()));
            run::output(&mut stack.command(&project, &["down"]))?;
        }
    }
    Ok(())
}

fn pullers(place: &Path, image: &str) -> [Puller; 3] {
    let words = |text: String| text.split(' ').map(str::to_owned).collect();
    let shown = place.display();
    let podman = format!("podman --root {shown}/podman --runroot {shown}/podman-run --storage-driver overlay");
    [
        Puller {
            column: "stack",
            pull: words(format!(
                "env STACK_ROOT={shown}/root STACK_RUN={shown}/run {shown}/{PROGRAM} -f {shown}/compose.yaml pull -q"
            )),
            forget: words(format!("rm -rf {shown}/root")),
            processes: &[PROGRAM],
        },
        Puller {
            column: "docker compose",
            pull: words(format!("docker pull -q {image}")),
            forget: words(format!("docker rmi {image}")),
            processes: &["dockerd", "containerd"],
        },
        Puller {
            column: "podman",
            pull: words(format!("{podman} pull -q --tls-verify=false {image}")),
            forget: words(format!("{podman} rmi {image}")),
            processes: &["podman"],
        },
    ]
}

/// How long it takes, and the most memory that processes of these names have meanwhile.
fn watch(names: &[&str], work: impl FnOnce() -> Outcome) -> Result<(f64, u64), Failed> {
    let (is_over, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                peak.fetch_max(memory::resident(|name| names.contains(&name)), Ordering::Relaxed);
                std::thread::park_timeout(LOOK);
            }
        });
        let begin = Instant::now();
        let outcome = work();
        let time = milliseconds(begin.elapsed());
        is_over.store(true, Ordering::Relaxed);
        outcome.map(|()| (time, peak.load(Ordering::Relaxed)))
    })
}

fn serve(place: &Path, docker: &Docker) -> Result<Served, Failed> {
    let configuration = place.join("registry.yml");
    let text = format!(
        "version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{PORT}\n",
        place.join("registry").display()
    );
    fs_err::write(&configuration, text)?;
    let (log, _) = fs_err::File::create(place.join("registry.log"))?.into_parts();
    let mut command = program(docker.script());
    let pid_file = place.join("registry.pid");
    let line = "echo $$ >\"$0\"; exec \"$1\" serve \"$2\"";
    command.args(["sh", "-c", line]).arg(&pid_file).arg(place.join("docker-registry")).arg(&configuration);
    let served = Served { child: command.stdout(log.try_clone()?).stderr(log).spawn()?, pid_file };
    let begin = Instant::now();
    let address = format!("http://127.0.0.1:{PORT}/v2/");
    while docker.run(&["curl", "-s", "-f", &address]).is_err() {
        if begin.elapsed() > PATIENCE {
            return Err(format!("the registry does not answer; see {}", place.join("registry.log").display()).into());
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    Ok(served)
}
