//! Cases where a rule of docker compose 2.40.3 is easy to miss. What is expected is what that version printed.

use serde_json::{Value, json};

use crate::testing::Files;

const TOP: &str = "\nnetworks: {n: , m: }\nvolumes: {vol: , wol: }\nsecrets: {s: {file: /s}, t: {file: /t}}\n";

fn file(fields: &str) -> String {
    format!("services:\n  a:\n    image: i\n    {fields}{TOP}")
}

fn files(text: &str) -> Files {
    Files::new(text).with("/s", "").with("/t", "").with("one.env", "A=1\nB=1\n").with("two.env", "B=2\nC=$B$D\nD=d\n")
}

/// A key of a service, after a second file was laid over the first.
fn merged(key: &str, base: &str, over: &str) -> Value {
    let text = files(&file(base)).with("compose.override.yaml", &format!("services:\n  a:\n    {over}\n"));
    text.shown()["services"]["a"][key].clone()
}

fn shown(key: &str, fields: &str) -> Value {
    files(&file(fields)).shown()["services"]["a"][key].clone()
}

fn refused(text: &str) {
    assert!(!files(text).reading_errors().is_empty(), "{text}");
}

#[test]
fn a_name_without_value_hides_an_earlier_value() {
    assert_eq!(merged("environment", "environment: {A: 1, B: 2}", "environment: [A]"), json!({"A": null, "B": "2"}));
    assert_eq!(merged("environment", "environment: [A=1]", "environment: {A: }"), json!({"A": null}));
    assert_eq!(merged("labels", "labels: {A: 1}", "labels: {A: }"), json!({"A": ""}));
}

#[test]
fn keys_of_ones_own_merge_as_others_do() {
    let base = file("x-own: {a: 1, b: [1]}");
    let over =
        |text: &str| files(&base).with("compose.override.yaml", &format!("services: {{a: {{x-own: {text}}}}}\n"));
    let yaml = over("{b: [2], c: 3}").project().to_yaml();
    assert!(yaml.contains("x-own:\n      a: 1\n      b:\n        - 1\n        - 2\n      c: 3\n"), "{yaml}");
    assert_eq!(over("[1]").reading_errors().len(), 1);
}

#[test]
fn what_one_file_lacks_a_later_one_does_not_mend() {
    let over = "services: {a: {environment: {A: 1}, depends_on: {b: {condition: service_started}}}}\n";
    let loaded =
        files(&file("environment:\n    depends_on: {b: {required: true}}")).with("compose.override.yaml", over);
    let errors = loaded.reading_errors();
    assert_eq!(errors[0], "`environment` has no value");
    assert_eq!(errors[1], "`b` of `depends_on` needs `condition`");
}

#[test]
fn ports_are_the_same_only_where_they_are_written_alike() {
    let published = |ports: &Value| ports.as_array().map(Vec::len);
    assert_eq!(published(&merged("ports", "ports: ['80:80']", "ports: [{target: 80, published: '80'}]")), Some(1));
    assert_eq!(published(&merged("ports", "ports: ['80:80']", "ports: [{target: 80, published: 80}]")), Some(2));
    refused(&file("ports: ['0']"));
}

#[test]
fn a_target_of_a_long_volume_is_compared_as_it_is_written() {
    let both = file("volumes: ['vol:/x', {type: volume, source: wol, target: /x/}]");
    assert!(files(&both).reading_errors()[0].contains("`/x`"));
    assert_eq!(
        merged("secrets", "secrets: [s]", "secrets: [{source: t, target: s}]"),
        json!([{"source": "s", "target": "/run/secrets/s"}, {"source": "t", "target": "s"}])
    );
}

#[test]
fn paths_of_windows_stay() {
    let volume = shown("volumes", "volumes: ['C:\\data:/d', 'c:/x:/y:ro', 'v:z:/w']");
    let sources: Vec<&str> = volume.as_array().into_iter().flatten().filter_map(|v| v["source"].as_str()).collect();
    assert_eq!(sources, ["C:\\data", "c:/x", "/p/v:z"]);
}

#[test]
fn a_directory_of_a_volume_is_relative_to_the_project_where_the_driver_is_named() {
    let text = |driver: &str| {
        format!(
            "services: {{a: {{image: i, volumes: ['vol:/v']}}}}\nvolumes: {{vol: {{{driver}driver_opts: {{o: bind, device: ./d}}}}}}\n"
        )
    };
    let device = |driver| Files::new(&text(driver)).shown()["volumes"]["vol"]["driver_opts"]["device"].clone();
    assert_eq!(device("driver: local, "), "/p/d");
    assert_eq!(device(""), "./d");
}

