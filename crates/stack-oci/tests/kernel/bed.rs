//! A bundle, and commands on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// One bundle and one directory of states.
pub(crate) struct Bed {
    directory: tempfile::TempDir,
    mounts: String,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("rootfs");
        for path in ["bin", "etc", "proc", "sys", "dev", "tmp", "data"] {
            fs_err::create_dir_all(root.join(path)).expect("a directory");
        }
        fs_err::copy("/usr/bin/busybox", root.join("bin/busybox")).expect("busybox");
        for applet in [
            "sh", "cat", "grep", "hostname", "id", "ionice", "ip", "ls", "mkdir", "mount", "nice", "pwd", "readlink",
            "sleep", "stat", "touch", "true", "tty", "uname",
        ] {
            fs_err::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("an applet");
        }
        fs_err::write(root.join("data/from-image"), "1").expect("a file");
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").expect("mounts");
        Self { directory, mounts }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the configuration: that of `spec`, a shell line, and what is changed.
    pub(crate) fn configure(&self, line: &str, change: impl FnOnce(&mut Value)) {
        let mut config = stack_runtime::oci::default_spec(false);
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = json!(["/bin/sh", "-c", line]);
        config["process"]["env"] = json!(["PATH=/bin"]);
        config["root"]["readonly"] = false.into();
        change(&mut config);
        fs_err::write(self.path("config.json"), config.to_string()).expect("a configuration");
    }

    #[expect(clippy::disallowed_methods, reason = "a command is a process of its own")]
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.arg("oci").arg("--root").arg(self.path("state")).args(words).current_dir(self.directory.path());
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn say(&self, words: &[&str]) -> Said {
        // A container that is made keeps the streams: files do not wait for their end, pipes would.
        let (out, err) = (self.path("out"), self.path("err"));
        let file = |path: &Path| fs_err::File::create(path).expect("a file").into_parts().0;
        let mut command = self.command(words);
        let status = command.stdout(file(&out)).stderr(file(&err)).status().expect("its end");
        let read = |path: &Path| fs_err::read_to_string(path).expect("text");
        Said { code: status.code(), out: read(&out), err: read(&err) }
    }

    /// A command that has to succeed without a word on standard error.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let said = self.say(words);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{words:?}: {}", said.out);
        said.out
    }

    /// Runs the configuration to its end.
    pub(crate) fn run(&self, line: &str, change: impl FnOnce(&mut Value)) -> Said {
        self.configure(line, change);
        let Output { status, stdout, stderr } = self.command(&["run", "bed"]).output().expect("its end");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    pub(crate) fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.ok(&["state", id])).expect("JSON")
    }

    /// Nothing is left of any container.
    pub(crate) fn end(&self) {
        for id in self.ok(&["list", "-q"]).lines() {
            self.ok(&["delete", "--force", id]);
        }
        let left = fs_err::read_dir(self.path("state")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "states are left");
        let tree = stack_cgroup::Tree::detect().expect("cgroups");
        for id in ["bed", "other"] {
            let cgroups = tree.directories(&Path::new("/").join(id));
            assert!(cgroups.iter().all(|directory| !directory.exists()), "{cgroups:?}");
        }
        let own = |text: &str| text.lines().filter(|line| line.contains("rootfs")).count();
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").expect("mounts");
        assert_eq!(own(&mounts), own(&self.mounts), "mounts are left");
    }
}
