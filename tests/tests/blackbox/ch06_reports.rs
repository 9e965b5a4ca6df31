//! Tests of ch06-ports for faults that learners reported in earlier programs. The page
//! "What earlier programs got wrong" lists them.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread;

use blackbox::{Lab, add_forward_chain, bridge_link, until};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use serial_test::file_serial;

const BIN: &str = "ch06-ports";

fn ok(lab: &Lab, words: &[&str]) -> String {
    let out = lab.chapter(BIN).args(words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

/// The standard error of a command that must end with this status.
fn error_of(lab: &Lab, code: i32, words: &[&str]) -> String {
    let out = lab.chapter(BIN).args(words).assert().code(code);
    String::from_utf8(out.get_output().stderr.clone()).unwrap()
}

/// The network `one`. It is removed, with all containers, when the test ends.
struct Network<'a>(&'a Lab);

impl Network<'_> {
    fn new<'a>(lab: &'a Lab, subnet: &str) -> Network<'a> {
        ok(lab, &["network", "create", "--subnet", subnet, "one"]);
        Network(lab)
    }

    /// Start a detached container that does nothing. Returns its ID.
    fn up(&self, name: &str, options: &[&str]) -> String {
        let words = ["run", "-d", "-net", "one", "--name", name];
        let program = ["busybox", "sleep", "1000"];
        ok(self.0, &[&words[..], options, &program].concat()).trim().to_owned()
    }

    /// The names and the addresses of its containers.
    fn members(&self) -> Vec<(String, String)> {
        let text = ok(self.0, &["network", "inspect", "one"]);
        let all: Value = serde_json::from_str(&text).unwrap();
        let field = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
        let members = all[0]["containers"].as_array().unwrap().iter();
        members.map(|one| (field(one, "name"), field(one, "address"))).collect()
    }
}

impl Drop for Network<'_> {
    fn drop(&mut self) {
        let ids = self.0.chapter(BIN).args(["ps", "-aq"]).output().unwrap().stdout;
        for id in String::from_utf8_lossy(&ids).lines() {
            let _ = self.0.chapter(BIN).args(["rm", "-f", id]).output();
        }
        let _ = self.0.chapter(BIN).args(["network", "remove", "one"]).output();
    }
}

