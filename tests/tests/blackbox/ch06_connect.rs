//! ch06-connect: containers on a network.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use blackbox::{Lab, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::str::contains;
use serial_test::file_serial;

const BIN: &str = "ch06-connect";

/// A subnet that no test machine uses.
const SUBNET: &str = "10.231.7.0/24";

fn ok(lab: &Lab, words: &[&str]) -> String {
    let out = lab.chapter(BIN).args(words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

/// Run a command that must fail with status 125. Returns its stderr.
fn refused(lab: &Lab, words: &[&str]) -> String {
    let out = lab.chapter(BIN).args(words).assert().code(125).stdout("");
    String::from_utf8(out.get_output().stderr.clone()).unwrap()
}

/// Create the network `one`, without containers.
fn network(lab: &Lab) -> Network<'_> {
    ok(lab, &["network", "create", "--subnet", SUBNET, "one"]);
    Network { lab }
}

/// The network is removed, with all containers, when the test ends.
struct Network<'a> {
    lab: &'a Lab,
}

impl Network<'_> {
    /// Run a shell script in a container of the network.
    fn sh(&self, flags: &[&str], script: &str) -> String {
        let words = [
            &["run", "--rm", "-net", "one"],
            flags,
            &["busybox", "sh", "-c", script],
        ];
        ok(self.lab, &words.concat())
    }

    /// Start a detached container that runs this script. Returns its ID.
    fn up(&self, name: &str, flags: &[&str], script: &str) -> String {
        let words = [
            &["run", "-d", "-net", "one", "--name", name],
            flags,
            &["busybox", "sh", "-c", script],
        ];
        ok(self.lab, &words.concat()).trim().to_owned()
    }

    fn exec(&self, name: &str, script: &str) -> String {
        ok(self.lab, &["exec", name, "sh", "-c", script])
    }
}

impl Drop for Network<'_> {
    fn drop(&mut self) {
        let lab = self.lab;
        for words in [["ps", "-aq"], ["network", "list"]] {
            let _ = lab.chapter(BIN).args(words).output();
        }
        let ids = lab.chapter(BIN).args(["ps", "-aq"]).output().unwrap().stdout;
        for id in String::from_utf8_lossy(&ids).lines() {
            let _ = lab.chapter(BIN).args(["rm", "-f", id]).output();
        }
        for name in ["one", "two"] {
            let _ = lab.chapter(BIN).args(["network", "remove", name]).output();
        }
    }
}

const SLEEP: &str = "sleep 1000";

#[test]
#[file_serial(machine)]
fn a_container_has_a_device_an_address_and_a_default_route() {
    let lab = Lab::new();
    let one = network(&lab);
    let text = one.sh(&[], "ip addr show dev eth0; ip route; ip link show lo");
    assert!(text.contains("inet 10.231.7.2/24"), "{text}");
    assert!(text.contains("link/ether 02:42:0a:e7:07:02"), "{text}");
    assert!(text.contains("default via 10.231.7.1 dev eth0"), "{text}");
    assert!(text.contains("LOOPBACK,UP"), "{text}");
    let flags = ["--ip", "10.231.7.77", "--mac-address", "02:00:00:00:00:07"];
    let text = one.sh(&flags, "ip addr show dev eth0");
    assert!(text.contains("inet 10.231.7.77/24"), "{text}");
    assert!(text.contains("link/ether 02:00:00:00:00:07"), "{text}");
}

#[test]
#[file_serial(machine)]
fn the_first_packet_arrives() {
    let lab = Lab::new();
    let one = network(&lab);
    // A lost packet would fail the test: ARP repeats a request only after one second.
    for _ in 0..20 {
        one.sh(&[], "ping -c 1 -W 1 10.231.7.1 > /dev/null");
    }
}

