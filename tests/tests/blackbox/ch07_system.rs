//! ch07-system: default values, alternative spellings, and the commands about the host.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;

use blackbox::{Lab, Terminal, lack_memory_or_cpuset, skip};
use insta::assert_snapshot;
use serde_json::{Value, json};
use serial_test::file_serial;

const BIN: &str = "ch07-system";

#[track_caller]
fn ok(lab: &Lab, words: &[&str]) -> String {
    let out = lab.chapter(BIN).args(words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

/// The standard output and standard error of a command that succeeds.
#[track_caller]
fn both(lab: &Lab, words: &[&str]) -> (String, String) {
    let out = lab.chapter(BIN).args(words).assert().success();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&out.get_output().stdout), text(&out.get_output().stderr))
}

#[track_caller]
fn error(lab: &Lab, words: &[&str]) -> String {
    let out = lab.chapter(BIN).args(words).assert().failure();
    String::from_utf8(out.get_output().stderr.clone()).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Containers and networks are removed when the test ends, also when it fails.
struct Clean<'a>(&'a Lab);

impl Drop for Clean<'_> {
    fn drop(&mut self) {
        let ids = self.0.chapter(BIN).args(["ps", "-aq"]).output().unwrap().stdout;
        let ids = String::from_utf8_lossy(&ids).into_owned();
        let words = ["rm", "-f"].into_iter().chain(ids.lines());
        let _ = self.0.chapter(BIN).args(words).output();
        let _ = self.0.chapter(BIN).args(["network", "prune"]).output();
    }
}

/// The memory and CPU limits of a process, from the files of cgroup v1 or v2.
fn limits(pid: &str) -> Vec<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let files = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let of = |name: &str| controllers.split(',').any(|it| it == name);
        Some(match controllers {
            "" => vec![
                format!("/sys/fs/cgroup{path}/memory.max"),
                format!("/sys/fs/cgroup{path}/cpu.weight"),
            ],
            _ if of("memory") => {
                vec![format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes")]
            }
            _ if of("cpu") => vec![format!("/sys/fs/cgroup/cpu{path}/cpu.shares")],
            _ => Vec::new(),
        })
    };
    let files = groups.lines().filter_map(files).flatten();
    let texts = files.filter_map(|file| fs::read_to_string(file).ok());
    texts.map(|text| text.trim().to_owned()).collect()
}

/// Run a container without a network, with the name `one`, to its end.
fn ended(lab: &Lab, script: &str) {
    let run = ["run", "--network", "none", "--name", "one", "busybox", "sh", "-c"];
    ok(lab, &[&run[..], &[script]].concat());
}

#[test]
#[file_serial(machine)]
fn the_first_run_creates_the_default_network() {
    let lab = Lab::new();
    let _clean = Clean(&lab);
    let run = ["run", "--rm", "busybox", "ip", "route"];
    let (routes, note) = both(&lab, &run);
    assert!(routes.starts_with("default via "), "{routes}");
    assert!(note.contains("the default network mydocker0 is created\n"), "{note}");
    assert_eq!(ok(&lab, &["network", "ls", "-q"]), "mydocker0\n");
    let (again, note) = both(&lab, &run);
    let gateway = |text: &str| text.lines().next().map(str::to_owned);
    assert_eq!(gateway(&again), gateway(&routes));
    assert!(!note.contains("created"), "{note}");
    let devices =
        ["run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net"];
    assert!(!ok(&lab, &devices).contains("eth0"));
}

