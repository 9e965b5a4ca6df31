//! The doctor on machines that are broken on purpose. Each has one fault, and the doctor
//! names the fault and its remedy.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;
use std::thread;

use blackbox::{Lab, add_forward_chain, has_controller, skip};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde_json::Value;
use serial_test::file_serial;

const NONE: Option<&str> = None;

/// The report of the doctor.
struct Report {
    code: i32,
    json: Value,
}

impl Report {
    fn of(command: &mut Command) -> Report {
        let output = command.arg("--json").output().unwrap();
        let json = serde_json::from_slice(&output.stdout);
        let json = json.unwrap_or_else(|e| panic!("{e}: {output:?}"));
        Report { code: output.status.code().unwrap(), json }
    }

    /// The report for root.
    fn of_root(lab: &Lab) -> Report {
        Report::of(&mut lab.command(&[], "doctor"))
    }

    fn of_user(lab: &Lab) -> Report {
        Report::of(&mut lab.user_command("doctor"))
    }

    /// The checks of this status, without those that depend on optional features.
    fn with(&self, status: &str) -> Vec<&str> {
        let checks = self.json["checks"].as_array().unwrap();
        let these = checks.iter().filter(|check| check["status"] == status);
        let ids = these.map(|check| check["id"].as_str().unwrap());
        ids.filter(|id| !["aufs", "subordinate-ids"].contains(id)).collect()
    }

    /// The detail and the fix of a check, which must have this status.
    fn found(&self, id: &str, status: &str) -> (&str, &str) {
        let mut checks = self.json["checks"].as_array().unwrap().iter();
        let check = checks.find(|check| check["id"] == id);
        let check = check.unwrap_or_else(|| panic!("no {id}: {:#}", self.json));
        assert_eq!(check["status"], status, "{check:#}");
        let word = |key: &str| check[key].as_str().unwrap_or("");
        (word("detail"), word("fix"))
    }

    /// Assert that exactly these checks prevent the main example from running.
    fn fails_by(&self, ids: &[&str]) {
        let checks = self.json["checks"].as_array().unwrap().iter();
        let failed = checks.filter(|check| check["status"] == "fail");
        let needed = failed.filter(|check| check["needed_for"][0] == "main_job");
        let found: Vec<_> = needed.map(|check| &check["id"]).collect();
        assert_eq!(found, ids, "{:#}", self.json);
        assert_eq!(self.json["summary"]["main_job"], "fail");
        assert_eq!(self.code, 3);
    }
}

fn contains(text: &str, part: &str) {
    assert!(text.contains(part), "no {part:?} in {text:?}");
}

/// Run `work` in a thread with its own mount namespace, which the programs that it starts
/// share.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let work = move || {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(NONE, "/", NONE, private, NONE).unwrap();
            work()
        };
        scope.spawn(work).join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn tmpfs(at: &Path, flags: MsFlags, options: &str) {
    fs::create_dir_all(at).unwrap();
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options)).unwrap();
}

/// A file of /proc/sys with another value. Drop restores the original value.
struct Changed(&'static str, String);

impl Changed {
    /// Set the value. `None` if the kernel does not have the file.
    fn to(path: &'static str, value: &str) -> Option<Changed> {
        let before = fs::read_to_string(path).ok()?;
        fs::write(path, value).unwrap();
        Some(Changed(path, before))
    }

    /// Set the value of a file that each kernel has. `None` if even root must not write
    /// it; the test is then skipped.
    fn unless_forbidden(path: &'static str, value: &str) -> Option<Changed> {
        let before = fs::read_to_string(path).unwrap();
        match fs::write(path, value) {
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                skip("this machine's settings may not be changed");
                None
            }
            written => {
                written.unwrap();
                Some(Changed(path, before))
            }
        }
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        let restored = fs::write(self.0, &self.1);
        assert!(restored.is_ok() || thread::panicking(), "{restored:?}");
    }
}

