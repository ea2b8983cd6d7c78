//! A project in a store, a run directory and a project directory of its own.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fs_err as fs;
use serde_json::Value;
use stack_model::{Layout, ProjectName};

use crate::{Inventory, eventually};

/// One scenario at a time: each compares the whole machine before and after.
static TURN: Mutex<()> = Mutex::new(());

/// The world of one scenario. Dropping it takes the project down and checks that the machine is as it was.
#[derive(Debug)]
pub struct World {
    name: String,
    directory: tempfile::TempDir,
    before: Inventory,
    _turn: MutexGuard<'static, ()>,
}

/// What a command did.
#[derive(Debug)]
pub struct Run {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Requires exit code 0.
    ///
    /// # Panics
    /// With all output when it is another.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Requires this exit code and all these words in standard error.
    ///
    /// # Panics
    /// With all output when something is missing.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Self {
        let all = format!("\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        assert_eq!(self.code, Some(code), "{all}");
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in{all}");
        }
        assert!(self.stderr.lines().count() <= 40, "more than one screen:{all}");
        self
    }
}

impl World {
    /// A world whose project is called `name`.
    pub fn new(name: &str) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let directory = tempfile::Builder::new().prefix("stack-test-").permissions(everyone).tempdir();
        let directory = directory.expect("a temporary directory");
        for part in ["root", "run", name] {
            fs::create_dir(directory.path().join(part)).expect("a directory of the world");
        }
        Self { name: name.to_owned(), directory, before: Inventory::take(), _turn: turn }
    }

    /// The project directory.
    pub fn project_dir(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    /// The store and run directory.
    pub fn layout(&self) -> Layout {
        Layout { root: self.directory.path().join("root"), run: self.directory.path().join("run") }
    }

    /// The project's name.
    pub fn project(&self) -> ProjectName {
        ProjectName::new(&self.name)
    }

    /// Writes a file of the project the way editors do: a new file renamed over the old one.
    pub fn write(&self, file: &str, text: &str) {
        let path = self.project_dir().join(file);
        let part = path.with_extension("part");
        fs::write(&part, text).and_then(|()| fs::rename(&part, &path)).expect("a project file");
    }

    /// Copies a folder of the repository into the project directory.
    pub fn copy(&self, folder: &str) {
        let repository = std::env::var_os("STACK_REPOSITORY").map(PathBuf::from);
        let repository = repository.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        copy_tree(&repository.join(folder), &self.project_dir());
    }

    /// A `stack` command in the project directory, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(&binary(), arguments)
    }

    /// The same with another copy of the program.
    pub fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let layout = self.layout();
        #[expect(clippy::disallowed_methods, reason = "the program under test")]
        let mut command = Command::new(program);
        command
            .current_dir(self.project_dir())
            .env("STACK_ROOT", &layout.root)
            .env("STACK_RUN", &layout.run)
            .env("NO_COLOR", "1")
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs `stack` to its end.
    pub fn stack(&self, arguments: &[&str]) -> Run {
        self.finish(self.command(arguments))
    }

    /// Runs a command to its end.
    pub fn finish(&self, mut command: Command) -> Run {
        let output = command.output().expect("the stack binary runs");
        let Output { status, stdout, stderr } = output;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Run { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// The records of all containers, by name.
    pub fn records(&self) -> BTreeMap<String, Value> {
        self.records_of(&self.project())
    }

    /// The same of another project.
    pub fn records_of(&self, project: &ProjectName) -> BTreeMap<String, Value> {
        let containers = self.layout().project(project).join("containers");
        let entries = fs::read_dir(containers).into_iter().flatten().flatten();
        let records = entries.filter_map(|entry| {
            let text = fs::read(entry.path().join("container.json")).ok()?;
            let record: Value = serde_json::from_slice(&text).ok()?;
            Some((record["name"].as_str()?.to_owned(), record))
        });
        records.collect()
    }

    /// The directories of a container's cgroup, in every hierarchy that has it.
    pub fn cgroups(&self, id: &str) -> Vec<PathBuf> {
        let cgroup = self.layout().cgroup(&self.project());
        // With cgroup v2 under systemd a project is a scope.
        let scope = format!("system.slice/{}.scope", cgroup.to_string_lossy().replace('/', "-"));
        let base = Path::new("/sys/fs/cgroup");
        let mounts = entries(base).into_iter().filter(|path| path.is_dir()).chain([base.to_path_buf()]);
        let places = mounts.flat_map(|mount| [mount.join(&cgroup).join(id), mount.join(&scope).join(id)]);
        places.filter(|place| place.is_dir()).collect()
    }

    /// The content of a file of a container's cgroup, from the hierarchy that has it; names of v1 and v2.
    pub fn cgroup_file(&self, name: &str, files: &[&str]) -> Option<String> {
        let id = self.records().get(name)?["id"].as_str()?.to_owned();
        let cgroups = self.cgroups(&id);
        let all = cgroups.iter().flat_map(|cgroup| files.iter().map(|file| cgroup.join(file)));
        all.into_iter().find_map(|file| fs::read_to_string(file).ok())
    }

    /// Process 1 of each running container, by name, as the kernel's cgroups say.
    pub fn pids(&self) -> BTreeMap<String, u32> {
        let first = |(name, record): (String, Value)| {
            let cgroups = self.cgroups(record["id"].as_str()?);
            // A process that is on its way in is in some hierarchies only.
            let lowest = |cgroup: &PathBuf| {
                let procs = fs::read_to_string(cgroup.join("cgroup.procs")).ok()?;
                procs.lines().filter_map(|line| line.parse::<u32>().ok()).min()
            };
            let pids: Option<Vec<u32>> = cgroups.iter().map(lowest).collect();
            Some((name, pids?.into_iter().min()?))
        };
        self.records().into_iter().filter_map(first).collect()
    }

    /// Waits until exactly these containers run.
    #[track_caller]
    pub fn runs(&self, names: &[&str]) -> BTreeMap<String, u32> {
        eventually(&format!("{names:?} run"), || {
            let pids = self.pids();
            let same = pids.len() == names.len() && names.iter().all(|name| pids.contains_key(*name));
            if same { Ok(pids.clone()) } else { Err(format!("{pids:?}")) }
        })
    }

    /// The supervisor's process id, from the lock file's owner in `/proc/locks`.
    pub fn supervisor(&self) -> Option<u32> {
        use std::os::unix::fs::MetadataExt;
        let inode = fs::metadata(self.layout().lock(&self.project())).ok()?.ino();
        let locks = fs::read_to_string("/proc/locks").ok()?;
        let held = |line: &str| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, "FLOCK", _, "WRITE", pid, place, ..] = words.as_slice() else { return None };
            (place.rsplit(':').next()?.parse() == Ok(inode)).then(|| pid.parse().ok()).flatten()
        };
        locks.lines().find_map(held)
    }

    /// Sends SIGKILL to a process of this world.
    pub fn kill(&self, pid: u32) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("the process is there");
    }

    /// Leaves plan, events, mounts, links, rules and logs in a folder, for whoever reads the failure.
    fn keep_evidence(&self) {
        let folder = target().join("scenario-failures").join(&self.name);
        drop(fs::remove_dir_all(&folder));
        // Evidence that cannot be kept must not hide the failure it is about.
        drop(fs::create_dir_all(&folder));
        let save = |name: &str, text: String| drop(fs::write(folder.join(name), text));
        for (name, arguments) in [("plan", ["plan"].as_slice()), ("ps", &["ps", "-a"]), ("logs", &["logs"])] {
            let run = self.stack(arguments);
            save(name, format!("{}\n{}", run.stdout, run.stderr));
        }
        save("mountinfo", fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
        for (name, program, arguments) in
            [("links", "ip", ["-d", "address"].as_slice()), ("ruleset", "nft", &["list", "ruleset"])]
        {
            #[expect(clippy::disallowed_methods, reason = "evidence for a person")]
            let output = Command::new(program).args(arguments).output();
            save(name, output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default());
        }
        for part in ["root/projects", "run"] {
            copy_tree(&self.directory.path().join(part), &folder.join(part));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            self.keep_evidence();
        }
        let down = self.stack(&["-p", &self.name, "down", "-v", "-t", "0"]);
        if failed {
            // Also what else the test has put up.
            for project in entries(&self.layout().root.join("projects")) {
                let name = project.file_name().unwrap_or_default().to_string_lossy().into_owned();
                drop(self.command(&["-p", &name, "down", "-v", "-t", "0"]).output());
            }
            return;
        }
        down.ok();
        eventually("the machine is as it was", || {
            let left = self.before.left_behind(&Inventory::take());
            if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
        });
        let layout = self.layout();
        for directory in [layout.run.join("projects"), layout.root.join("projects"), layout.root.join("volumes")] {
            // The supervisor says that the project is down and then clears its own desk.
            eventually("nothing is left on disk", || {
                let left: Vec<_> = fs::read_dir(&directory).into_iter().flatten().flatten().map(|e| e.path()).collect();
                if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
            });
        }
    }
}

