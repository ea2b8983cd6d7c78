//! Files that are made to hurt: an error, soon, and little memory, whatever they are. One test, because the memory is that
//! of the whole process.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use stack_compose::{DiskLoader, Phases, read};
use stack_model::ProjectSource;

/// Peak memory of this process in MiB.
fn peak() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux says it");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("it is a number");
    kib >> 10
}

/// What the project in a directory is refused for.
fn refusal(directory: &Path) -> String {
    let source = ProjectSource { working_dir: directory.to_owned(), ..ProjectSource::default() };
    let start = Instant::now();
    let loaded = read(&source, &DiskLoader, Phases::default());
    assert!(start.elapsed() < Duration::from_secs(20), "{} took {:?}", directory.display(), start.elapsed());
    match loaded.project {
        Some(_) => "accepted".to_owned(),
        None => loaded.diagnostics[0].code.clone(),
    }
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        text.push_str(&line(number));
        text
    })
}

/// Each level has nine of the one before it.
fn bomb(leaf: &str) -> String {
    let level =
        |number: usize| format!("x{}: &a{} [{}]\n", number + 1, number + 1, vec![format!("*a{number}"); 9].join(", "));
    format!("x0: &a0 [{leaf}]\n{}", lines(30, level))
}

/// `main` includes the first of a chain whose members each include the next one twice.
fn doubling(directory: &Path, count: usize) {
    for number in 0..count {
        let next = format!("f{}.yaml", number + 1);
        let text = format!("include: [{next}, {next}]\nservices: {{s{number}: {{image: i}}}}\n");
        fs_err::write(directory.join(format!("f{number}.yaml")), text).expect("it is ours");
    }
    fs_err::write(directory.join(format!("f{count}.yaml")), "services: {last: {image: i}}\n").expect("it is ours");
}

fn wide_service(keys: usize) -> String {
    format!("services:\n  base:\n    image: i\n    labels:\n{}", lines(keys, |number| format!("      l{number}: v\n")))
}

/// Services that begin as copies of `base`.
fn extending(count: usize) -> String {
    lines(count, |number| format!("  s{number}: {{extends: base}}\n"))
}

#[test]
fn hostile_files_are_refused_soon_and_in_little_memory() {
    let root = tempfile::tempdir().expect("a directory can be made");
    let before = peak();
    let (mut measured, mut wrong) = (String::new(), Vec::new());
    let mut check = |name: &str, code: &str, fill: &dyn Fn(&Path)| {
        let directory = root.path().join(name);
        fs_err::create_dir(&directory).expect("it is ours");
        fill(&directory);
        let start = Instant::now();
        let found = refusal(&directory);
        let _ = writeln!(measured, "{name}: {found}, {:?}, {} MiB", start.elapsed(), peak() - before);
        if found != code {
            wrong.push(format!("{name}: {found}, not {code}"));
        }
    };
    let main = |directory: &Path, text: &str| fs_err::write(directory.join("compose.yaml"), text).expect("it is ours");
    check("symlink-loop", "cannot-read", &|directory| {
        fs_err::os::unix::fs::symlink("compose.yaml", directory.join("compose.yaml")).expect("it is ours");
        fs_err::write(directory.join(".env"), "COMPOSE_FILE=compose.yaml\n").expect("it is ours");
    });
    check("env-file-loop", "missing-file", &|directory| {
        fs_err::os::unix::fs::symlink("a.env", directory.join("a.env")).expect("it is ours");
        main(directory, "services: {a: {image: i, env_file: a.env}}\n");
    });
    check("not-utf8", "not-utf8", &|directory| {
        fs_err::write(directory.join("compose.yaml"), b"services: {a: {image: \xff}}\n").expect("it is ours");
    });
    check("nul", "yaml-syntax", &|directory| main(directory, "services: {a: {image: \"x\0y\"}}\n"));
    check("huge-sparse", "file-too-large", &|directory| {
        let file = fs_err::File::create(directory.join("compose.yaml")).expect("it is ours");
        file.set_len(100 << 20).expect("a file may have holes");
    });
    check("huge-list", "alias-budget", &|directory| main(directory, &("x-a:\n".to_owned() + &"- a\n".repeat(1 << 20))));
    check("bomb", "alias-budget", &|directory| main(directory, &bomb("lol")));
    check("variable-bomb", "alias-budget", &|directory| {
        let value = "x".repeat(1 << 16);
        fs_err::write(directory.join(".env"), format!("A={value}\n")).expect("it is ours");
        main(directory, &format!("x-a: &a [{}]\nx-b: [{}]\n", vec!["$A"; 100].join(", "), vec!["*a"; 100].join(", ")));
    });
    check("deep", "yaml-syntax", &|directory| main(directory, &("x-a: ".to_owned() + &"[".repeat(1 << 20))));
    check("ports", "invalid-value", &|directory| {
        let port = |number: usize| format!("  s{number}: {{image: i, ports: ['1-65535:1-65535/udp']}}\n");
        main(directory, &format!("services:\n{}", lines(1000, port)));
    });
    check("include-cycle", "include-cycle", &|directory| {
        main(directory, "include: [compose.yaml]\nservices: {a: {image: i}}\n")
    });
    check("include-doubling", "alias-budget", &|directory| {
        doubling(directory, 24);
        main(directory, "include: [f0.yaml]\nservices: {a: {image: i}}\n");
    });
    check("extends-loop", "extends-cycle", &|directory| {
        let service = |number: usize| format!("  s{number}: {{extends: s{}}}\n", (number + 1) % 500);
        main(directory, &format!("services:\n{}", lines(500, service)));
    });
    check("extends-copies", "alias-budget", &|directory| {
        main(directory, &(wide_service(20_000) + &extending(2000)));
    });
    check("extends-copies-of-a-file", "alias-budget", &|directory| {
        fs_err::write(directory.join("base.yaml"), wide_service(20_000)).expect("it is ours");
        let service = |number: usize| format!("  s{number}: {{extends: {{file: base.yaml, service: base}}}}\n");
        main(directory, &format!("services:\n{}", lines(2000, service)));
    });
    check("extends-chain", "extends-cycle", &|directory| {
        let service = |number: usize| format!("  s{number}: {{image: i, extends: s{}}}\n", number + 1);
        main(directory, &format!("services:\n{}  s9999: {{image: i}}\n", lines(9999, service)));
    });
    check("extends-wide", "alias-budget", &|directory| main(directory, &(wide_service(2000) + &extending(5000))));
    check("services", "alias-budget", &|directory| main(directory, &(wide_service(1) + &extending(10_000))));
    check("as-many-services-as-may-be", "accepted", &|directory| {
        main(directory, &(wide_service(1) + &extending(9999)))
    });
    println!("{measured}");
    assert_eq!(wrong, Vec::<String>::new());
    assert!(peak() - before < 64, "{measured}");
}
