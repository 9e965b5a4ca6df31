//! ch06-ports: ports of the host that lead into a container.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use blackbox::{Lab, all, probe, until};
use insta::assert_snapshot;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::str::contains;
use serde_json::json;
use serial_test::file_serial;

const BIN: &str = "ch06-ports";

/// A subnet that no test machine uses, and its gateway.
const SUBNET: &str = "10.231.7.0/24";
const GATEWAY: &str = "10.231.7.1";

/// A web server that answers with the client's address, as it sees it.
const SERVER: &str = "mkdir -p /www/cgi-bin; cd /www/cgi-bin
printf '#!/bin/sh\\necho; echo \"from $REMOTE_ADDR\"\\n' > who
chmod +x who; exec httpd -f -p 80 -h /www";

/// A request from a container to this server; ADDRESS and PORT follow.
const REQUEST: &str = "printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | nc -w 5";

fn ok(lab: &Lab, words: &[&str]) -> String {
    let out = lab.chapter(BIN).args(words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

/// Run a command that must fail with this status. Returns its stderr.
fn refused(lab: &Lab, code: i32, words: &[&str]) -> String {
    let out = lab.chapter(BIN).args(words).assert().code(code).stdout("");
    String::from_utf8(out.get_output().stderr.clone()).unwrap()
}

/// The network `one`. It is removed, with all containers, when the test ends.
struct Network<'a>(&'a Lab);

impl Network<'_> {
    fn new(lab: &Lab) -> Network<'_> {
        ok(lab, &["network", "create", "--subnet", SUBNET, "one"]);
        Network(lab)
    }

    /// Start a detached container that publishes these ports. Returns its ID.
    fn up(&self, name: &str, ports: &[&str], script: &str) -> String {
        let mut words = vec!["run", "-d", "-net", "one", "--name", name];
        ports.iter().for_each(|port| words.extend(["-p", *port]));
        words.extend(["busybox", "sh", "-c", script]);
        ok(self.0, &words).trim().to_owned()
    }

    /// A `run` that must fail with this status. Returns its stderr.
    fn fails(&self, code: i32, ports: &[&str]) -> String {
        let mut words = vec!["run", "--rm", "-net", "one"];
        ports.iter().for_each(|port| words.extend(["-p", *port]));
        words.extend(["busybox", "true"]);
        refused(self.0, code, &words)
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

/// The client's address, as the web server sees it.
fn ask(address: impl ToSocketAddrs) -> io::Result<String> {
    let address = address.to_socket_addrs()?.next().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /cgi-bin/who HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    client(&text).ok_or(ErrorKind::InvalidData.into())
}

/// `from [::ffff:10.231.7.1]`
fn client(answer: &str) -> Option<String> {
    let (_, address) = answer.trim_end().rsplit_once("from ")?;
    let address = address.trim_start_matches("[::ffff:").trim_end_matches(']');
    Some(address.to_owned())
}

/// Request the page as soon as the server listens. Before that, a connection is refused.
fn answer(address: impl ToSocketAddrs + Copy) -> String {
    until(|| ask(address).is_ok());
    ask(address).unwrap()
}

fn is_refused(address: impl ToSocketAddrs) -> bool {
    ask(address).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
}

/// A port of the host that no program uses.
fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

#[test]
#[file_serial(machine)]
fn a_published_port_is_reachable_from_the_host_and_from_containers() {
    let lab = Lab::new();
    let one = Network::new(&lab);
    let port = free_port();
    one.up("web", &[&format!("{port}:80")], SERVER);
    // A container would send an answer to 127.0.0.1 to itself. The source address is
    // therefore that of the gateway.
    for address in ["127.0.0.1", "127.0.0.5", GATEWAY] {
        assert_eq!(answer((address, port)), GATEWAY, "{address}");
    }
    let script = format!("{REQUEST} {GATEWAY} {port}");
    let words = ["run", "--rm", "-net", "one", "busybox", "sh", "-c", &script];
    let text = ok(&lab, &words);
    assert_eq!(client(&text).as_deref(), Some(GATEWAY), "a neighbour: {text}");
    let text = ok(&lab, &["exec", "web", "sh", "-c", &script]);
    assert_eq!(client(&text).as_deref(), Some(GATEWAY), "the container itself");
    if TcpListener::bind("[::1]:0").is_ok() {
        assert!(is_refused(("::1", port)), "ports are published for IPv4 only");
    }
    ok(&lab, &["stop", "-t", "0", "web"]);
    assert!(is_refused(("127.0.0.1", port)));
    TcpListener::bind(("0.0.0.0", port)).unwrap();
}

#[test]
#[file_serial(machine)]
fn a_port_of_one_address_is_reachable_through_that_address_only() {
    let lab = Lab::new();
    let one = Network::new(&lab);
    let port = free_port();
    let publish = format!("127.0.0.1:{port}:80");
    one.up("web", &[&publish], SERVER);
    answer(("127.0.0.1", port));
    assert!(is_refused((GATEWAY, port)));
    // Another program may use the port on another address.
    let _other = TcpListener::bind((GATEWAY, port)).unwrap();
    let told = one.fails(125, &[&format!("{port}:80")]);
    assert!(told.contains("EADDRINUSE"), "{told}");
}

#[test]
#[file_serial(machine)]
fn a_tcp_port_and_a_udp_port_of_the_same_number_can_be_published() {
    let lab = Lab::new();
    let _one = Network::new(&lab);
    let port = free_port();
    let ports = [format!("{port}:80"), format!("{port}:53/udp")];
    let volume = format!("{}:/probe", probe().display());
    let mut words = vec!["run", "-d", "-net", "one", "--name", "web", "-v", &volume];
    words.extend(["-p", &ports[0], "-p", &ports[1], "busybox", "sh", "-c"]);
    let script = format!("/probe datagrams 53 & {SERVER}");
    ok(&lab, &[&words[..], &[&script]].concat());
    assert_eq!(answer(("127.0.0.1", port)), GATEWAY);
    let client = UdpSocket::bind("0.0.0.0:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    for address in ["127.0.0.1", GATEWAY] {
        let mut bytes = [0; 99];
        // Datagrams are refused until the server has bound its port.
        until(|| {
            client.send_to(b"x", (address, port)).unwrap();
            client.recv(&mut bytes).is_ok()
        });
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.trim_end_matches('\0'), GATEWAY, "{address}");
    }
}

