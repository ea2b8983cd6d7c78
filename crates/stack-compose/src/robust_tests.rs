//! Whatever the bytes are: no panic, bounded work, and either a project or an error.

use proptest::prelude::*;

use crate::testing::Files;

/// A file that uses every key.
const SEED: &str = include_str!("../tests/full.yaml");

/// Loads and lowers; an absent project has a reason.
fn total(files: &Files) {
    let loaded = files.load();
    match &loaded.project {
        Some(project) => {
            let desired = project.lower("");
            assert_eq!(desired.services.len(), project.services().len());
            project.to_yaml();
        }
        None => assert!(!loaded.diagnostics.is_empty()),
    }
    for diagnostic in &loaded.diagnostics {
        for label in &diagnostic.labels {
            let text = &loaded.texts[&label.origin.file];
            assert!(text.get(label.bytes.clone()).is_some(), "{diagnostic:?}");
        }
    }
}

#[test]
fn the_seed_is_a_good_project() {
    let loaded = Files::new(SEED).with("a.env", "A=1\n").with("token", "x").load();
    assert_eq!(loaded.diagnostics, []);
    assert!(loaded.project.is_some());
}

#[test]
fn bytes_that_are_no_text_are_an_error() {
    for content in [&b"\xff\xfe"[..], b"a: \xc3", b"", b"\0", b"a\0b: c", b"\xef\xbb\xbfservices: {}"] {
        total(&Files::empty().bytes("compose.yaml", content));
    }
}

#[test]
fn alias_bombs_and_deep_nesting_end_early() {
    let bomb: String = (1..30)
        .map(|level| format!("x{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(", ")))
        .collect();
    let deep_aliases: String = (1..200).map(|level| format!("x{level}: &a{level} {{k: *a{}}}\n", level - 1)).collect();
    for (text, code) in [
        (format!("x0: &a0 [lol]\n{bomb}"), "alias-budget"),
        (format!("x0: &a0 {{k: v}}\n{deep_aliases}"), "alias-budget"),
        ("x: ".to_owned() + &"[".repeat(10_000), "yaml-syntax"),
        ("x: ".to_owned() + &"{a: ".repeat(10_000), "yaml-syntax"),
        ("- ".repeat(10_000), "yaml-syntax"),
        ("x: &a [*a]\n".to_owned(), "yaml-syntax"),
        (format!("x: [{}]", "1, ".repeat(150_000)), "alias-budget"),
    ] {
        let files = Files::new(&text);
        total(&files);
        assert_eq!(files.load().diagnostics[0].code, code, "{}", &text[..40.min(text.len())]);
    }
}

#[test]
fn a_large_file_is_refused_unread() {
    let files = Files::new(&"#".repeat(9 << 20));
    assert_eq!(files.load().diagnostics[0].code, "file-too-large");
}

#[test]
fn a_thousand_mistakes_are_two_hundred_messages() {
    let text: String = (0..1000).map(|index| format!("  s{index}: 5\n")).collect();
    assert_eq!(Files::new(&format!("services:\n{text}")).load().diagnostics.len(), 200);
}

fn mutated() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "",
        " ",
        "\n",
        ":",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "'",
        "\"",
        "&a ",
        "*a",
        "<<: *a",
        "!reset ",
        "!override ",
        "|",
        ">",
        "$",
        "${",
        "${A",
        "${A:-${B}}",
        "}",
        "\t",
        "null",
        "-1",
        "1e9",
        "99999999999999999999",
        "~",
        "#",
        "ä",
        "%",
        "---\n",
        "services:",
        "x-y: ",
        "0-65535:1-65536",
        "1-65535",
        "::",
        "1.5",
        "yes",
    ]);
    let edit = (any::<prop::sample::Index>(), 0..12usize, words);
    prop::collection::vec(edit, 1..6).prop_map(|edits| {
        let mut text: Vec<char> = SEED.chars().collect();
        for (place, cut, word) in edits {
            let start = place.index(text.len());
            let end = (start + cut).min(text.len());
            text.splice(start..end, word.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_edit_of_a_good_file_is_survived(text in mutated()) {
        total(&Files::new(&text).with("a.env", "A=1\n").with("token", "x"));
    }

    #[test]
    fn any_override_is_survived(text in mutated()) {
        total(&Files::new(SEED).with("compose.override.yaml", &text).with("a.env", &text).with("token", "x"));
    }

    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}") {
        total(&Files::new(&text));
        total(&Files::new("services: {a: {image: i, env_file: e}}").with("e", &text).with(".env", &text));
    }

    #[test]
    fn any_value_of_any_key_is_survived(key in 0..crate::keys::SERVICE_KEYS.len(), value in "[-a-z0-9:/.,$'\"{}\\[\\]= ]{0,24}") {
        let name = crate::keys::SERVICE_KEYS[key].field.name;
        total(&Files::new(&format!("services:\n  a:\n    image: i\n    {name}: {value}\n")));
        total(&Files::new(&format!("services:\n  a:\n    image: i\n    {name}: [\"{}\"]\n", value.replace('"', ""))));
    }
}
