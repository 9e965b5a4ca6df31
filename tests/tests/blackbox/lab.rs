//! The laboratory itself: it catches every kind of leak, and reports nothing else.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::os::unix::fs::chown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use blackbox::{
    Lab, add_rule, add_table, bridge_link, cgroup_roots, delete_table,
    loopback_address, user,
};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serial_test::file_serial;

/// The report of the lab when it is closed after `leak`. `remove` removes the leak.
fn report(leak: impl FnOnce(&Lab), remove: impl FnOnce()) -> String {
    let lab = Lab::new();
    leak(&lab);
    let closed = catch_unwind(AssertUnwindSafe(|| drop(lab)));
    remove();
    match closed {
        Ok(()) => String::new(),
        Err(words) => *words.downcast::<String>().expect("the lab panics with text"),
    }
}

#[test]
#[file_serial(machine)]
fn a_test_without_leaks_passes() {
    assert_eq!(report(|_| {}, || {}), "");
}

#[test]
#[file_serial(machine)]
fn a_mount_is_caught() {
    let at = tempfile::tempdir().unwrap();
    let none = None::<&str>;
    let words = report(
        |_| mount(none, at.path(), Some("tmpfs"), MsFlags::empty(), none).unwrap(),
        || umount(at.path()).unwrap(),
    );
    assert!(words.contains("mount left"), "{words}");
}

#[test]
#[file_serial(machine)]
fn a_cgroup_is_caught() {
    let group = cgroup_roots().first().expect("a hierarchy").join("blackbox-leak");
    let words = report(
        |_| fs::create_dir(&group).unwrap(),
        || fs::remove_dir(&group).unwrap(),
    );
    assert!(words.contains("cgroup left"), "{words}");
}

#[test]
#[file_serial(machine)]
fn an_unmounted_hierarchy_is_caught() {
    let at = tempfile::tempdir().unwrap();
    let (none, kind) = (None::<&str>, Some("cgroup"));
    let show = || {
        let options = Some("none,name=blackbox");
        mount(none, at.path(), kind, MsFlags::empty(), options).unwrap();
    };
    let group = at.path().join("leak");
    let words = report(
        |_| {
            show();
            fs::create_dir(&group).unwrap();
            umount(at.path()).unwrap();
        },
        || {
            show();
            fs::remove_dir(&group).unwrap();
            // The kernel needs some time to release a group.
            std::thread::sleep(Duration::from_millis(500));
            umount(at.path()).unwrap();
        },
    );
    assert!(words.contains("hierarchy left: name=blackbox"), "{words}");
}

#[test]
#[file_serial(machine)]
fn a_link_is_caught() {
    let words = report(
        |_| bridge_link("blackbox0", true).unwrap(),
        || bridge_link("blackbox0", false).unwrap(),
    );
    assert!(words.contains("link left"), "{words}");
}

#[test]
#[file_serial(machine)]
fn an_address_and_its_route_are_caught() {
    let address = [198, 18, 255, 1];
    let words = report(
        |_| loopback_address(address, true).unwrap(),
        || loopback_address(address, false).unwrap(),
    );
    assert!(words.contains("address left: 198.18.255.1/32 of 1"), "{words}");
    let route = "route left: 198.18.255.1/32 via - dev 1 type 2 table 255";
    assert!(words.contains(route), "{words}");
}

#[test]
#[file_serial(machine)]
fn a_sysctl_is_caught() {
    let path = "/proc/sys/net/ipv4/conf/all/route_localnet";
    let before = fs::read_to_string(path).unwrap();
    let other = if before.trim() == "0" { "1" } else { "0" };
    let words = report(
        |_| fs::write(path, other).unwrap(),
        || fs::write(path, before).unwrap(),
    );
    assert!(words.contains("sysctl left: net/ipv4/conf/all/route_localnet"));
}

#[test]
#[file_serial(machine)]
fn a_firewall_table_is_caught() {
    let words = report(
        |_| add_table("blackbox").unwrap(),
        || delete_table("blackbox").unwrap(),
    );
    assert!(words.contains("rule left: family 1 table blackbox"), "{words}");
}