/// Run `work` in a thread with its own mount namespace, which the programs that it starts
/// share.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let none: Option<&str> = None;
    thread::scope(|scope| {
        let work = move || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(none, "/", none, private, none).unwrap();
            work()
        };
        scope.spawn(work).join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[test]
#[file_serial(machine)]
fn containers_that_start_at_once_differ_in_address_mac_and_device() {
    const COUNT: usize = 8;
    let lab = Lab::new();
    let one = Network::new(&lab, "10.231.7.0/24");
    let starts: Vec<_> = (0..COUNT)
        .map(|number| {
            let mut command = lab.command(&[], BIN);
            command.args(["run", "-d", "-net", "one", "--name"]);
            command.arg(format!("c{number}")).args(["busybox", "sleep", "1000"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for start in starts {
        let Output { status, stderr, .. } = start.wait_with_output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    }
    let members = one.members();
    let addresses: BTreeSet<_> =
        members.iter().map(|(_, address)| address).collect();
    assert_eq!(addresses.len(), COUNT, "{members:?}");
    let macs: BTreeSet<String> = members
        .iter()
        .map(|(name, address)| {
            let text =
                ok(&lab, &["exec", name, "ip", "addr", "show", "dev", "eth0"]);
            assert!(text.contains(&format!("inet {address}/24")), "{text}");
            let (_, mac) = text.split_once("link/ether ").unwrap();
            mac.split(' ').next().unwrap().to_owned()
        })
        .collect();
    assert_eq!(macs.len(), COUNT, "{macs:?}");
    let ports = fs::read_dir("/sys/class/net/one/brif").unwrap();
    assert_eq!(ports.count(), COUNT, "each container has its own device");
}

#[test]
#[file_serial(machine)]
fn a_container_that_ends_while_it_is_connected_leaves_nothing() {
    let lab = Lab::new();
    let one = Network::new(&lab, "10.231.7.0/24");
    let (mut connected, mut gone) = (0, 0);
    for round in 0..20 {
        let pause = (round * 4000).to_string();
        let run = ["run", "-d", "--name", "brief", "busybox", "usleep", &pause];
        ok(&lab, &run);
        let connect = ["network", "connect", "one", "brief"];
        let out = lab.chapter(BIN).args(connect).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        match out.status.code() {
            Some(0) => connected += 1,
            Some(125) => {
                gone += 1;
                assert!(said.contains("brief"), "{said}");
                assert!(
                    said.contains("running") || said.contains("ended"),
                    "{said}"
                );
            }
            _ => panic!("{:?}: {said}", out.status),
        }
        until(|| !ok(&lab, &["ps"]).contains("brief"));
        assert_eq!(one.members(), [], "round {round}: {said}");
        ok(&lab, &["rm", "brief"]);
    }
    eprintln!("{connected} were connected, and {gone} had ended");
    until(|| fs::read_dir("/sys/class/net/one/brif").unwrap().count() == 0);
    // A container whose program ends immediately is connected before that.
    for _ in 0..5 {
        ok(&lab, &["run", "--rm", "-net", "one", "busybox", "true"]);
    }
}

#[test]
#[file_serial(machine)]
fn every_address_of_a_network_of_two_thousand_can_be_used() {
    let lab = Lab::new();
    let one = Network::new(&lab, "10.231.0.0/21");
    one.up("last", &["--ip", "10.231.7.254"]);
    let error = error_of(
        &lab,
        125,
        &["run", "--rm", "-net", "one", "--ip", "10.231.7.254", "busybox", "true"],
    );
    assert!(error.contains("last"), "{error}");
    // The search begins again at the lowest address, and the last one stays in use.
    for (name, address) in [("a", "10.231.0.2"), ("b", "10.231.0.3")] {
        one.up(name, &[]);
        let members = one.members();
        assert!(members.contains(&(name.into(), address.into())), "{members:?}");
        assert!(members.contains(&("last".into(), "10.231.7.254".into())));
    }
    ok(&lab, &["exec", "last", "ping", "-c", "1", "-W", "2", "a"]);
    ok(&lab, &["rm", "-f", "last"]);
    one.up("last", &["--ip", "10.231.7.254"]);
    assert_eq!(one.members().len(), 3);
}

#[test]
#[file_serial(machine)]
fn a_full_network_is_reported_and_a_released_address_is_used_again() {
    let lab = Lab::new();
    // Eight addresses: the network, the gateway, five for containers, the broadcast.
    let one = Network::new(&lab, "10.231.7.0/29");
    let names = ["a", "b", "c", "d", "e"];
    names.iter().for_each(|name| drop(one.up(name, &[])));
    let addresses: BTreeSet<String> =
        one.members().into_iter().map(|(_, address)| address).collect();
    let wanted: BTreeSet<String> =
        (2..7).map(|last| format!("10.231.7.{last}")).collect();
    assert_eq!(addresses, wanted);
    let run = ["run", "--rm", "-net", "one", "busybox", "true"];
    let text = error_of(&lab, 125, &run);
    assert!(text.contains("network one is full"), "{text}");
    ok(&lab, &["rm", "-f", "c"]);
    one.up("f", &[]);
    assert!(one.members().contains(&("f".into(), "10.231.7.4".into())));
    let text = error_of(&lab, 125, &run);
    assert!(text.contains("network one is full"), "{text}");
}

#[test]
#[file_serial(machine)]
fn each_start_reads_the_name_servers_of_the_host_again() {
    let lab = Lab::new();
    let _one = Network::new(&lab, "10.231.7.0/24");
    apart(|| {
        let (none, flags): (Option<&str>, _) = (None, MsFlags::empty());
        mount(Some("tmpfs"), "/run", Some("tmpfs"), flags, none).unwrap();
        for directory in ["upper", "work", "systemd/resolve"] {
            fs::create_dir_all(Path::new("/run").join(directory)).unwrap();
        }
        let layers = Some("lowerdir=/etc,upperdir=/run/upper,workdir=/run/work");
        mount(Some("overlay"), "/etc", Some("overlay"), flags, layers).unwrap();
        let _ = fs::remove_file("/etc/resolv.conf");
        let run = ["run", "--rm", "-net", "one", "busybox", "cat"];
        let seen = || ok(&lab, &[&run[..], &["/etc/resolv.conf"]].concat());
        // The host has moved from one network to another.
        for server in ["198.18.1.1", "198.18.2.2"] {
            let text = format!("nameserver {server}\nsearch lan\n");
            fs::write("/etc/resolv.conf", &text).unwrap();
            assert_eq!(seen(), text);
        }
        // systemd-resolved has its own list of servers.
        fs::write("/etc/resolv.conf", "nameserver 127.0.0.53\n").unwrap();
        let list = "/run/systemd/resolve/resolv.conf";
        fs::write(list, "nameserver 198.18.3.3\n").unwrap();
        assert_eq!(seen(), "nameserver 198.18.3.3\n");
    });
}

#[test]
#[file_serial(machine)]
fn the_supervisor_stays_in_the_network_of_the_host() {
    let lab = Lab::new();
    let one = Network::new(&lab, "10.231.7.0/24");
    let network = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let id = one.up("web", &["-p", "127.0.0.1::80"]);
    let notes = fs::read_to_string(lab.state().join("running").join(&id)).unwrap();
    let noted = |name: &str| {
        let line = notes.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split(' ').next().unwrap().to_owned()
    };
    let inside = ok(&lab, &["exec", "web", "readlink", "/proc/self/ns/net"]);
    assert_ne!(Path::new(inside.trim()), network("self"));
    assert_eq!(network(&noted("host ")), network("self"));
    // The same applies after it has created another device in the container's namespace.
    ok(&lab, &["network", "disconnect", "one", "web"]);
    ok(&lab, &["network", "connect", "one", "web"]);
    assert_eq!(network(&noted("host ")), network("self"));
}

#[test]
#[file_serial(machine)]
fn another_firewall_is_opened_while_the_network_has_containers() {
    let lab = Lab::new();
    apart(|| {
        // In a separate network namespace, so that the firewall of the host does not change.
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let net = |words: &str| {
            let words = words.split(' ');
            lab.chapter("ch02-net").args(words).assert().success();
        };
        bridge_link("lan", true).unwrap();
        net("up lan");
        net("address add 203.0.113.1/24 dev lan");
        net("route add default via 203.0.113.2");
        let one = Network::new(&lab, "10.231.7.0/24");
        let run = ["run", "--rm", "-net", "one", "busybox", "true"];
        let opened = "inserted two rules for the bridge one at the top of the chain \
                      inet theirs forward";
        assert!(
            !error_of(&lab, 0, &run).contains("firewall"),
            "there is no firewall"
        );
        add_forward_chain("theirs", "forward", true).unwrap();
        // The rules are removed with the last container, so the next one adds them again.
        for _ in 0..2 {
            let text = error_of(&lab, 0, &run);
            assert!(text.contains(opened), "{text}");
        }
        one.up("web", &[]);
        assert!(
            !error_of(&lab, 0, &run).contains(opened),
            "the rules exist already"
        );
        ok(&lab, &["rm", "-f", "web"]);
        let left_alone = [&["run", "--no-firewall"], &run[1..]].concat();
        let text = error_of(&lab, 0, &left_alone);
        let command = "nft insert rule inet theirs forward iifname \"one\" accept";
        assert!(text.contains(command) && !text.contains(opened), "{text}");
    });
}
