//! What the images are made of.

use serde_json::{Value, json};

use super::tree::{Entry, Kind};

/// Where Debian's packages come from.
pub(super) const MIRROR: &str = "http://deb.debian.org/debian";
/// Raising it makes every layer anew.
pub(super) const EDITION: &str = "1";

/// One layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer {
    pub(super) name: &'static str,
    pub(super) content: Content,
}

/// How a layer comes to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    /// A minimal Debian 12.
    Debian,
    /// What a shell script changes in a chroot over the layers below, and files that are put there after it.
    Script { script: &'static str, files: &'static [File] },
    /// Entries written one by one.
    Entries(fn() -> Vec<Entry>),
}

/// A file of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    pub(super) path: &'static str,
    pub(super) text: &'static str,
    pub(super) mode: u32,
}

/// One image under one or more names.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) names: &'static [&'static str],
    /// The lowest first.
    pub(super) layers: Vec<Layer>,
    /// The `config` part of its configuration.
    pub(super) config: Value,
}

const BASE: Layer = Layer { name: "base", content: Content::Debian };

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Every image, the small ones first.
pub(super) fn images() -> Vec<Image> {
    vec![busybox(), other_busybox(), layers(), nginx(), python(), postgres(), redis()]
}

const fn packages(name: &'static str, script: &'static str) -> Layer {
    Layer { name, content: Content::Script { script, files: &[] } }
}

fn nginx() -> Image {
    const FILES: &[File] = &[
        File { path: "etc/nginx/nginx.conf", text: include_str!("../../images/nginx.conf"), mode: 0o644 },
        File {
            path: "etc/nginx/conf.d/default.conf",
            text: include_str!("../../images/nginx-default.conf"),
            mode: 0o644,
        },
    ];
    let configuration = Content::Script { script: "rm -f /etc/nginx/sites-enabled/default", files: FILES };
    Image {
        names: &["shop/nginx:1", "shop/nginx:1.22"],
        layers: vec![
            BASE,
            packages("nginx", "apt-get install -y -q nginx-light"),
            Layer { name: "nginx-configuration", content: configuration },
        ],
        config: json!({
            "Env": [PATH],
            "Cmd": ["nginx", "-g", "daemon off;"],
            "StopSignal": "SIGQUIT",
            "ExposedPorts": { "80/tcp": {} },
        }),
    }
}

fn python() -> Image {
    Image {
        names: &["shop/python:1", "shop/python:3.11"],
        layers: vec![
            BASE,
            packages("python", "apt-get install -y -q python3"),
            packages("python-modules", "apt-get install -y -q python3-psycopg2 python3-redis"),
        ],
        config: json!({ "Env": [PATH, "PYTHONUNBUFFERED=1"], "Cmd": ["python3"] }),
    }
}

fn postgres() -> Image {
    const INSTALL: &str = "
        mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
        apt-get install -y -q postgresql-15 -o Dpkg::Options::=--force-confold
        mkdir -p /var/lib/postgresql/data
        chown postgres: /var/lib/postgresql/data
        chmod 700 /var/lib/postgresql/data";
    const ENTRYPOINT: &[File] = &[File {
        path: "usr/local/bin/postgres-entrypoint",
        text: include_str!("../../images/postgres-entrypoint.sh"),
        mode: 0o755,
    }];
    let entrypoint = Content::Script { script: "true", files: ENTRYPOINT };
    Image {
        names: &["shop/postgres:15"],
        layers: vec![BASE, packages("postgres", INSTALL), Layer { name: "postgres-entrypoint", content: entrypoint }],
        config: json!({
            "Env": [format!("{PATH}:/usr/lib/postgresql/15/bin"), "PGDATA=/var/lib/postgresql/data", "LANG=C.UTF-8"],
            "Entrypoint": ["postgres-entrypoint"],
            "Cmd": ["postgres"],
            "StopSignal": "SIGINT",
            "Volumes": { "/var/lib/postgresql/data": {} },
            "ExposedPorts": { "5432/tcp": {} },
        }),
    }
}

fn redis() -> Image {
    const INSTALL: &str = "
        apt-get install -y -q redis-server
        mkdir /data
        chown redis: /data";
    Image {
        names: &["shop/redis:7"],
        layers: vec![BASE, packages("redis", INSTALL)],
        config: json!({
            "Env": [PATH],
            "Cmd": ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", "/data"],
            "User": "redis",
            "WorkingDir": "/data",
            "ExposedPorts": { "6379/tcp": {} },
        }),
    }
}

