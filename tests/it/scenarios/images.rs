//! Images from files and registries, and what happens when there is no room for them.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use stack_tests::{World, binary, docker_archive};

use super::SLEEPER;

/// Nobody has this number.
const NOBODY: u32 = 65534;

#[test]
fn load_takes_an_archive_and_up_runs_it() {
    let world = World::new("load");
    let archive = world.project_dir().join("image.tar");
    docker_archive(&archive, "made/here:1", &binary(), 0);
    assert!(world.stack(&["load", "image.tar"]).ok().stdout.contains("made/here:1"));
    world.write("compose.yaml", "services:\n  web:\n    image: made/here:1\n    pull_policy: never\n");
    world.stack(&["up", "-d"]).ok();
    world.runs(&["load-web-1"]);
    assert_eq!(world.stack(&["exec", "-T", "web", "/stack", "demo", "exit", "3"]).code, Some(3));
    // A second time finds everything there.
    world.stack(&["load", "image.tar"]).ok();
}

#[test]
fn an_image_is_mounted_whole_or_in_part_and_is_not_written() {
    let world = World::new("mounted");
    let archive = world.project_dir().join("image.tar");
    docker_archive(&archive, "made/here:3", &binary(), 0);
    world.stack(&["load", "image.tar"]).ok();
    let file = |more: &str| {
        format!(
            "services:\n  web:\n    {SLEEPER}\n    volumes:\n      - {{type: image, source: 'made/here:3', target: \
             /whole}}\n      - {{type: image, source: 'made/here:3', target: /part, image: {{subpath: stack}}}}\n{more}"
        )
    };
    world.write("compose.yaml", &file(""));
    world.stack(&["up", "-d"]).ok();
    let pid = world.runs(&["mounted-web-1"])["mounted-web-1"];
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let size = fs_err::metadata(binary()).unwrap().len();
    for path in ["whole/stack", "part"] {
        assert_eq!(fs_err::metadata(root.join(path)).unwrap().len(), size, "{path}");
    }
    let written = fs_err::write(root.join("whole/new"), "x").unwrap_err();
    assert_eq!(written.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{written}");
    // Whoever has the mount can run what it shows.
    assert_eq!(world.stack(&["exec", "-T", "web", "/part", "demo", "exit", "3"]).code, Some(3));
    // An image that is mounted is in use: it outlives its name.
    world.stack(&["rmi", "made/here:3"]).ok();
    world.stack(&["restart", "web"]).ok();
    let pid = world.runs(&["mounted-web-1"])["mounted-web-1"];
    assert_eq!(fs_err::metadata(format!("/proc/{pid}/root/whole/stack")).unwrap().len(), size);
    world.stack(&["load", "image.tar"]).ok();
    let missing = file("").replace("subpath: stack", "subpath: nowhere");
    world.stack(&["down"]).ok();
    world.write("compose.yaml", &missing);
    world.stack(&["up", "-d"]).fails(1, &["find in the image nowhere"]);
}

#[test]
fn an_archive_that_is_cut_short_changes_nothing() {
    let world = World::new("cut");
    let archive = world.project_dir().join("image.tar");
    docker_archive(&archive, "made/here:2", &binary(), 0);
    let whole = fs_err::metadata(&archive).unwrap().len();
    fs_err::OpenOptions::new().write(true).open(&archive).unwrap().set_len(whole / 2).unwrap();
    world.stack(&["load", "image.tar"]).fails(1, &["image.tar"]);
    world.write("compose.yaml", "services:\n  web:\n    image: made/here:2\n    pull_policy: never\n");
    world.stack(&["up", "-d"]).fails(1, &["made/here:2"]);
    assert!(world.pids().is_empty());
}

/// A small filesystem at the store's place, as long as the value lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(place: PathBuf, size: &str) -> Self {
        let options = format!("size={size}");
        mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).expect("a small disk");
        Self(place)
    }

    fn grow(&self, size: &str) {
        let options = format!("size={size}");
        mount(None::<&str>, &self.0, None::<&str>, MsFlags::MS_REMOUNT, Some(options.as_str())).expect("a larger disk");
    }

    /// Bytes of all files on it.
    fn used(&self) -> u64 {
        fn sum(directory: &Path) -> u64 {
            let entries = fs_err::read_dir(directory).into_iter().flatten().flatten();
            let sizes = entries.map(|entry| match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => sum(&entry.path()),
                Ok(metadata) => metadata.len(),
                Err(_) => 0,
            });
            sizes.sum()
        }
        sum(&self.0)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).expect("nobody needs the disk");
    }
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing_half_made() {
    let world = World::new("full");
    let archive = world.project_dir().join("image.tar");
    docker_archive(&archive, "made/here:3", &binary(), 8 << 20);
    let disk = SmallDisk::new(world.layout().root, "6m");
    world.stack(&["load", "image.tar"]).fails(1, &["space", &world.layout().root.to_string_lossy()]);
    assert!(disk.used() < 1 << 20, "{} bytes are left on the disk", disk.used());
    disk.grow("1g");
    world.stack(&["load", "image.tar"]).ok();
    drop(disk);
}