#[test]
#[file_serial(machine)]
fn containers_find_each_other_by_name_until_they_are_removed() {
    let lab = Lab::new();
    let one = network(&lab);
    let first = one.up("first", &["--hostname", "alpha"], SLEEP);
    let hosts = one.exec("first", "cat /etc/hosts; hostname; cat /etc/hostname");
    assert!(
        hosts.contains(&format!("10.231.7.2\talpha first {first}\n")),
        "{hosts}"
    );
    assert!(hosts.contains("127.0.0.1\tlocalhost"), "{hosts}");
    assert!(hosts.ends_with("alpha\nalpha\n"), "{hosts}");
    let second = one.up("second", &[], SLEEP);
    for (from, to) in [("first", "second"), ("second", "first"), ("first", "alpha")]
    {
        one.exec(from, &format!("ping -c 1 -W 1 {to}"));
    }
    let short = &second[..12];
    one.exec("first", &format!("ping -c 1 -W 1 {short}"));
    // Lines that the container writes are kept.
    one.exec("first", "echo '10.231.7.1 gate' >> /etc/hosts");
    ok(&lab, &["rm", "-f", "second"]);
    let hosts = one.exec("first", "cat /etc/hosts");
    assert!(!hosts.contains("second"), "{hosts}");
    assert!(hosts.contains("10.231.7.1 gate\n"), "{hosts}");
}

#[test]
#[file_serial(machine)]
fn the_container_has_its_own_hosts_hostname_and_resolv_conf() {
    let mut lab = Lab::new();
    let etc = lab.image().join("etc");
    // In an image, each of the files may be a symlink to another file.
    let _ = fs::remove_file(etc.join("hosts"));
    symlink("/etc/passwd", etc.join("hosts")).unwrap();
    symlink("../../../../etc/hostname", etc.join("hostname")).unwrap();
    let _ = fs::remove_file(etc.join("resolv.conf"));
    symlink("/run/nowhere/resolv.conf", etc.join("resolv.conf")).unwrap();
    lab.update_snapshot();
    let before = fs::read("/etc/hostname").ok();
    let one = network(&lab);
    let flags = ["--name", "web", "--dns", "10.231.7.53", "--dns-search", "lan"];
    let flags = [&flags[..], &["--add-host", "db:10.0.0.7"]].concat();
    let flags = [&flags[..], &["--add-host", "gate:host-gateway"]].concat();
    one.up("web", &flags[2..], SLEEP);
    let text = one.exec("web", "cat /etc/hosts /etc/resolv.conf; ls -l /etc");
    assert!(text.contains("10.0.0.7\tdb\n"), "{text}");
    assert!(text.contains("10.231.7.1\tgate\n"), "{text}");
    assert!(text.contains("nameserver 10.231.7.53\nsearch lan\n"), "{text}");
    assert!(!text.contains("->"), "{text}");
    one.exec(
        "web",
        "echo x >> /etc/hosts; echo x > /etc/hostname; chmod 600 /etc/hosts",
    );
    assert_eq!(fs::read("/etc/hostname").ok(), before);
    // `commit` leaves the files out: the new image has the symlinks of the old one.
    ok(&lab, &["commit", "web", "new"]);
    // A container of an earlier chapter has no files of its own.
    let look = ["run", "--rm", "new", "ls", "-l", "/etc"];
    let out = lab.chapter("ch05-attach").args(look).assert().success();
    let text = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    for link in ["hosts -> /etc/passwd", "resolv.conf -> /run/nowhere"] {
        assert!(text.contains(link), "{text}");
    }
    ok(&lab, &["rm", "-f", "web"]);
    ok(&lab, &["rmi", "new"]);
}

#[test]
#[file_serial(machine)]
fn a_container_without_a_network_gets_names_when_it_is_connected() {
    let lab = Lab::new();
    let one = network(&lab);
    one.up("web", &[], SLEEP);
    let run = ["run", "-d", "--name", "late", "--hostname", "alpha"];
    let own = ["--dns", "10.231.7.53", "--add-host", "db:10.0.0.7"];
    let words = [&run[..], &own, &["busybox", "sleep", "1000"]].concat();
    ok(&lab, &words);
    let cat = "cat /etc/hosts /etc/hostname /etc/resolv.conf";
    let alone = one.exec("late", cat);
    for has in ["localhost", "10.0.0.7\tdb\n", "\nalpha\n", "nameserver 10.231.7.53"]
    {
        assert!(alone.contains(has), "{has}: {alone}");
    }
    ok(&lab, &["network", "connect", "one", "late"]);
    for name in ["web", "late", "alpha"] {
        one.exec("late", &format!("ping -c 1 -W 1 {name}"));
    }
    one.exec("web", "ping -c 1 -W 1 late");
    // A container that is started later is added to its file too.
    one.up("last", &[], SLEEP);
    one.exec("late", "ping -c 1 -W 1 last");
    ok(&lab, &["network", "disconnect", "one", "late"]);
    assert_eq!(one.exec("late", cat), alone);
}

