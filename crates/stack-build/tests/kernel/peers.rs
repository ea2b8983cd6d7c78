//! The same Dockerfiles by us and by `buildah`: each file and each setting of the results compared.

use std::collections::BTreeMap;
use std::path::Path;

use fs_err as fs;
use serde_json::Value;
use stack_image::Store;
use stack_model::{Build, Dockerfile, ImageReference, Layout};

use crate::bed::{Bed, File, OLD, merge, program};

/// A script that runs its arguments where `buildah` is installed, with `/tmp` shared.
const SCRIPT: &str = "STACK_PEERS";
/// What both build on.
const BASE: &str = "docker.io/library/peer-base";
/// What `buildah` leaves of its own mounts, made in the base image so that it makes no difference.
const MOUNT_POINTS: [(&str, &str); 7] = [
    ("dev/.keep", ""),
    ("proc/.keep", ""),
    ("sys/.keep", ""),
    ("run/.keep", ""),
    ("etc/hostname", ""),
    ("etc/hosts", ""),
    ("etc/resolv.conf", ""),
];
/// Where the two differ for a reason: `buildah` makes directories of volumes, leaves mount points of RUN, and does not
/// heed SHELL in CMD, which the Dockerfile reference says it should.
const KNOWN: [&str; 4] = ["one: nothing", "two: nothing", "m: nothing", "Cmd: [\"/bin/sh\",\"-e\""];

const FILES: &[(&str, &str)] = &[
    ("a.txt", "a"),
    ("b.txt", "b"),
    ("dir/x", "x"),
    ("dir/sub/y", "y"),
    ("dir/sub/z.log", "z"),
    ("c d", "space"),
    ("src/main.c", "int main;"),
    ("src/lib/util.c", "int x;"),
    ("package.json", "{}"),
    ("run.sh", "#!/bin/sh\necho hi\n"),
    (".dockerignore", "*.log\n**/*.log\n.dockerignore\n"),
];

