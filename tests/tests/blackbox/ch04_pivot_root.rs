//! ch04-pivot-root: the container has its own root, and cannot reach files of the host.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use blackbox::{Lab, assert_devices_unchanged, probe};
use insta::assert_snapshot;
use predicates::prelude::*;
use predicates::str::contains;
use serial_test::file_serial;

/// Standard output of a shell script in the container.
fn script(mut run: assert_cmd::Command, flags: &[&str], script: &str) -> String {
    run.arg("run").args(flags).args(["sh", "-c", script]);
    let out = run.assert().success().get_output().stdout.clone();
    String::from_utf8(out).unwrap()
}

#[test]
#[file_serial(machine)]
fn the_root_filesystem_is_that_of_busybox() {
    let lab = Lab::new();
    for run in [lab.chapter("ch04-pivot-root"), lab.as_user("ch04-pivot-root")] {
        let out = script(run, &[], "echo /*; cat /etc/passwd; pwd; echo $HOME");
        assert_eq!(
            out,
            "/bin /dev /etc /home /linuxrc /mnt /proc /root /run /sbin /sys /tmp /usr /var\n\
             root:x:0:0:root:/root:/bin/sh\n\
             nobody:x:65534:65534:nobody:/home:/bin/false\n\
             /\n/root\n"
        );
    }
}

/// The masked paths of the runtime specification that exist in this kernel.
fn masked() -> Vec<&'static str> {
    let all = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ];
    all.into_iter().filter(|path| Path::new(path).exists()).collect()
}

#[test]
#[file_serial(machine)]
fn the_mount_table_has_exactly_the_expected_mounts() {
    let lab = Lab::new();
    let mut expected: BTreeSet<String> = [
        "/ root",
        "/proc proc rw,nosuid,nodev,noexec,relatime",
        "/sys sysfs ro,nosuid,nodev,noexec,relatime",
        "/dev tmpfs rw,nosuid",
        "/dev/pts devpts rw,nosuid,noexec,relatime",
        "/dev/shm tmpfs rw,nosuid,nodev,noexec,relatime",
    ]
    .map(str::to_owned)
    .into();
    for path in masked() {
        let kind =
            if Path::new(path).is_dir() { "tmpfs ro,relatime" } else { "device" };
        expected.insert(format!("{path} {kind}"));
    }
    for path in ["bus", "fs", "irq", "sys", "sysrq-trigger"] {
        if Path::new("/proc").join(path).exists() {
            expected.insert(format!(
                "/proc/{path} proc ro,nosuid,nodev,noexec,relatime"
            ));
        }
    }
    let table = |run| {
        let table = script(run, &[], "cat /proc/self/mountinfo");
        table.lines().map(described).collect::<BTreeSet<String>>()
    };
    assert_eq!(table(lab.chapter("ch04-pivot-root")), expected);
    // An ordinary user must not create devices, so these are bind mounts.
    for device in ["null", "zero", "full", "random", "urandom", "tty"] {
        expected.insert(format!("/dev/{device} device"));
    }
    assert_eq!(table(lab.as_user("ch04-pivot-root")), expected);
}

/// A line of mountinfo as "path kind flags". The flags are left out for the root and for
/// a device of the host, because they are those of the host.
fn described(line: &str) -> String {
    let (mount, file_system) = line.split_once(" - ").unwrap();
    let fields: Vec<&str> = mount.split(' ').collect();
    let (inner, path, flags) = (fields[3], fields[4], fields[5]);
    let kind = file_system.split(' ').next().unwrap();
    match path {
        "/" => "/ root".to_owned(),
        _ if ["/null", "/zero", "/full", "/random", "/urandom", "/tty"]
            .contains(&inner) =>
        {
            format!("{path} device")
        }
        _ => format!("{path} {kind} {flags}"),
    }
}