#[test]
#[file_serial(machine)]
fn doctor_reports_no_problem_on_a_complete_machine() {
    let lab = Lab::new();
    // Linux 6.12 has some controllers only in v2.
    let controllers = ["cpuset", "memory"];
    let lacking = controllers.into_iter().filter(|name| !has_controller(name));
    let lacking: Vec<_> = lacking.map(|name| format!("cgroup-{name}")).collect();
    for report in [Report::of_root(&lab), Report::of_user(&lab)] {
        assert_eq!(report.with("fail"), lacking, "{:#}", report.json);
        assert_eq!(report.json["summary"]["main_job"], "ok");
        // This doctor does not check QEMU.
        assert_eq!(report.json["summary"]["vm_tests"], "unknown");
        assert_eq!(report.code, 0);
    }
    lab.chapter("doctor").arg("--bogus").assert().code(2);
    let text = lab.chapter("doctor").assert().success();
    let text = String::from_utf8_lossy(&text.get_output().stdout).into_owned();
    contains(&text, "\nthe main job: can run here\n");
}

#[test]
#[file_serial(machine)]
fn doctor_names_the_sysctl_that_disables_user_namespaces() {
    let lab = Lab::new();
    let path = "/proc/sys/user/max_user_namespaces";
    let Some(_changed) = Changed::unless_forbidden(path, "0") else { return };
    let report = Report::of_user(&lab);
    assert_eq!(report.code, 3);
    let remedy = "sysctl -w user.max_user_namespaces=15000";
    for id in ["user-namespaces", "namespace-uts", "sysctl-max-namespaces"] {
        assert_eq!(report.found(id, "fail").1, remedy, "{id}");
    }
    contains(report.found("user-namespaces", "fail").0, "ENOSPC");
    // Root does not need user namespaces.
    let report = Report::of_root(&lab);
    assert_eq!(report.code, 0);
    assert_eq!(report.found("user-namespaces", "warn").1, remedy);
}

#[test]
#[file_serial(machine)]
fn doctor_names_a_disabled_kind_of_namespace_and_its_sysctl() {
    let lab = Lab::new();
    let path = "/proc/sys/user/max_net_namespaces";
    let Some(_changed) = Changed::unless_forbidden(path, "0") else { return };
    let report = Report::of_root(&lab);
    report.fails_by(&["namespace-net"]);
    let (detail, fix) = report.found("namespace-net", "fail");
    contains(detail, "ENOSPC");
    assert_eq!(fix, "sysctl -w user.max_net_namespaces=15000");
    for id in ["veth", "firewall-rules", "connection-tracking"] {
        contains(report.found(id, "unknown").1, "namespace-net");
    }
}

#[test]
#[file_serial(machine)]
fn doctor_names_the_sysctl_of_debian_for_user_namespaces() {
    let path = "/proc/sys/kernel/unprivileged_userns_clone";
    let lab = Lab::new();
    let id = "sysctl-userns-clone";
    let Some(_changed) = Changed::to(path, "0") else {
        let report = Report::of_user(&lab);
        contains(report.found(id, "ok").0, "this kernel has no");
        return;
    };
    let report = Report::of_user(&lab);
    let remedy = "sysctl -w kernel.unprivileged_userns_clone=1";
    for id in [id, "user-namespaces"] {
        assert_eq!(report.found(id, "fail").1, remedy);
    }
    assert_eq!(report.code, 3);
}

#[test]
#[file_serial(machine)]
fn doctor_names_the_sysctl_of_apparmor_only_if_it_exists() {
    let lab = Lab::new();
    apart(|| {
        let sys = Path::new("/proc/sys/kernel");
        tmpfs(sys, MsFlags::empty(), "");
        let report = Report::of_root(&lab);
        contains(report.found("sysctl-userns-clone", "ok").0, "has no");
        contains(report.found("sysctl-apparmor-userns", "ok").0, "has no");
        let name = "apparmor_restrict_unprivileged_userns";
        fs::write(sys.join(name), "1\n").unwrap();
        let (id, remedy) =
            ("sysctl-apparmor-userns", format!("sysctl -w kernel.{name}=0"));
        assert_eq!(Report::of_root(&lab).found(id, "warn").1, remedy);
        assert_eq!(Report::of_user(&lab).found(id, "fail").1, remedy);
    });
}