/// Every instruction and flag that `buildah` knows too; `BASE` stands for the base image.
const DOCKERFILES: &[&str] = &[
    "FROM BASE\n",
    "FROM scratch\nCOPY a.txt /\n",
    "FROM BASE\nRUN echo hi > /x && mkdir -p /d/e && touch /d/e/f\n",
    "FROM BASE\nRUN [\"/bin/sh\", \"-c\", \"echo $0 > /x\"]\n",
    "FROM BASE\nRUN mkdir /a && touch /a/1 /a/2\nRUN rm /a/1\nRUN rm -r /a && mkdir /a && touch /a/3\n",
    "FROM BASE\nRUN ln -s /bin/sh /s && ln /bin/busybox /h && chmod 4711 /h\n",
    "FROM BASE\nRUN touch /f && chown 5:6 /f && chmod 640 /f && mkdir -m 1777 /sticky\n",
    "FROM BASE\nRUN <<EOF\necho one > /one\necho two > /two\nEOF\n",
    "FROM BASE\nRUN cat <<EOF > /x\nhello\nEOF\n",
    "FROM BASE\nENV A=1 B=\"two words\" C=three\\ words\nENV D=$A E=${A}x F=${NO:-d} G=${A:+y}\n",
    "FROM BASE\nENV OLD style value\nRUN echo \"$OLD\" > /x\n",
    "FROM BASE\nARG X=default\nENV Y=$X\nRUN echo $X > /x\n",
    "ARG V=latest\nFROM BASE:$V\nARG V\nRUN echo \"[$V]\" > /x\n",
    "FROM BASE\nLABEL a=b \"c.d\"=\"e f\" g=\"h\\\n i\"\n",
    "FROM BASE\nLABEL one=1\nLABEL one=2 two=2\n",
    "FROM BASE\nEXPOSE 80 443/tcp 53/udp\n",
    "FROM BASE\nVOLUME /data\nVOLUME [\"/one\", \"/two\"]\n",
    "FROM BASE\nUSER app\nRUN id -u > /tmp/x\n",
    "FROM BASE\nUSER 12:34\nWORKDIR /tmp\nRUN id -g > x\n",
    "FROM BASE\nWORKDIR /w\nWORKDIR sub\nRUN pwd > x\n",
    "FROM BASE\nENV D=/deep\nWORKDIR $D/er\nCOPY a.txt .\n",
    "FROM BASE\nCMD echo hi\n",
    "FROM BASE\nCMD [\"a\", \"b\"]\nENTRYPOINT [\"c\"]\n",
    "FROM BASE\nENTRYPOINT echo hi\n",
    "FROM BASE\nSHELL [\"/bin/sh\", \"-e\", \"-c\"]\nRUN echo x > /x\nCMD echo y\n",
    "FROM BASE\nSTOPSIGNAL SIGQUIT\n",
    "FROM BASE\nHEALTHCHECK --interval=5s --timeout=3s --retries=2 CMD test -e /x\n",
    "FROM BASE\nHEALTHCHECK CMD [\"test\", \"-e\", \"/x\"]\n",
    "FROM BASE\nHEALTHCHECK NONE\n",
    "FROM BASE\nONBUILD RUN echo built\nONBUILD COPY a.txt /\n",
    "FROM BASE\nCOPY a.txt b.txt /d/\n",
    "FROM BASE\nCOPY a.txt /renamed\n",
    "FROM BASE\nCOPY *.txt /stars/\n",
    "FROM BASE\nCOPY dir /dir\nCOPY dir/sub/ /sub/\n",
    "FROM BASE\nCOPY . /all/\n",
    "FROM BASE\nCOPY [\"c d\", \"/with space\"]\n",
    "FROM BASE\nCOPY --chown=app:www a.txt /owned\nCOPY --chown=7:8 dir /numbers\n",
    "FROM BASE\nCOPY --chmod=0751 run.sh /run.sh\n",
    "FROM BASE\nCOPY <<EOF /doc\nhello\nEOF\n",
    "FROM BASE AS one\nRUN echo 1 > /one\nFROM BASE\nCOPY --from=one /one /copied\nCOPY --from=0 /one /again\n",
    "FROM BASE AS one\nRUN mkdir /t && touch /t/f && chown 3:4 /t/f && ln -s f /t/l\nFROM scratch\nCOPY --from=one /t /t\n",
    "FROM BASE\nCOPY --from=BASE /bin/busybox /copied\n",
    "FROM BASE AS a\nENV X=1\nFROM a AS b\nRUN echo $X > /x\nFROM b\n",
    "FROM BASE\nADD a.txt /added\nADD archive.tar /unpacked/\nADD archive.tar.gz /gz/\n",
    "FROM BASE\nCOPY run.sh dir /kept/\n",
    "FROM BASE AS one\nCOPY run.sh a.txt /kept/\nFROM BASE\nCOPY --from=one /kept /again\n",
    "FROM BASE\nADD --chown=3:4 --chmod=0640 a.txt /added\n",
    "FROM BASE\nRUN mkdir /old && echo 1 > /old/f\nRUN mv /old /new && rm /bin/nc\n",
    "FROM BASE\nRUN mkdir /swap && touch /swap/f\nRUN rm -r /swap && echo file > /swap\nRUN rm /swap && mkdir /swap\n",
    "FROM BASE\nWORKDIR /a/b\nCOPY --chown=app a.txt dir ./\nRUN ln a.txt hard && ln -s ../b/a.txt soft\n",
    "ARG A=1\nARG B=${A}2\nFROM BASE\nARG A\nARG B\nENV C=${B:-none} D=${A:?no} E=${NO:-${A}x}\n",
    "FROM BASE\nENV P=/usr/local/app.tar.gz\nENV Q=${P#*/} S=${P%.*} T=${P%%.*}\n",
    "FROM BASE\nLABEL multi=\"a\\\nb\" empty=\"\"\nENV EMPTY=\n",
    "FROM BASE\nRUN --mount=type=bind,source=a.txt,target=/m/a cat /m/a > /x\n",
    "FROM BASE\nRUN --mount=type=tmpfs,target=/m touch /m/gone\n",
    "FROM BASE\nRUN --mount=type=cache,target=/c echo 1 > /c/x && cp /c/x /x\n",
    "FROM BASE AS one\nRUN echo 1 > /one\nFROM BASE\nRUN --mount=type=bind,from=one,source=/,target=/m cp /m/one /x\n",
    "FROM BASE\nRUN --network=none echo x > /x\n",
    "# escape=`\nFROM BASE\nRUN echo a `\n  b > /x\n",
    "FROM BASE\n# comment\nRUN echo a \\\n# inside\n  && echo b > /x\n",
    // As projects do it: Node, a compiler in stages, nginx with its configuration.
    "FROM BASE AS deps\nWORKDIR /app\nCOPY package.json ./\nRUN --mount=type=cache,target=/root/.npm mkdir node_modules && touch node_modules/m\n\
     FROM BASE\nENV NODE_ENV=production\nWORKDIR /app\nCOPY --from=deps /app/node_modules ./node_modules\nCOPY src ./src\nUSER app\nEXPOSE 3000\n\
     CMD [\"node\", \"src/main.c\"]\n",
    "FROM BASE AS build\nARG VERSION=1.2\nWORKDIR /src\nCOPY src .\nRUN cat main.c lib/util.c > /out && echo $VERSION >> /out && chmod 755 /out\n\
     FROM scratch\nCOPY --from=build /out /app\nENTRYPOINT [\"/app\"]\n",
    "FROM BASE\nRUN mkdir -p /etc/nginx/conf.d /var/log/nginx && ln -s /dev/stdout /var/log/nginx/access.log\nCOPY <<EOF /etc/nginx/conf.d/default.conf\n\
     server {}\nEOF\nVOLUME /var/cache\nSTOPSIGNAL SIGQUIT\nCMD [\"nginx\", \"-g\", \"daemon off;\"]\n",
];