const BUSYBOX: Layer = Layer { name: "busybox", content: Content::Entries(busybox_entries) };

/// A shell and its applets, for scenario tests.
fn busybox() -> Image {
    Image { names: &["test/busybox:1"], layers: vec![BUSYBOX], config: json!({ "Env": ["PATH=/bin"], "Cmd": ["sh"] }) }
}

/// The next release of the same thing: a changed image.
fn other_busybox() -> Image {
    let motd = Content::Entries(|| vec![Entry::new("etc/motd", Kind::Text("busybox 2\n"), 0o644)]);
    Image { names: &["test/busybox:2"], layers: vec![BUSYBOX, Layer { name: "busybox-2", content: motd }], ..busybox() }
}

/// Every kind of change that one layer can make to those below it.
fn layers() -> Image {
    let entries = |name, entries| Layer { name, content: Content::Entries(entries) };
    Image {
        names: &["test/layers:1"],
        layers: vec![
            BUSYBOX,
            entries("layers-first", first_entries),
            entries("layers-second", second_entries),
            entries("layers-third", third_entries),
        ],
        config: json!({
            "Env": ["PATH=/bin", "FROM_IMAGE=yes"],
            "Entrypoint": ["sh", "-c"],
            "Cmd": ["find /tree -type f -o -type l | sort"],
            "WorkingDir": "/tree",
            "Labels": { "test": "layers" },
            "Healthcheck": { "Test": ["CMD", "true"], "Interval": 1_000_000_000_u64 },
        }),
    }
}

fn busybox_entries() -> Vec<Entry> {
    let directories = ["etc", "bin", "root", "home", "home/app", "var", "var/log", "usr", "dev", "proc", "sys", "run"];
    let mut entries: Vec<Entry> = directories.iter().map(|path| Entry::new(path, Kind::Directory, 0o755)).collect();
    entries.push(Entry::new("tmp", Kind::Directory, 0o1777));
    let texts = [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        ),
        ("etc/group", "root:x:0:\nstaff:x:50:app\napp:x:1000:\nnogroup:x:65534:\n"),
        ("etc/motd", "busybox\n"),
    ];
    entries.extend(texts.iter().map(|(path, text)| Entry::new(path, Kind::Text(text), 0o644)));
    entries.push(Entry::new("bin/busybox", Kind::CopyOf("/usr/bin/busybox"), 0o755));
    let applets = super::tree::busybox_applets();
    entries.extend(
        applets.into_iter().map(|applet| Entry::new(&format!("bin/{applet}"), Kind::Symlink("busybox"), 0o777)),
    );
    entries
}

fn first_entries() -> Vec<Entry> {
    vec![
        Entry::new("tree", Kind::Directory, 0o755),
        Entry::new("tree/kept", Kind::Text("first\n"), 0o644),
        Entry::new("tree/replaced", Kind::Text("first\n"), 0o644),
        Entry::new("tree/deleted", Kind::Text("first\n"), 0o644),
        Entry::new("tree/hidden", Kind::Directory, 0o755),
        Entry::new("tree/hidden/below", Kind::Text("first\n"), 0o644),
        Entry::new("tree/gone", Kind::Directory, 0o755),
        Entry::new("tree/gone/below", Kind::Text("first\n"), 0o644),
        Entry::new("tree/link", Kind::Symlink("kept"), 0o777),
    ]
}

fn second_entries() -> Vec<Entry> {
    vec![
        Entry::new("tree/replaced", Kind::Text("second\n"), 0o600),
        Entry::new("tree/.wh.deleted", Kind::Text(""), 0o000),
        Entry::new("tree/.wh.gone", Kind::Text(""), 0o000),
        Entry::new("tree/hidden", Kind::Directory, 0o700),
        Entry::new("tree/hidden/.wh..wh..opq", Kind::Text(""), 0o000),
        Entry::new("tree/hidden/fresh", Kind::Text("second\n"), 0o644),
    ]
}

fn third_entries() -> Vec<Entry> {
    vec![
        Entry::new("tree/set-user-id", Kind::CopyOf("/usr/bin/busybox"), 0o4755),
        Entry::new("tree/hard", Kind::Hardlink("tree/set-user-id"), 0o4755),
        Entry::new("tree/of-app", Kind::Text("third\n"), 0o640).owned_by(1000),
        Entry::new("tree/deleted", Kind::Text("third\n"), 0o644),
        Entry::new(&format!("tree/{}", "long-name-".repeat(20)), Kind::Text("third\n"), 0o644),
    ]
}