#[test]
#[file_serial(machine)]
fn the_program_has_only_the_three_standard_streams_of_the_caller() {
    let mut lab = Lab::new();
    fs::copy(probe(), lab.image().join("bin/probe")).unwrap();
    lab.update_snapshot();
    let script = "exec 3</ 7</etc/passwd 9>/dev/null; exec \"$@\" </dev/null 2>&1";
    let shell = ["sh", "-c", script, "sh"].map(OsStr::new);
    let mut run = lab.wrapped(&shell, "ch04-pivot-root");
    run.args(["run", "probe", "fds"]);
    let out = run.assert().success().get_output().stdout.clone();
    let out = String::from_utf8(out).unwrap();
    let pipe = r"pipe:\[[0-9]+\]";
    let exactly = format!("^0 /dev/null\n1 {pipe}\n2 {pipe}\n$");
    assert!(predicate::str::is_match(exactly).unwrap().eval(&out), "{out}");
    let out = script_of_user(&lab);
    assert!(["0 1 2\n", "0 1 2 3\n"].contains(&out.as_str()), "{out}");
}

/// The shell lists its own descriptors. It opens the directory as descriptor 3.
fn script_of_user(lab: &Lab) -> String {
    script(lab.as_user("ch04-pivot-root"), &[], "cd /proc/$$/fd; echo *")
}

#[test]
#[file_serial(machine)]
fn exit_statuses_are_correct_in_the_new_root() {
    let lab = Lab::new();
    for new in [Lab::chapter, Lab::as_user] {
        for (words, code) in [
            (&["true"][..], 0),
            (&["sh", "-c", "exit 42"], 42),
            // PID 1 ignores signals from inside, but its children do not.
            (&["sh", "-c", "sh -c 'kill -KILL $$'; exit $?"], 137),
            (&["/etc/passwd"], 126),
            (&["/etc"], 126),
            (&["no-such-program"], 127),
            (&["/bin/no-such-program"], 127),
        ] {
            let mut run = new(&lab, "ch04-pivot-root");
            run.arg("run").args(words).assert().code(code);
        }
    }
}

#[test]
#[file_serial(machine)]
fn a_program_of_the_host_is_not_found() {
    let lab = Lab::new();
    let own = blackbox::bin_dir().join("ch04-pivot-root");
    let mut run = lab.chapter("ch04-pivot-root");
    run.arg("run").arg(own).assert().code(127);
}

#[test]
#[file_serial(machine)]
fn the_environment_comes_from_the_image_only() {
    let lab = Lab::new();
    let expected = "HOME=/root\nHOSTNAME=box\n\
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
    for new in [Lab::chapter, Lab::as_user] {
        let mut run = new(&lab, "ch04-pivot-root");
        run.env("SECRET", "of the host").env("LD_PRELOAD", "").env("TERM", "vt100");
        run.args(["run", "--hostname", "box", "env"]);
        let out = run.assert().success().get_output().stdout.clone();
        let text = String::from_utf8(out).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        // TERM is that of the caller if there is a terminal, and not set otherwise.
        lines.retain(|line| *line != "TERM=vt100");
        assert_eq!(lines.join("\n") + "\n", expected);
    }
}

#[test]
#[file_serial(machine)]
fn the_expected_devices_exist_and_work() {
    let lab = Lab::new();
    let all = "cd /dev; echo *; for link in ptmx fd stdin; do readlink $link; done; \
               echo x > null; head -c 3 zero | wc -c; head -c 3 urandom | wc -c; \
               (echo x > full) 2>&1; touch shm/x && echo shm";
    for run in [lab.chapter("ch04-pivot-root"), lab.as_user("ch04-pivot-root")] {
        assert_eq!(
            script(run, &[], all),
            "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero\n\
             pts/ptmx\n/proc/self/fd\n/proc/self/fd/0\n3\n3\n\
             sh: write error: No space left on device\nshm\n"
        );
    }
}

