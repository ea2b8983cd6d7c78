//! `build:` of the file: what is missing is built, what changed is replaced, what fails changes nothing.

use std::collections::BTreeMap;

use fs_err as fs;
use stack_tests::{World, eventually};

const BASE: &str = "127.0.0.1:5000/test/busybox:1";

/// A project with a built service `web` and one that is not built.
fn with_web(name: &str) -> World {
    let world = World::new(name);
    world.write(
        "compose.yaml",
        &format!(
            "services:\n  web:\n    build: ./web\n    init: true\n    command: [sleep, '1000']\n  \
             other:\n    image: {BASE}\n    init: true\n    command: [sleep, '1000']\n"
        ),
    );
    fs::create_dir(world.project_dir().join("web")).expect("a directory");
    dockerfile(&world, "RUN echo built > /made\n");
    world.write("web/hello", "one");
    world
}

fn dockerfile(world: &World, more: &str) {
    world.write("web/Dockerfile", &format!("FROM {BASE}\nCOPY hello /hello\n{more}"));
}

fn read(world: &World, service: &str, file: &str) -> String {
    world.stack(&["exec", "-T", service, "cat", file]).ok().stdout
}

/// Containers whose process is another one than before.
fn replaced(before: &BTreeMap<String, u32>, after: &BTreeMap<String, u32>) -> Vec<String> {
    after.iter().filter(|(name, pid)| before.get(*name) != Some(*pid)).map(|(name, _)| name.clone()).collect()
}

#[test]
fn what_is_missing_is_built_and_what_changed_is_replaced() {
    let world = with_web("built");
    let containers = ["built-other-1", "built-web-1"];
    world.stack(&["up", "-d", "--no-build"]).fails(1, &["image built-web", "compose.yaml:3", "stack build"]);
    world.stack(&["up", "-d"]).ok();
    let first = world.runs(&containers);
    assert_eq!((read(&world, "web", "/made"), read(&world, "web", "/hello")), ("built\n".to_owned(), "one".to_owned()));
    assert_eq!(world.records()["built-web-1"]["spec"]["image"], "built-web");
    // Touched but equal.
    world.write("web/hello", "one");
    let again = world.stack(&["up", "-d", "--build"]).ok();
    assert!(again.stderr.contains("image built-web is up to date"), "{}", again.stderr);
    assert!(!again.stderr.contains("container "), "{}", again.stderr);
    assert_eq!(world.runs(&containers), first);
    // Without --build the image that is there is good enough, whatever changed.
    world.write("web/hello", "two");
    let quiet = world.stack(&["up", "-d"]).ok();
    assert!(!quiet.stderr.contains("COPY"), "{}", quiet.stderr);
    assert_eq!(world.runs(&containers), first);
    let changed = world.stack(&["up", "-d", "--build", "--quiet-build"]).ok();
    assert!(!changed.stderr.contains("COPY"), "{}", changed.stderr);
    let second = world.runs(&containers);
    assert_eq!(replaced(&first, &second), ["built-web-1"]);
    assert_eq!(read(&world, "web", "/hello"), "two");
    // A build that fails says where, and changes nothing.
    dockerfile(&world, "RUN echo so far && exit 3\n");
    let failed = world.stack(&["up", "-d", "--build", "--quiet-build"]);
    failed.fails(1, &["so far", "web/Dockerfile:3:1", "RUN echo so far", "code 3", "built-web"]);
    assert_eq!(world.runs(&containers), second);
    // A build alone replaces nothing before the next `up`.
    dockerfile(&world, "RUN echo again > /made\n");
    world.stack(&["build", "-q", "web"]).ok();
    assert!(world.stack(&["plan"]).ok().stdout.contains("container:web/1"));
    assert_eq!(world.runs(&containers), second);
    world.stack(&["up", "-d"]).ok();
    assert_eq!(replaced(&second, &world.runs(&containers)), ["built-web-1"]);
    assert_eq!(read(&world, "web", "/made"), "again\n");
}

