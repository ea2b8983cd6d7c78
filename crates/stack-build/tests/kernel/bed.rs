//! What every test stands on: a store with one small base image, and a builder.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fs_err as fs;
use serde_json::Value;
use stack_build::{BuildError, BuildEvent, Builder, Built, Surroundings};
use stack_image::Store;
use stack_model::{Build, Dockerfile, ImageReference, Layout};

/// Programs of the base image.
const APPLETS: [&str; 28] = [
    "sh", "cat", "chmod", "chown", "cp", "echo", "env", "find", "grep", "hostname", "id", "ip", "ln", "ls", "mkdir",
    "mknod", "mv", "nc", "printf", "cut", "pwd", "rm", "sleep", "stat", "tar", "test", "touch", "true",
];

/// A store, a builder and a place for contexts.
pub(crate) struct Bed {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) layout: Layout,
    pub(crate) builder: Builder,
}

/// A context to build from.
pub(crate) struct Context {
    pub(crate) path: PathBuf,
}

/// An image with its files, layers merged.
pub(crate) struct Image {
    pub(crate) built: Built,
    pub(crate) config: Value,
    pub(crate) files: BTreeMap<String, File>,
    pub(crate) layers: usize,
    pub(crate) output: String,
}

/// A file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// Content, or the target of a link.
    pub(crate) content: Vec<u8>,
    /// `user.*` attributes.
    pub(crate) attributes: BTreeMap<String, Vec<u8>>,
    /// A file that kept [`OLD`], the time that it had in the context.
    pub(crate) is_old: bool,
}

/// A time that no build makes, in seconds since the epoch.
pub(crate) const OLD: i64 = 1_234_567_890;

impl Bed {
    pub(crate) fn new() -> Self {
        // Below /tmp, which the peers share.
        let directory = tempfile::Builder::new().prefix("stack-build-test-").tempdir_in("/tmp").expect("a directory");
        let layout = Layout { root: directory.path().join("root"), run: directory.path().join("run") };
        let program = std::env::current_exe().expect("a path");
        let environment = [("V", crate::runs::SECRET), ("X", "environment")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let surroundings = Surroundings { environment, ..Surroundings::default() };
        let builder = Builder::start(layout.clone(), &program, surroundings).expect("a builder");
        let bed = Self { directory, layout, builder };
        bed.make_base();
        bed
    }

    fn make_base(&self) {
        let context = self.context(
            "base",
            &[
                ("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:33:44::/srv:/bin/sh\n"),
                ("etc/group", "root:x:0:\nwww:x:55:app\n"),
            ],
        );
        fs::create_dir_all(context.path.join("bin")).expect("a directory");
        fs::copy("/usr/bin/busybox", context.path.join("bin/busybox")).expect("busybox");
        for applet in APPLETS {
            fs::os::unix::fs::symlink("busybox", context.path.join("bin").join(applet)).expect("an applet");
        }
        let temporary = context.path.join("tmp");
        fs::create_dir_all(&temporary).expect("a directory");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        fs::set_permissions(&temporary, mode).expect("a mode");
        let text = "FROM scratch\nCOPY . /\nENV PATH=/bin\nCMD [\"sh\"]\n";
        let request = Build {
            dockerfile: Dockerfile::Inline(text.to_owned()),
            tags: vec!["base".to_owned()],
            ..context.request()
        };
        self.builder.build(&request, &|_| {}).expect("the base image");
    }

    pub(crate) fn context(&self, name: &str, files: &[(&str, &str)]) -> Context {
        let path = self.directory.path().join("contexts").join(name);
        fs::create_dir_all(&path).expect("a directory");
        for (file, text) in files {
            let file = path.join(file);
            fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
            fs::write(&file, text).expect("a file");
        }
        Context { path }
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.layout).expect("a store")
    }

    pub(crate) fn try_build(&self, request: &Build) -> Result<Image, BuildError> {
        let name = "result:latest";
        let output = Mutex::new(String::new());
        let request = Build { tags: vec![name.to_owned()], ..request.clone() };
        let built = self.builder.build(&request, &|event| {
            if let BuildEvent::Output { line, .. } = event {
                output.lock().expect("a lock").push_str(&[line.as_str(), "\n"].concat());
            }
        })?;
        let documents = self.store().documents(&ImageReference::new(name))?.expect("the image");
        let paths = documents.layers.iter().map(|layer| self.store().layer_path(&layer.diff_id()));
        let paths: Vec<PathBuf> = paths.collect();
        let output = output.into_inner().expect("a lock");
        Ok(Image { built, config: documents.config, files: merge(&paths), layers: paths.len(), output })
    }

    #[track_caller]
    pub(crate) fn build(&self, request: &Build) -> Image {
        self.try_build(request).unwrap_or_else(|error| {
            panic!("{}", stack_model::Failure::from_error(error.fault(), &error).message + &reason(&error))
        })
    }

    /// Builds these instructions on the base image, with these files as context.
    #[track_caller]
    pub(crate) fn text(&self, text: &str, files: &[(&str, &str)]) -> Image {
        self.build(&self.request(text, files))
    }

