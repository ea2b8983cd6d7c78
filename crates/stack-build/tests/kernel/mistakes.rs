use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ExitCode, Stdio};

use fs_err as fs;
use stack_build::{BuildError, BuildEvent, Builder, Surroundings};
use stack_cgroup::Hierarchy;
use stack_model::{Build, Dockerfile, Layout};

use crate::bed::{Bed, program};

#[track_caller]
fn refused(bed: &Bed, text: &str, place: (u32, u32), words: &str) {
    match bed.try_build(&bed.request(text, &[("f", "1")])) {
        Err(BuildError::Dockerfile(mistake)) => {
            let diagnostic = &mistake.diagnostic;
            let said = format!("{} {:?} {:?}", diagnostic.message, diagnostic.reason, diagnostic.help);
            assert!(said.contains(words), "{text}: {said}");
            let origin = &diagnostic.labels[0].origin;
            assert_eq!((origin.line, origin.column), place, "{text}: {said}");
        }
        Err(error) => panic!("{text}: {error:?}"),
        Ok(_) => panic!("{text} was built"),
    }
}

pub(crate) fn failures_point_into_the_file(bed: &Bed) {
    refused(bed, "FROM base\nRUN true && \\\n  echo oops && false\n", (2, 1), "ended with code 1");
    refused(bed, "FROM base\nRUN echo oops && false\n", (2, 1), "oops");
    refused(bed, "FROM base\nRUN [\"/no/such\"]\n", (2, 1), "/no/such");
    refused(bed, "FROM base\nCOPY f nothere /d/\n", (2, 8), "no `nothere`");
    refused(bed, "FROM base\nCOPY --from=base /nothere /d/\n", (2, 18), "no `/nothere`");
    refused(bed, "FROM base\nCOPY f\n", (2, 1), "needs a source and a destination");
    refused(bed, "FROM base\nCOPY --chown=nobody f /f\n", (2, 6), "no user `nobody`");
    refused(bed, "FROM base\nCOPY --chmod=worse f /f\n", (2, 6), "not a mode");
    refused(bed, "FROM base\nENV A=${B:?wanted}\n", (2, 7), "B: wanted");
    refused(bed, "FROM base\nENV A=1 B\n", (2, 9), "name=value");
    refused(bed, "FROM base\nLABEL a=\"b\n", (2, 9), "not closed");
    refused(bed, "FROM base\nEXPOSE http\n", (2, 8), "not a port");
    refused(bed, "FROM base\nSTOPSIGNAL SIGNOPE\n", (2, 12), "no signal");
    refused(bed, "FROM base\nSHELL /bin/sh\n", (2, 7), "JSON list");
    refused(bed, "FROM base\nHEALTHCHECK --interval=x CMD a\n", (2, 13), "not a time");
    refused(bed, "FROM base\nONBUILD FROM x\n", (2, 9), "cannot be a trigger");
    refused(bed, "FROM base\nADD https://example.invalid/x.git /x\n", (2, 5), "git are not supported");
    refused(bed, "FROM base\nRUN --mount=type=what,target=/x true\n", (2, 5), "no mount of type");
    refused(bed, "FROM base\nRUN --network=lan true\n", (2, 5), "no network `lan`");
    refused(bed, "FROM base\nRUN --security=insecure true\n", (2, 5), "not supported");
    refused(bed, "FROM 127.0.0.1:1/none\n", (1, 6), "127.0.0.1:1");
    let request = bed.request("FROM base\n", &[]);
    let refuse = |request: Build| bed.try_build(&request).err().expect("it is refused").to_string();
    assert!(refuse(Build { target: Some("x".to_owned()), ..request.clone() }).contains("no stage `x`"));
    assert!(refuse(Build { platforms: vec!["linux/mips".to_owned()], ..request.clone() }).contains("cannot be built"));
    assert!(refuse(Build { context: "/no/such".into(), ..request }).contains("is no directory"));
    // In two stages at once: the one that failed is told, not the one that waited for it.
    refused(bed, "FROM base AS a\nRUN exit 3\nFROM base\nCOPY --from=a /x /x\n", (2, 1), "code 3");
}

pub(crate) fn what_a_dead_build_left_is_removed(bed: &Bed) {
    // A directory that nobody holds the lock of, as a killed build leaves it.
    let dead = bed.layout.root.join("build/work/b999999-0");
    fs::create_dir_all(dead.join("7/upper/x")).expect("a directory");
    stack_build::sweep(&bed.layout, &Hierarchy::detect().expect("cgroups")).expect("it can be removed");
    assert!(!dead.exists());
}

/// The first argument of a process that builds something that does not end.
pub(crate) const ENDLESS: &str = "endless-build";

/// Builds in the store of the second argument; says when the program of the step runs.
pub(crate) fn endless_main() -> ExitCode {
    let directory = std::env::args().nth(2).expect("a directory");
    let directory = Path::new(&directory);
    let layout = Layout { root: directory.join("root"), run: directory.join("run") };
    let builder =
        Builder::start(layout, &std::env::current_exe().expect("a path"), Surroundings::default()).expect("a builder");
    let text = "FROM base\nRUN echo made > /made\nRUN echo running && sleep 1000\n".to_owned();
    let context = directory.join("contexts/base");
    let request = Build { context, dockerfile: Dockerfile::Inline(text), ..Build::default() };
    let result = builder.build(&request, &|event| {
        if let BuildEvent::Output { line, .. } = event {
            println!("{line}");
        }
    });
    ExitCode::from(u8::from(result.is_err()))
}

pub(crate) fn a_killed_build_leaves_nothing_that_the_next_does_not_remove(bed: &Bed) {
    let idle = bed.network();
    let mut command = program(&std::env::current_exe().expect("a path"));
    command.arg(ENDLESS).arg(bed.directory.path()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    output.read_line(&mut line).expect("a line");
    assert_eq!(line, "running\n");
    child.kill().expect("it can be killed");
    child.wait().expect("it has ended");
    let work = bed.layout.root.join("build/work");
    let left: Vec<_> = fs::read_dir(&work).expect("a directory").flatten().collect();
    let [left] = left.as_slice() else { panic!("{left:?}") };
    // The program of the step has lost its parent, but not its cgroup.
    let project = stack_model::ProjectName::new(left.file_name().to_string_lossy());
    let run = bed.layout.run.join("build");
    let cgroup = Layout { root: left.path(), run: run.clone() }.cgroup(&project);
    let hierarchy = Hierarchy::detect().expect("cgroups");
    let exists = || hierarchy.directories(&cgroup).iter().any(|directory| directory.exists());
    assert!(exists());
    assert_eq!(bed.network().len(), idle.len() + 1);
    let image = bed.text("FROM base\nRUN echo made > /made\n", &[]);
    assert_eq!((image.built.cached, image.read("made")), (1, "made\n".to_owned()));
    assert_eq!(bed.network(), idle);
    assert!(!exists() && !left.path().exists() && !run.join("projects").exists());
    let needed = stack_image::Needed {
        layers: stack_build::cached_layers(&bed.layout).expect("the cache"),
        ..stack_image::Needed::default()
    };
    // What other tests have left without a name goes, what is cached stays.
    bed.store().collect(&needed).expect("it can be collected");
    assert_eq!(bed.store().usage(&needed).expect("sizes").unused.0, 0);
    assert_eq!(bed.text("FROM base\nRUN echo made > /made\n", &[]).built.cached, 1);
    for scratch in ["images/.tmp", "layers/.tmp"] {
        assert_eq!(fs::read_dir(bed.layout.root.join(scratch)).expect("a directory").count(), 0, "{scratch}");
    }
}
