use std::os::unix::fs::PermissionsExt;

use fs_err as fs;

use crate::bed::Bed;

pub(crate) fn copies_go_where_they_should(bed: &Bed) {
    let files = [("a.txt", "a"), ("b.txt", "b"), ("dir/x", "x"), ("dir/sub/y", "y"), ("c d", "space")];
    let text = r#"FROM base AS source
RUN mkdir /made && echo made > /made/file && ln -s file /made/link && ln /made/file /made/hard && ln -s /made /way
FROM base
WORKDIR /w
COPY a.txt renamed
COPY a.txt b.txt into/
COPY *.txt /stars/
COPY dir /dir
COPY dir/sub ./relative/
COPY ["c d", "/json file"]
COPY --from=source /made /made
COPY --from=0 /way/file /through
COPY --from=base /bin/sh /sh
COPY a.txt /etc
COPY dir/**/y /deep/
"#;
    let image = bed.text(text, &files);
    for (path, content) in [
        ("w/renamed", "a"),
        ("w/into/b.txt", "b"),
        ("stars/a.txt", "a"),
        ("dir/x", "x"),
        ("dir/sub/y", "y"),
        ("w/relative/y", "y"),
        ("json file", "space"),
        ("made/file", "made\n"),
        ("made/hard", "made\n"),
        ("made/link", "file"),
        ("through", "made\n"),
        ("etc/a.txt", "a"),
        ("deep/y", "y"),
    ] {
        assert_eq!(image.read(path), content, "{path}");
    }
    assert_eq!(image.file("made/link").kind, 'l');
    assert_eq!(image.file("sh").kind, 'f');
    assert!(!image.has("made/made") && !image.has("dir/dir"));
}

pub(crate) fn what_is_ignored_is_not_there(bed: &Bed) {
    let files = [
        ("keep", "1"),
        ("a.log", "1"),
        ("sub/b.log", "1"),
        ("node_modules/x", "1"),
        ("docs/a.md", "1"),
        ("docs/README.md", "1"),
        (".dockerignore", "**/*.log\nnode_modules\ndocs/*\n!docs/README.md\n.dockerignore\n"),
    ];
    let image = bed.text("FROM base\nCOPY . /all\nRUN --mount=target=/ctx ls -R /ctx > /seen\n", &files);
    let names: Vec<&str> = image.files.keys().map(String::as_str).filter(|name| name.starts_with("all")).collect();
    assert_eq!(names, ["all", "all/docs", "all/docs/README.md", "all/keep", "all/sub"]);
    let seen = image.read("seen");
    assert!(seen.contains("keep") && !seen.contains("node_modules") && !seen.contains("log"), "{seen}");
    let error = bed.try_build(&bed.request("FROM base\nCOPY a.log /x\n", &files)).err().expect("it is left out");
    assert!(error.to_string().contains("left out of the context"), "{error}");
}

pub(crate) fn owners_and_modes(bed: &Bed) {
    let text = r#"FROM base AS owned
RUN touch /f && chown 7:8 /f && chmod 4755 /f
FROM base
ARG WHO=app
COPY --chown=$WHO a /user
COPY --chown=app:www a /both
COPY --chown=12:34 --chmod=0640 dir /numbers
COPY --chmod=u+x,go= a /words
COPY --from=owned /f /kept
COPY --link --chown=5 a /linked/new/a
ADD --chmod=600 a /added
COPY a /plain
"#;
    let request = bed.request(text, &[("a", "1"), ("dir/sub/b", "2")]);
    fs::set_permissions(request.context.join("a"), PermissionsExt::from_mode(0o644)).expect("a mode");
    let image = bed.build(&request);
    let facts = |path: &str| (image.file(path).owner, image.file(path).mode);
    assert_eq!(facts("user"), ((33, 44), 0o644));
    assert_eq!(facts("both").0, (33, 55));
    assert_eq!((facts("numbers/sub").0, facts("numbers/sub/b")), ((12, 34), ((12, 34), 0o640)));
    assert_eq!(facts("words"), ((0, 0), 0o700));
    assert_eq!(facts("kept"), ((7, 8), 0o4755));
    assert_eq!(facts("linked/new/a").0, (5, 5));
    assert_eq!((facts("added"), facts("plain")), (((0, 0), 0o600), ((0, 0), 0o644)));
}