/// The mount points of cgroup filesystems, with the controllers of v1.
fn cgroups() -> Vec<(String, String)> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let found = table.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let options = kind.strip_prefix("cgroup")?.split(' ').nth(2)?;
        Some((mount.split(' ').nth(4)?.to_owned(), options.to_owned()))
    });
    found.collect()
}

#[test]
#[file_serial(machine)]
fn doctor_says_how_to_mount_cgroups() {
    let lab = Lab::new();
    apart(|| {
        for (mount, _) in cgroups() {
            umount2(mount.as_str(), MntFlags::MNT_DETACH).unwrap();
        }
        let report = Report::of_root(&lab);
        assert_eq!(report.with("fail"), ["cgroup"], "{:#}", report.json);
        let fix = report.found("cgroup", "fail").1;
        assert_eq!(fix, "mount -t cgroup2 none /sys/fs/cgroup");
        // The main example needs no limits.
        assert_eq!(report.code, 0);
    });
}

/// In cgroup v1, the hierarchy of the controller is not mounted. In v2, only a group
/// without enabled controllers is visible.
#[test]
#[file_serial(machine)]
fn doctor_says_how_to_enable_the_memory_controller() {
    let lab = Lab::new();
    let has = |options: &str| options.split(',').any(|word| word == "memory");
    let v1 = cgroups().into_iter().find(|(_, options)| has(options));
    // Two levels: a new group enables no controllers for the groups inside it.
    let outer = Path::new("/sys/fs/cgroup/nothing-handed-down");
    let group = &outer.join("inside");
    let report = apart(|| {
        let remedy = if let Some((mount, _)) = v1 {
            umount2(mount.as_str(), MntFlags::MNT_DETACH).unwrap();
            "mount -t cgroup -o memory none /sys/fs/cgroup/memory"
        } else if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            fs::create_dir_all(group).unwrap();
            let aside = lab.dir().join("aside");
            fs::create_dir(&aside).unwrap();
            mount(Some(group), &aside, NONE, MsFlags::MS_BIND, NONE).unwrap();
            umount2("/sys/fs/cgroup", MntFlags::MNT_DETACH).unwrap();
            let top = "/sys/fs/cgroup";
            mount(Some(&aside), top, NONE, MsFlags::MS_MOVE, NONE).unwrap();
            "echo +memory > cgroup.subtree_control"
        } else {
            // This kernel has the controller, but no hierarchy is mounted.
            "mount -t cgroup -o memory none"
        };
        let report = Report::of_root(&lab);
        (report, remedy)
    });
    // The group is visible at this path only outside the thread.
    let _ = fs::remove_dir(group).and_then(|()| fs::remove_dir(outer));
    let (report, remedy) = report;
    contains(report.found("cgroup-memory", "fail").1, remedy);
    assert_eq!(report.code, 0);
}

/// The report of the doctor for this state directory.
fn with_state(lab: &Lab, state: &Path) -> Report {
    Report::of(lab.command(&[], "doctor").env("MYDOCKER_ROOT", state))
}

#[test]
#[file_serial(machine)]
fn doctor_names_a_state_directory_that_overlay_refuses() {
    let lab = Lab::new();
    apart(|| {
        let at = |name: &str| lab.dir().join("overlay").join(name);
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            at("lower").display(),
            at("upper").display(),
            at("work").display()
        );
        let kind = Some("overlay");
        let options = Some(options.as_str());
        mount(kind, &at("merged"), kind, MsFlags::empty(), options).unwrap();
        let report = with_state(&lab, &at("merged/state"));
        report.fails_by(&["state-overlay"]);
        let (detail, fix) = report.found("state-overlay", "fail");
        contains(detail, "EINVAL");
        contains(fix, "export MYDOCKER_ROOT=/dev/shm/mydocker");
        contains(fix, "--driver copy");
    });
}