#[test]
#[file_serial(machine)]
fn a_udp_client_that_keeps_sending_reaches_each_new_container() {
    let lab = Lab::new();
    let one = Network::new(&lab);
    // The kernel remembers clients as long as a container has rules.
    one.up("other", &[], "sleep 1000");
    let port = free_port();
    let client = UdpSocket::bind("0.0.0.0:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let is_answered = || {
        client.send_to(b"x", (GATEWAY, port)).unwrap();
        client.recv(&mut [0; 99]).is_ok()
    };
    assert!(!is_answered());
    let volume = format!("{}:/probe", probe().display());
    let publish = format!("{port}:53/udp");
    for (name, address) in [("first", "10.231.7.91"), ("second", "10.231.7.92")] {
        let words = ["run", "-d", "-net", "one", "--name", name, "--ip", address];
        let rest = ["-v", &volume, "-p", &publish, "busybox"];
        let program = ["/probe", "datagrams", "53"];
        ok(&lab, &[&words[..], &rest, &program].concat());
        until(is_answered);
        ok(&lab, &["rm", "-f", name]);
    }
}

#[test]
#[file_serial(machine)]
fn port_and_ps_show_the_published_ports() {
    let lab = Lab::new();
    let one = Network::new(&lab);
    let heading = "ID  NAME  PID  STATUS  COMMAND  CREATED\n";
    one.up("other", &[], "sleep 1000");
    assert!(!ok(&lab, &["ps"]).contains("PORTS"));
    let ports = ["40080-40082:80-82", "127.0.0.1:40053:53/udp", "127.0.0.1::90"];
    let id = one.up("web", &ports, "sleep 1000");
    let text = ok(&lab, &["port", "web"]);
    let random = text.lines().last().unwrap().strip_prefix("90/tcp -> 127.0.0.1:");
    let random: u16 = random.unwrap().parse().unwrap();
    assert!(random >= 1024);
    let lines = "80/tcp -> 0.0.0.0:40080\n81/tcp -> 0.0.0.0:40081\n\
                 82/tcp -> 0.0.0.0:40082\n53/udp -> 127.0.0.1:40053\n";
    assert!(text.starts_with(lines), "{text}");
    assert_eq!(ok(&lab, &["port", &id[..6], "81"]), "0.0.0.0:40081\n");
    assert_eq!(ok(&lab, &["port", "web", "53/udp"]), "127.0.0.1:40053\n");
    let told = refused(&lab, 125, &["port", "web", "53"]);
    assert!(told.contains("does not publish its port 53/tcp"), "{told}");

    let table = ok(&lab, &["ps"]);
    let ranges = format!(
        "  0.0.0.0:40080-40082->80-82/tcp, 127.0.0.1:{random}->90/tcp, \
         127.0.0.1:40053->53/udp\n"
    );
    assert!(table.contains(&ranges), "{table}");
    assert!(table.lines().next().unwrap().ends_with("  PORTS"), "{table}");
    let listed = all(lab.chapter(BIN));
    let web = listed.iter().find(|it| it["name"] == "web").unwrap();
    assert_eq!(web["ports"].as_array().unwrap().len(), 5);
    let first = json!({ "protocol": "tcp", "address": "0.0.0.0", "host": 40080, "guest": 80 });
    assert_eq!(web["ports"][0], first);

    ok(&lab, &["stop", "-t", "0", "web", "other"]);
    let told = refused(&lab, 125, &["port", "web"]);
    assert!(told.contains("is not running"), "{told}");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join("  ");
    assert_eq!(words(&ok(&lab, &["ps"])) + "\n", heading);
    assert!(!ok(&lab, &["ps", "-a"]).contains("PORTS"));
}