#[test]
#[file_serial(machine)]
fn each_state_directory_has_its_own_default_network() {
    let lab = Lab::new();
    let _clean = Clean(&lab);
    let run = ["run", "--rm", "busybox", "ip", "route"];
    let first = ok(&lab, &run);
    let other = lab.dir().join("other");
    let elsewhere = |words: &[&str]| {
        let mut command = lab.chapter(BIN);
        command.env("MYDOCKER_ROOT", &other).args(words);
        let out = command.assert().success().get_output().stdout.clone();
        String::from_utf8(out).unwrap()
    };
    let second = elsewhere(&run);
    assert_ne!(first, second, "both have the same subnet");
    let network = json(&elsewhere(&["network", "inspect", "mydocker0"]));
    let bridge = network[0]["bridge"].as_str().unwrap();
    assert!(bridge.starts_with("br-"), "{bridge}");
    assert_eq!(elsewhere(&["network", "rm", "mydocker0"]), "mydocker0\n");
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_has_a_default_network() {
    let lab = Lab::new();
    let out = lab
        .as_user(BIN)
        .args(["run", "--rm", "busybox", "ip", "addr", "show", "eth0"])
        .assert()
        .success();
    let text = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    assert!(text.contains("inet 172."), "{text}");
    lab.as_user(BIN).args(["network", "rm", "mydocker0"]).assert().success();
}

#[test]
#[file_serial(machine)]
fn a_published_port_needs_no_further_option() {
    let lab = Lab::new();
    let _clean = Clean(&lab);
    let words =
        ["run", "-d", "--name", "web", "-p", "80", "busybox", "sleep", "100"];
    ok(&lab, &words);
    let ports = ok(&lab, &["port", "web"]);
    assert!(ports.starts_with("80/tcp -> 0.0.0.0:"), "{ports}");
    ok(&lab, &["rm", "-f", "web"]);
}

#[test]
#[file_serial(machine)]
fn bockers_defaults_limit_each_container_and_keep_images() {
    if lack_memory_or_cpuset() {
        return skip("no memory controller");
    }
    let lab = Lab::new();
    let _clean = Clean(&lab);
    let run = ["--defaults", "bocker", "run", "-d", "busybox", "sleep", "100"];
    let id = ok(&lab, &run);
    let id = id.trim();
    let inside = ok(&lab, &["exec", id, "ip", "-4", "addr", "show", "eth0"]);
    assert!(inside.contains("inet 172.18.0.2/24"), "{inside}");
    let pid = json(&ok(&lab, &["inspect", id]))[0]["pid"].to_string();
    let limits = limits(&pid);
    // A multiple of the page size, and the weight of 512 shares on v2.
    assert!(
        limits.contains(&"511999992".to_owned())
            || limits.contains(&"512000000".to_owned())
            || limits.contains(&"511995904".to_owned()),
        "{limits:?}"
    );
    assert!(
        limits.contains(&"512".to_owned()) || limits.contains(&"20".to_owned()),
        "{limits:?}"
    );
    ok(&lab, &["kill", id]);
    ok(&lab, &["wait", id]);
    let list = ok(&lab, &["--defaults", "bocker", "ps", "-q"]);
    assert_eq!(list.lines().count(), 1, "ps lists the ended container: {list}");
    assert_eq!(ok(&lab, &["ps", "-q"]), "");
    ok(&lab, &["--defaults", "bocker", "commit", id, "mine"]);
    let refused = error(&lab, &["--defaults", "bocker", "commit", id, "mine"]);
    assert!(refused.contains("mine"), "{refused}");
    ok(&lab, &["commit", id, "mine"]);
    ok(&lab, &["rm", id]);
    ok(&lab, &["rmi", "mine"]);
}

#[test]
fn options_of_bocker_require_its_defaults() {
    let lab = Lab::new();
    let text = error(&lab, &["--CPU_SHARE=512", "ps"]);
    assert!(text.contains("add --defaults bocker"), "{text}");
    let mut command = lab.chapter(BIN);
    let out = command.env("MYDOCKER_DEFAULTS", "x").arg("ps").assert().code(125);
    let text = String::from_utf8_lossy(&out.get_output().stderr).into_owned();
    assert!(text.contains("MYDOCKER_DEFAULTS: invalid value \"x\""), "{text}");
    let out = lab
        .chapter(BIN)
        .envs([("MYDOCKER_DEFAULTS", "bocker"), ("BOCKER_CPU_SHARE", "77")])
        .args(["run", "--help"])
        .assert()
        .success();
    let help = String::from_utf8_lossy(&out.get_output().stdout).into_owned();
    for default in ["[default: 77]", "[default: 512000000]", "[default: br1]"] {
        assert!(help.contains(default), "{default} {help}");
    }
}

#[test]
#[file_serial(machine)]
fn spellings_of_earlier_systems_are_the_same_commands() {
    let lab = Lab::new();
    let _clean = Clean(&lab);
    let shared = lab.dir().join("shared");
    let volume = format!("{}:/shared", shared.display());
    let script = "echo $WORD > /shared/word; echo text";
    let run = ["run", "--network", "none", "--d", "--name", "one", "--v", &volume];
    let words = ["--e", "WORD=hello", "busybox", "sh", "-c", script];
    ok(&lab, &[&run[..], &words].concat());
    ok(&lab, &["wait", "one"]);
    assert_eq!(fs::read_to_string(shared.join("word")).unwrap(), "hello\n");
    assert_eq!(ok(&lab, &["log", "one"]), "text\n");
    assert!(ok(&lab, &["list", "-a"]).contains("one"));
    // As JSON, since a table shows ages: a second may pass between two commands.
    let list = ok(&lab, &["list", "-a", "--json"]);
    assert_eq!(list, ok(&lab, &["container", "ls", "--all", "--json"]));
    assert_eq!(ok(&lab, &["remove", "one"]), "one\n");
    // The spelling of Docker.
    assert_eq!(
        ok(&lab, &["image", "ls", "--json"]),
        ok(&lab, &["images", "--json"])
    );
    let limits = ["--cpu-shares", "1024", "--pids-limit", "100"];
    let run = ["run", "--rm", "--network=none", "-it"];
    lab.chapter(BIN)
        .args([&run[..], &limits, &["busybox", "true"]].concat())
        .assert()
        .success();
}

#[test]
fn commands_and_options_only_of_docker_are_refused_with_a_remedy() {
    let lab = Lab::new();
    for (line, code, remedy) in [
        ("top web", 125, "the command top does not exist: `exec NAME ps`"),
        ("container cp web:/x .", 125, "the command cp does not exist"),
        ("--defaults docker restart web", 125, "the command restart does not exist"),
        ("ps --filter name=web", 2, "use --json"),
        ("image ls --format x", 2, "use --json"),
        ("run --restart always busybox true", 2, "a service manager"),
        ("container run --mount a busybox true", 2, "-v DIRECTORY:PATH"),
        ("commit -m text web", 2, "no comment"),
        ("run -v data:/x busybox true", 2, "write ./data"),
        ("run --privileged busybox true", 2, "root has all capabilities"),
        ("images -a", 2, "all images"),
    ] {
        let mut command = lab.chapter(BIN);
        command.current_dir(lab.dir()).args(line.split(' '));
        let out = command.assert().code(code).stdout("");
        let text = String::from_utf8_lossy(&out.get_output().stderr).into_owned();
        assert!(text.contains(remedy), "{line}: {text}");
    }
    assert!(!lab.dir().join("data").exists());
    ok(&lab, &["network", "prune", "-f"]);
}

#[test]
#[file_serial(machine)]
fn the_terminal_option_of_an_earlier_system_with_two_dashes_works() {
    let lab = Lab::new();
    let mut command = lab.command(&[], BIN);
    command.args(["run", "--rm", "--network", "none", "--ti", "busybox", "tty"]);
    let mut terminal = Terminal::run(command);
    terminal.see("/dev/pts/0");
    assert_eq!(terminal.end(), 0);
}

#[test]
#[file_serial(machine)]
fn init_creates_an_image_from_a_directory_and_rm_removes_it() {
    let lab = Lab::new();
    let tree = lab.dir().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "text").unwrap();
    let tree = tree.to_str().unwrap();
    let image = ok(&lab, &["init", tree]);
    assert!(image.starts_with("img_"), "{image}");
    assert_eq!(ok(&lab, &["init", tree, "named"]), "named\n");
    let (_, note) = both(&lab, &["rm", image.trim()]);
    assert!(note.contains("is not a container: the image is removed"), "{note}");
    let left = ok(&lab, &["images", "-q"]);
    assert!(!left.contains("img_") && left.contains("named"), "{left}");
    assert!(error(&lab, &["rm", image.trim()]).contains(image.trim()));
    assert!(error(&lab, &["init", "/dev/null"]).contains("is not a directory"));
    ok(&lab, &["rmi", "named"]);
}

