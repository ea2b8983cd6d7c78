//! What `stack config` shows where phases are left out. The expected texts are those of docker compose 2.40.3.

use serde_json::json;

use crate::Phases;
use crate::testing::Files;

const TEMPLATES: Phases = Phases {
    interpolate: false,
    normalize: true,
    resolve_paths: true,
    consistency: true,
    env_files: true,
    only_used: true,
};

const AS_WRITTEN: &str = "name: my-tag-x
networks:
  default:
    name: my-tag-x_default
  unused:
    name: my-tag-x_unused
services:
  db:
    depends_on:
      web:
        condition: service_started
        required: true
        restart: false
    image: pg
    networks:
      default: null
    volumes_from:
      - web
  web:
    build:
      args:
        - A=1
      context: /p
      dockerfile: Dockerfile
      labels:
        - l=1
      sbom: \"true\"
    command: echo \"a b\"
    cpus: 0.5
    depends_on:
      ${DB:-db}:
        condition: service_started
        required: true
    dns:
      - 8.8.8.8
    dns_search: x.y
    env_file:
      - path: /p/${D}/e.env
        required: true
    environment:
      A: null
      B: 1
      PASSED: null
    extra_hosts:
      - z:1.2.3.4
    healthcheck:
      test: curl x
    image: nginx:${TAG:-1}
    init: \"true\"
    labels:
      - a=1
    mem_limit: 64M
    networks:
      default: null
    ports:
      - 8080:80
      - ${P}:80
      - mode: ingress
        protocol: tcp
        target: 1
    stop_grace_period: 90s
    volumes:
      - bind:
          create_host_path: true
        source: /p/x
        target: /x
        type: bind
      - source: ${V}
        target: /q
        type: volume
        volume: {}
      - target: ${A}
        type: volume
        volume: {}
x-a: 1
x-top:
  float: 2
  list: []
";

#[test]
fn without_interpolation_most_short_forms_are_as_they_are_written() {
    let text = "name: My-${TAG:-x}\nservices:\n  web:\n    image: nginx:${TAG:-1}\n    command: echo \"a b\"\n    \
                build: {context: ., sbom: true, args: [PASSED, GONE, A=1], labels: [l=1]}\n    ports: ['8080:80', '${P}:80', {target: 1}]\n    \
                environment: {B: 1, A: , PASSED: }\n    labels: [a=1]\n    dns: 8.8.8.8\n    dns_search: x.y\n    cpus: 0.50\n    \
                mem_limit: 64M\n    init: 'true'\n    volumes: ['./x:/x', '${V}:/q:rw', '${A}']\n    healthcheck: {test: curl x}\n    \
                extra_hosts: ['z:1.2.3.4']\n    depends_on: ['${DB:-db}']\n    env_file: ${D}/e.env\n    stop_grace_period: 90s\n  \
                db: {image: pg, volumes_from: [web]}\nnetworks: {unused: }\nx-top: {list: [], float: 2.0}\nx-a: 1\n";
    assert_eq!(Files::new(text).yaml(TEMPLATES), AS_WRITTEN);
}

#[test]
fn forms_that_wait_for_interpolation_merge_as_lists() {
    let base = "services: {a: {image: i, environment: {A: 1, B: '${X}'}, labels: [l=1], tmpfs: /a}}\n";
    let over = "services: {a: {environment: [B=2, C], labels: {m: true, l: 2}, tmpfs: [/b], command: x y}}\n";
    let yaml = Files::new(base).with("compose.override.yaml", over).yaml(TEMPLATES);
    let expected = "services:
  a:
    command: x y
    environment:
      - A=1
      - B=2
      - C
    image: i
    labels:
      - l=2
      - m=true
    networks:
      default: null
    tmpfs:
      - /a
      - /b
";
    assert!(yaml.ends_with(expected), "{yaml}");
}

#[test]
fn included_and_extended_files_are_there_without_interpolation_too() {
    let files = Files::new("include: [a.yaml]\nservices: {c: {extends: {file: b.yaml, service: b}}}\n");
    let files = files.with("a.yaml", "services: {a: {image: 'i:${TAG}'}}\n");
    let yaml = files.with("b.yaml", "services: {b: {image: j}}\n").yaml(TEMPLATES);
    assert!(yaml.contains("  a:\n    image: i:${TAG}\n") && yaml.contains("  c:\n    image: j\n"), "{yaml}");
}