#[test]
#[file_serial(machine)]
fn all_ports_that_the_image_declares_are_published_on_free_ports() {
    let lab = Lab::new();
    let one = Network::new(&lab);
    let declared =
        json!({ "ExposedPorts": { "80/tcp": {}, "53/udp": {}, "90/tcp": {} } });
    crate::ch04_save::load_with_config(&lab, "declares", &declared);
    let run = ["run", "-d", "-net", "one", "-P", "-p", "127.0.0.1:40090:90"];
    ok(&lab, &[&run[..], &["--name", "web", "declares", "sleep", "1000"]].concat());
    let text = ok(&lab, &["port", "web"]);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("53/udp -> 0.0.0.0:"), "{text}");
    assert!(lines[1].starts_with("80/tcp -> 0.0.0.0:"), "{text}");
    assert_eq!(lines[2], "90/tcp -> 127.0.0.1:40090");
    ok(&lab, &["rm", "-f", "web"]);
    let told = refused(&lab, 125, &["run", "--rm", "-P", "declares", "true"]);
    assert!(told.contains("needs a network"), "{told}");
    drop(one);
    ok(&lab, &["rmi", "declares"]);
}

#[test]
#[file_serial(machine)]
fn a_port_in_use_is_refused_and_its_owner_is_named() {
    let lab = Lab::new();
    let one = Network::new(&lab);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let told = one.fails(125, &[&format!("{port}:80")]);
    let this = format!("process {} (", std::process::id());
    assert!(told.contains("EADDRINUSE") && told.contains(&this), "{told}");
    let port = free_port();
    one.up("web", &[&format!("{port}:80")], "sleep 1000");
    let told = one.fails(125, &[&format!("{port}:81")]);
    assert!(told.contains("container web already uses the host port"), "{told}");
    assert!(told.contains(&format!("for example {}:81", port + 1)), "{told}");
    // The failed start has left nothing.
    assert_eq!(ok(&lab, &["ps", "-aq"]).lines().count(), 1);
    let told = one.fails(125, &["203.0.113.77:40080:80"]);
    assert!(told.contains("does not have the address 203.0.113.77"), "{told}");
}

#[test]
#[file_serial(machine)]
fn a_killed_supervisor_releases_its_ports() {
    let lab = Lab::new();
    let one = Network::new(&lab);
    let port = free_port();
    let publish = format!("{port}:80");
    let id = one.up("first", &[&publish], SERVER);
    answer(("127.0.0.1", port));
    let notes = fs::read_to_string(lab.state().join("running").join(&id)).unwrap();
    let host = notes.lines().find_map(|line| line.strip_prefix("host ")).unwrap();
    let host = host.split(' ').next().unwrap().parse().unwrap();
    kill(Pid::from_raw(host), Signal::SIGKILL).unwrap();
    until(|| is_refused(("127.0.0.1", port)));
    until(|| {
        let port = lab.chapter(BIN).args(["port", "first"]).output().unwrap();
        String::from_utf8_lossy(&port.stderr).contains("is not running")
    });
    one.up("second", &[&publish], SERVER);
    answer(("127.0.0.1", port));
}

#[test]
#[file_serial(machine)]
fn a_disconnected_container_releases_its_ports() {
    let lab = Lab::new();
    let one = Network::new(&lab);
    let port = free_port();
    let publish = format!("{port}:80");
    one.up("first", &[&publish], SERVER);
    answer(("127.0.0.1", port));
    ok(&lab, &["network", "disconnect", "one", "first"]);
    assert_eq!(ok(&lab, &["port", "first"]), "");
    assert!(!ok(&lab, &["ps"]).contains("PORTS"));
    one.up("second", &[&publish], SERVER);
    answer(("127.0.0.1", port));
    // A new connection does not publish the ports again.
    ok(&lab, &["network", "connect", "one", "first"]);
    assert_eq!(ok(&lab, &["port", "first"]), "");
}

