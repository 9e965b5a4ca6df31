//! ch06-network: the record, the bridge and the addresses of a network.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use blackbox::{CAT, Call, Lab, Side, all, bridge_link, end, only, started};
use insta::assert_snapshot;
use nix::libc;
use predicates::str::{contains, starts_with};
use serde_json::Value;
use serial_test::file_serial;

const BIN: &str = "ch06-network";

/// A subnet of the addresses that no host of the Internet uses (RFC 2544).
const SUBNET: &str = "198.18.10.0/24";

/// A laboratory that removes the bridges of a failed test. Otherwise they would make
/// the next test fail.
struct NetworkLab(Lab);

impl Deref for NetworkLab {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.0
    }
}

impl Drop for NetworkLab {
    fn drop(&mut self) {
        let devices = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        let names = devices.filter_map(|it| it.file_name().into_string().ok());
        for name in names.filter(|_| std::thread::panicking()) {
            let alias = device(&name, "ifalias").unwrap_or_default();
            if alias.starts_with("mydocker network ") || name == "wire" {
                let _ = bridge_link(&name, false);
            }
        }
    }
}

fn network(lab: &Lab, words: &[&str]) -> assert_cmd::Command {
    let mut command = lab.chapter(BIN);
    command.arg("network").args(words);
    command
}