#[test]
#[file_serial(machine)]
fn a_rule_in_an_existing_table_is_caught() {
    add_table("blackbox").unwrap();
    let words = report(
        |_| add_rule("blackbox").unwrap(),
        || delete_table("blackbox").unwrap(),
    );
    let rule = "rule left: family 1 table blackbox chain leak rule";
    assert!(words.contains(rule), "{words}");
}

#[test]
#[file_serial(machine)]
fn an_orphaned_process_is_caught() {
    let mut pid = 0;
    let words = report(
        |lab| {
            let file = lab.dir().join("pid");
            let script = format!("sleep 99 & echo $! > {}", file.display());
            let done = Command::new("sh").args(["-c", &script]).status().unwrap();
            assert!(done.success());
            pid = fs::read_to_string(file).unwrap().trim().parse().unwrap();
        },
        || {},
    );
    assert!(words.contains(&format!("process left: {pid} sleep")), "{words}");
    // The next test does not find it.
    assert_eq!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH));
}

#[test]
#[file_serial(machine)]
fn a_hanging_container_is_killed_and_caught() {
    let lab = Lab::with_patience(Duration::from_millis(500));
    let mut command = lab.command(&[], "ch02-pid");
    command.args(["run", "sh", "-c", "trap '' TERM; sleep 1000; sleep 1000"]);
    assert!(!command.status().unwrap().success());
    let closed = catch_unwind(AssertUnwindSafe(|| drop(lab))).unwrap_err();
    let words = closed.downcast::<&str>().expect("the lab panics with text");
    assert!(words.contains("took too long"), "{words}");
}

#[test]
#[file_serial(machine)]
fn a_file_in_the_state_directory_is_caught() {
    let words = report(
        |lab| {
            fs::create_dir_all(lab.state().join("containers/0123456789ab")).unwrap();
        },
        || {},
    );
    assert!(words.contains("file left: containers/0123456789ab"), "{words}");
}

#[test]
#[file_serial(machine)]
fn a_file_in_the_ordinary_users_state_directory_is_caught() {
    let words = report(
        |lab| {
            let mut run = lab.as_user("ch02-uts");
            run.args(["run", "true"]).assert().success();
            fs::create_dir_all(lab.user_state().join("containers/0123")).unwrap();
        },
        || {},
    );
    assert!(words.contains("user's file left: containers/0123"), "{words}");
}

#[test]
#[file_serial(machine)]
fn a_changed_owner_is_caught() {
    let words = report(
        |lab| chown(lab.image().join("etc"), Some(user()), None).unwrap(),
        || {},
    );
    assert!(words.contains("etc mode 40755 owner"), "{words}");
}

#[test]
#[file_serial(machine)]
fn a_change_to_the_image_is_caught() {
    let words = report(
        |lab| fs::write(lab.image().join("etc/hosts"), "changed").unwrap(),
        || {},
    );
    assert!(words.contains("file gone: layers/"), "{words}");
}

#[test]
#[file_serial(machine)]
fn a_message_queue_is_caught() {
    let mut id = String::new();
    let words = report(
        |_| {
            let out = Command::new(blackbox::probe())
                .args(["make", "queue"])
                .output()
                .unwrap();
            id = String::from_utf8(out.stdout).unwrap().trim().to_owned();
        },
        || {},
    );
    let remove =
        Command::new(blackbox::probe()).args(["remove", "queue", &id]).status();
    assert!(remove.unwrap().success());
    assert!(words.contains("queue left"), "{words}");
}

#[test]
#[file_serial(machine)]
fn a_new_traced_process_continues_if_its_parent_is_killed() {
    let lab = Lab::new();
    let run = lab.traced("/bin/sh", |command| {
        command
            .args(["-c", "for i in 1 2 3 4 5 6 7 8; do : > $i & done; kill -9 $$"])
    });
    assert_eq!(run.beside_others().end_beside_others(), 137);
    for number in 1..=8 {
        let file = lab.dir().join(number.to_string());
        assert!(file.exists(), "process {number} is still stopped");
    }
}
