//! The top level as a whole.

use crate::testing::{Files, project_errors};

const SERVICE: &str = "services:\n  a: {image: i, networks: [n], volumes: ['vo:/v']}\n";

#[test]
fn names_are_implied_unless_they_are_given() {
    let desired = Files::new(&format!("{SERVICE}networks: {{n: }}\nvolumes: {{vo: }}\n")).desired();
    assert_eq!(desired.networks["n"].name, "p_n");
    assert!(desired.volumes.contains_key("p_vo"));
    let text = format!(
        "{SERVICE}networks:\n  n: {{name: net, internal: true, driver: bridge, labels: [x=y]}}\nvolumes:\n  vo: {{name: \
         vol, external: true}}\n  unused:\n"
    );
    let desired = Files::new(&text).desired();
    assert_eq!(desired.networks["n"].name, "net");
    assert!(desired.networks["n"].internal);
    assert_eq!(desired.networks["n"].labels["x"], "y");
    assert_eq!(desired.networks["n"].origin.to_string(), "compose.yaml:4:3");
    assert!(desired.volumes["vol"].external);
    assert_eq!(desired.volumes.len(), 1, "what nobody uses is not made");
    assert_eq!(desired.networks.len(), 1);
}

#[test]
fn subnets_are_checked() {
    let errors = |config: &str| {
        let text = format!("{SERVICE}networks: {{n: {{ipam: {{config: [{config}]}}}}}}\nvolumes: {{vo: }}\n");
        project_errors(&text)
    };
    assert_eq!(errors("{subnet: 10.0.0.0/24, gateway: 10.0.0.1}"), [""; 0]);
    assert_eq!(
        errors("{subnet: 10.0.0.0}"),
        ["3:41 `10.0.0.0` is not a subnet; write an address and a prefix length: `10.1.0.0/24`"]
    );
    assert_eq!(
        errors("{subnet: 10.0.0.0/24, gateway: 10.0.1.1}"),
        ["3:63 the gateway 10.0.1.1 is not in the subnet 10.0.0.0/24"]
    );
    assert_eq!(errors("{subnet: 10.0.0.0/30}"), ["3:41 a subnet of /30 has no room for containers; use at most /29"]);
}

#[test]
fn keys_of_the_specification_and_slips_are_told_apart() {
    assert_eq!(
        project_errors("include: [x]\nservice:\n  a: {image: i}\nservices: {a: {image: i, build: .}, b: {imaeg: i}}\n"),
        [
            "1:11 /p/x does not exist; create it, or correct the path",
            "2:1 unknown key `service` in the project; did you mean `services`?",
            "4:37 service `b` has neither `image` nor `build`; add `image: name:tag`",
            "4:41 unknown key `imaeg` in service `b`; did you mean `image`?",
        ]
    );
    assert_eq!(
        project_errors(
            "services: {a: {image: i, secrets: [s]}}\nvolumes: {vo: {driver: nfs}}\nsecrets: {s: {environment: X}, t: {}}\n"
        ),
        [
            "2:24 the volume driver `nfs` is not supported yet",
            "3:28 `s` is the variable `X`, which is not set; set it in the environment or in `.env`",
            "3:32 `t` of `secrets` has no source; write one of `file`, `environment`, or `external: true`",
        ]
    );
}

#[test]
fn extensions_are_taken_and_version_is_obsolete() {
    let loaded = Files::new("version: '3'\nx-a: {b: c}\nservices: {a: {image: i, x-b: 1}}\n").load();
    let messages: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(messages, ["compose.yaml:1:1: `version` is obsolete and has no effect"]);
    assert!(loaded.project.is_some());
}

#[test]
fn the_old_form_of_an_external_name_does_not_contradict_an_earlier_one() {
    for (section, used) in [("networks", "n"), ("volumes", "n:/n"), ("secrets", "n"), ("configs", "n")] {
        let with = |first: &str, second: &str| {
            let service = format!("services: {{a: {{image: i, {section}: ['{used}']}}}}\n");
            let files = Files::new(&format!("{service}{section}: {{n: {first}}}\n---\n{section}: {{n: {second}}}\n"));
            files.reading_errors()
        };
        let conflict = ["an earlier file has another name for this"];
        assert_eq!(with("{name: a}", "{external: {name: b}}"), conflict, "{section}");
        assert_eq!(with("{external: {name: a}}", "{external: {name: b}}"), conflict, "{section}");
        assert_eq!(with("{external: {name: b}}", "{name: a}"), [""; 0], "{section}: a new name wins");
        assert_eq!(with("{name: b}", "{external: {name: b}}"), [""; 0], "{section}");
    }
}
