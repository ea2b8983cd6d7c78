//! Single keys of the file that show in what `up` does.

use std::process::Command;

use stack_tests::{World, eventually};

const BASE: &str = "127.0.0.1:5000/test/busybox:1";

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

fn ip(arguments: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "a second opinion on the kernel")]
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn options_of_a_network_are_those_of_its_bridge_and_ports() {
    let world = World::new("options");
    let write = |bridge: &str| {
        world.write(
            "compose.yaml",
            &format!(
                "services:\n  web:\n    image: stack.local/self\n    command: [demo, sleep]\n    networks:\n      default: \
                 {{priority: 1, link_local_ips: [169.254.33.44]}}\n      a:\n        driver_opts: \
                 {{com.docker.network.endpoint.ifname: lan7}}\nnetworks:\n  a:\n  default:\n    driver_opts:\n      \
                 com.docker.network.bridge.name: {bridge}\n      com.docker.network.driver.mtu: 1400\n      \
                 com.docker.network.bridge.enable_icc: 'false'\n      \
                 com.docker.network.bridge.enable_ip_masquerade: 'false'\n"
            ),
        );
    };
    write("mine0");
    world.stack(&["up", "-d"]).ok();
    let pid = world.runs(&["options-web-1"])["options-web-1"];
    assert!(ip("link show mine0").contains("mtu 1400"), "{}", ip("link show mine0"));
    let ports = ip("-d link show master mine0");
    assert!(ports.contains("mtu 1400") && ports.contains("isolated on"), "{ports}");
    let inside = |file: &str| fs_err::read_to_string(format!("/proc/{pid}/root/sys/class/net/{file}")).unwrap();
    assert_eq!(inside("eth0/mtu").trim(), "1400");
    assert_eq!(inside("lan7/mtu").trim(), "1500");
    let local = fs_err::read_to_string(format!("/proc/{pid}/net/fib_trie")).unwrap();
    assert!(local.contains("169.254.33.44"), "{local}");
    // What somebody changes by hand is put back.
    ip("link set mine0 mtu 1500");
    eventually("the size is put back", || {
        let link = ip("link show mine0");
        if link.contains("mtu 1400") { Ok(()) } else { Err(link) }
    });
    write("mine1");
    eventually("the bridge has another name", || {
        let links = (ip("-d link show master mine1"), ip("link show mine0"));
        if links.0.contains("stkv") && links.1.is_empty() { Ok(()) } else { Err(format!("{links:?}")) }
    });
}

#[test]
fn volumes_of_another_service_are_shared() {
    let world = World::new("volumesfrom");
    let text = |target: &str| {
        format!(
            "services:\n  a:\n    image: {BASE}\n    init: true\n    command: [sh, -c, 'echo named > {target}/x; echo anonymous > \
             /anon/y; echo ready; sleep 1000']\n    volumes: ['data:{target}', /anon]\n    tmpfs: [/mem]\n  b:\n    \
             image: {BASE}\n    init: true\n    command: [sleep, '1000']\n    volumes: ['data:/own']\n    volumes_from: [\"a:ro\"]\n\
             volumes: {{data: }}\n"
        )
    };
    let sees = |line: &str, expected: &str| {
        eventually(line, || {
            let run = world.stack(&["exec", "-T", "b", "sh", "-c", line]);
            if run.stdout == expected { Ok(()) } else { Err(format!("{}{}", run.stdout, run.stderr)) }
        });
    };
    world.write("compose.yaml", &text("/data"));
    world.stack(&["up", "-d"]).ok();
    sees("cat /data/x /own/x /anon/y", "named\nnamed\nanonymous\n");
    sees("touch /data/z 2>/dev/null || echo no; ls -d /mem 2>/dev/null || echo none", "no\nnone\n");
    // Where the other one has them elsewhere, it follows.
    world.write("compose.yaml", &text("/elsewhere"));
    sees("cat /elsewhere/x; ls -d /data 2>/dev/null || echo gone", "named\ngone\n");
    // The one who shares them does not take them away.
    world.stack(&["rm", "-s", "-f", "-v", "b"]).ok();
    let kept = world.stack(&["exec", "-T", "a", "cat", "/anon/y"]).ok().stdout;
    assert_eq!(kept, "anonymous\n");
}

#[test]
fn a_port_of_sctp_is_forwarded() {
    let world = World::new("sctp");
    let service = "services:\n  web:\n    image: stack.local/self\n    command: [demo, sleep]\n";
    world.write("compose.yaml", &format!("{service}    ports: ['48083:9/sctp', '48083:9']\n"));
    world.stack(&["up", "-d"]).ok();
    assert!(world.stack(&["ps"]).ok().stdout.contains("48083->9/sctp"));
    assert_eq!(world.stack(&["port", "--protocol", "sctp", "web", "9"]).ok().stdout, "0.0.0.0:48083\n");
    // What the kernel holds is read back before anything is called finished.
    #[expect(clippy::disallowed_methods, reason = "a second opinion on the kernel")]
    let rules = Command::new("nft").args(["list", "ruleset"]).output().expect("nft");
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(rules.contains("sctp . 48083 : ") || rules.contains("132 . 48083 : "), "{rules}");
}
