//! ufw(8), the firewall of Ubuntu, with separate files, so that the machine's
//! settings do not change.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::process;

use ch06_connect::foreign::{self, Probe, probe};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::lab::{Host, Lab, skip};
use crate::{K1, published, rows, table};

/// Redirect all writes to /etc and /run, for this thread and the programs that it
/// starts.
fn private_settings() {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let recursively = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, recursively, none).unwrap();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    for directory in ["upper", "work", "lock"] {
        fs::create_dir(Path::new("/run").join(directory)).unwrap();
    }
    let layers = "lowerdir=/etc,upperdir=/run/upper,workdir=/run/work";
    mount(Some("overlay"), "/etc", Some("overlay"), MsFlags::empty(), Some(layers))
        .unwrap();
}

/// Whether ufw is installed, and works with nf_tables.
fn is_usable(host: &Host) -> bool {
    if host.run("ufw version").is_none() {
        return false;
    }
    let version = host.run("iptables -V").unwrap();
    let usable = version.contains("nf_tables");
    if !usable {
        skip(&format!("ufw works with {}", version.trim()));
    }
    usable
}

#[test]
fn ufw_is_opened_and_stays_open_when_it_is_reloaded() {
    let lab = Lab::new();
    let Lab { host, k1, .. } = &lab;
    if !is_usable(host) {
        return;
    }
    let own = fs::read_link("/proc/thread-self/ns/mnt").unwrap();
    private_settings();
    assert_ne!(fs::read_link("/proc/thread-self/ns/mnt").unwrap(), own);
    let run = |line| host.run(line).unwrap();
    run("ufw --force enable");
    assert!(run("ufw status verbose").contains("Status: active"));
    lab.client.add_route("192.168.10.0", 24, "203.0.113.1");
    host.add_route("0.0.0.0", 0, "203.0.113.2");
    let table = table(host, &published(None, 8080, 80));
    let rules = table.rules();
    let try_it = || host.inside(|| probe(rules, k1.0.as_fd(), K1)).unwrap();
    let before = run("iptables -S FORWARD");
    assert!(before.starts_with("-P FORWARD DROP\n"), "{before}");
    assert_eq!(try_it(), Probe::Dropped);
    assert!(rows(&lab).iter().any(|row| row.contains("another host")));

    assert_eq!(foreign::accept(rules, "br0").unwrap().len(), 1);
    assert_eq!(try_it(), Probe::Passed);
    assert_eq!(rows(&lab), Vec::<String>::new());
    run("ufw reload");
    assert_eq!(foreign::accept(rules, "br0").unwrap(), []);
    assert_eq!(try_it(), Probe::Passed);
    assert_eq!(rows(&lab), Vec::<String>::new());
    let shown = run("iptables -S FORWARD");
    assert!(
        shown.starts_with(
            "-P FORWARD DROP\n\
             -A FORWARD -i br0 -m comment --comment \"mydocker br0\" -j ACCEPT\n\
             -A FORWARD -o br0 -m comment --comment \"mydocker br0\" -j ACCEPT\n\
             -A FORWARD -j ufw-before-logging-forward\n"
        ),
        "{shown}"
    );
    assert_eq!(foreign::remove(rules, "br0").unwrap().len(), 1);
    assert_eq!(run("iptables -S FORWARD"), before);
    // The machine's own file must not show that ufw is enabled now.
    let machines = format!("/proc/{}/root/etc/ufw/ufw.conf", process::id());
    assert_ne!(
        fs::read_to_string(machines).unwrap(),
        fs::read_to_string("/etc/ufw/ufw.conf").unwrap()
    );
}