#[test]
#[file_serial(machine)]
fn network_none_has_only_loopback_and_network_host_is_that_of_the_host() {
    let lab = Lab::new();
    let sh = |mode: &str, script: &str| {
        let words =
            ["run", "--rm", "--network", mode, "busybox", "sh", "-c", script];
        ok(&lab, &words)
    };
    let text =
        sh("none", "ping -c 1 -W 1 127.0.0.1; cat /proc/net/dev; cat /etc/hosts");
    assert!(text.contains("1 packets received"), "{text}");
    assert!(!text.contains("eth0"), "{text}");
    assert!(text.contains("localhost"), "{text}");
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let text = sh("host", "readlink /proc/self/ns/net");
    assert_eq!(PathBuf::from(text.trim()), own);
    // The kernel mounts no new /sys for an ordinary user there.
    let script = "readlink /proc/self/ns/net; ls /sys/class/net; mkdir /sys/x 2>&1";
    let script = format!("{script}; ls /sys/firmware");
    let words = ["run", "--rm", "--network", "host", "busybox", "sh", "-c", &script];
    let text = user_ok(&lab, &words);
    assert!(text.starts_with(&*own.to_string_lossy()), "{text}");
    assert!(text.contains("\nlo\n"), "{text}");
    assert!(
        text.ends_with("can't create directory '/sys/x': Read-only file system\n")
    );
    // Without the option, no device is up, as in earlier chapters.
    let text = ok(&lab, &["run", "--rm", "busybox", "ip", "link"]);
    assert!(!text.contains("UP"), "{text}");
}

#[test]
#[file_serial(machine)]
fn invalid_options_are_refused_before_anything_is_created() {
    let lab = Lab::new();
    let one = network(&lab);
    one.up("web", &["--ip", "10.231.7.9"], SLEEP);
    let run = ["run", "--rm"];
    for (flags, says) in [
        (&["-net", "two"][..], "network two"),
        (&["-net", "one", "--ip", "10.231.7.9"], "web"),
        (&["-net", "one", "--ip", "10.231.8.2"], "10.231.7.0/24"),
        (&["-net", "one", "--ip", "10.231.7.1"], "gateway"),
        (&["-net", "one", "--ip", "10.231.7.0"], "10.231.7.0"),
        (&["-net", "one", "--ip", "10.231.7.255"], "10.231.7.255"),
        (&["--ip", "10.231.7.3"], "--network"),
        (&["-net", "none", "--ip", "10.231.7.3"], "--network"),
        (&["--mac-address", "02:00:00:00:00:07"], "--network"),
        (&["--add-host", "gate:host-gateway"], "gateway"),
        (&["-net", "none", "--add-host", "gate:host-gateway"], "gateway"),
    ] {
        let words = [&run[..], flags, &["busybox", "true"]].concat();
        let said = refused(&lab, &words);
        assert!(said.contains(says), "{flags:?}: {said}");
    }
    let said = refused(&lab, &["network", "remove", "one"]);
    assert!(said.contains("web"), "{said}");
}

#[test]
#[file_serial(machine)]
fn a_running_container_can_be_connected_and_disconnected() {
    let lab = Lab::new();
    let one = network(&lab);
    ok(&lab, &["network", "create", "--subnet", "10.231.8.0/24", "two"]);
    one.up("web", &[], SLEEP);
    ok(
        &lab,
        &["run", "-d", "-net", "two", "--name", "other", "busybox", "sleep", "1000"],
    );
    ok(&lab, &["network", "connect", "two", "web"]);
    let text = one.exec("web", "ip addr show dev eth1; cat /etc/hosts; ip route");
    assert!(text.contains("inet 10.231.8.3/24"), "{text}");
    assert!(text.contains("default via 10.231.7.1"), "{text}");
    one.exec("web", "ping -c 1 -W 1 other");
    one.exec("other", "ping -c 1 -W 1 web");
    let said = refused(&lab, &["network", "connect", "two", "web"]);
    assert!(said.contains("connected"), "{said}");
    ok(&lab, &["network", "disconnect", "two", "web"]);
    let text = one.exec("web", "ip link; cat /etc/hosts");
    assert!(!text.contains("eth1") && !text.contains("other"), "{text}");
    let text = one.exec("other", "cat /etc/hosts");
    assert!(!text.contains("web"), "{text}");
    let said = refused(&lab, &["network", "disconnect", "two", "web"]);
    assert!(said.contains("not connected"), "{said}");
    // The address is free again, for another container.
    ok(&lab, &["network", "connect", "--ip", "10.231.8.3", "two", "web"]);
    // The default route is removed with its network. The other network gives a new one.
    ok(&lab, &["network", "disconnect", "one", "web"]);
    let text = one.exec("web", "ip route");
    assert!(text.contains("default via 10.231.8.1 dev eth1"), "{text}");
}