#[test]
#[file_serial(machine)]
fn doctor_names_a_read_only_state_directory() {
    let lab = Lab::new();
    apart(|| {
        let place = lab.dir().join("small");
        tmpfs(&place, MsFlags::MS_RDONLY, "");
        let report = with_state(&lab, &place.join("state"));
        report.fails_by(&["state", "state-overlay"]);
        let (detail, fix) = report.found("state", "fail");
        contains(detail, "EROFS");
        contains(fix, "a directory that is not read-only");
    });
    // A directory of another user.
    let closed = lab.dir().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = lab.user_command("doctor");
    let report = Report::of(command.env("MYDOCKER_ROOT", closed.join("state")));
    let (detail, fix) = report.found("state", "fail");
    contains(detail, "EACCES");
    contains(fix, "export MYDOCKER_ROOT=$HOME/mydocker");
    assert_eq!(report.code, 3);
}

#[test]
#[file_serial(machine)]
fn doctor_names_a_full_disk() {
    let lab = Lab::new();
    apart(|| {
        let place = lab.dir().join("small");
        tmpfs(&place, MsFlags::empty(), "size=64k");
        fs::write(place.join("all"), [1; 64 << 10]).unwrap();
        let report = with_state(&lab, &place.join("state"));
        report.fails_by(&["state", "state-room", "state-overlay"]);
        for id in ["state", "state-room"] {
            let (detail, fix) = report.found(id, "fail");
            contains(detail, "ENOSPC");
            contains(fix, "free some space");
        }
    });
}

#[test]
#[file_serial(machine)]
fn doctor_names_a_temporary_directory_without_exec() {
    let lab = Lab::new();
    apart(|| {
        let place = lab.dir().join("noexec");
        tmpfs(&place, MsFlags::MS_NOEXEC, "");
        let mut command = lab.command(&[], "doctor");
        let report = Report::of(command.env("TMPDIR", &place));
        let (detail, fix) = report.found("temporary-files", "warn");
        contains(detail, "EACCES");
        let remedy = format!("mount -o remount,exec {}", place.display());
        contains(fix, &remedy);
        assert_eq!(report.code, 0);
    });
}

#[test]
#[file_serial(machine)]
fn doctor_names_mydocker_busybox_if_no_busybox_is_available() {
    let lab = Lab::new();
    let empty = lab.dir().join("empty");
    fs::create_dir(&empty).unwrap();
    let doctor = || {
        let mut command = lab.command(&[], "doctor");
        command.env("PATH", &empty).env("MYDOCKER_ROOT", empty.join("state"));
        command.env_remove("MYDOCKER_BUSYBOX");
        command
    };
    let report = Report::of(&mut doctor());
    let (detail, fix) = report.found("busybox", "fail");
    contains(detail, "no apt-get, apk or dnf");
    contains(fix, "export MYDOCKER_BUSYBOX=FILE");
    assert_eq!(report.code, 3);
    // MYDOCKER_BUSYBOX names a file that is not a busybox.
    let report = Report::of(doctor().env("MYDOCKER_BUSYBOX", "/etc/passwd"));
    contains(report.found("busybox", "fail").0, "is not an ELF program");
    // The doctor does not run a package manager, it only checks that there is one.
    fs::write(empty.join("apk"), "").unwrap();
    contains(
        Report::of(&mut doctor()).found("busybox", "ok").0,
        "apk can download it",
    );
}

