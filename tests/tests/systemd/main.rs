//! Cgroups that systemd delegates. A real systemd, with its message bus and its login
//! service, runs in the VM: it is process 1 of its own namespaces, and the root of
//! the cgroups that it sees is a cgroup of the VM.
//!
//! `cargo xtask test systemd` runs these tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic fails the test"
)]

mod files;
mod system;

use std::thread;
use std::time::Duration;

use system::System;

/// The words that the hint puts before the command.
const HINT: &str = "systemd-run --user --scope -p Delegate=yes";

const RUN: &str =
    "mydocker run -d --name web --network none -m 64m busybox sleep 1000";

/// The command that prints the memory limit of each container.
const LIMIT: &str = "find /sys/fs/cgroup -path '*/mydocker-????????????/memory.max' 2>/dev/null | xargs cat";

#[test]
fn an_ordinary_user_gets_limits_with_the_command_of_the_hint() {
    System::with(|system| {
        // The cgroup of a login session belongs to root.
        let refused = system.login(RUN);
        assert_eq!(refused.code, 125, "{refused:?}");
        assert!(refused.err.contains(HINT), "{refused:?}");
        system.has_no_group();

        let started = system.login(&format!("{HINT} --quiet {RUN}"));
        assert_eq!(started.code, 0, "{started:?}");
        assert_eq!(system.ok(LIMIT), "67108864\n");
        let cgroup = "cat /proc/self/cgroup";
        let inside =
            system.login(&format!("{HINT} --quiet mydocker exec web {cgroup}"));
        assert!(inside.out.contains("/mydocker-"), "{inside:?}");
        // Another session lists the container. For `exec`, the error has a hint.
        let listed = system.login("mydocker ps -q");
        assert_eq!(listed.out, started.out, "{listed:?}");
        let refused = system.login("mydocker exec web true");
        assert_eq!(refused.code, 125, "{refused:?}");
        assert!(refused.err.contains(HINT), "{refused:?}");
        let removed = system.login("mydocker rm -f web");
        assert_eq!(
            (removed.out.as_str(), removed.code),
            ("web\n", 0),
            "{removed:?}"
        );
        system.has_no_group();
    });
}

#[test]
fn groups_are_created_from_a_shell_in_a_delegated_cgroup() {
    System::with(|system| {
        let script = "ch02-cgroups create demo --controllers memory,pids \
                      && ch02-cgroups set demo memory.max=20m \
                      && ch02-cgroups exec demo cat /proc/self/cgroup \
                      && ch02-cgroups delete demo";
        let done = system.login(&format!("{HINT} --quiet sh -c \"{script}\""));
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
        assert!(done.out.ends_with("/mydocker-demo\n"), "{done:?}");
        system.has_no_group();
    });
}

#[test]
fn limits_of_root_remain_when_systemd_reloads_its_units() {
    System::with(|system| {
        let run = "mydocker run -d --name web --network none --cpus 0.5 busybox sleep 1000";
        system.ok(run);
        let limit = "cat /sys/fs/cgroup/mydocker-*/cpu.max";
        assert_eq!(system.ok(limit), "50000 100000\n");
        // systemd enables the controller for the unit, and disables it afterwards.
        system.ok("systemd-run --quiet --wait -p CPUWeight=50 true");
        system.ok("systemctl daemon-reload");
        assert_eq!(system.ok(limit), "50000 100000\n");
        system.ok("mydocker rm -f web");
        system.has_no_group();
    });
}

#[test]
fn a_service_with_a_delegated_cgroup_is_stopped_with_its_container() {
    System::with(|system| {
        system.ok(
            "systemd-run --quiet --unit=web -p Delegate=yes mydocker run --rm --name web \
             --network none -m 64m busybox sh -c 'trap \"exit 0\" TERM; sleep 1000 & wait'",
        );
        while !system.ok("mydocker ps").contains("web") {
            thread::sleep(Duration::from_millis(50));
        }
        let groups = system.ok("find /sys/fs/cgroup -name 'mydocker-*' | sort");
        let below = "/sys/fs/cgroup/system.slice/web.service/mydocker-";
        assert!(groups.lines().all(|group| group.starts_with(below)), "{groups}");
        assert_eq!(groups.lines().count(), 2, "{groups}");
        system.ok("systemctl stop web");
        assert_eq!(system.ok("mydocker ps -aq"), "");
        system.has_no_group();
    });
}