#[test]
fn agents_of_a_build_are_a_list() {
    assert_eq!(shown("build", "build: {ssh: [default, 'k=./x']}")["ssh"], json!(["default", "k=/p/x"]));
    for wrong in ["ssh: default", "ssh: [other]", "additional_contexts: [other]"] {
        refused(&file(&format!("build: {{{wrong}}}")));
    }
}

#[test]
fn nothing_stays_nothing() {
    assert_eq!(shown("build", "build: ''"), json!({"dockerfile": "Dockerfile"}));
    assert_eq!(shown("healthcheck", "healthcheck: {test: [], retries: 2}"), json!({"retries": 2}));
    assert_eq!(shown("ulimits", "ulimits: {core: 0}"), json!({"core": {}}));
    assert_eq!(shown("volumes", "volumes: [{type: volume, source: '', target: /x}]")[0]["target"], "/x");
}

#[test]
fn values_have_the_types_that_variables_can_give_them() {
    for wrong in [
        "init: '1'",
        "tty: t",
        "use_api_socket: 'true'",
        "depends_on: {a: {condition: service_started, required: 'true'}}",
        "networks: {n: {priority: '5'}}",
        "blkio_config: {weight: '5'}",
        "cpu_percent: 1.5",
        "cpu_percent: 101",
        "pids_limit: ' 7 '",
        "mem_limit: '-1'",
        "scale: -1",
        "deploy: {replicas: -1}",
        "ports: [{target: -1}]",
        "devices: [{source: /dev/a}]",
        "env_file: [{path: one.env, format: x}]",
    ] {
        refused(&file(wrong));
    }
    for (right, key, value) in [
        ("init: 'YES'", "init", json!(true)),
        ("mem_limit: -1", "mem_limit", json!("-1")),
        ("memswap_limit: '1e3k'", "memswap_limit", json!("1024000")),
        ("cpus: '1_0.5'", "cpus", json!(10.5)),
    ] {
        assert_eq!(shown(key, right), value, "{right}");
    }
}

#[test]
fn what_is_made_elsewhere_has_a_name_and_nothing_else() {
    refused("services: {a: {image: i, networks: [n]}}\nnetworks: {n: {external: {name: x, driver: y}}}\n");
    refused("services: {a: {image: i, secrets: [s]}}\nsecrets: {s: {driver: x}}\n");
    refused("services: {a: {image: i, secrets: [s]}}\nsecrets: {s: {environment: ''}}\n");
}

#[test]
fn models_are_not_in_json() {
    let project = Files::new("services: {a: {image: i, models: [m]}}\nmodels: {m: {model: x}}\n");
    assert_eq!(project.shown().get("models"), None);
}

#[test]
fn a_later_env_file_sees_itself_before_earlier_ones() {
    let environment = shown("environment", "env_file: [one.env, two.env]");
    assert_eq!(environment, json!({"A": "1", "B": "2", "C": "2", "D": "d"}));
}

#[test]
fn label_files_do_not_see_the_project() {
    let text = files(&file("label_file: [l.one, l.two]")).with("l.one", "a=1\nb=$PASSED\n").with("l.two", "c=$a\n");
    assert_eq!(text.shown()["services"]["a"]["labels"], json!({"a": "1", "b": "", "c": "1"}));
}

#[test]
fn a_dependency_must_exist_even_where_it_is_not_required() {
    refused(&file("depends_on: {gone: {condition: service_started, required: false}}"));
}

#[test]
fn dates_need_quotes_but_in_keys_of_ones_own() {
    for wrong in ["environment: {A: 2024-01-01}", "labels: {A: 2024-01-01}", "hostname: 2024-01-01"] {
        refused(&file(wrong));
    }
    assert_eq!(shown("environment", "environment: {A: '2024-01-01'}"), json!({"A": "2024-01-01"}));
    assert_eq!(files(&format!("{}x-at: 2024-1-2\n", file("tty: true"))).shown()["x-at"], "2024-01-02T00:00:00Z");
}

#[test]
fn names_of_variables_do_not_end_in_a_blank() {
    refused(&file("environment: ['A = 1']"));
    refused(&file("build: {context: ., args: ['A =1']}"));
    assert_eq!(shown("labels", "labels: ['a = 1']"), json!({"a ": " 1"}));
}

#[test]
fn a_mapping_takes_in_others_once() {
    refused("x-a: &a {image: i}\nservices:\n  a:\n    <<: *a\n    <<: *a\n");
}

#[test]
fn the_subnets_of_a_later_file_replace_earlier_ones() {
    let subnets = |over: &str| {
        let config = |list: &str| format!("networks: {{m: {{ipam: {{config: [{list}]}}}}}}\n");
        let base = format!("services: {{a: {{image: i, networks: [m]}}}}\n{}", config("{subnet: 10.0.0.0/24}"));
        let files = Files::new(&base).with("compose.override.yaml", &config(over));
        files.shown()["networks"]["m"]["ipam"]["config"].clone()
    };
    assert_eq!(
        subnets("{subnet: 10.0.0.0/24, gateway: 10.0.0.1}"),
        json!([{"subnet": "10.0.0.0/24", "gateway": "10.0.0.1"}])
    );
    assert_eq!(subnets("{subnet: 10.1.0.0/24}"), json!([{"subnet": "10.1.0.0/24"}]));
}