pub(crate) fn archives_are_unpacked(bed: &Bed) {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o640);
    header.set_uid(9);
    header.set_gid(10);
    header.set_mtime(1);
    builder.append_data(&mut header, "in/side", &b"hello"[..]).expect("an entry");
    let plain = builder.into_inner().expect("a tar");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &plain).expect("gzip");
    let text = "FROM base\nADD plain.tar /plain\nADD z.gz /gz/\nADD z.zst /zst\nADD note.tar /\nCOPY plain.tar /copied\n\
                ADD --unpack=false z.gz /whole/\n";
    let request = bed.request(text, &[("note.tar", "no archive")]);
    fs::write(request.context.join("plain.tar"), &plain).expect("a file");
    fs::write(request.context.join("z.gz"), gzip.finish().expect("gzip")).expect("a file");
    fs::write(request.context.join("z.zst"), zstd::encode_all(plain.as_slice(), 1).expect("zstd")).expect("a file");
    let image = bed.build(&request);
    for place in ["plain", "gz", "zst"] {
        let file = image.file(&format!("{place}/in/side"));
        assert_eq!((file.content.as_slice(), file.owner, file.mode), (&b"hello"[..], (9, 10), 0o640), "{place}");
    }
    assert_eq!(image.read("note.tar"), "no archive");
    assert_eq!(image.file("copied").content, plain);
    assert_eq!(image.file("whole/z.gz").kind, 'f');
}

pub(crate) fn documents_become_files(bed: &Bed) {
    let text =
        "FROM base\nARG V=1\nCOPY <<EOF /a\nv=$V\nEOF\nCOPY <<'EOF' <<-two.txt file /d/\nv=$V\nEOF\n\ttabs\ntwo.txt\n";
    let image = bed.text(text, &[("file", "f")]);
    assert_eq!((image.read("a"), image.file("a").mode), ("v=1\n".to_owned(), 0o644));
    assert_eq!((image.read("d/EOF"), image.read("d/two.txt")), ("v=$V\n".to_owned(), "tabs\n".to_owned()));
    assert_eq!(image.read("d/file"), "f");
}

pub(crate) fn parents_and_excludes(bed: &Bed) {
    let files = [("x/a/one.c", "1"), ("x/b/two.c", "2"), ("x/b/two.o", "3"), ("y/z", "4")];
    let text =
        "FROM base\nCOPY --parents x/a/one.c y/z /p/\nCOPY --parents x/./b /q/\nCOPY --exclude=*.o --exclude=a x /r\n";
    let image = bed.text(text, &files);
    for path in ["p/x/a/one.c", "p/y/z", "q/b/two.c", "r/b/two.o"] {
        assert!(image.has(path), "{path}: {:?}", image.names());
    }
    assert!(!image.has("r/a") && !image.has("q/x"));
    let image = bed.text("FROM base\nCOPY --exclude=**/*.o x /r\n", &files);
    assert!(image.has("r/b/two.c") && !image.has("r/b/two.o"));
}

pub(crate) fn links_of_the_image_do_not_lead_out(bed: &Bed) {
    let marker = bed.directory.path().join("marker");
    let shown = marker.display();
    let text = format!(
        "FROM base\nRUN mkdir -p /real {outside} && ln -s {outside} /out && ln -s /real /inside\n\
         COPY a /out/stolen\nCOPY a /inside/a\nWORKDIR /out/deep\n",
        outside = shown
    );
    let image = bed.text(&text, &[("a", "1")]);
    assert!(!marker.exists(), "a link of the image led to a file of this machine");
    assert_eq!(image.read(&format!("{}/stolen", shown.to_string().trim_start_matches('/'))), "1");
    assert_eq!(image.read("real/a"), "1");
    // A link of the context does not lead out of it either.
    let request = bed.request("FROM base\nCOPY secret /x\n", &[]);
    fs::os::unix::fs::symlink("/etc/passwd", request.context.join("secret")).expect("a link");
    assert!(bed.try_build(&request).is_err());
}

pub(crate) fn deletions_become_whiteouts(bed: &Bed) {
    let text = "FROM base\nRUN mkdir -p /d/e /old && touch /d/e/f /d/g /old/x\nRUN rm -r /d/e && rm /d/g && rm -r /old && mkdir /old && touch /old/y\n\
                RUN rm -r /d && touch /d\n";
    let image = bed.text(text, &[]);
    assert!(!image.has("d/e") && !image.has("d/g") && !image.has("old/x") && image.has("old/y"));
    assert_eq!(image.file("d").kind, 'f');
    // Mount points and what only changed its time are not in a layer.
    let image = bed.text("FROM base\nRUN true\nRUN touch /etc/new && rm /etc/new\n", &[]);
    assert_eq!(image.layers, 1, "{:?}", image.names());
    assert!(!image.has("proc") && !image.has("etc/hosts"));
}
