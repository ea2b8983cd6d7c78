//! Single keys of the file that show in what `up` does.

use stack_tests::World;

/// Says who it is and ends.
fn speaker(word: &str, more: &str) -> String {
    format!("  {word}:\n    image: stack.local/self\n    command: [demo, show]\n    environment: [WHO={word}]\n{more}")
}

#[test]
fn logs_are_shown_as_the_file_and_the_flags_say() {
    let world = World::new("attach");
    let quiet = speaker("quiet", "    attach: false\n");
    let web = speaker("web", "    depends_on: [loud]\n");
    world.write("compose.yaml", &format!("services:\n{quiet}{}{web}", speaker("loud", "")));
    for (arguments, shown) in [
        (["up"].as_slice(), ["loud", "web"].as_slice()),
        (&["up", "--attach", "quiet"], &["quiet"]),
        (&["up", "--no-attach", "loud"], &["web"]),
        (&["up", "web"], &["web"]),
        (&["up", "--attach-dependencies", "web"], &["loud", "web"]),
    ] {
        let said = world.stack(arguments).ok().stdout;
        for word in ["quiet", "loud", "web"] {
            assert_eq!(said.contains(&format!("env WHO={word}")), shown.contains(&word), "{arguments:?}: {said}");
        }
        world.stack(&["down"]).ok();
    }
    world.stack(&["up", "--attach", "wep"]).fails(1, &["no such service: wep"]);
    world.stack(&["up", "-d", "--no-attach", "web"]).fails(2, &["--detach"]);
}
