//! What every test stands on: a store with one small image, a project, a spawner.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stack_cgroup::Hierarchy;
use stack_model::{
    Container, ContainerId, Exit, ImageId, Layout, Limits, NetworkMode, Process, ProjectName, ServiceName,
};
use stack_runtime::{RuntimeError, Spawner, StartSpec, Started, exit_of};

/// A store with one layer: busybox.
pub(crate) struct Bed {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) layout: Layout,
    pub(crate) project: ProjectName,
    pub(crate) hierarchy: Hierarchy,
    pub(crate) spawner: Spawner,
}

impl Bed {
    pub(crate) fn new(spawner: Spawner) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let layout = Layout { root: directory.path().join("root"), run: directory.path().join("run") };
        let layer = directory.path().join("layer");
        for path in ["bin", "etc", "data", "proc"] {
            fs_err::create_dir_all(layer.join(path)).expect("a directory");
        }
        fs_err::copy("/usr/bin/busybox", layer.join("bin/busybox")).expect("busybox");
        for applet in [
            "sh", "cat", "chmod", "find", "grep", "hostname", "id", "kill", "ls", "mkdir", "mkfifo", "mknod", "mount",
            "ps", "pwd", "rm", "sleep", "stty", "touch", "tr", "true", "tty", "unshare",
        ] {
            fs_err::os::unix::fs::symlink("busybox", layer.join("bin").join(applet)).expect("an applet");
        }
        fs_err::write(layer.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:33:44::/srv:/bin/sh\n")
            .expect("passwd");
        fs_err::write(layer.join("etc/group"), "root:x:0:\nlog:x:4:app\n").expect("group");
        fs_err::write(layer.join("data/from-image"), "1").expect("a file");
        fs_err::set_permissions(layer.join("data"), PermissionsExt::from_mode(0o2750)).expect("a mode");
        let hierarchy = Hierarchy::detect().expect("cgroups");
        let project = ProjectName::new("bed");
        hierarchy.ensure_project(&layout.cgroup(&project)).expect("a cgroup");
        Self { directory, layout, project, hierarchy, spawner }
    }

    pub(crate) fn layer(&self) -> PathBuf {
        self.directory.path().join("layer")
    }

    pub(crate) fn start(&self, container: &Container) -> Result<Started, RuntimeError> {
        stack_runtime::create_container(&self.layout, &self.project, container)?;
        let netns = fs_err::File::open("/proc/self/ns/net").expect("a namespace");
        self.spawner.start_container(&StartSpec {
            layout: &self.layout,
            project: &self.project,
            container,
            layers: vec![self.layer()],
            netns: Some(netns.file().as_fd()),
            mounted_layers: BTreeMap::new(),
            pid_of: None,
            ipc_of: None,
            files: Vec::new(),
            hierarchy: &self.hierarchy,
            cgroup: self.layout.cgroup(&self.project).join(container.id.as_str()),
        })
    }

    /// Runs a command line to its end; its exit and everything it printed.
    pub(crate) fn run(&self, container: &Container) -> (Exit, String) {
        // Open before the start, as the supervisor has them: what is in a pipe that nobody has open is gone.
        let (output, error) = stack_runtime::open_output(&self.layout, &self.project, &container.id).expect("pipes");
        let (mut text, started) = (String::new(), self.start(container).expect("it starts"));
        let exit = end(&started);
        for pipe in [output, error] {
            let mut bytes = vec![0; 65_536];
            if let Ok(length) = rustix::io::read(&pipe, bytes.as_mut_slice()) {
                text.push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        }
        (exit, text)
    }

    pub(crate) fn shell(&self, line: &str) -> (Exit, String) {
        self.run(&container(line))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for (container, _) in stack_runtime::observe_containers(&self.layout, &self.project).expect("records") {
            if let Some(adopted) = stack_runtime::adopt(&self.layout, &self.project, &container.id).expect("a process")
            {
                stack_runtime::signal(adopted.pidfd.as_fd(), 9).expect("a signal");
                wait(&adopted.pidfd);
                exit_of(adopted.pidfd.as_fd());
            }
            stack_runtime::remove_container(&self.layout, &self.project, &container.id, &self.hierarchy)
                .expect("it can be removed");
        }
        let cgroup = self.layout.cgroup(&self.project);
        self.hierarchy.remove_project(&cgroup).expect("the cgroup is empty");
        let left: Vec<PathBuf> = self.hierarchy.directories(&cgroup).into_iter().filter(|path| path.exists()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

pub(crate) fn wait(pidfd: &impl AsFd) {
    let deadline = Timespec { tv_sec: 20, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&deadline)).expect("poll");
    assert_eq!(ready, 1, "it does not end");
}

pub(crate) fn end(started: &Started) -> Exit {
    wait(&started.pidfd);
    exit_of(started.pidfd.as_fd())
}

/// Two containers of a test have different command lines, and so different names.
pub(crate) fn container(line: &str) -> Container {
    let spec = serde_json::json!({ "image": "test", "network": "none", "stop_grace": 10_000 });
    let mut spec: stack_model::ContainerSpec = serde_json::from_value(spec).expect("a specification");
    spec.network = NetworkMode::Attached(BTreeMap::new());
    spec.limits = Limits::default();
    Container {
        schema: 1,
        id: ContainerId::new(stack_model::short_hex(&[line], 16)),
        name: "bed-test-1".to_owned(),
        service: ServiceName::new("test"),
        index: 1,
        spec,
        restart_request: 0,
        recreate_request: 0,
        renew_request: 0,
        one_off: None,
        image: ImageId::new("sha256:test"),
        layers: Vec::new(),
        process: Process {
            argv: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
            env: vec![("PATH".to_owned(), "/bin".to_owned())],
            cwd: "/".to_owned(),
            user: String::new(),
            hostname: "bed".to_owned(),
            domainname: None,
            extra_hosts: Vec::new(),
            stop_signal: 15,
        },
        healthcheck: None,
        mounts: Vec::new(),
        joins: BTreeMap::new(),
        endpoints: Vec::new(),
        ports: BTreeSet::new(),
        created: stack_model::Now(0),
    }
}
