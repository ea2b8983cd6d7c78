use std::os::unix::net::UnixListener;

use fs_err as fs;
use stack_model::{Build, SecretSource, Ulimit};

use crate::bed::Bed;

/// Value of the variable `V` of the builder's environment.
pub(crate) const SECRET: &str = "swordfish-7261";

pub(crate) fn programs_have_shell_user_and_directory(bed: &Bed) {
    let text = r#"FROM base
RUN mkdir -p /srv && chown app /srv
USER app
WORKDIR /srv
RUN id -u > who && pwd > where && echo "$HOME" > home
RUN ["/bin/sh", "-c", "echo $0 > exec"]
SHELL ["/bin/sh", "-e", "-c"]
RUN echo one \
    # a comment
    && echo two
"#;
    let image = bed.text(text, &[]);
    assert_eq!((image.read("srv/who"), image.read("srv/where")), ("33\n".to_owned(), "/srv\n".to_owned()));
    assert_eq!((image.read("srv/home"), image.read("srv/exec")), ("/srv\n".to_owned(), "/bin/sh\n".to_owned()));
    assert_eq!(image.file("srv/who").owner, (33, 44));
    assert!(image.output.contains("one\ntwo\n"), "{}", image.output);
}

pub(crate) fn documents_are_scripts(bed: &Bed) {
    let text = "FROM base\nARG A=1\nRUN <<EOF\necho \"$A\" > /one\necho 2 >> /one\nEOF\nRUN cat <<X > /two && cat <<'Y' > /three\nx$A\nX\ny$A\nY\n\
                RUN <<EOF\n#!/bin/cat\nscript\nEOF\n";
    let image = bed.text(text, &[]);
    assert_eq!(image.read("one"), "1\n2\n");
    assert_eq!((image.read("two"), image.read("three")), ("x1\n".to_owned(), "y$A\n".to_owned()));
    assert!(image.output.contains("#!/bin/cat\nscript\n"), "{}", image.output);
    assert!(!image.has("dev"));
}

pub(crate) fn mounts_are_there_and_gone(bed: &Bed) {
    let text = r#"FROM base AS other
RUN echo from-stage > /data
FROM base
RUN --mount=type=bind,source=file,target=/mnt/file cat /mnt/file > /one
RUN --mount=type=bind,from=other,source=/,target=/mnt/stage,rw cp /mnt/stage/data /two && touch /mnt/stage/lost
RUN --mount=type=cache,id=shared,target=/cache/a echo kept > /cache/a/x
RUN --mount=type=cache,id=shared,target=/other,sharing=locked cp /other/x /three
RUN --mount=type=cache,target=/init,from=other,source=/,sharing=private,uid=5,mode=0700 cp /init/data /four && stat -c '%u %a' /init > /five
RUN --mount=type=tmpfs,target=/scratch,size=1m touch /scratch/x && test -e /scratch/x
RUN --mount=target=/ro sh -c 'touch /ro/x 2>/dev/null && echo writable || echo read-only' > /six
"#;
    let image = bed.text(text, &[("file", "from-context")]);
    for (path, content) in [
        ("one", "from-context"),
        ("two", "from-stage\n"),
        ("three", "kept\n"),
        ("four", "from-stage\n"),
        ("five", "5 700\n"),
        ("six", "read-only\n"),
    ] {
        assert_eq!(image.read(path), content, "{path}");
    }
    for gone in ["mnt", "cache", "other", "scratch", "init", "ro"] {
        assert!(!image.has(gone), "{gone}");
    }
}