/// Settings that are compared.
const SETTINGS: [&str; 12] = [
    "Env",
    "Cmd",
    "Entrypoint",
    "WorkingDir",
    "User",
    "Labels",
    "ExposedPorts",
    "Volumes",
    "StopSignal",
    "Healthcheck",
    "Shell",
    "OnBuild",
];

pub(crate) fn buildah_makes_the_same(bed: &Bed) {
    let Some(script) = std::env::var_os(SCRIPT) else {
        // Debian 12's own buildah is too old for here-documents, so this is no part of every run.
        println!("buildah was not asked: {SCRIPT} names no script that runs its arguments where it is installed");
        return;
    };
    let place = bed.directory.path().join("buildah");
    fs::create_dir_all(&place).expect("a directory");
    let buildah = |words: &[&str]| -> Result<(), String> {
        let (root, run) = (place.join("root"), place.join("run"));
        let mut command = program(Path::new(&script));
        command.arg("buildah").arg("--root").arg(root).arg("--runroot").arg(run).args(["--storage-driver", "vfs"]);
        let output = command.args(words).output().expect("it can be run");
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    };
    let context = bed.context("peers", FILES);
    archives(&context.path);
    mark(&context.path);
    let stubs = bed.context("peer-base", &MOUNT_POINTS);
    let text = "FROM base\nCOPY . /\n".to_owned();
    let tags = vec![BASE.to_owned()];
    let request = Build { dockerfile: Dockerfile::Inline(text), tags, ..stubs.request() };
    bed.builder.build(&request, &|_| {}).expect("the base image");
    let base = place.join("base.tar");
    let mut file = fs::File::create(&base).expect("a file");
    bed.store().save(&[BASE.into()], &mut file).expect("the base image");
    buildah(&["pull", "-q", &format!("docker-archive:{}", base.display())]).expect("the base image");
    // It gives names of archives without a registry one of its own.
    buildah(&["tag", "localhost/peer-base:latest", &format!("{BASE}:latest")]).expect("the name");
    let theirs = Store::open(&Layout { root: place.join("store"), run: place.join("none") }).expect("a store");
    let mut different = Vec::new();
    for (number, text) in DOCKERFILES.iter().enumerate() {
        let text = text.replace("BASE", BASE);
        let request = Build { dockerfile: Dockerfile::Inline(text.clone()), ..context.request() };
        let ours = bed.build(&request);
        let dockerfile = place.join(format!("Dockerfile.{number}"));
        fs::write(&dockerfile, &text).expect("a file");
        let (name, archive) = (format!("result{number}"), place.join(format!("{number}.tar")));
        let paths = [&dockerfile, &context.path].map(|path| path.display().to_string());
        let built = buildah(&[
            "build",
            "-q",
            "--isolation",
            "chroot",
            "--network",
            "host",
            "--format",
            "docker",
            "--identity-label=false",
            "--pull=never",
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=4096:4096",
            "--layers=false",
            "-t",
            &name,
            "-f",
            &paths[0],
            &paths[1],
        ]);
        let pushed = built.and_then(|()| {
            buildah(&["push", "-q", &name, &format!("docker-archive:{}:{name}:latest", archive.display())])
        });
        if let Err(error) = pushed {
            different.push(format!("{text}buildah: {error}"));
            continue;
        }
        theirs.load(&archive).expect("it can be loaded");
        let documents = theirs.documents(&ImageReference::new(name)).expect("a store").expect("the image");
        let paths: Vec<_> = documents.layers.iter().map(|layer| theirs.layer_path(&layer.diff_id())).collect();
        different.extend(compare(&ours.files, &merge(&paths)).iter().map(|what| format!("{text}{what}")));
        for key in SETTINGS {
            let (mine, other) = (settled(ours.setting(key)), settled(&documents.config["config"][key]));
            if mine != other {
                different.push(format!("{text}{key}: {mine} is {other} there"));
            }
        }
    }
    different.retain(|what| !KNOWN.iter().any(|known| what.lines().any(|line| line.starts_with(known))));
    println!("{} Dockerfiles compared", DOCKERFILES.len());
    assert!(different.is_empty(), "{}", different.join("\n---\n"));
}