#[test]
#[file_serial(machine)]
fn chmod_in_the_container_does_not_change_files_of_the_host() {
    let lab = Lab::new();
    // The devices, the mounts that cover files of /proc, and the streams of the caller.
    let covers = masked().into_iter().filter(|path| Path::new(path).is_file());
    let covers = covers.collect::<Vec<_>>().join(" ");
    let closing = format!(
        "cd /dev; all=\"null zero full random urandom tty stdin stdout stderr {covers}\"
         chmod 0 $all; chown 1 $all; true"
    );
    let null = "exec \"$@\" </dev/null >/dev/null 2>&1";
    let null = ["sh", "-c", null, "sh"].map(OsStr::new);
    let runs =
        [lab.wrapped(&null, "ch04-pivot-root"), lab.as_user("ch04-pivot-root")];
    for mut run in runs {
        run.args(["run", "sh", "-c", &closing]);
        assert_devices_unchanged(|| assert!(run.output().unwrap().status.success()));
    }
}

#[test]
#[file_serial(machine)]
fn writes_to_kernel_files_are_refused() {
    let lab = Lab::new();
    let paths = ["/proc/sys/kernel/hostname", "/proc/sysrq-trigger"];
    // Some kernels are built without one of these files.
    let there = paths.into_iter().filter(|path| Path::new(path).exists());
    for path in there.chain(["/sys/new"]) {
        for mut run in
            [lab.chapter("ch04-pivot-root"), lab.as_user("ch04-pivot-root")]
        {
            run.args(["run", "sh", "-c", &format!("echo h > {path}")]);
            let refused = contains("Read-only file system")
                .or(contains("Permission denied"))
                .or(contains("can't create /sys/new"));
            run.assert().failure().stderr(refused);
        }
    }
}

#[test]
#[file_serial(machine)]
fn masked_paths_are_empty() {
    let lab = Lab::new();
    for path in masked() {
        let look =
            format!("if [ -d {path} ]; then ls -A {path}; else cat {path}; fi");
        assert_eq!(script(lab.chapter("ch04-pivot-root"), &[], &look), "", "{path}");
    }
}

#[test]
#[file_serial(machine)]
fn the_classic_escape_succeeds_from_chroot_and_fails_from_pivot_root() {
    let mut lab = Lab::new();
    fs::copy(probe(), lab.image().join("bin/probe")).unwrap();
    fs::create_dir(lab.image().join("prison")).unwrap();
    let secret = lab.dir().join("secret");
    fs::write(&secret, "the host's").unwrap();
    lab.update_snapshot();
    let secret = secret.to_str().unwrap();
    let mut run = lab.chapter("ch04-pivot-root");
    run.args(["run", "--chroot", "probe", "escape", secret]);
    run.assert().success().stdout("escaped\n");
    let mut run = lab.chapter("ch04-pivot-root");
    run.args(["run", "probe", "escape", secret]).assert().success().stdout("held\n");
}

#[test]
#[file_serial(machine)]
fn rejoining_the_mount_namespace_escapes_from_chroot_only() {
    let lab = Lab::new();
    let secret = lab.dir().join("secret");
    fs::write(&secret, "the host's").unwrap();
    let join =
        ["nsenter", "--mount=/proc/self/ns/mnt", "cat", secret.to_str().unwrap()];
    let mut run = lab.chapter("ch04-pivot-root");
    run.args(["run", "--chroot"]).args(join).assert().success().stdout("the host's");
    let mut run = lab.chapter("ch04-pivot-root");
    run.arg("run").args(join).assert().failure();
}

#[test]
#[file_serial(machine)]
fn it_works_whether_the_hosts_root_is_shared_or_private() {
    let lab = Lab::new();
    let probe = probe();
    for kind in ["shared", "private"] {
        for chroot in [&[][..], &["--chroot"]] {
            let wrapper = [probe.as_os_str(), OsStr::new(kind)];
            let mut run = lab.wrapped(&wrapper, "ch04-pivot-root");
            run.arg("run").args(chroot).args(["ls", "/proc/1/exe"]);
            run.assert().success();
        }
    }
}