pub(crate) fn secrets_leave_no_trace(bed: &Bed) {
    let directory = bed.directory.path();
    let file = directory.join("secret-file");
    fs::write(&file, SECRET).expect("a file");
    let socket = directory.join("agent.sock");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let text = r#"FROM base
RUN --mount=type=secret,id=key test "$(cat /run/secrets/key)" = swordfish-7261 -a "$(stat -c %a /run/secrets/key)" = 400
RUN --mount=type=secret,id=key,target=/etc/key,mode=0444,uid=33 test "$(stat -c '%u %a' /etc/key)" = "33 444"
RUN --mount=type=secret,id=var,env=TOKEN test "$TOKEN" = swordfish-7261
RUN --mount=type=ssh test -S "$SSH_AUTH_SOCK"
RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent
"#
    .replace(SECRET, "$(echo swordfish)-7261");
    let request = Build {
        secrets: [
            ("key".to_owned(), SecretSource::File(file.clone())),
            ("var".to_owned(), SecretSource::Variable("V".to_owned())),
        ]
        .into(),
        ssh: [("default".to_owned(), socket)].into(),
        ..bed.request(&text, &[])
    };
    let image = bed.build(&request);
    assert!(!image.has("run") && !image.has("etc/key"), "{:?}", image.names());
    for root in [&bed.layout.root, &bed.layout.run] {
        assert_eq!(holders(root, SECRET.as_bytes()), Vec::<String>::new());
    }
    let required = bed.request("FROM base\nRUN --mount=type=secret,id=no,required true\n", &[]);
    let error = bed.try_build(&required).err().expect("it is required");
    assert!(error.to_string().contains("the secret `no` was not given"), "{error}");
}

/// Files that contain some bytes.
fn holders(directory: &std::path::Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            found.extend(holders(&entry.path(), bytes));
        } else if kind.is_file() {
            let content = fs::read(entry.path()).expect("a file");
            if content.windows(bytes.len()).any(|window| window == bytes) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

pub(crate) fn networks(bed: &Bed) {
    let text = "FROM base\nRUN --network=none ip -o link > /none\nRUN --network=host cat /proc/net/dev > /host\nRUN grep named /etc/hosts > /hosts\nRUN ulimit -n > /files\n";
    let request = Build {
        extra_hosts: vec![("named".to_owned(), "192.0.2.1".to_owned())],
        shm_size: Some(1 << 20),
        ulimits: [("nofile".to_owned(), Ulimit { soft: 77, hard: 99 })].into(),
        ..bed.request(text, &[])
    };
    let image = bed.build(&request);
    assert!(image.read("none").contains("lo:") && image.read("none").lines().count() == 1, "{}", image.read("none"));
    assert_eq!(image.read("hosts"), "192.0.2.1\tnamed\n");
    assert!(image.has("host"));
    assert_eq!(image.read("files"), "77\n");
}

/// Programs of steps reach the outside, and nothing that only listens on this machine's loopback.
pub(crate) fn a_step_has_a_network_of_its_own(bed: &Bed) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let public = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let open = public.local_addr().expect("an address").port();
    // Whoever connects is let go at once.
    let greeter = std::thread::spawn(move || public.accept().map(drop));
    let text = format!(
        "FROM base AS a\nRUN hostname; ip -o -4 addr > /addr; ip route > /route; cat /etc/resolv.conf > /resolvers\n\
         RUN ! nc -w 2 127.0.0.1 {port} < /dev/null\nRUN grep up /etc/hosts | cut -f1 > /up && nc -w 5 up {open} < /dev/null\n\
         FROM base AS b\nRUN ip -o -4 addr > /addr\nFROM a\nCOPY --from=b /addr /other\n"
    );
    let before = bed.network();
    let hosts = vec![("up".to_owned(), "host-gateway".to_owned())];
    let image = bed.build(&Build { extra_hosts: hosts, ..bed.request(&text, &[]) });
    greeter.join().expect("it ends").expect("a step has connected");
    let (address, route) = (image.read("addr"), image.read("route"));
    assert!(address.contains("eth0") && address.contains(" 10.255."), "{address}");
    assert!(image.read("other").contains(" 10.255."));
    assert!(route.starts_with(&format!("default via {} ", image.read("up").trim())), "{route}");
    assert!(image.read("resolvers").starts_with("nameserver 127.0.0.11\n"));
    assert_eq!(bed.network(), before, "the network goes with the build");
}
