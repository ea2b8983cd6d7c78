//! The place where one build works: directories on the disk of the store, mounts that nobody else sees.
//!
//! ```text
//! build/cache/<key>              what a step made
//! build/caches/<id>/             directories of RUN --mount=type=cache
//! build/files.json               digests of files of contexts
//! build/work/<build>/            locked while the build lives; the next build removes what a dead one left
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fs_err as fs;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, move_mount, unmount,
};
use stack_cgroup::Hierarchy;
use stack_image::{Store, StoredLayer, sweep_locks};
use stack_model::{Layout, ProjectName};

use crate::error::BuildError;
use crate::network::{self, BuildNet};

/// Tells the builds of one process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The directories of one build.
pub(crate) struct Workshop<'b> {
    directory: PathBuf,
    pub(crate) project: ProjectName,
    /// Where the runtime keeps the containers of steps.
    pub(crate) layout: Layout,
    hierarchy: &'b Hierarchy,
    has_cgroup: Mutex<bool>,
    next: AtomicU64,
    network: Mutex<Option<Arc<BuildNet>>>,
    _lock: fs::File,
}

/// `build/` of the store.
pub(crate) fn home(layout: &Layout) -> PathBuf {
    layout.build()
}

impl<'b> Workshop<'b> {
    pub(crate) fn open(layout: &Layout, hierarchy: &'b Hierarchy) -> Result<Self, BuildError> {
        let work = home(layout).join("work");
        fs::create_dir_all(&work).map_err(BuildError::io("make", &work))?;
        sweep(layout, hierarchy)?;
        loop {
            let name = format!("b{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let directory = work.join(&name);
            fs::create_dir_all(&directory).map_err(BuildError::io("make", &directory))?;
            let Ok(lock) = fs::File::open(&directory) else { continue };
            flock(&lock, FlockOperation::LockExclusive)
                .map_err(|error| BuildError::io("lock", &directory)(error.into()))?;
            // A sweeper may have been quicker.
            if !directory.exists() {
                continue;
            }
            let layout = layout_of(layout, &directory);
            let project = ProjectName::new(name);
            let (next, has_cgroup, network) = (AtomicU64::new(0), Mutex::new(false), Mutex::default());
            return Ok(Self { directory, project, layout, hierarchy, has_cgroup, next, network, _lock: lock });
        }
    }

    /// Makes the cgroup of the build's programs. Making the first one of a hierarchy takes the kernel 20 ms, so it is
    /// left to the first program: a build of which all was made before runs none.
    pub(crate) fn ensure_cgroup(&self) -> Result<(), BuildError> {
        let mut has_cgroup = self.has_cgroup.lock().unwrap_or_else(PoisonError::into_inner);
        if !*has_cgroup {
            self.hierarchy.ensure_project(&self.layout.cgroup(&self.project))?;
            *has_cgroup = true;
        }
        Ok(())
    }

    /// The network of the build's programs, made for the first that wants it.
    pub(crate) fn network(&self) -> Result<Arc<BuildNet>, BuildError> {
        let mut network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = network.as_ref() {
            return Ok(Arc::clone(network));
        }
        let made = Arc::new(BuildNet::open(&self.layout, &self.project, &self.directory)?);
        *network = Some(Arc::clone(&made));
        Ok(made)
    }

    /// A new directory.
    pub(crate) fn scratch(&self) -> Result<PathBuf, BuildError> {
        let path = self.directory.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path).map_err(BuildError::io("make", &path))?;
        Ok(path)
    }

    /// A number that no other step of this build has.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Layers merged, to be read.
    pub(crate) fn view(&self, store: &Store, layers: &[StoredLayer]) -> Result<View, BuildError> {
        let paths: Vec<PathBuf> = layers.iter().map(|layer| store.layer_path(&layer.diff_id())).collect();
        match paths.as_slice() {
            [] => Ok(View { path: self.scratch()?, mounted: false }),
            // overlayfs wants two lower directories; one is its own merge, as a layer holds no marks for layers below
            // the lowest.
            [only] => Ok(View { path: only.clone(), mounted: false }),
            paths => self.mount(paths, None),
        }
    }

    /// Layers merged below a new upper directory.
    pub(crate) fn change(&self, store: &Store, layers: &[StoredLayer]) -> Result<(View, PathBuf), BuildError> {
        let place = self.scratch()?;
        let (upper, work) = (place.join("upper"), place.join("work"));
        for path in [&upper, &work] {
            fs::create_dir(path).map_err(BuildError::io("make", path))?;
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&upper, mode).map_err(BuildError::io("make", &upper))?;
        let paths: Vec<PathBuf> = layers.iter().map(|layer| store.layer_path(&layer.diff_id())).collect();
        if paths.is_empty() {
            return Ok((View { path: upper.clone(), mounted: false }, upper));
        }
        Ok((self.mount(&paths, Some((&upper, &work)))?, upper))
    }