#[test]
#[file_serial(machine)]
fn run_refuses_a_program_that_leads_to_the_hosts_own_binary() {
    let mut lab = Lab::new();
    let bin = lab.image().join("bin");
    symlink("/proc/self/exe", bin.join("evil")).unwrap();
    symlink("/proc/thread-self/exe", bin.join("evil2")).unwrap();
    for (name, interpreter) in
        [("script", "/proc/self/exe"), ("twice", "/bin/script")]
    {
        let path = bin.join(name);
        fs::write(&path, format!("#!{interpreter} run\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).unwrap();
    }
    lab.update_snapshot();
    for program in ["evil", "evil2", "script", "twice", "/proc/self/exe"] {
        let mut run = lab.chapter("ch04-pivot-root");
        run.args(["run", program]).assert().code(126).stdout("").stderr(contains(
            "leads to the host's own binary, which a container must not run",
        ));
    }
}

#[test]
#[file_serial(machine)]
fn symlinks_at_the_mount_points_do_not_lead_out_of_the_image() {
    let mut lab = Lab::new();
    let image = lab.image();
    let trap = lab.dir().join("trap");
    fs::create_dir(&trap).unwrap();
    for point in ["proc", "sys", "dev"] {
        fs::remove_dir(image.join(point)).unwrap();
        symlink(&trap, image.join(point)).unwrap();
    }
    lab.update_snapshot();
    let mut run = lab.chapter("ch04-pivot-root");
    // The three mount points cannot be one directory, so the run may fail. The directory
    // of the host is not changed.
    let _ = run.args(["run", "true"]).assert();
    assert_eq!(fs::read_dir(&trap).unwrap().count(), 0);
    // The target of the symlinks was created inside the image.
    let inside = image.join(trap.strip_prefix("/").unwrap());
    assert!(inside.is_dir(), "{}", inside.display());
    lab.update_snapshot();
}

#[test]
#[file_serial(machine)]
fn a_terminal_works_in_the_new_root() {
    let lab = Lab::new();
    for mut command in
        [lab.command(&[], "ch04-pivot-root"), lab.user_command("ch04-pivot-root")]
    {
        command.args(["run", "-ti", "sh"]);
        let mut terminal = blackbox::Terminal::run(command);
        terminal.see("# ");
        terminal.type_keys("tty; stty size; ls /dev/pts\n");
        terminal.see("/dev/pts/0");
        terminal.see("24 80");
        terminal.type_keys("exit 5\n");
        assert_eq!(terminal.end(), 5);
    }
}

#[test]
#[file_serial(machine)]
fn it_works_inside_another_container() {
    let lab = Lab::new();
    // Inside ch03-run, the host's filesystem and a new /proc are visible. The
    // environment is clean, so env(1) sets the state directory again.
    let outer = blackbox::bin_dir().join("ch03-run");
    let state = format!("MYDOCKER_ROOT={}", lab.state().display());
    let words = ["run", "env", &state].map(OsStr::new);
    let wrapper: Vec<&OsStr> =
        [outer.as_os_str()].into_iter().chain(words).collect();
    let mut run = lab.wrapped(&wrapper, "ch04-pivot-root");
    run.args(["run", "sh", "-c", "echo $$"]).assert().success().stdout("1\n");
}

#[test]
#[file_serial(machine)]
fn the_error_lists_all_tried_sources_if_there_is_no_busybox() {
    let lab = Lab::new();
    let empty = lab.dir().join("empty");
    let mut run = lab.chapter("ch04-pivot-root");
    run.env("MYDOCKER_ROOT", &empty).env("PATH", "/nonexistent");
    let out =
        run.args(["run", "true"]).assert().code(125).get_output().stderr.clone();
    let said = String::from_utf8(out).unwrap();
    assert_snapshot!(said.replace(empty.to_str().unwrap(), "STATE"), @"
    busybox: creating the image in STATE
    error: no busybox found; tried:
      a static busybox in PATH: not found
      apt-get download busybox-static: apt-get not found
      apk fetch busybox-static: apk not found
      dnf download busybox: dnf not found
    hint: set MYDOCKER_BUSYBOX to a static busybox, or to a tar of a root filesystem
    ");
    let left: Vec<_> = fs::read_dir(empty.join("layers")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
#[file_serial(machine)]
fn an_invalid_mydocker_busybox_is_refused() {
    let lab = Lab::new();
    let dynamic = lab.dir().join("dynamic");
    fs::write(&dynamic, dynamic_program()).unwrap();
    for (path, reason) in [
        ("/nonexistent", "No such file or directory"),
        ("/etc/passwd", "is not an ELF program"),
        (dynamic.to_str().unwrap(), "is not static"),
    ] {
        let mut run = lab.chapter("ch04-pivot-root");
        run.env("MYDOCKER_ROOT", lab.dir().join("empty"))
            .env("MYDOCKER_BUSYBOX", path);
        let assert = run.args(["run", "true"]).assert().code(125);
        assert.stderr(contains("MYDOCKER_BUSYBOX").and(contains(reason)));
    }
}

/// The beginning of a program that needs a dynamic loader: the part that is examined.
fn dynamic_program() -> Vec<u8> {
    let own = fs::read("/proc/self/exe").unwrap();
    let mut elf = own[..64].to_vec();
    elf[32..40].copy_from_slice(&64_u64.to_le_bytes()); // e_phoff
    elf[54..56].copy_from_slice(&56_u16.to_le_bytes()); // e_phentsize
    elf[56..58].copy_from_slice(&1_u16.to_le_bytes()); // e_phnum
    elf.extend(3_u32.to_le_bytes()); // PT_INTERP
    elf.extend([0; 52]);
    elf
}

#[test]
#[file_serial(machine)]
fn many_concurrent_first_runs_create_one_image() {
    let lab = Lab::new();
    let state = lab.dir().join("empty");
    let busybox = lab.image().join("bin/busybox");
    let start = || {
        let mut command = lab.command(&[], "ch04-pivot-root");
        command.env("MYDOCKER_ROOT", &state).env("MYDOCKER_BUSYBOX", &busybox);
        command.args(["run", "true"]).spawn().unwrap()
    };
    let mut runs: Vec<_> = (0..8).map(|_| start()).collect();
    for run in &mut runs {
        assert!(run.wait().unwrap().success());
    }
    assert_eq!(fs::read_dir(state.join("layers")).unwrap().count(), 1);
}

#[test]
#[file_serial(machine)]
fn a_killed_fetch_leaves_no_partial_image() {
    let lab = Lab::new();
    let busybox = lab.image().join("bin/busybox");
    for delay in [1, 3, 6, 10, 15, 25] {
        let state = lab.dir().join(format!("empty{delay}"));
        let start = || {
            let mut command = lab.command(&[], "ch04-pivot-root");
            command.env("MYDOCKER_ROOT", &state).env("MYDOCKER_BUSYBOX", &busybox);
            command.args(["run", "sh", "-c", "ls / | wc -l"]);
            command
        };
        let mut run = start().spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        run.kill().unwrap();
        run.wait().unwrap();
        let again = start().output().unwrap();
        assert!(again.status.success());
        assert_eq!(
            String::from_utf8_lossy(&again.stdout),
            "14\n",
            "after {delay} ms"
        );
        let left = fs::read_dir(state.join("layers")).unwrap().count();
        assert_eq!(left, 1, "after {delay} ms");
    }
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    let mut help = lab.chapter("ch04-pivot-root");
    let out =
        help.args(["run", "--help"]).assert().success().get_output().stdout.clone();
    assert_snapshot!("ch04-pivot-root-help", String::from_utf8(out).unwrap());
}