#[test]
fn without_normalization_the_name_is_as_it_is_written_and_nothing_is_implied() {
    let phases = Phases { normalize: false, ..Phases::default() };
    let text = "name: My-X.y\nservices: {a: {image: 'i${COMPOSE_PROJECT_NAME}', extra_hosts: ['b:1.1.1.1', 'a:2.2.2.2']}}\n\
                networks: {default: {driver: bridge}}\n";
    let expected =
        "name: My-X.y\nservices:\n  a:\n    extra_hosts:\n      - a=2.2.2.2\n      - b=1.1.1.1\n    image: iMy-X.y\n";
    assert_eq!(Files::new(text).yaml(phases), expected);
}

#[test]
fn keys_of_ones_own_come_last_in_order_and_no_network_is_implied() {
    let text = "x-b: 1\nx-a10: 1\nx-a9: 1\nservices: {a: {image: i, networks: [default]}}\n";
    let yaml = Files::new(text).yaml(Phases::default());
    assert!(yaml.ends_with("    name: p_default\nx-a9: 1\nx-a10: 1\nx-b: 1\n"), "{yaml}");
    let phases = Phases { normalize: false, ..Phases::default() };
    assert_eq!(Files::new(text).refusals(phases), ["service `a` refers to undefined network `default`"]);
}

#[test]
fn everything_is_shown_where_it_is_asked_for() {
    let text = "services: {a: {image: i}}\nnetworks: {n: }\nvolumes: {v: }\n";
    assert!(!Files::new(text).yaml(Phases::default()).contains("p_v"));
    let all = Files::new(text).yaml(Phases { only_used: false, ..Phases::default() });
    assert!(all.contains("p_n") && all.contains("p_v"), "{all}");
}

#[test]
fn yaml_leaves_out_what_json_always_has() {
    let text = "services: {a: {image: i, command: , ulimits: {nofile: 0, nproc: {soft: 0, hard: 3}}}}\n\
                networks: {default: {ipam: {}}}\n";
    let expected = "name: p\nservices:\n  a:\n    image: i\n    networks:\n      default: null\n    ulimits:\n      \
                    nofile:\n        soft: 0\n        hard: 0\n      nproc:\n        soft: 0\n        hard: 3\nnetworks:\n  \
                    default:\n    name: p_default\n";
    assert_eq!(Files::new(text).yaml(Phases::default()), expected);
    let json = Files::new(text).shown();
    assert_eq!(json["services"]["a"]["ulimits"], json!({"nofile": {}, "nproc": {"hard": 3}}));
    assert_eq!(json["networks"]["default"], json!({"ipam": {}, "name": "p_default"}));
}

#[test]
fn services_come_behind_those_that_they_depend_on() {
    let text =
        "services: {a: {image: i, depends_on: [z, c]}, c: {image: i, depends_on: [z]}, z: {image: i}, b: {image: j}}\n";
    let project = Files::new(text).project();
    assert_eq!(project.services_by_dependency(), ["z", "c", "a", "b"]);
    assert_eq!(project.images(), ["i", "i", "i", "j"], "one for each service");
}

#[test]
fn env_files_are_in_the_fingerprint_by_their_paths() {
    let files = Files::new("services: {a: {image: i, env_file: [a.env, {path: b.env, required: false}]}}\n");
    let phases = Phases { env_files: false, ..Phases::default() };
    let project = files.with("a.env", "").read_with(phases);
    let expected = "15c103107d3a47e23910aa84806d8c1dc4df6e113fcd8141cdf39d96c4b348ae";
    assert_eq!(project.hash("a").as_deref(), Some(expected));
}

#[test]
fn limits_of_a_build_and_modes_of_tmpfs_are_numbers() {
    for service in [
        "build: {ulimits: {nofile: '20'}}",
        "build: {ulimits: {nofile: {soft: '1', hard: 2}}}",
        "volumes: [{type: tmpfs, target: /t, tmpfs: {mode: '1777'}}]",
        "networks: {default: {driver_opts: {a: }}}",
        "ports: ['::1:80:80']",
    ] {
        let errors = Files::new(&format!("services: {{a: {{image: i, {service}}}}}\n")).reading_errors();
        assert_eq!(errors.len(), 1, "{service}: {errors:?}");
    }
}