/// The program under test: `STACK_BIN`, else the one beside the tests.
pub fn binary() -> PathBuf {
    std::env::var_os("STACK_BIN").map_or_else(|| target().join("debug/stack"), PathBuf::from)
}

/// The build directory this test runs from: it lies in `target/<profile>/deps`, unless somebody took it elsewhere.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    test.ancestors().nth(3).map_or_else(std::env::temp_dir, Path::to_path_buf)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Copies files and directories; sockets and pipes are left out.
fn copy_tree(from: &Path, to: &Path) {
    drop(fs::create_dir_all(to));
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => copy_tree(&from, &to),
            Ok(kind) if kind.is_file() => drop(fs::copy(&from, &to)),
            Ok(_) | Err(_) => {}
        }
    }
}

/// The body of `GET path` from a port of this host.
///
/// # Errors
/// Nobody answers, or not with status 200.
pub fn get(port: u16, path: &str) -> Result<String, String> {
    request(port, "GET", path, "")
}

/// The body of an HTTP request to a port of this host.
///
/// # Errors
/// Nobody answers, or not with status 200 or 201.
pub fn request(port: u16, method: &str, path: &str, body: &str) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(text)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(text)?;
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).map_err(text)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(text)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if matches!(status, "200" | "201") { Ok(body.to_owned()) } else { Err(format!("status {status}: {body}")) }
}