    /// A directory of the host with writes that are thrown away.
    pub(crate) fn discarding(&self, lower: &Path) -> Result<View, BuildError> {
        let place = self.scratch()?;
        let (upper, work) = (place.join("upper"), place.join("work"));
        for path in [&upper, &work] {
            fs::create_dir(path).map_err(BuildError::io("make", path))?;
        }
        self.mount(&[lower.to_owned()], Some((&upper, &work)))
    }

    fn mount(&self, lower: &[PathBuf], upper: Option<(&Path, &Path)>) -> Result<View, BuildError> {
        let path = self.scratch()?;
        let mount = || -> rustix::io::Result<()> {
            let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            // The highest first; one option a layer, because all in one would end after a page.
            for layer in lower.iter().rev() {
                fsconfig_set_string(context.as_fd(), "lowerdir+", layer)?;
            }
            if let Some((upper, work)) = upper {
                fsconfig_set_string(context.as_fd(), "upperdir", upper)?;
                fsconfig_set_string(context.as_fd(), "workdir", work)?;
                fsconfig_set_string(context.as_fd(), "redirect_dir", "off")?;
            }
            fsconfig_create(context.as_fd())?;
            let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
            move_mount(mount.as_fd(), "", rustix::fs::CWD, &path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        };
        mount().map_err(|error| BuildError::io("mount layers at", &path)(error.into()))?;
        Ok(View { path, mounted: true })
    }
}

impl Drop for Workshop<'_> {
    fn drop(&mut self) {
        // Down before its mark goes with the directory.
        drop(self.network.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        // Without a program there was no container, and asking every hierarchy for its cgroup takes a while.
        if *self.has_cgroup.get_mut().unwrap_or_else(PoisonError::into_inner) {
            drop(clear(&self.layout, self.hierarchy, &self.project, &self.directory));
        } else {
            drop(remove_directories(&self.layout, &self.project, &self.directory));
        }
    }
}

/// Removes what builds that died have left, their processes first.
///
/// # Errors
/// A directory cannot be removed.
pub fn sweep(layout: &Layout, hierarchy: &Hierarchy) -> Result<(), BuildError> {
    let mut any = false;
    for (directory, _lock) in abandoned(layout) {
        any = true;
        let project = ProjectName::new(directory.file_name().unwrap_or_default().to_string_lossy());
        clear(&layout_of(layout, &directory), hierarchy, &project, &directory)?;
    }
    if any {
        sweep_locks(&home(layout).join("cache"), |name| name.ends_with(".lock"));
    }
    Ok(())
}

/// Directories of builds that died, each with its lock.
pub(crate) fn abandoned(layout: &Layout) -> impl Iterator<Item = (PathBuf, fs::File)> {
    fs::read_dir(home(layout).join("work")).into_iter().flatten().flatten().filter_map(|entry| {
        let lock = fs::File::open(entry.path()).ok()?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some((entry.path(), lock))
    })
}

fn layout_of(layout: &Layout, directory: &Path) -> Layout {
    Layout { root: directory.to_owned(), run: layout.run.join("build") }
}

fn clear(layout: &Layout, hierarchy: &Hierarchy, project: &ProjectName, directory: &Path) -> Result<(), BuildError> {
    let cgroup = layout.cgroup(project);
    // What is left of containers is found by their cgroups: the project's own holds no process.
    for (container, _) in stack_runtime::observe_containers(layout, project)? {
        hierarchy.kill(&cgroup.join(container.id.as_str()))?;
        stack_runtime::remove_container(layout, project, &container.id, hierarchy)?;
    }
    hierarchy.remove_project(&cgroup)?;
    network::sweep(layout, project, directory)?;
    remove_directories(layout, project, directory)
}

fn remove_directories(layout: &Layout, project: &ProjectName, directory: &Path) -> Result<(), BuildError> {
    for path in [&layout.project_run(project), directory] {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(BuildError::io("remove", path)(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    // These two go with the last build.
    for path in [layout.run.join("projects"), layout.run.clone()] {
        drop(fs::remove_dir(path));
    }
    Ok(())
}

/// A file tree, mounted while the value lives.
#[derive(Debug)]
pub(crate) struct View {
    path: PathBuf,
    mounted: bool,
}

impl View {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn open(&self) -> Result<OwnedFd, BuildError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&self.path, flags, Mode::empty())
            .map_err(|error| BuildError::io("open", &self.path)(error.into()))
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if self.mounted {
            let _ = unmount(&self.path, UnmountFlags::DETACH);
        }
    }
}