#[test]
fn a_save_does_not_build_and_says_so() {
    let world = with_web("saved");
    world.stack(&["up", "-d"]).ok();
    let first = world.runs(&["saved-other-1", "saved-web-1"]);
    let text = fs::read_to_string(world.project_dir().join("compose.yaml")).unwrap();
    let mut viewer = world.command(&["--progress", "plain", "up"]);
    let log = fs::File::create(world.project_dir().join("log")).unwrap();
    let mut viewer = viewer.stderr(log.into_parts().0).stdout(std::process::Stdio::null()).spawn().unwrap();
    let said = |word: &str| {
        eventually(&format!("`{word}` is said"), || {
            let log = fs::read_to_string(world.project_dir().join("log")).unwrap();
            if log.contains(word) { Ok(()) } else { Err(log) }
        });
    };
    // It follows once it has seen a save.
    let mut saves = 0;
    eventually("the viewer follows", || {
        saves += 1;
        world.write("compose.yaml", &format!("{text}    mem_limit: {}m\n", 64 + saves));
        let log = fs::read_to_string(world.project_dir().join("log")).unwrap();
        if log.contains("applying") { Ok(()) } else { Err(log) }
    });
    let saved = text.replace("build: ./web", "build: {context: ./web, args: {A: b}}").replace(
        "  other:\n",
        "  new:\n    build: ./web\n    init: true\n    command: [sleep, '1000']\n  last:\n    image: stack.local/self\n    command: [demo, sleep]\n  other:\n    mem_limit: 64m\n",
    );
    world.write("compose.yaml", &saved);
    // The rest is applied: in place, and beside what cannot be built by a save.
    let second = world.runs(&["saved-other-1", "saved-web-1", "saved-last-1"]);
    assert_eq!(replaced(&first, &second), ["saved-last-1"]);
    said("the `build` of service `web` has changed");
    said("stack up --build");
    said("saved-new has not been built yet");
    world.kill(viewer.id());
    viewer.wait().unwrap();
    world.stack(&["up", "-d"]).ok();
    assert_eq!(
        replaced(&second, &world.runs(&["saved-last-1", "saved-new-1", "saved-other-1", "saved-web-1"])),
        ["saved-new-1"]
    );
}

#[test]
fn every_key_of_a_build_is_heeded() {
    let world = World::new("keys");
    fs::create_dir_all(world.project_dir().join("more")).unwrap();
    world.write("more/file", "from more");
    world.write("key", "swordfish");
    world.write(
        "compose.yaml",
        &format!(
            r#"services:
  base:
    scale: 0
    build:
      dockerfile_inline: |
        FROM {BASE}
        RUN echo base > /base
  web:
    image: keys.test/web:1
    init: true
    command: [sleep, '1000']
    build:
      context: .
      dockerfile_inline: |
        FROM {BASE} AS unused
        RUN exit 1
        FROM base AS wanted
        ARG A=no
        ARG FROM_ENV
        COPY --from=more file /more
        RUN --mount=type=secret,id=token test "$$(wc -c < /run/secrets/token)" = 9
        RUN echo "$$A $$FROM_ENV $$(grep -c named /etc/hosts) $$(ls /sys/class/net | wc -l)" > /args
        FROM wanted AS last
        RUN exit 1
      args: [A=yes, FROM_ENV]
      target: wanted
      labels: {{by: test}}
      tags: [keys.test/web:2]
      network: none
      extra_hosts: ["named:192.0.2.1"]
      shm_size: 1m
      platforms: [linux/amd64]
      secrets: [{{source: secret, target: token}}]
      additional_contexts: {{more: ./more, base: service:base}}
secrets:
  secret: {{file: ./key}}
"#
        ),
    );
    world.write(".env", "FROM_ENV=dotenv\n");
    world.stack(&["up", "-d"]).ok();
    world.runs(&["keys-web-1"]);
    assert_eq!(read(&world, "web", "/args"), "yes dotenv 1 1\n");
    assert_eq!(read(&world, "web", "/base"), "base\n");
    assert_eq!(read(&world, "web", "/more"), "from more");
    let config = world.stack(&["image", "inspect", "keys.test/web:2"]).ok().stdout;
    assert!(config.contains("\"by\": \"test\""), "{config}");
    assert!(!config.contains("swordfish"));
    // Options of the command stand above the file; `--no-cache` does every step again.
    let again = world.stack(&["build", "--no-cache", "--build-arg", "A=flag", "web"]).ok();
    assert!(again.stderr.contains("image keys.test/web:1 built"), "{}", again.stderr);
    assert!(again.stderr.contains("RUN echo base"), "{}", again.stderr);
    world.stack(&["up", "-d"]).ok();
    assert_eq!(read(&world, "web", "/args"), "flag dotenv 1 1\n");
}

#[test]
fn words_after_build_are_services_or_a_directory() {
    let world = with_web("words");
    world.stack(&["build", "other"]).fails(1, &["other", "compose.yaml:7", "no `build` section"]);
    world.stack(&["build", "none"]).fails(1, &["no such service or directory: none"]);
    world.stack(&["build", "--target", "x", "web", "other"]).fails(1, &["--target"]);
    assert!(world.stack(&["build"]).ok().stderr.contains("image words-web built"));
    assert!(world.stack(&["build", "web"]).ok().stderr.contains("image words-web is up to date"));
    assert!(world.stack(&["build", "-t", "words:own", "./web"]).ok().stderr.contains("words:own"));
    let lost = world.stack(&["build", "-t", "words:lost", "."]);
    lost.fails(1, &["there is no Dockerfile", "/words/Dockerfile", "-f on the command line"]);
    // A build runs inside nothing that stays: the machine is as it was, which the end of the world checks.
    world.write("compose.yaml", "services:\n  web:\n    build: https://example.org/x.git\n");
    world.stack(&["build"]).fails(1, &["compose.yaml:3:12", "example.org", "directory"]);
}