#[test]
#[file_serial(machine)]
fn doctor_names_a_seccomp_filter_that_forbids_mounts() {
    let lab = Lab::new();
    apart(|| {
        let filter = SeccompFilter::new(
            [(nix::libc::SYS_mount, Vec::new())].into(),
            SeccompAction::Allow,
            SeccompAction::Errno(Errno::EPERM as u32),
            std::env::consts::ARCH.try_into().unwrap(),
        );
        // For this thread, and for the programs that it starts.
        let program = BpfProgram::try_from(filter.unwrap()).unwrap();
        apply_filter(&program).unwrap();
        let report = Report::of_root(&lab);
        let kept = ["namespace-mount", "proc", "overlay-root", "state-overlay"];
        report.fails_by(&kept);
        for id in kept {
            let (detail, fix) = report.found(id, "fail");
            contains(detail, "EPERM");
            contains(fix, "seccomp=unconfined");
        }
    });
}

#[test]
#[file_serial(machine)]
fn doctor_names_the_firewall_that_filters_forwarded_packets() {
    let lab = Lab::new();
    apart(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let owner = "forward-owner";
        let none = "no chain of another program";
        contains(Report::of_root(&lab).found(owner, "ok").0, none);
        add_forward_chain("theirs", "passage", false).unwrap();
        contains(
            Report::of_root(&lab).found(owner, "ok").0,
            "inet theirs passage: ",
        );
        // firewalld manages its own table.
        add_forward_chain("firewalld", "filter_FORWARD", false).unwrap();
        let report = Report::of_root(&lab);
        let (detail, fix) = report.found(owner, "warn");
        contains(detail, "inet theirs passage, firewalld");
        contains(fix, "firewall-cmd --zone=trusted --add-interface=BRIDGE");
        contains(Report::of_user(&lab).found(owner, "ok").0, "ordinary user");
        assert_eq!(report.code, 0);
    });
}

#[test]
#[file_serial(machine)]
fn doctor_reports_disabled_forwarding_that_run_cannot_enable() {
    let lab = Lab::new();
    apart(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let (id, path) = ("ip-forward", "/proc/sys/net/ipv4/ip_forward");
        fs::write(path, "1").unwrap();
        contains(Report::of_root(&lab).found(id, "ok").0, "is on");
        fs::write(path, "0").unwrap();
        contains(Report::of_root(&lab).found(id, "ok").0, "run -net sets it to 1");
        let sys = "/proc/sys";
        mount(Some(sys), sys, NONE, MsFlags::MS_BIND, NONE).unwrap();
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(NONE, sys, NONE, flags, NONE).unwrap();
        let report = Report::of_root(&lab);
        let (detail, fix) = report.found(id, "warn");
        contains(detail, "cannot be changed here");
        contains(fix, "sysctl -w net.ipv4.ip_forward=1");
        contains(Report::of_user(&lab).found(id, "ok").0, "ordinary user");
    });
}

#[test]
#[file_serial(machine)]
fn doctor_names_missing_requirements_of_pasta() {
    let lab = Lab::new();
    apart(|| {
        let there = common::PATH.split(':').map(Path::new);
        let there = there.into_iter().any(|dir| dir.join("pasta").is_file());
        let report = Report::of_root(&lab);
        match there {
            true => contains(report.found("pasta", "ok").0, "pasta"),
            false => contains(report.found("pasta", "warn").1, "passt"),
        }
        let place = Path::new("/dev/net");
        tmpfs(place, MsFlags::empty(), "mode=755");
        for report in [Report::of_root(&lab), Report::of_user(&lab)] {
            let (detail, fix) = report.found("tun", "warn");
            contains(detail, "open(2) /dev/net/tun: ENOENT");
            contains(fix, "modprobe tun");
        }
        fs::write(place.join("tun"), "").unwrap();
        fs::set_permissions(place.join("tun"), fs::Permissions::from_mode(0o600))
            .unwrap();
        for report in [Report::of_root(&lab), Report::of_user(&lab)] {
            let (detail, fix) = report.found("tun", "warn");
            contains(detail, "EACCES");
            contains(fix, "chmod 666 /dev/net/tun");
        }
    });
}