#[test]
fn without_permission_the_way_out_is_named() {
    let world = World::new("nobody");
    world.write("compose.yaml", "services:\n  web:\n    image: stack.local/self\n    command: [demo, sleep]\n");
    // Where everyone may run it.
    let program = world.project_dir().join("stack");
    fs_err::copy(binary(), &program).unwrap();
    let mut command = world.command_of(&program, &["up", "-d"]);
    command.uid(NOBODY).gid(NOBODY);
    world.finish(command).fails(1, &["root"]);
}

#[test]
fn a_registry_serves_an_image_once() {
    let world = World::new("pull");
    world.write(
        "compose.yaml",
        "services:\n  web:\n    image: 127.0.0.1:5000/test/busybox:1\n    command: [sleep, '1000']\n    init: true\n",
    );
    world.stack(&["pull"]).ok();
    // What is in the store needs no registry; `never` proves it.
    world.write(
        "compose.yaml",
        "services:\n  web:\n    image: 127.0.0.1:5000/test/busybox:1\n    command: [sleep, '1000']\n    init: true\n    pull_policy: never\n",
    );
    world.stack(&["up", "-d"]).ok();
    world.runs(&["pull-web-1"]);
}

#[test]
fn an_image_that_the_registry_does_not_have_is_named() {
    let world = World::new("absent");
    world.write("compose.yaml", "services:\n  web:\n    image: 127.0.0.1:5000/test/none:7\n");
    world.stack(&["up", "-d"]).fails(1, &["127.0.0.1:5000/test/none:7", "compose.yaml:3"]);
    assert!(world.pids().is_empty());
}

#[test]
fn config_pins_images_to_what_the_registry_has() {
    let world = World::new("pinned");
    let image = "127.0.0.1:5000/test/busybox:1";
    world.write("compose.yaml", &format!("services:\n  web:\n    image: {image}\n    command: [sleep, '1000']\n"));
    let lock = world.stack(&["config", "--lock-image-digests"]).ok().stdout;
    let pinned = lock.strip_prefix("services:\n  web:\n    image: ").expect("images and nothing else").trim_end();
    assert!(pinned.starts_with(&format!("{image}@sha256:")), "{pinned}");
    let resolved = world.stack(&["config", "--resolve-image-digests"]).ok().stdout;
    assert!(resolved.contains(&format!("image: {pinned}\n")) && resolved.contains("sleep"), "{resolved}");
    // The file fits behind the project's own, and what it names is what runs.
    world.write("lock.yaml", &lock);
    world.stack(&["-f", "compose.yaml", "-f", "lock.yaml", "up", "-d"]).ok();
    assert_eq!(world.records()["pinned-web-1"]["spec"]["image"].as_str(), Some(pinned));
    world.stack(&["down"]).ok();
    world.write("compose.yaml", "services:\n  web:\n    image: 127.0.0.1:5000/test/none:7\n");
    world.stack(&["config", "--lock-image-digests"]).fails(1, &["127.0.0.1:5000/test/none:7"]);
}