#[test]
fn tags_of_an_extended_file_say_how_its_own_services_extend() {
    let base = "services: {b: {extends: c, ports: !reset [], user: '1'}, c: {image: i, ports: ['1:1']}}\n";
    let files = Files::new("services: {a: {extends: {file: z.yaml, service: b}}}\n").with("z.yaml", base);
    let service = &files.shown()["services"]["a"];
    assert_eq!((service.get("ports"), &service["user"]), (None, &json!("1")));
}

#[test]
fn services_must_say_something() {
    let loaded = files(&file("tty: true")).with("compose.override.yaml", "services:\n");
    assert_eq!(loaded.reading_errors(), ["`services` has no value"]);
}

#[test]
fn a_dollar_of_a_key_is_written_twice_as_well() {
    assert_eq!(files(&format!("{}x-a: {{'$k': 1}}\n", file("tty: true"))).shown()["x-a"], json!({"$$k": 1}));
}

#[test]
fn what_is_not_selected_is_not_waited_for() {
    let text = "services:\n  a: {image: i, depends_on: {b: {condition: service_started, required: false}}}\n  \
                b: {image: i, profiles: [pp]}\n";
    let mut project = Files::new(text).project();
    assert_eq!(project.profiles_for(&["a".to_owned(), "b".to_owned()]), ["pp"]);
    assert_eq!(project.select(&["a".to_owned()]), None);
    assert_eq!(project.to_json()["services"]["a"].get("depends_on"), None);
}

#[test]
fn fingerprints_are_those_of_docker_compose() {
    let text = "name: hh
services:
  a: {image: 'i<&>é', command: [x, '$$y'], environment: {A: 1, B: }, ports: ['80:80'], volumes: ['data:/d'], depends_on: [b],
      deploy: {replicas: 2, labels: {z: 1}}, labels: {q: '1'}, cpus: 0.5, mem_limit: 1g}
  b: {image: j}
  c: {build: ., scale: 2, pull_policy: always}
volumes: {data: }
";
    let project = Files::new(text).read();
    let expected = [
        ("a", "0b04e91c5f2ee1ea78d5a5718f521a4179962631c4ece81a1ab0833bac8e197f"),
        ("b", "c6e79c4a0a206bdc82c4701383d0bdcd2a94fdf32f7f875678de130c3b7959e4"),
        ("c", "8ed9276b9b43971f5e501d66147c519a039b4cf02cb7c2f3b6c3aa25e8d28823"),
    ];
    for (service, hash) in expected {
        assert_eq!(project.hash(service).as_deref(), Some(hash), "{service}");
    }
}

#[test]
fn short_forms_say_the_last_thing_and_all_of_it() {
    let volumes = shown("volumes", "volumes: ['./a:/a:ro,rw', './b:/b:nocopy', '\\\\host\\share:/c']");
    assert_eq!((volumes[0].get("read_only"), &volumes[1]["volume"]["nocopy"]), (None, &json!(true)));
    assert_eq!(volumes[2]["source"], "\\\\host\\share");
    assert_eq!(shown("extra_hosts", "extra_hosts: ['a:1.1.1.1,::1']"), json!(["a=1.1.1.1", "a=::1"]));
    for wrong in ["[':1.1.1.1']", "{'a:b': 1.1.1.1}", "['a=1.1.1.1', 'a=1.1.1.1']"] {
        refused(&file(&format!("extra_hosts: {wrong}")));
    }
    refused(&file("deploy: {resources: {reservations: {devices: [{driver: cdi, device_ids: [x]}]}}}"));
}

#[test]
fn scale_is_shown_under_deploy_too() {
    assert_eq!(shown("deploy", "scale: 2\n    deploy: {labels: {a: b}}")["replicas"], 2);
    assert_eq!(shown("scale", "scale: 2"), 2);
}

#[test]
fn a_reset_key_leaves_that_of_the_merge_key() {
    let text = "x-a: &a {image: i, ports: ['1:1'], cap_add: [A]}\nservices:\n  a:\n    <<: *a\n    ports: !reset []\n    \
                cap_add: !override [B]\n    extends: b\n  b: {image: j, ports: ['2:2']}\n";
    let service = &Files::new(text).shown()["services"]["a"];
    let targets: Vec<_> =
        service["ports"].as_array().into_iter().flatten().map(|port| port["target"].clone()).collect();
    assert_eq!((targets, &service["cap_add"]), (vec![json!(1)], &json!(["B"])));
}