    pub(crate) fn request(&self, text: &str, files: &[(&str, &str)]) -> Build {
        let name = stack_model::short_hex(&[text], 12);
        let context = self.context(&name, files);
        Build { dockerfile: Dockerfile::Inline(text.to_owned()), ..context.request() }
    }

    /// Bridges of builds.
    pub(crate) fn network(&self) -> Vec<String> {
        // Not from the files below /sys, which go some time after the links.
        let links = nix::net::if_::if_nameindex().expect("links");
        let links = links.iter().map(|link| link.name().to_string_lossy().into_owned());
        let mut links: Vec<String> = links.filter(|link| link.starts_with("stb-")).collect();
        links.sort();
        links
    }

    /// Mounts, descriptors and children of ours, cgroups, and directories of builds under way.
    pub(crate) fn inventory(&self) -> (String, String, Vec<String>) {
        let read = |path: &str| fs::read_to_string(path).expect("it can be read");
        let children = read(&format!("/proc/self/task/{}/children", std::process::id()));
        let work = fs::read_dir(self.layout.root.join("build/work")).into_iter().flatten().flatten();
        let work = work.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        (read("/proc/self/mountinfo"), children, work)
    }
}

/// What the mistake says beside its message.
pub(crate) fn reason(error: &BuildError) -> String {
    match error {
        BuildError::Dockerfile(mistake) => format!(" {:?} {:?}", mistake.diagnostic.reason, mistake.diagnostic.help),
        _ => String::new(),
    }
}

impl Context {
    pub(crate) fn request(&self) -> Build {
        Build { context: self.path.clone(), ..Build::default() }
    }
}

impl Image {
    #[track_caller]
    pub(crate) fn file(&self, path: &str) -> &File {
        self.files.get(path).unwrap_or_else(|| panic!("no {path} in {:?}", self.names()))
    }

    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        String::from_utf8_lossy(&self.file(path).content).into_owned()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Names of what is not of the base image.
    pub(crate) fn names(&self) -> Vec<&str> {
        let names = self.files.keys().map(String::as_str);
        names.filter(|name| !name.starts_with("bin") && *name != "etc" && !name.starts_with("etc/pass")).collect()
    }

    pub(crate) fn setting(&self, key: &str) -> &Value {
        &self.config["config"][key]
    }
}

/// What a container would see of these layers.
pub(crate) fn merge(layers: &[PathBuf]) -> BTreeMap<String, File> {
    let mut files = BTreeMap::new();
    layers.iter().for_each(|layer| add(layer, Path::new(""), &mut files));
    files
}

fn hide(files: &mut BTreeMap<String, File>, path: &str, itself: bool) {
    let below = format!("{path}/");
    files.retain(|name, _| !(name.starts_with(&below) || itself && name == path));
}

fn add(layer: &Path, path: &Path, files: &mut BTreeMap<String, File>) {
    for entry in fs::read_dir(layer.join(path)).expect("a directory").flatten() {
        let path = path.join(entry.file_name());
        let name = path.to_string_lossy().into_owned();
        let metadata = entry.metadata().expect("metadata");
        let kind = metadata.file_type();
        if kind.is_char_device() && metadata.rdev() == 0 {
            hide(files, &name, true);
            continue;
        }
        let mut value = [0; 8];
        let opaque = rustix::fs::lgetxattr(entry.path(), "trusted.overlay.opaque", value.as_mut_slice());
        if opaque == Ok(1) || !kind.is_dir() {
            hide(files, &name, true);
        }
        let (letter, content) = if kind.is_dir() {
            ('d', Vec::new())
        } else if kind.is_symlink() {
            ('l', fs::read_link(entry.path()).expect("a link").into_os_string().into_encoded_bytes())
        } else if kind.is_file() {
            ('f', fs::read(entry.path()).expect("a file"))
        } else {
            ('o', Vec::new())
        };
        let owner = (metadata.uid(), metadata.gid());
        files.insert(
            name,
            File {
                kind: letter,
                mode: metadata.mode() & 0o7777,
                owner,
                content,
                attributes: if kind.is_symlink() { BTreeMap::new() } else { attributes(&entry.path()) },
                is_old: kind.is_file() && metadata.mtime() == OLD,
            },
        );
        if kind.is_dir() {
            add(layer, &path, files);
        }
    }
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = [0; 1024];
    let length = rustix::fs::listxattr(path, names.as_mut_slice()).unwrap_or(0);
    let names = names[..length].split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    let names = names.filter(|name| name.starts_with("user.") && !name.starts_with("user.overlay"));
    let value = |name: &str| {
        let mut value = [0; 1024];
        let length = rustix::fs::getxattr(path, name, value.as_mut_slice()).unwrap_or(0);
        (name.to_owned(), value[..length].to_vec())
    };
    names.map(value).collect()
}

#[expect(clippy::disallowed_methods, reason = "the product starts no other program, its tests do")]
pub(crate) fn program(path: &Path) -> std::process::Command {
    std::process::Command::new(path)
}