#[test]
#[file_serial(machine)]
fn the_next_command_releases_the_address_of_a_killed_container() {
    let lab = Lab::new();
    let one = network(&lab);
    one.up("first", &[], SLEEP);
    let id = one.up("second", &[], SLEEP);
    let notes = fs::read_to_string(lab.state().join("running").join(&id)).unwrap();
    let host = notes.lines().find_map(|line| line.strip_prefix("host ")).unwrap();
    let host: i32 = host.split(' ').next().unwrap().parse().unwrap();
    kill(Pid::from_raw(host), Signal::SIGKILL).unwrap();
    // The kernel removes the device and the rules with the process.
    until(|| {
        let links = fs::read_dir("/sys/class/net").unwrap().flatten();
        links
            .filter(|it| it.file_name().to_string_lossy().starts_with("veth"))
            .count()
            == 1
    });
    sleep(Duration::from_millis(50));
    lab.chapter(BIN)
        .args(["network", "inspect", "one"])
        .assert()
        .success()
        .stdout(contains("first"))
        .stdout(predicates::prelude::PredicateBooleanExt::not(contains("second")));
    let hosts = one.exec("first", "cat /etc/hosts");
    assert!(!hosts.contains("second"), "{hosts}");
}

/// The standard output of an ordinary user's command that succeeds.
fn user_ok(lab: &Lab, words: &[&str]) -> String {
    let out = lab.as_user(BIN).args(words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

#[test]
#[file_serial(machine)]
fn an_ordinary_users_containers_reach_each_other() {
    let lab = Lab::new();
    let before = fs::read_dir("/sys/class/net").unwrap().count();
    user_ok(&lab, &["network", "create", "--subnet", SUBNET, "one"]);
    let up = ["run", "-d", "--init", "-net", "one", "--name", "web", "busybox"];
    user_ok(&lab, &[&up[..], &["httpd", "-f", "-h", "/etc"]].concat());
    let get = ["run", "--rm", "-net", "one", "busybox", "wget", "-q", "-O", "-"];
    until(|| {
        let mut command = lab.as_user(BIN);
        command.args(get).arg("http://web/hosts").output().unwrap().status.success()
    });
    let hosts = user_ok(&lab, &[&get[..], &["http://web/hosts"]].concat());
    assert!(hosts.contains(" web\n"), "{hosts}");
    // The host itself has no additional device.
    assert_eq!(fs::read_dir("/sys/class/net").unwrap().count(), before);
    let mut remove = lab.as_user(BIN);
    remove.args(["network", "rm", "one"]).assert().code(125).stderr(contains("web"));
    user_ok(&lab, &["network", "create", "--subnet", "10.231.8.0/24", "two"]);
    user_ok(&lab, &["network", "connect", "two", "web"]);
    let text = user_ok(&lab, &["exec", "web", "ip", "addr", "show", "dev", "eth1"]);
    assert!(text.contains("10.231.8.2/24"), "{text}");
    user_ok(&lab, &["network", "disconnect", "two", "web"]);
    // A container with its own user namespace cannot be connected later.
    user_ok(&lab, &["run", "-d", "--name", "late", "busybox", "sleep", "1000"]);
    let mut connect = lab.as_user(BIN);
    let connect = connect.args(["network", "connect", "two", "late"]).assert();
    connect.code(125).stderr(contains("run the container with --network NETWORK"));
    user_ok(&lab, &["rm", "-f", "web"]);
    until(|| {
        let mut connect = lab.as_user(BIN);
        let said = connect.args(["network", "connect", "two", "late"]).assert();
        let said = said.code(125).get_output().stderr.clone();
        String::from_utf8(said)
            .unwrap()
            .starts_with("error: container late has a user")
    });
    user_ok(&lab, &["rm", "-f", "late"]);
    for name in ["one", "two"] {
        user_ok(&lab, &["network", "rm", name]);
    }
    let networks = lab.user_state().join("networks");
    // The process that keeps the namespaces ends by itself: the laboratory looks for it.
    for name in [".shared", ".pasta"] {
        until(|| name == ".shared" || !networks.join(name).exists());
    }
}