fn ok(lab: &Lab, words: &[&str]) -> String {
    let out = network(lab, words).assert().success().stderr("");
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

/// The standard error of a command that fails.
fn error(lab: &Lab, words: &[&str]) -> String {
    let out = network(lab, words).assert().failure().stdout("");
    String::from_utf8(out.get_output().stderr.clone()).unwrap()
}

fn inspect(lab: &Lab, name: &str) -> Value {
    let all: Value = serde_json::from_str(&ok(lab, &["inspect", name])).unwrap();
    all[0].clone()
}

fn of_network(lab: &Lab, path: &str) -> PathBuf {
    lab.state().join("networks").join(path)
}

/// An attribute of a device in sysfs.
fn device(name: &str, file: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/sys/class/net/{name}/{file}")).ok()?;
    Some(text.trim().to_owned())
}

/// Whether this is an address of the host.
fn is_own(address: &str) -> bool {
    let tree = fs::read_to_string("/proc/net/fib_trie").unwrap();
    let lines: Vec<&str> = tree.lines().map(str::trim).collect();
    let wanted = [&format!("|-- {address}"), "/32 host LOCAL"];
    lines.windows(2).any(|pair| pair == wanted)
}

/// Assert that a bridge has its alias and its address, and is up.
fn assert_complete(bridge: &str, gateway: &str, id: &str) {
    let alias = format!("mydocker network {id}");
    assert_eq!(device(bridge, "ifalias"), Some(alias));
    let flags = device(bridge, "flags").unwrap();
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap();
    assert_eq!(flags & 1, 1, "it is up");
    assert!(is_own(gateway), "{gateway}");
}

#[test]
#[file_serial(machine)]
fn a_network_is_a_record_and_a_bridge_with_the_gateways_address() {
    let lab = NetworkLab(Lab::new());
    assert_eq!(ok(&lab, &["create", "--subnet", SUBNET, "web"]), "web\n");
    let web = inspect(&lab, "web");
    for (field, value) in [
        ("name", "web"),
        ("driver", "bridge"),
        ("subnet", SUBNET),
        ("gateway", "198.18.10.1"),
        ("bridge", "web"),
    ] {
        assert_eq!(web[field], value, "{field}");
    }
    assert_eq!(web["containers"].as_array().unwrap().len(), 0);
    assert_eq!(web.as_object().unwrap().len(), 8, "{web}");
    assert_complete("web", "198.18.10.1", web["id"].as_str().unwrap());
    // The hardware address comes from the IP address, so the ports do not change it.
    assert_eq!(device("web", "address").unwrap(), "02:42:c6:12:0a:01");
    assert_eq!(device("web", "addr_assign_type").unwrap(), "3");
    // A name that is too long for a device, and the last address as the gateway.
    let long = "a-name-of-more-than-fifteen-bytes";
    let words = ["create", "-subnet=198.18.8.0/29", "-gateway", "198.18.8.6", long];
    assert_eq!(ok(&lab, &words), format!("{long}\n"));
    let other = inspect(&lab, long);
    let id = other["id"].as_str().unwrap();
    let bridge = format!("br-{id}");
    assert_eq!(other["bridge"], bridge.as_str());
    assert_complete(&bridge, "198.18.8.6", id);
    let table = ok(&lab, &["ls"]).replace(id, "0123456789ab");
    assert_snapshot!("ch06-network-list", table);
    assert_eq!(ok(&lab, &["list"]).replace(id, "0123456789ab"), table);
    assert_eq!(ok(&lab, &["ls", "-q"]), format!("{long}\nweb\n"));
    assert_eq!(ok(&lab, &["list", "-quiet"]), format!("{long}\nweb\n"));
    let json: Value = serde_json::from_str(&ok(&lab, &["ls", "--json"])).unwrap();
    assert_eq!(json, Value::from(vec![other, web]));
    assert_eq!(ok(&lab, &["rm", "web", long]), format!("web\n{long}\n"));
    assert!(device("web", "address").is_none());
    assert_eq!(ok(&lab, &["ls", "-q"]), "");
}

#[test]
#[file_serial(machine)]
fn a_default_subnet_does_not_overlap_networks_of_the_host() {
    let lab = NetworkLab(Lab::new());
    // The networks of another state directory are known only from the host's routes.
    let elsewhere = lab.dir().join("elsewhere");
    let words = ["network", "create", "one"];
    lab.chapter(BIN).env("MYDOCKER_ROOT", &elsewhere).args(words).assert().success();
    ok(&lab, &["create", "two"]);
    ok(&lab, &["create", "three"]);
    // This network has no route at this moment.
    bridge_link("two", false).unwrap();
    ok(&lab, &["create", "four"]);
    let mut all: Vec<Value> =
        serde_json::from_str(&ok(&lab, &["ls", "--json"])).unwrap();
    let one = lab
        .chapter(BIN)
        .env("MYDOCKER_ROOT", &elsewhere)
        .args(["network", "inspect", "one"])
        .output()
        .unwrap();
    let one: Vec<Value> = serde_json::from_slice(&one.stdout).unwrap();
    all.extend(one);
    let subnets: BTreeSet<&str> =
        all.iter().map(|it| it["subnet"].as_str().unwrap()).collect();
    assert_eq!(subnets.len(), 4, "{subnets:?}");
    for subnet in subnets {
        let large = subnet.starts_with("172.") && subnet.ends_with(".0.0/16");
        let small = subnet.starts_with("192.168.") && subnet.ends_with(".0/20");
        assert!(large || small, "{subnet}");
    }
    assert_eq!(ok(&lab, &["prune"]), "four\nthree\ntwo\n");
    let words = ["network", "prune"];
    let prune =
        lab.chapter(BIN).env("MYDOCKER_ROOT", &elsewhere).args(words).assert();
    prune.success().stdout("one\n");
}

/// The devices of the host, and all files in the directory of the networks.
fn seen(lab: &Lab) -> BTreeSet<PathBuf> {
    let mut todo = vec!["/sys/class/net".into(), lab.state().join("networks")];
    let mut found = BTreeSet::new();
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    found
}

#[test]
#[file_serial(machine)]
fn invalid_arguments_are_reported_before_anything_is_created() {
    let lab = NetworkLab(Lab::new());
    let elsewhere = lab.dir().join("elsewhere");
    let other = |words: &[&str]| {
        let mut command = lab.chapter(BIN);
        command.env("MYDOCKER_ROOT", &elsewhere).arg("network").args(words);
        command.assert().success();
    };
    other(&["create", "--subnet", "198.18.0.0/20", "theirs"]);
    bridge_link("wire", true).unwrap();
    ok(&lab, &["create", "--subnet", "198.18.32.0/24", "web"]);
    let before = seen(&lab);
    let free = "198.18.40.0/24";
    let cases: &[&[&str]] = &[
        &["create", "--subnet", SUBNET, "new"],
        &["create", "--subnet", "198.18.0.0/16", "new"],
        &["create", "--subnet", "198.18.32.64/26", "new"],
        &["create", "--subnet", free, "web"],
        &["create", "--subnet", free, "wire"],
        &["create", "--subnet", free, "theirs"],
        &["create", "--subnet", free, "--gateway", "198.18.41.1", "new"],
        &["create", "--subnet", free, "--gateway", "198.18.40.0", "new"],
        &["create", "--subnet", free, "--gateway", "198.18.40.255", "new"],
        &["create", "--gateway", "198.18.40.1", "new"],
        &["create", "--driver", "macvlan", "new"],
        &["create", "--subnet", "198.18.40.1/24", "new"],
        &["create", "--subnet", "198.18.40.1/32", "new"],
        &["create", "--subnet", "198.0.0.0/7", "new"],
        &["create", "--subnet", "198.18.40.0", "new"],
        &["create", "--subnet", "127.0.0.0/8", "new"],
        &["create", "--subnet", free, "a/b"],
        &["create", "--subnet", free, ".."],
        &["create", "--subnet", free, ""],
        &["create", "--subnet", free, "none"],
        &["create", "--subnet", free, "host"],
        &["inspect", "new"],
        &["remove", "new"],
        &["remove", "../x"],
    ];
    let mut said = String::new();
    for words in cases {
        let id = inspect(&lab, "web")["id"].as_str().unwrap().to_owned();
        let mut out = network(&lab, words).output().unwrap();
        assert_eq!(seen(&lab), before, "{words:?}");
        if words[0] == "inspect" {
            assert_eq!(out.stdout, b"[]\n");
            out.stdout.clear();
        }
        assert!(out.stdout.is_empty() && !out.status.success(), "{words:?}");
        let error = String::from_utf8(out.stderr).unwrap().replace(&id, "ID");
        let line = error.lines().next().unwrap();
        said += &format!("$ network {}\n{line}\n", words.join(" "));
    }
    // The ID of the bridge of another state directory.
    let alias = device("theirs", "ifalias").unwrap();
    let id = alias.rsplit(' ').next().unwrap().to_owned();
    assert_snapshot!("ch06-network-errors", said.replace(&id, "ID"));
    assert_eq!(ok(&lab, &["rm", "web"]), "web\n");
    bridge_link("wire", false).unwrap();
    other(&["rm", "theirs"]);
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_has_networks_without_devices_of_the_host() {
    let lab = NetworkLab(Lab::new());
    let network = |words: &[&str]| {
        let mut command = lab.as_user(BIN);
        command.arg("network").args(words).assert().success()
    };
    network(&["create", "--subnet", SUBNET, "web"]).stdout("web\n");
    assert!(device("web", "address").is_none(), "the first container creates it");
    network(&["ls", "-q"]).stdout("web\n");
    network(&["inspect", "web"]).stdout(contains(SUBNET));
    network(&["rm", "web"]).stdout("web\n");
    network(&["create", "web"]).stdout("web\n");
    network(&["prune"]).stdout("web\n");
}

#[test]
#[file_serial(machine)]
fn the_next_use_after_a_reboot_creates_the_bridge_again() {
    let lab = NetworkLab(Lab::new());
    ok(&lab, &["create", "--subnet", SUBNET, "web"]);
    let before = inspect(&lab, "web");
    let id = before["id"].as_str().unwrap();
    // A reboot removes the devices and keeps the state directory.
    bridge_link("web", false).unwrap();
    assert_eq!(ok(&lab, &["ls", "-q"]), "web\n");
    assert_eq!(inspect(&lab, "web"), before);
    assert_complete("web", "198.18.10.1", id);
    // Meanwhile, the host has created a device with this name.
    bridge_link("web", false).unwrap();
    bridge_link("web", true).unwrap();
    let words = ["network", "inspect", "web"];
    let reason =
        "error: the device web already exists, and this program did not make it";
    lab.chapter(BIN).args(words).assert().code(125).stderr(contains(reason));
    assert_eq!(device("web", "ifalias").unwrap(), "", "the device was changed");
    assert_eq!(ok(&lab, &["rm", "web"]), "web\n");
    assert!(device("web", "address").is_some(), "the device was removed");
    bridge_link("web", false).unwrap();
}

#[test]
#[file_serial(machine)]
fn a_bridge_is_not_created_again_over_a_network_of_the_host() {
    let lab = NetworkLab(Lab::new());
    ok(&lab, &["create", "--subnet", SUBNET, "web"]);
    bridge_link("web", false).unwrap();
    let elsewhere = lab.dir().join("elsewhere");
    let other = |words: &[&str]| {
        let mut command = lab.chapter(BIN);
        command.env("MYDOCKER_ROOT", &elsewhere).arg("network").args(words);
        command.assert().success();
    };
    other(&["create", "--subnet", "198.18.0.0/16", "lan"]);
    let words = ["network", "inspect", "web"];
    let reason =
        "its subnet 198.18.10.0/24 overlaps the route 198.18.0.0/16 dev lan";
    lab.chapter(BIN).args(words).assert().code(125).stderr(contains(reason));
    assert!(device("web", "address").is_none());
    other(&["rm", "lan"]);
    inspect(&lab, "web");
    assert!(device("web", "address").is_some());
    ok(&lab, &["rm", "web"]);
}

/// Start a container with an address, as `run -net` of the next chapter does.
fn member(lab: &Lab, name: &str, address: &str) -> (Child, String) {
    let run = started(lab.command(&[], BIN), &["run", "--name", name], CAT);
    let all = all(lab.chapter(BIN));
    let one = all.iter().find(|it| it["name"] == name).unwrap();
    let id = one["id"].as_str().unwrap().to_owned();
    let lock = lab.state().join("running").join(&id);
    let mut lock = File::options().append(true).open(lock).unwrap();
    writeln!(lock, "address web {address}").unwrap();
    let addresses = of_network(lab, "web/addresses");
    fs::create_dir_all(&addresses).unwrap();
    symlink(format!("{id} {name}"), addresses.join(address)).unwrap();
    (run, id)
}

#[test]
#[file_serial(machine)]
fn a_network_that_containers_use_is_not_removed() {
    let lab = NetworkLab(Lab::new());
    ok(&lab, &["create", "--subnet", SUBNET, "web"]);
    ok(&lab, &["create", "--subnet", "198.18.11.0/24", "other"]);
    let (one, id) = member(&lab, "one", "198.18.10.2");
    let (two, _) = member(&lab, "two", "198.18.10.3");
    let members = inspect(&lab, "web")["containers"].clone();
    assert_eq!(members.as_array().unwrap().len(), 2);
    let first = serde_json::json!({
        "id": id, "name": "one", "address": "198.18.10.2",
    });
    assert_eq!(members[0], first);
    assert!(ok(&lab, &["ls"]).contains("web     2\n"));
    let used = "error: network web is used by one, two: stop these containers first, \
                or disconnect them (`network disconnect`)\n";
    assert_eq!(error(&lab, &["remove", "web"]), used);
    // A network in use and a missing network do not prevent the removal of another
    // one.
    network(&lab, &["rm", "web", "other", "no"])
        .assert()
        .code(125)
        .stdout("other\n");
    assert_eq!(ok(&lab, &["prune"]), "");
    // The supervisor is killed. The next inspection of the network releases the
    // address.
    let mut killed = two;
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(inspect(&lab, "web")["containers"], Value::from(vec![first]));
    assert!(!of_network(&lab, "web/addresses/198.18.10.3").is_symlink());
    // The program ends, and `rm` releases the noted address.
    assert_eq!(end(one), Some(3));
    for name in ["one", "two"] {
        lab.chapter(BIN).args(["rm", name]).assert().success();
    }
    assert_eq!(ok(&lab, &["prune"]), "web\n");
}

#[test]
#[file_serial(machine)]
fn rm_releases_an_address_unless_another_container_has_it() {
    let lab = NetworkLab(Lab::new());
    ok(&lab, &["create", "--subnet", SUBNET, "web"]);
    let (mut one, _) = member(&lab, "one", "198.18.10.2");
    one.kill().unwrap();
    one.wait().unwrap();
    let address = of_network(&lab, "web/addresses/198.18.10.2");
    // A program of an earlier chapter does not know the note. It names a program
    // that knows the note.
    let unknown = contains("unknown kind \"address\"; `ch06-network rm`");
    lab.chapter("ch05-attach")
        .args(["rm", "one"])
        .assert()
        .code(125)
        .stderr(unknown);
    assert!(address.is_symlink());
    lab.chapter(BIN).args(["rm", "one"]).assert().success();
    assert!(!address.is_symlink());
    // A dead container has a note of the address, but another container has it now.
    let (mut two, _) = member(&lab, "two", "198.18.10.2");
    two.kill().unwrap();
    two.wait().unwrap();
    fs::remove_file(&address).unwrap();
    symlink("0123456789ab", &address).unwrap();
    lab.chapter(BIN).args(["rm", "two"]).assert().success();
    assert!(address.is_symlink());
    // The other container has no lock file, so it no longer uses the address.
    assert_eq!(ok(&lab, &["prune"]), "web\n");
}

#[test]
#[file_serial(machine)]
fn a_damaged_record_hides_only_itself_and_is_removed_with_its_bridge() {
    let lab = NetworkLab(Lab::new());
    ok(&lab, &["create", "--subnet", SUBNET, "web"]);
    ok(&lab, &["create", "--subnet", "198.18.11.0/24", "other"]);
    let record = of_network(&lab, "web/record");
    let whole = fs::read_to_string(&record).unwrap();
    fs::write(&record, whole.strip_suffix("end\n").unwrap()).unwrap();
    let reason = "the record of network web is damaged";
    let list = network(&lab, &["ls", "-q"]).assert().success().stdout("other\n");
    list.stderr(starts_with(format!("warning: {reason}")))
        .stderr(contains("`network remove web`"));
    network(&lab, &["create", "web"]).assert().code(125).stderr(contains(reason));
    assert_eq!(ok(&lab, &["prune"]), "other\nweb\n");
    assert!(device("web", "address").is_none(), "the record still has the ID");
    // A power failure may leave an empty file if a program does not call fsync(2).
    ok(&lab, &["create", "--subnet", SUBNET, "web"]);
    fs::write(&record, "").unwrap();
    assert_eq!(ok(&lab, &["rm", "web"]), "web\n");
    assert!(device("web", "address").is_some(), "its owner is not known");
    bridge_link("web", false).unwrap();
}

#[test]
#[file_serial(machine)]
fn networks_that_are_created_at_once_have_different_subnets() {
    let lab = NetworkLab(Lab::new());
    let create = |name: &str| -> Child {
        let mut command = lab.command(&[], BIN);
        command.args(["network", "create", name]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let names: Vec<String> = (0..6).map(|it| format!("net{it}")).collect();
    let children: Vec<Child> = names.iter().map(|name| create(name)).collect();
    for child in children {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{out:?}");
    }
    let all: Vec<Value> =
        serde_json::from_str(&ok(&lab, &["ls", "--json"])).unwrap();
    let subnets: BTreeSet<&str> =
        all.iter().map(|it| it["subnet"].as_str().unwrap()).collect();
    assert_eq!(subnets.len(), names.len(), "{subnets:?}");
    ok(&lab, &["prune"]);
    // With the same name, one command succeeds, and the other commands report that
    // the name exists.
    let children: Vec<Child> = (0..6).map(|_| create("net")).collect();
    let outs = children.into_iter().map(|it| it.wait_with_output().unwrap());
    let lost: Vec<_> = outs.filter(|out| !out.status.success()).collect();
    assert_eq!(lost.len(), 5);
    for out in lost {
        let error = String::from_utf8(out.stderr).unwrap();
        assert!(error.starts_with("error: network net already exists"), "{error}");
    }
    assert_eq!(ok(&lab, &["prune"]), "net\n");
}

/// The calls of a run that change something: the directory, the record, the bridge.
fn changes(calls: Vec<Call>) -> Vec<Call> {
    let changing = |call: &Call| {
        let below = call.what.contains("/networks");
        match call.number {
            libc::SYS_mkdir | libc::SYS_rename | libc::SYS_unlink => below,
            libc::SYS_unlinkat | libc::SYS_rmdir => true,
            libc::SYS_openat => call.what.contains("record"),
            libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_fsync => true,
            _ => false,
        }
    };
    calls.into_iter().filter(changing).collect()
}

#[test]
#[file_serial(machine)]
fn a_killed_create_leaves_a_complete_network_or_none() {
    let lab = NetworkLab(Lab::new());
    let create = || {
        lab.faulty(BIN, None, |command| {
            command.args(["network", "create", "--subnet", SUBNET, "web"])
        })
    };
    let points = changes(create().calls());
    ok(&lab, &["rm", "web"]);
    assert!(points.len() > 8, "{points:?}");
    let (mut with, mut without) = (0, 0);
    for point in points {
        let outcome = create().killed(&point, Side::Host);
        assert!(outcome.reached && outcome.code == 137, "{point:?}: {outcome:?}");
        match ok(&lab, &["ls", "-q"]).as_str() {
            "" => {
                without += 1;
                assert!(device("web", "address").is_none(), "{point:?}");
                ok(&lab, &["create", "--subnet", SUBNET, "web"]);
            }
            _ => with += 1,
        }
        let web = inspect(&lab, "web");
        assert_complete("web", "198.18.10.1", web["id"].as_str().unwrap());
        ok(&lab, &["rm", "web"]);
        // `prune` removes the files and devices of a creation that was killed.
        let _ = create().killed(&point, Side::Host);
        ok(&lab, &["prune"]);
        assert_eq!(lab.left(), Vec::<String>::new(), "{point:?}");
    }
    assert!(with > 0 && without > 0, "{with} {without}");
}

#[test]
#[file_serial(machine)]
fn a_killed_remove_can_be_repeated() {
    let lab = NetworkLab(Lab::new());
    let remove =
        || lab.faulty(BIN, None, |command| command.args(["network", "rm", "web"]));
    ok(&lab, &["create", "--subnet", SUBNET, "web"]);
    let points = changes(remove().calls());
    assert!(points.len() > 3, "{points:?}");
    for point in points {
        ok(&lab, &["create", "--subnet", SUBNET, "web"]);
        let outcome = remove().killed(&point, Side::Host);
        assert!(outcome.reached && outcome.code == 137, "{point:?}: {outcome:?}");
        ok(&lab, &["prune"]);
        assert_eq!(lab.left(), Vec::<String>::new(), "{point:?}");
    }
}

#[test]
#[file_serial(machine)]
fn commands_of_earlier_chapters_are_available() {
    let lab = NetworkLab(Lab::new());
    let run = started(lab.command(&[], BIN), &["run", "--name", "web"], CAT);
    let (_, up) = only(lab.chapter(BIN));
    assert_eq!(up["name"], "web");
    let exec =
        lab.chapter(BIN).args(["exec", "web", "echo", "a"]).assert().success();
    exec.stdout("a\n");
    assert_eq!(end(run), Some(3));
    lab.chapter(BIN).arg("prune").assert().success().stdout("web\n");
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = NetworkLab(Lab::new());
    for (name, words) in [
        ("ch06-network-help", &["--help"][..]),
        ("ch06-network-network-help", &["network", "--help"]),
        ("ch06-network-create-help", &["network", "create", "--help"]),
        ("ch06-network-list-help", &["network", "ls", "-h"]),
    ] {
        let out = lab.chapter(BIN).args(words).assert().success();
        assert_snapshot!(name, String::from_utf8_lossy(&out.get_output().stdout));
    }
}