/// Nothing, whichever way it is written.
fn settled(value: &Value) -> Value {
    let is_empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || text == "/",
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    if is_empty { Value::Null } else { value.clone() }
}

fn compare(ours: &BTreeMap<String, File>, theirs: &BTreeMap<String, File>) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let show = |file: Option<&File>| match file {
        None => "nothing".to_owned(),
        Some(File { kind, mode, owner, content, attributes, is_old }) => {
            let content = String::from_utf8_lossy(&content[..content.len().min(40)]).into_owned();
            let time = if *is_old { "old" } else { "new" };
            format!("{kind} {mode:o} {owner:?} {time} {attributes:?} {content:?}")
        }
    };
    names
        .into_iter()
        .filter(|name| ours.get(*name) != theirs.get(*name))
        .map(|name| format!("{name}: {} is {} there", show(ours.get(name)), show(theirs.get(name))))
        .collect()
}

/// Times and an attribute that copies keep.
fn mark(context: &Path) {
    for (file, _) in FILES {
        let file = fs::File::options().write(true).open(context.join(file)).expect("a file");
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(OLD.unsigned_abs());
        file.file().set_modified(old).expect("a time");
    }
    rustix::fs::setxattr(context.join("run.sh"), "user.kept", b"yes", rustix::fs::XattrFlags::empty())
        .expect("an attribute");
}

/// An archive with owners and modes, plain and compressed.
fn archives(context: &Path) {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode) in [("in/file", 0o640), ("in/other", 0o755)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(mode);
        header.set_uid(9);
        header.set_gid(10);
        header.set_mtime(1);
        builder.append_data(&mut header, name, &b"x"[..]).expect("an entry");
    }
    let plain = builder.into_inner().expect("a tar");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &plain).expect("gzip");
    fs::write(context.join("archive.tar"), plain).expect("a file");
    fs::write(context.join("archive.tar.gz"), gzip.finish().expect("gzip")).expect("a file");
}
