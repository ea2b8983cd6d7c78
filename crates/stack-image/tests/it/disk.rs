use fs_err as fs;
use stack_image::Store;
use stack_model::Fault;

use crate::image::Image;
use crate::registry::Registry;
use crate::{is_root, layout, names};

/// A file system of two megabytes, gone with the value.
struct Small {
    path: tempfile::TempDir,
}

impl Small {
    fn mount() -> Option<Self> {
        let path = tempfile::tempdir().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        match rustix::mount::mount("small", path.path(), "tmpfs", flags, c"size=2m") {
            Ok(()) => Some(Self { path }),
            Err(errno) => {
                println!("SKIP mounting a tmpfs: {errno}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        rustix::mount::unmount(self.path.path(), rustix::mount::UnmountFlags::empty()).unwrap();
    }
}

#[test]
fn a_full_disk_is_said_and_nothing_is_left() {
    if !is_root() {
        return;
    }
    let Some(small) = Small::mount() else { return };
    let image = Image::three_layers();
    let registry = Registry::start(&[("a:1", &image)]);
    let store = Store::open(&layout(small.path.path())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let name = registry.name("a:1");
    let error = runtime.block_on(store.pull(&name, &|_| {})).unwrap_err();
    let text = stack_model::Failure::from_error(error.fault(), &error).to_string();
    assert!(text.contains("No space left on device"), "{text}");
    assert!(text.contains(&small.path.path().display().to_string()), "{text}");
    assert!(error.hint().unwrap().contains("free some space"), "{error:?}");
    assert_eq!(error.fault(), Fault::Transient);
    assert_eq!(store.find(&name).unwrap(), None);
    for scratch in ["images/.tmp", "layers/.tmp"] {
        assert_eq!(names(&small.path.path().join(scratch)), Vec::<String>::new());
    }
    // With space, the same store goes on from what it has.
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount_remount(small.path.path(), flags, c"size=64m").unwrap();
    runtime.block_on(store.pull(&name, &|_| {})).unwrap();
    assert_eq!(fs::read_dir(small.path.path().join("images/.tmp")).unwrap().count(), 0);
}
