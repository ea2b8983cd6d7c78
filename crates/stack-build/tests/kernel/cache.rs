use std::sync::Mutex;
use std::time::Instant;

use fs_err as fs;
use stack_build::{BuildError, BuildEvent, Builder, Built, Surroundings};
use stack_model::Build;

use crate::bed::Bed;

pub(crate) fn an_unchanged_build_does_nothing(bed: &Bed) {
    let text = "FROM base AS a\nRUN echo $RANDOM > /random\nFROM base\nWORKDIR /unchanged\nCOPY f .\nCOPY --from=a /random /\nRUN cat /random\nENV X=1\n";
    let request = bed.request(text, &[("f", "1")]);
    let first = bed.build(&request);
    assert_eq!((first.built.steps, first.built.cached), (5, 0));
    let begin = Instant::now();
    let second = bed.build(&request);
    let took = begin.elapsed();
    assert_eq!((second.built.steps, second.built.cached), (5, 5));
    assert_eq!((second.built.id, second.output.as_str()), (first.built.id, ""));
    println!("an unchanged build took {took:?}");
    let part = bed.build(&Build { no_cache_filter: vec!["a".to_owned()], ..request.clone() });
    assert_eq!(part.built.cached, 2, "of the other stage, what comes before the copy");
    let again = bed.build(&Build { no_cache: true, ..request });
    assert_eq!(again.built.cached, 0);
}

pub(crate) fn what_was_made_before_is_found_without_making_anything(bed: &Bed) {
    let text = "FROM base AS a\nRUN echo recalled > /made\nFROM base\nCOPY --chmod=640 f /f\nCOPY --from=a /made /\n\
                RUN --mount=type=bind,from=a,target=/a cat /a/made\nENV X=1\n";
    let request = bed.request(text, &[("f", "recalled")]);
    let program = std::env::current_exe().expect("a path");
    let recalling = Builder::recalling(bed.layout.clone(), &program, Surroundings::default()).expect("a store");
    let recall = || recalling.build(&request, &|_| {});
    assert!(matches!(recall(), Err(BuildError::Unmade)), "nothing was made yet");
    let made = bed.build(&request).built;
    assert_eq!(recall().expect("all was made"), Built { cached: made.steps, names: Vec::new(), ..made });
    let left = bed.layout.build().join("work/b1-0");
    fs::create_dir(&left).expect("a directory");
    assert!(matches!(recall(), Err(BuildError::Unmade)), "a build that died has left something");
    bed.build(&request);
    assert!(!left.exists());
    fs::write(request.context.join("f"), "changed").expect("a file");
    assert!(matches!(recall(), Err(BuildError::Unmade)), "a file has changed");
    assert_eq!(fs::read_dir(bed.layout.build().join("work")).expect("a directory").count(), 0);
}

pub(crate) fn a_touched_file_is_the_same_and_a_changed_one_is_not(bed: &Bed) {
    let request = bed.request("FROM base\nCOPY f g /d/\nRUN true\n", &[("f", "1"), ("g", "2"), ("unused", "3")]);
    let first = bed.build(&request);
    let touch = |name: &str, text: &str| fs::write(request.context.join(name), text).expect("a file");
    touch("f", "1");
    touch("unused", "other");
    assert_eq!(bed.build(&request).built.id, first.built.id);
    touch("f", "0");
    let changed = bed.build(&request);
    assert_eq!((changed.read("d/f"), changed.built.cached), ("0".to_owned(), 0));
    touch("f", "1");
    assert_eq!(bed.build(&request).built.id, first.built.id);
    // A secret is not an input, an argument that is used is one.
    let request = bed.request("FROM base\nARG A\nRUN echo $A\n", &[]);
    let with = |value: &str| Build { args: [("A".to_owned(), Some(value.to_owned()))].into(), ..request.clone() };
    bed.build(&with("1"));
    assert_eq!((bed.build(&with("1")).built.cached, bed.build(&with("2")).built.cached), (1, 0));
}

pub(crate) fn the_same_inputs_give_the_same_digest(bed: &Bed) {
    let text = "FROM base\nCOPY f /f\nRUN mkdir /d && touch /d/x && ln /d/x /d/y\nWORKDIR /w\nLABEL a=b\n";
    let request = Build {
        args: [("SOURCE_DATE_EPOCH".to_owned(), Some("1000000000".to_owned()))].into(),
        no_cache: true,
        ..bed.request(text, &[("f", "1")])
    };
    let first = bed.build(&request);
    fs::write(request.context.join("f"), "1").expect("a file");
    let second = bed.build(&request);
    assert_eq!(second.built.cached, 0);
    assert_eq!(first.built.id, second.built.id);
    assert_eq!(second.config["created"], "2001-09-09T01:46:40Z");
}

pub(crate) fn stages_that_are_not_needed_are_left_out(bed: &Bed) {
    let text = "FROM base AS a\nRUN echo a > /a\nFROM no.such.image.invalid/x AS unused\nRUN false\nFROM base AS b\nRUN echo b > /b\n\
                FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n";
    let request = bed.request(text, &[]);
    let seen = Mutex::new(Vec::new());
    bed.builder
        .build(&request, &|event| {
            if let BuildEvent::Started { step, .. } = event {
                seen.lock().expect("a lock").push(step.name);
            }
        })
        .expect("it builds");
    let seen = seen.into_inner().expect("a lock");
    assert!(!seen.contains(&"unused".to_owned()) && seen.contains(&"b".to_owned()), "{seen:?}");
    let image = bed.build(&request);
    assert_eq!(image.files.keys().collect::<Vec<_>>(), ["a", "b"]);
    let image = bed.build(&Build { target: Some("b".to_owned()), ..request });
    assert!(image.has("b") && !image.has("a"));
}

pub(crate) fn layers_of_an_image_serve_as_cache(bed: &Bed) {
    let request = bed.request("FROM base\nRUN echo slow > /slow\nRUN echo more > /more\n", &[]);
    let tagged = Build { tags: vec!["seed".to_owned()], ..request.clone() };
    bed.builder.build(&tagged, &|_| {}).expect("it builds");
    fs::remove_dir_all(bed.layout.root.join("build/cache")).expect("the cache");
    assert_eq!(bed.build(&Build { cache_from: vec!["seed".to_owned()], ..request.clone() }).built.cached, 2);
    assert_eq!(bed.build(&Build { no_cache: true, ..request }).built.cached, 0);
}