#[test]
fn a_shell_opens_where_a_step_has_failed() {
    let world = with_web("shell");
    dockerfile(&world, "WORKDIR /work\nENV KEPT=yes\nRUN echo so far > left && exit 3\n");
    world.stack(&["build", "-q"]).fails(1, &["web/Dockerfile:5:1", "stack build --shell-on-error web"]);
    world.write("input", "pwd; cat left hello 2>&1; cat /hello; echo $KEPT; echo more > left; exit 7\n");
    for arguments in [["build", "--shell-on-error", "web"], ["build", "--shell-on-error", "./web"]] {
        let mut command = world.command(&arguments);
        command.stdin(fs::File::open(world.project_dir().join("input")).unwrap().into_parts().0);
        let run = world.finish(command);
        assert_eq!(
            run.stdout, "/work\nso far\ncat: can't open 'hello': No such file or directory\noneyes\n",
            "{}",
            run.stderr
        );
        run.fails(1, &["Dockerfile:5:1", "code 3", "a shell where the step failed"]);
    }
    // What was changed in the shell is not a step.
    dockerfile(&world, "WORKDIR /work\nENV KEPT=yes\nRUN test ! -e left\n");
    world.stack(&["build", "-q"]).ok();
}

#[test]
fn a_service_may_begin_with_the_image_of_another() {
    let world = World::new("bases");
    let service = |name: &str, image: &str| {
        format!("  {name}:\n    image: {image}\n    build: ./{name}\n    command: ['true']\n")
    };
    world.write(
        "compose.yaml",
        &format!("services:\n{}{}", service("app", "bases/app:1"), service("base", "bases/base")),
    );
    for name in ["app", "base"] {
        fs::create_dir(world.project_dir().join(name)).expect("a directory");
    }
    world.write("base/Dockerfile", &format!("FROM {BASE}\nRUN echo one > /made\n"));
    world.write("app/Dockerfile", "FROM bases/base\nRUN cat /made\n");
    let built = world.stack(&["build"]).ok();
    assert!(built.stderr.contains("  one"), "{}", built.stderr);
    // What changed below is built first, and then what stands on it.
    world.write("base/Dockerfile", &format!("FROM {BASE}\nRUN echo two > /made\n"));
    let built = world.stack(&["build"]).ok();
    assert!(built.stderr.contains("  two") && built.stderr.contains("image bases/app:1 built"), "{}", built.stderr);
}

#[test]
fn what_is_built_is_run_pushed_and_taken_away_by_service() {
    const IMAGE: &str = "127.0.0.1:5000/test/carried:1";
    let world = with_web("carried");
    let file = fs::read_to_string(world.project_dir().join("compose.yaml")).expect("the file");
    world
        .write("compose.yaml", &file.replace("    build: ./web\n", &format!("    image: {IMAGE}\n    build: ./web\n")));
    // Nothing has built it yet.
    assert_eq!(world.stack(&["run", "--rm", "--pull", "never", "web", "cat", "/made"]).ok().stdout, "built\n");
    let pushed = world.stack(&["push"]).ok().stderr;
    assert!(pushed.contains(&format!("image {IMAGE} pushed")) && !pushed.contains("busybox"), "{pushed}");
    world.stack(&["push", "other"]).ok();
    world.stack(&["push", "nothing.here/at:all"]).fails(1, &["nothing.here/at:all"]);
    world.stack(&["push", "--ignore-push-failures", "nothing.here/at:all", "web"]).ok();
    world.stack(&["up", "-d"]).ok();
    world.stack(&["down", "--rmi", "local"]).ok();
    world.stack(&["create", "--pull", "never", "--no-build"]).ok();
    let removed = world.stack(&["down", "--rmi", "all"]).ok().stderr;
    for image in [IMAGE, BASE] {
        assert!(removed.contains(&format!("image {image} removed")), "{removed}");
    }
    world.stack(&["create", "--pull", "never", "--no-build", "web"]).fails(1, &["--no-build forbids"]);
    // The registry has it.
    world.stack(&["up", "-d", "--no-build", "--pull", "always"]).ok();
    assert_eq!(read(&world, "web", "/made"), "built\n");
}