#[test]
#[file_serial(machine)]
fn invalid_options_are_refused_before_anything_is_created() {
    let mut lab = Lab::new();
    lab.update_snapshot();
    let run = |flags: &[&str], code| {
        let words = [&["run", "--rm"], flags, &["busybox", "true"]].concat();
        refused(&lab, code, &words)
    };
    for (value, says) in [
        ("0:80", "not 0: to get a free port, leave it out"),
        ("65536:80", "from 1 to 65535, not 65536"),
        ("web:80", "is not a number"),
        ("90-80:80-90", "write 80-90"),
        ("80-90:80", "write ranges of equal length"),
        ("80:80/sctp", "use /tcp or /udp"),
        ("[::1]:80:80", "IPv4 only"),
    ] {
        let told = run(&["-net", "one", "-p", value], 2);
        assert!(told.contains(says), "{value}: {told}");
    }
    let told = run(&["-net", "one", "-p", "8080:80", "-p", "8080:81"], 125);
    assert!(told.contains("is published twice"), "{told}");
    for flags in [&["-p", "8080:80"][..], &["-net", "host", "-p", "8080:80"]] {
        let told = run(flags, 125);
        assert!(told.contains("add --network NETWORK"), "{told}");
    }
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    assert_snapshot!("ch06-ports-help", ok(&lab, &["--help"]));
    assert_snapshot!("ch06-ports-run-help", ok(&lab, &["run", "--help"]));
    assert_snapshot!("ch06-ports-port-help", ok(&lab, &["port", "--help"]));
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_publishes_ports_by_a_proxy() {
    let lab = Lab::new();
    let user = |words: &[&str]| {
        let out = lab.as_user(BIN).args(words).assert().success();
        String::from_utf8(out.get_output().stdout.clone()).unwrap()
    };
    user(&["network", "create", "--subnet", SUBNET, "one"]);
    let (tcp, udp) = (free_port(), free_port());
    // The user reads a copy of the probe.
    let probe_copy = lab.dir().join("probe");
    if !probe_copy.exists() {
        fs::copy(probe(), &probe_copy).unwrap();
    }
    let publish = [format!("{tcp}:80"), format!("127.0.0.1:{udp}:53/udp")];
    let volume = format!("{}:/probe", probe_copy.display());
    let script = format!("/probe datagrams 53 & {SERVER}");
    let run = ["run", "-d", "--init", "-net", "one", "--name", "web", "-v", &volume];
    let ports = ["-p", &publish[0], "-p", &publish[1]];
    let program = ["busybox", "sh", "-c", &script];
    user(&[&run[..], &ports, &program].concat());
    assert_eq!(answer(("127.0.0.1", tcp)), GATEWAY);
    let shown = format!("80/tcp -> 0.0.0.0:{tcp}\n53/udp -> 127.0.0.1:{udp}\n");
    assert_eq!(user(&["port", "web"]), shown);
    let clients: Vec<UdpSocket> =
        (0..2).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for client in &clients {
        client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        until(|| {
            client.send_to(b"x", ("127.0.0.1", udp)).unwrap();
            client.recv(&mut [0; 99]).is_ok()
        });
    }
    // Another container cannot have the port.
    let taken = ["run", "--rm", "-net", "one", "-p", &publish[0], "busybox", "true"];
    lab.as_user(BIN)
        .args(taken)
        .assert()
        .code(125)
        .stderr(contains("container web"));
    // The init process of the container does not hold the sockets of the host.
    let notes = fs::read_dir(lab.user_state().join("running")).unwrap();
    let notes = fs::read_to_string(notes.flatten().next().unwrap().path()).unwrap();
    let init =
        notes.lines().find_map(|it| it.strip_prefix("process until-removed "));
    let init = init.unwrap().split(' ').next().unwrap();
    let held = fs::read_dir(format!("/proc/{init}/fd")).unwrap().flatten();
    let held: Vec<_> = held.map(|fd| fs::read_link(fd.path()).unwrap()).collect();
    let is_socket =
        |it: &std::path::PathBuf| it.to_string_lossy().contains("socket");
    assert!(!held.iter().any(is_socket), "{held:?}");
    user(&["network", "disconnect", "one", "web"]);
    // The port of the host is free again, although the container still runs.
    until(|| is_refused(("127.0.0.1", tcp)));
    TcpListener::bind(("0.0.0.0", tcp)).unwrap();
    user(&["rm", "-f", "web"]);
    assert!(is_refused(("127.0.0.1", tcp)));
    user(&["network", "rm", "one"]);
}