#[test]
fn only_the_services_of_an_extended_file_are_looked_at() {
    let files = Files::new("services: {a: {extends: {file: b.yaml, service: b}}}\n");
    let files = files.with("b.yaml", "services: {b: {image: i}}\nmodels: {m: {model: x, context_size: many}}\n");
    assert_eq!(files.project().images(), ["i"]);
}

#[test]
fn without_interpolation_words_numbers_and_names_are_judged_as_they_are_written() {
    let refused = |service: &str, rest: &str| {
        let text = format!("services: {{a: {{image: i, {service}}}}}\n{rest}");
        Files::new(&text).refusals(TEMPLATES)
    };
    for (service, rest) in [
        ("cgroup: '${A}'", ""),
        ("volumes: [{type: bind, source: /a, target: /b, bind: {selinux: '${A}'}}]", ""),
        ("ulimits: {nofile: '${A}'}", ""),
        ("ulimits: {nofile: '3'}", ""),
        ("ports: [{target: 80, host_ip: '${A}'}]", ""),
        ("depends_on: {'${A}': {condition: service_started}}", ""),
        ("depends_on: {a: {condition: '${A}'}}", ""),
        ("networks: {'${A}': }", ""),
        ("networks: {default: {priority: '${A}'}}", ""),
        ("use_api_socket: '${A}'", ""),
        ("pull_policy: '${A}'", ""),
        ("gpus: '${A}'", ""),
        ("build: {context: ., ssh: ['${A}']}", ""),
        ("user: '1'", "volumes: {'${A}': }\n"),
    ] {
        let errors = refused(service, rest);
        assert_eq!(errors.len(), 1, "{service} {rest}: {errors:?}");
    }
    for (service, rest) in [
        ("depends_on: ['${A}'], networks: ['${B}']", "networks: {'${C}': , 'd e': }\nmodels: {'f g': {model: m}}\n"),
        ("ports: ['${A}:80:80', 'x:80:80']", ""),
        ("healthcheck: {interval: soon, retries: few}, scale: q, mem_limit: q, init: q", ""),
        ("blkio_config: {weight: '${A}'}, env_file: [{path: a, format: '${B}'}]", ""),
    ] {
        assert_eq!(refused(service, rest), [""; 0], "{service} {rest}");
    }
}

#[test]
fn a_bind_mount_without_source_is_no_path_to_resolve() {
    let files = Files::new("services: {a: {image: i, volumes: [{type: bind, target: /a}]}}\n");
    assert_eq!(files.reading_errors(), ["a mount of type `bind` needs `source`"]);
    assert_eq!(files.refusals(Phases { resolve_paths: false, ..Phases::default() }), [""; 0]);
}

#[test]
fn a_further_host_without_address_has_none() {
    for service in ["extra_hosts: {h: }", "build: {context: ., extra_hosts: {h: }}"] {
        let files = Files::new(&format!("services: {{a: {{image: i, {service}}}}}\n"));
        assert_eq!(files.reading_errors(), ["`h` of `extra_hosts` has no address"]);
    }
}

#[test]
fn a_lock_of_images_names_every_service_whether_variables_are_filled_in_or_not() {
    let digest = "0".repeat(64);
    let text =
        format!("services: {{a: {{build: .}}, b: {{image: 'i@sha256:{digest}'}}, c: {{image: 'j:${{T:-1}}'}}}}\n");
    for (phases, second) in [(Phases::default(), "j:1"), (TEMPLATES, "j:${T:-1}")] {
        let mut project = Files::new(&text).read_with(phases);
        let first = format!("i@sha256:{digest}");
        assert_eq!(project.named_images(), [first.clone(), second.to_owned()].into());
        project.pin_images(&[(first, "there/i@sha256:1".to_owned())].into());
        let expected = format!("services:\n  a: {{}}\n  b:\n    image: there/i@sha256:1\n  c:\n    image: {second}\n");
        assert_eq!(project.images_to_yaml(), expected);
    }
}

#[test]
fn keys_of_ssh_are_shown_as_they_are_read() {
    let text = "services: {a: {build: {context: ., ssh: {k: ./p, n: 3, default: }}}}\n";
    let shown = Files::new(text).yaml(Phases::default());
    assert!(shown.contains("ssh:\n        - default\n        - k=/p/p\n        - n=3\n"), "{shown}");
}
