//! Against Debian's `docker-registry`, with `skopeo` as the other reader and writer.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;
use serde_json::json;
use stack_image::{ImageError, Needed, Store};
use stack_model::{ImageFacts, ImageReference};

use crate::archive::docker_archive;
use crate::image::Image;
use crate::registry::Registry;
use crate::{Place, is_root, layout};

/// `me` with the password `secret`, in bcrypt, the only form that the registry takes.
const HTPASSWD: &str = "me:$2b$05$PMrKiErNEkxDqTOnu29PAOWV03eltZ9d3XLYhDeiOnQtoXu4s5nT6\n";

/// A server that ends with this value.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

/// What a server wants.
#[derive(Clone, Copy, PartialEq)]
enum Wants {
    Nothing,
    Password,
    Tls,
}

/// Other programs are what these tests compare with.
#[expect(clippy::disallowed_methods, reason = "the product starts none, its tests do")]
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(name)
}

fn has(program: &str) -> bool {
    let found = ["/usr/bin", "/usr/local/bin"].iter().any(|place| Path::new(place).join(program).exists());
    if !found {
        println!("SKIP needs {program}");
    }
    found
}

impl Server {
    fn start(directory: &Path, wants: Wants) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let place = directory.join(port.to_string());
        fs::create_dir_all(&place).unwrap();
        let shown = place.display();
        let more = match wants {
            Wants::Nothing => String::new(),
            Wants::Password => {
                fs::write(place.join("htpasswd"), HTPASSWD).unwrap();
                format!("auth:\n  htpasswd:\n    realm: test\n    path: {shown}/htpasswd\n")
            }
            Wants::Tls => {
                make_certificate(&place);
                format!("  tls:\n    certificate: {shown}/server.crt\n    key: {shown}/server.key\n")
            }
        };
        let text = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: \
             {shown}/storage\nhttp:\n  addr: 127.0.0.1:{port}\n  secret: x\n{more}"
        );
        fs::write(place.join("config.yml"), text).unwrap();
        let mut command = program("docker-registry");
        command.arg("serve").arg(place.join("config.yml")).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(fs::File::create(place.join("log")).unwrap().into_parts().0).spawn().unwrap();
        let server = Self { child, port };
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20), "{}", fs::read_to_string(place.join("log")).unwrap());
            std::thread::park_timeout(Duration::from_millis(10));
        }
        server
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn name(&self, name: &str) -> ImageReference {
        ImageReference::new(format!("{}/{name}", self.host()))
    }
}