#[test]
#[file_serial(machine)]
fn rm_prefers_a_container_to_an_image_of_the_same_name() {
    let lab = Lab::new();
    ended(&lab, "echo 1 > /file");
    ok(&lab, &["commit", "one", "one"]);
    assert_eq!(ok(&lab, &["rm", "one"]), "one\n");
    assert!(ok(&lab, &["images", "-q"]).contains("one"));
    both(&lab, &["rm", "one"]);
    assert!(!ok(&lab, &["images", "-q"]).contains("one"));
}

#[test]
#[file_serial(machine)]
fn inspect_shows_containers_and_images() {
    let lab = Lab::new();
    let run =
        ["run", "--network", "none", "--name", "one", "-e", "A=b", "-w", "/srv"];
    let _ =
        lab.chapter(BIN).args(run).args(["busybox", "sh", "-c", "exit 3"]).assert();
    let all = json(&ok(&lab, &["inspect", "one", "busybox"]));
    assert_eq!(all[0]["name"], "one");
    assert_eq!(all[0]["status"], "exited");
    assert_eq!(all[0]["code"], 3);
    assert_eq!(all[0]["directory"], "/srv");
    assert!(all[0]["environment"].as_array().unwrap().contains(&"A=b".into()));
    assert_eq!(all[1]["RepoTags"][0], "busybox:latest");
    assert_eq!(all[0]["image_id"], all[1]["Id"]);
    let text = error(&lab, &["inspect", "none"]);
    assert!(text.contains("none"), "{text}");
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn inspect_shows_volumes_and_the_address_of_a_container() {
    let lab = Lab::new();
    let host = lab.dir().join("data");
    let volumes = [format!("{}:/data", host.display()), "/tmp:/tmp/host:ro".into()];
    let [data, tmp] = &volumes;
    ok(&lab, &["network", "create", "--subnet", "10.9.8.0/24", "seen"]);
    ok(
        &lab,
        &[
            "run",
            "-d",
            "--network",
            "seen",
            "--name",
            "one",
            "-v",
            data,
            "-v",
            tmp,
            "busybox",
            "sleep",
            "100",
        ],
    );
    let one = &json(&ok(&lab, &["inspect", "one"]))[0];
    let network =
        json!([{"name": "seen", "address": "10.9.8.2", "gateway": "10.9.8.1"}]);
    assert_eq!(one["networks"], network);
    let mounts = json!([
        {"host": host.to_str().unwrap(), "guest": "/data", "read_only": false},
        {"host": "/tmp", "guest": "/tmp/host", "read_only": true},
    ]);
    assert_eq!(one["mounts"], mounts);
    ok(&lab, &["kill", "one"]);
    ok(&lab, &["wait", "one"]);
    let one = &json(&ok(&lab, &["inspect", "one"]))[0];
    assert_eq!((&one["networks"], &one["mounts"]), (&json!([]), &mounts));
    ok(&lab, &["rm", "one"]);
    ok(&lab, &["network", "rm", "seen"]);
}

#[test]
#[file_serial(machine)]
fn df_counts_shared_layers_once() {
    let lab = Lab::new();
    ended(&lab, "head -c 1000000 /dev/urandom > /file");
    let usage =
        |kind: usize| json(&ok(&lab, &["system", "df", "--json"]))[kind].clone();
    let size = |value: &Value| value["size"].as_u64().unwrap();
    let (images, containers) = (usage(0), usage(1));
    assert_eq!((&images["total"], &images["active"]), (&1.into(), &1.into()));
    assert_eq!(images["reclaimable"], 0, "a container uses the image");
    assert!((1_000_000..2_000_000).contains(&size(&containers)), "{containers}");
    assert_eq!(containers["reclaimable"], containers["size"]);
    ok(&lab, &["commit", "one", "mine"]);
    let with_mine = usage(0);
    let more = size(&with_mine) - size(&images);
    // The new layer, and its blob if there is one, but not busybox again.
    assert!((1_000_000..2_200_000).contains(&more), "{with_mine}");
    assert!(with_mine["reclaimable"].as_u64().unwrap() >= 1_000_000, "{with_mine}");
    ok(&lab, &["rm", "one"]);
    ok(&lab, &["rmi", "mine"]);
    assert_eq!(usage(1)["size"], 0);
    let table = ok(&lab, &["system", "df"]);
    assert!(table.starts_with("TYPE        TOTAL  ACTIVE  SIZE"), "{table}");
}

#[test]
#[file_serial(machine)]
fn system_prune_asks_and_removes_unused_objects() {
    let lab = Lab::new();
    let _clean = Clean(&lab);
    ended(&lab, "echo 1 > /file");
    ok(&lab, &["commit", "one", "mine"]);
    ok(&lab, &["run", "--rm", "busybox", "true"]);
    let text = error(&lab, &["system", "prune"]);
    assert!(text.contains("add --force"), "{text}");
    for (answer, code) in [("n", 1), ("", 1)] {
        let mut command = lab.command(&[], BIN);
        command.args(["system", "prune"]);
        let mut terminal = Terminal::run(command);
        terminal.see("Continue? [y/N]");
        terminal.type_keys(&format!("{answer}\n"));
        assert_eq!(terminal.end(), code, "{answer:?}");
    }
    assert!(ok(&lab, &["ps", "-a"]).contains("one"));
    let text = ok(&lab, &["system", "prune", "--force"]);
    assert_eq!(
        text, "removed containers:\none\nremoved networks:\nmydocker0\n",
        "images with a tag are kept"
    );
    ok(&lab, &["run", "-d", "--network", "none", "busybox", "sleep", "100"]);
    let text = ok(&lab, &["system", "prune", "--force", "--all"]);
    assert_eq!(text, "removed images:\nmine\n", "a container uses busybox");
    assert_eq!(ok(&lab, &["system", "prune", "-f"]), "");
}

#[test]
fn info_and_version_describe_this_host() {
    let lab = Lab::new();
    let info = json(&ok(&lab, &["info", "--json"]));
    assert_eq!(info["state_directory"], lab.state().to_str().unwrap());
    assert_eq!((&info["containers"], &info["running"]), (&0.into(), &0.into()));
    assert!(info["memory"].as_u64().unwrap() > 1 << 20, "{info}");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(info["kernel"], kernel.trim());
    let version = json(&ok(&lab, &["version", "--json"]));
    assert_eq!(version["kernel"], kernel.trim());
    assert_eq!(ok(&lab, &["info"]), ok(&lab, &["system", "info"]));
}

#[test]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    assert_snapshot!("ch07-system-help", ok(&lab, &["--help"]));
    for words in [["system", "-h"], ["container", "-h"], ["image", "-h"]] {
        assert_snapshot!(format!("ch07-system-{}-help", words[0]), ok(&lab, &words));
    }
}