/// An authority, and a certificate of it: no client of ours takes an authority for a server.
fn make_certificate(place: &Path) {
    let path = |name: &str| place.join(name).display().to_string();
    let make = |name: &str, more: &[&str]| {
        let (key, certificate) = (path(&format!("{name}.key")), path(&format!("{name}.crt")));
        let mut command = program("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command.args(["-days", "2", "-keyout", &key, "-out", &certificate]).args(more);
        assert!(command.stderr(Stdio::null()).status().unwrap().success());
    };
    make("ca", &["-subj", "/CN=authority"]);
    let (authority, key) = (path("ca.crt"), path("ca.key"));
    let names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
    let signed = ["-addext", "basicConstraints=critical,CA:FALSE", "-CA", &authority, "-CAkey", &key];
    make("server", &[&names[..], &signed].concat());
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[track_caller]
fn skopeo(words: &[&str]) -> String {
    let output = program("skopeo").args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A store with one image of three layers, under this name.
fn filled(name: &ImageReference) -> (Place, ImageFacts) {
    let place = Place::new();
    let registry = Registry::start(&[("a:1", &Image::three_layers())]);
    let source = registry.name("a:1");
    let facts = wait(place.store.pull(&source, &|_| {})).unwrap();
    place.store.tag(&source, name).unwrap();
    place.store.untag(&source).unwrap();
    (place, facts)
}

#[test]
fn what_is_pushed_is_read_by_others_and_comes_back() {
    if !is_root() || !has("docker-registry") || !has("skopeo") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), Wants::Nothing);
    let name = server.name("team/app:1");
    let (place, facts) = filled(&name);
    wait(place.store.push(&name, &|_| {})).unwrap();
    // Once more sends nothing and is no error.
    wait(place.store.push(&name, &|_| {})).unwrap();
    let raw = skopeo(&["inspect", "--tls-verify=false", "--raw", &format!("docker://{name}")]);
    assert!(raw.contains("layer.v1.tar+gzip") && !raw.contains("layer.v1.tar\""), "a plain layer was sent: {raw}");
    let shown = skopeo(&["inspect", "--tls-verify=false", "--config", &format!("docker://{name}")]);
    assert!(shown.contains(facts.layers[2].as_str()), "{shown}");
    let other = Place::new();
    assert_eq!(wait(other.store.pull(&name, &|_| {})).unwrap(), facts);
    other.assert_clean();
    // The store is a layout that others read and write while we use it.
    let images = place.directory.path().join("images").display().to_string();
    skopeo(&[
        "copy",
        "-q",
        &format!("oci:{images}:{name}"),
        &format!("dir:{}", directory.path().join("copy").display()),
    ]);
    let added = server.name("brought/by/another:1");
    for what in ["", "@index"] {
        let tools = Place::new();
        let images = tools.directory.path().join("images").display().to_string();
        let all: &[&str] = if what.is_empty() { &[] } else { &["--all"] };
        let words =
            ["copy", "-q", "--src-tls-verify=false", &format!("docker://{name}"), &format!("oci:{images}:{added}")];
        skopeo(&words.iter().copied().chain(all.iter().copied()).collect::<Vec<_>>());
        assert_eq!(tools.store.list().unwrap()[0].reference, added);
        assert_eq!(tools.store.collect(&Needed::default()).unwrap().blobs, 0);
        assert_eq!(tools.store.find(&added).unwrap().unwrap().layers, facts.layers);
        tools.assert_clean();
    }
    let missing = server.name("team/none:1");
    assert!(matches!(wait(place.store.push(&missing, &|_| {})), Err(ImageError::NotHere(_))));
    assert!(matches!(wait(other.store.pull(&missing, &|_| {})), Err(ImageError::NotFound { .. })));
}

#[test]
fn archives_are_read_by_others_and_by_us() {
    if !is_root() || !has("skopeo") {
        return;
    }
    let name = ImageReference::new("shop/app:1");
    let (place, facts) = filled(&name);
    let file = place.directory.path().join("saved.tar");
    let save = || {
        let mut bytes = Vec::new();
        place.store.save(std::slice::from_ref(&name), &mut bytes).unwrap();
        bytes
    };
    assert!(save() == save(), "two archives of one image differ");
    fs::write(&file, save()).unwrap();
    for kind in ["docker-archive", "oci-archive"] {
        let config = skopeo(&["inspect", "--config", &format!("{kind}:{}", file.display())]);
        assert!(config.contains(facts.layers[0].as_str()), "{kind}: {config}");
    }
    let other = Place::new();
    let loaded = other.store.load(&file).unwrap();
    assert_eq!(loaded, ["docker.io/shop/app:1".into()]);
    assert_eq!(other.store.find(&name).unwrap().unwrap().id, facts.id);
}

#[test]
fn a_saved_layout_is_unpacked_by_umoci() {
    if !is_root() || !has("umoci") {
        return;
    }
    let (place, name) = (Place::new(), ImageReference::new("shop/app:1"));
    let archive = docker_archive(&Image::of_tars(Image::three_layers().tars), &json!([name.as_str()]));
    let file = place.directory.path().join("archive.tar");
    fs::write(&file, archive).unwrap();
    place.store.load(&file).unwrap();
    let mut bytes = Vec::new();
    place.store.save(&[name], &mut bytes).unwrap();
    let layout = place.directory.path().join("layout");
    ::tar::Archive::new(bytes.as_slice()).unpack(&layout).unwrap();
    let bundle = place.directory.path().join("bundle");
    let status = program("umoci").args(["unpack", "--image", &format!("{}:1", layout.display())]).arg(&bundle).status();
    assert!(status.unwrap().success());
    assert_eq!(fs::read_to_string(bundle.join("rootfs/etc/two")).unwrap(), "second");
    assert!(!bundle.join("rootfs/etc/one").exists());
}

#[test]
fn credentials_mirrors_and_certificates_come_from_outside() {
    if !is_root() || !has("docker-registry") || !has("openssl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let [plain, password, tls] =
        [Wants::Nothing, Wants::Password, Wants::Tls].map(|wants| Server::start(directory.path(), wants));
    let certificates = directory.path().join("certs");
    fs::create_dir_all(certificates.join(tls.host())).unwrap();
    let certificate = directory.path().join(tls.port.to_string()).join("ca.crt");
    fs::copy(certificate, certificates.join(tls.host()).join("ca.crt")).unwrap();
    // Variables are of a whole process, so the rest is one of its own.
    let status = program(std::env::current_exe().unwrap())
        .args(["server::in_a_process_of_its_own", "--exact", "--nocapture"])
        .env("STACK_TEST_SERVERS", [plain.host(), password.host(), tls.host()].join(","))
        .env("STACK_MIRROR", plain.host())
        .env("STACK_CERTS", &certificates)
        .env("DOCKER_CONFIG", directory.path().join("docker"))
        .status()
        .unwrap();
    assert!(status.success());
}

/// Does its work for the test above, which gives it the servers.
#[test]
fn in_a_process_of_its_own() {
    let Ok(servers) = std::env::var("STACK_TEST_SERVERS") else { return };
    let [plain, password, tls] = servers.split(',').collect::<Vec<_>>().try_into().unwrap();
    let name = |host: &str| ImageReference::new(format!("{host}/a/b:1"));
    // A password is asked for, checked before it is kept, and forgotten.
    let (place, facts) = filled(&name(password));
    let refused =
        |result: Result<(), ImageError>| assert!(matches!(result, Err(ImageError::Unauthorized { .. })), "{result:?}");
    refused(wait(place.store.push(&name(password), &|_| {})));
    refused(wait(stack_image::login(password, "me", "wrong")).map(drop));
    let file: PathBuf = wait(stack_image::login(password, "me", "secret")).unwrap();
    assert!(fs::read_to_string(&file).unwrap().contains(password));
    wait(place.store.push(&name(password), &|_| {})).unwrap();
    let other = Place::new();
    assert_eq!(wait(other.store.pull(&name(password), &|_| {})).unwrap(), facts);
    assert!(stack_image::logout(password).unwrap() && !stack_image::logout(password).unwrap());
    refused(wait(other.store.pull(&name(password), &|_| {})).map(drop));
    // TLS with an authority of its own.
    place.store.tag(&name(password), &name(tls)).unwrap();
    wait(place.store.push(&name(tls), &|_| {})).unwrap();
    assert_eq!(wait(other.store.pull(&name(tls), &|_| {})).unwrap(), facts);
    // What is meant for Docker Hub comes from the mirror.
    let official = ImageReference::new(format!("{plain}/library/official:1"));
    place.store.tag(&name(password), &official).unwrap();
    wait(place.store.push(&official, &|_| {})).unwrap();
    assert_eq!(wait(other.store.pull(&"official:1".into(), &|_| {})).unwrap(), facts);
    assert!(other.store.find(&"docker.io/library/official:1".into()).unwrap().is_some());
}

#[test]
fn only_what_nothing_needs_is_collected() {
    if !is_root() {
        return;
    }
    let name = ImageReference::new("app:1");
    let (place, facts) = filled(&name);
    let store = Store::open(&layout(place.directory.path())).unwrap();
    place.wait_until_synced();
    let usage = store.usage(&Needed::default()).unwrap();
    assert_eq!(usage.unused.0, 0, "all of it has a name");
    let du = |what: &str| {
        let output = program("du").args(["-s", "-B1"]).arg(place.directory.path().join(what)).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!((usage.blobs.0, usage.layers.0), (du("images"), du("layers")));
    assert_eq!(store.collect(&Needed::default()).unwrap().layers, 0);
    assert_eq!(store.find(&name).unwrap().unwrap(), facts);
    // Two names: one of them keeps everything.
    store.tag(&name, &"app:2".into()).unwrap();
    store.untag(&name).unwrap();
    assert_eq!(store.collect(&Needed::default()).unwrap().blobs, 0);
    let short = &facts.id.as_str()["sha256:".len()..][..8];
    assert_eq!(store.resolve(&short.into()).unwrap(), "docker.io/library/app:2".into());
    store.untag(&short.into()).unwrap();
    assert!(matches!(store.untag(&"app:2".into()), Err(ImageError::NotHere(_))));
    // A container still runs on one layer.
    let needed = Needed { diff_ids: [facts.layers[0].clone()].into(), ..Needed::default() };
    assert_eq!(store.collect(&needed).unwrap().layers, 2);
    assert!(store.layer_path(&facts.layers[0]).exists() && !store.layer_path(&facts.layers[1]).exists());
    let collected = store.collect(&Needed::default()).unwrap();
    assert_eq!((collected.layers, collected.blobs), (1, 0));
    assert_eq!((place.layers().len(), place.blobs()), (0, 0));
    place.assert_clean();
}

#[test]
fn a_lease_keeps_what_has_no_name_yet() {
    if !is_root() {
        return;
    }
    let (place, _) = filled(&"app:1".into());
    let lease = place.store.lease().unwrap();
    place.store.untag(&"app:1".into()).unwrap();
    let root = place.directory.path().to_owned();
    let collecting =
        std::thread::spawn(move || Store::open(&layout(&root)).unwrap().collect(&Needed::default()).unwrap());
    // A second lease is taken at once although somebody waits to collect.
    drop(place.store.lease().unwrap());
    assert_eq!(place.layers().len(), 3);
    drop(lease);
    assert_eq!(collecting.join().unwrap().layers, 3);
}

#[test]
fn what_a_dead_collection_left_goes_the_next_time() {
    if !is_root() {
        return;
    }
    let (place, facts) = filled(&"app:1".into());
    place.wait_until_synced();
    place.store.untag(&"app:1".into()).unwrap();
    // As if the process had died between its two steps, and before the second.
    let layers = place.directory.path().join("layers");
    let doomed = layers.join(".tmp/99999-0");
    fs::create_dir_all(&doomed).unwrap();
    fs::rename(place.store.layer_path(&facts.layers[1]), doomed.join("old")).unwrap();
    let collected = place.store.collect(&Needed::default()).unwrap();
    assert_eq!(collected.layers, 2);
    place.assert_clean();
    assert_eq!((place.layers().len(), place.blobs()), (0, 0));
}
