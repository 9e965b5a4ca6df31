//! The checks of each capability, in the order of the book.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use blackbox::{bridge_link, has_controller, living, user};
use common::SystemV;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gethostname};

use crate::Entry;
use crate::outcome::{Outcome, Trouble, so};
use crate::room::{Room, wait_for};

// No script here uses /dev/null: not every container has one, and a redirection that
// fails is easily taken for what was asked.

/// Where volumes are shown: most root file systems have it.
const GUEST: &str = "/mnt";

pub(crate) const ALL: &[Entry] = &[
    ("argv", "arguments_arrive_exactly", arguments, ""),
    ("argv", "the_three_streams_arrive_and_stay_apart", streams, ""),
    ("exit-code", "the_programs_own_is_handed_on", own_codes, ""),
    ("exit-code", "a_program_that_is_not_there_is_127", not_found, ""),
    ("exit-code", "a_program_that_cannot_be_executed_is_126", not_executable, ""),
    ("exit-code", "killed_by_signal_n_is_128_and_n", killed, ""),
    (
        "signals",
        "a_signal_to_the_program_outside_reaches_the_one_inside",
        forwarded,
        "",
    ),
    ("signals", "killed_outside_nothing_goes_on_inside", killed_outside, ""),
    ("leak", "ten_runs_leave_nothing", ten_runs, ""),
    ("leak", "a_run_that_fails_leaves_nothing", failed_run, ""),
    ("uts", "a_host_name_set_inside_is_not_seen_outside", host_name, ""),
    ("uts", "the_host_name_that_is_asked_for_is_the_one_inside", host_name_flag, ""),
    ("uts", "the_namespace_is_another", |room| another(room, "uts"), ""),
    ("ipc", "a_queue_made_outside_is_not_seen_inside", queue, ""),
    ("ipc", "the_namespace_is_another", |room| another(room, "ipc"), ""),
    ("pid", "the_program_is_process_1", process_1, ""),
    ("pid", "nothing_outlives_process_1", outlives, ""),
    ("pid", "the_namespace_is_another", |room| another(room, "pid"), ""),
    ("mount", "a_mount_made_inside_is_not_seen_outside", mount_inside, ""),
    ("mount", "the_namespace_is_another", |room| another(room, "mnt"), ""),
    ("user", "an_ordinary_user_is_root_inside", root_inside, ""),
    ("user", "outside_that_root_is_the_ordinary_user", nobody_outside, ""),
    ("net", "a_device_of_the_host_is_not_seen_inside", device, ""),
    ("net", "a_port_of_the_host_is_not_reached_from_inside", port, ""),
    ("net", "the_namespace_is_another", |room| another(room, "net"), ""),
    ("proc", "the_program_sees_only_itself_in_proc", only_itself, ""),
    ("tty", "the_program_has_a_terminal_of_the_right_size", terminal, ""),
    ("tty", "ctrl_c_reaches_the_program_and_its_exit_code_comes_back", ctrl_c, ""),
    ("tty", "the_terminal_outside_is_as_before", manners, ""),
    ("limits", "the_memory_is_that_of_the_limit", memory, ""),
    ("limits", "who_takes_more_memory_is_killed", oom, ""),
    ("limits", "no_more_processes_than_may_be", processes, ""),
    ("pivot", "a_file_of_the_host_is_not_reached", host_file, ""),
    ("pivot", "joining_its_own_mount_namespace_does_not_lead_out", escape, ""),
    ("pivot", "no_mount_of_the_host_is_left", host_mounts, ""),
    ("overlay", "a_write_is_not_in_the_image", image_untouched, ""),
    ("overlay", "a_write_is_gone_at_the_next_run", write_gone, ""),
    ("overlay", "a_file_that_is_removed_is_there_at_the_next_run", removed, ""),
    ("volume", "what_the_guest_writes_is_on_the_host", guest_writes, ""),
    ("volume", "what_the_host_writes_is_in_the_guest", host_writes, ""),
    ("volume", "a_volume_to_read_only_is_not_written", read_only, ""),
];

fn arguments(room: &mut Room) -> Outcome {
    let odd = ["a b", "", "it's", "$HOME *", "--flag", "-x", "\"q\"", "two\nlines"];
    let script = "for a; do printf '<%s>' \"$a\"; done";
    let mut words = vec!["sh", "-c", script, "name"];
    words.extend(odd);
    let expected: String = odd.iter().map(|word| format!("<{word}>")).collect();
    room.run(&words).end()?.prints(&expected)
}

fn streams(room: &mut Room) -> Outcome {
    let ended = room.sh("cat; echo aside >&2").input("from outside\n").end()?;
    ended.prints("from outside\n")?;
    let there = ended.err.lines().any(|line| line == "aside");
    ended.so(there, "\"aside\" on standard error")
}

fn own_codes(room: &mut Room) -> Outcome {
    for code in [0, 3, 255] {
        room.sh(&format!("exit {code}")).end()?.exits(code)?;
    }
    Ok(())
}

fn not_found(room: &mut Room) -> Outcome {
    room.run(&["no-such-program"]).end()?.exits(127)
}

fn not_executable(room: &mut Room) -> Outcome {
    room.run(&["/bin"]).end()?.exits(126)
}

fn killed(room: &mut Room) -> Outcome {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        // A trap makes process 1 of a namespace take a signal, and `exec` takes the
        // trap away: so it is killed from outside, by one that always works.
        let mut running = room.run(&["sleep", "1000"]).start()?;
        let pid = Pid::from_raw(running.has("sleep")?);
        let is_1 =
            fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|text| {
                text.lines()
                    .any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
            });
        if signal == Signal::SIGTERM && is_1 {
            let _ = kill(pid, Signal::SIGKILL);
            running.end()?.exits(128 + Signal::SIGKILL as i32)?;
            continue;
        }
        kill(pid, signal).expect("kill(2)");
        running.end()?.exits(128 + signal as i32)?;
    }
    Ok(())
}

const WAITS: &str = "echo ready; while :; do sleep 0.1; done";

fn forwarded(room: &mut Room) -> Outcome {
    let script = format!("trap 'echo got it; exit 9' TERM; {WAITS}");
    let mut running = room.sh(&script).start()?;
    running.prints("ready")?;
    kill(Pid::from_raw(running.pid()), Signal::SIGTERM).expect("kill(2)");
    let ended = running.end()?;
    ended.exits(9)?;
    ended.so(ended.out.contains("got it"), "\"got it\" on standard output")
}

fn killed_outside(room: &mut Room) -> Outcome {
    let mut running = room.run(&["sleep", "1000"]).start()?;
    running.has("sleep")?;
    kill(Pid::from_raw(running.pid()), Signal::SIGKILL).expect("kill(2)");
    running.end()?;
    let gone = room.gone("sleep");
    so(gone, "no process of the container", "sleep runs on")?;
    // What a killed program could not clean up the next run does.
    room.run(&["true"]).end()?.succeeds()
}

fn ten_runs(room: &mut Room) -> Outcome {
    for _ in 0..10 {
        room.run(&["true"]).end()?.succeeds()?;
    }
    Ok(())
}

fn failed_run(room: &mut Room) -> Outcome {
    let ended = room.run(&["no-such-program"]).end()?;
    ended.so(ended.code != 0, "another exit code than 0")
}

fn host_name(room: &mut Room) -> Outcome {
    room.sh("hostname inside && hostname").end()?.prints("inside\n")?;
    let outside = gethostname().expect("gethostname(2)");
    so(
        outside == "outside",
        "the host name outside to be \"outside\" still",
        format!("it is {outside:?}"),
    )
}

fn host_name_flag(room: &mut Room) -> Outcome {
    if room.subject.adapter.hostname.is_empty() {
        return Err(Trouble::skip("the adapter has no words to set a host name"));
    }
    room.run(&["hostname"]).hostname("box").end()?.prints("box\n")
}

/// The namespace's number is not that of the host.
fn another(room: &mut Room, kind: &str) -> Outcome {
    let link = format!("/proc/self/ns/{kind}");
    let outside = fs::read_link(&link).expect("readlink(2)");
    let ended = room.run(&["readlink", &link]).end()?;
    ended.succeeds()?;
    let inside = ended.out.trim();
    let holds = inside.starts_with(kind) && inside != outside.to_string_lossy();
    ended.so(holds, &format!("another one than {}", outside.display()))
}

fn queue(room: &mut Room) -> Outcome {
    let id = SystemV::Queue.make().expect("msgget(2)");
    // A line below the heading is a queue.
    let ended = room.run(&["sh", "-c", "wc -l < /proc/sysvipc/msg"]).end();
    SystemV::Queue.remove(id).expect("msgctl(2)");
    ended?.prints("1\n")
}

fn process_1(room: &mut Room) -> Outcome {
    room.sh("echo $$").end()?.prints("1\n")
}

fn outlives(room: &mut Room) -> Outcome {
    let ended = room.sh("sleep 1000 & exit 4").end()?;
    ended.exits(4)?;
    so(room.gone("sleep"), "no process of the container", "sleep runs on")
}

fn mount_table() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("read(2) mountinfo")
}

fn mount_inside(room: &mut Room) -> Outcome {
    let script = format!(
        "mount -t tmpfs grade-inside {GUEST} && echo mounted || exit 8; {WAITS}"
    );
    let mut running = room.sh(&script).start()?;
    running.prints("mounted")?;
    let seen = mount_table().lines().any(|line| line.contains("grade-inside"));
    let pid = Pid::from_raw(running.has("sleep")?);
    let _ = kill(Pid::from_raw(running.pid()), Signal::SIGTERM);
    let _ = kill(Pid::from_raw(running.pid()), Signal::SIGTERM);
    let _ = kill(pid, Signal::SIGKILL);
    for (pid, name) in living() {
        if name == "sh" {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    // How it ends is not the question here, but that it does.
    running.end()?;
    so(!seen, "the mount not to be seen outside", "it is in the host's mount table")
}

fn root_inside(room: &mut Room) -> Outcome {
    room.run(&["id", "-u"]).as_user().end()?.prints("0\n")
}

fn nobody_outside(room: &mut Room) -> Outcome {
    let mut running = room.sh(WAITS).as_user().start()?;
    running.prints("ready")?;
    let pid = running.has("sleep")?;
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids =
        status.lines().find(|line| line.starts_with("Uid:")).unwrap_or_default();
    let ids = ids.replace("Uid:", "").trim().replace('\t', " ");
    for (pid, name) in living() {
        if name == "sh" || name == "sleep" {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    running.end()?;
    let own = user().to_string();
    let is = ids.split(' ').all(|id| id == own);
    so(is, &format!("the process to be uid {own}'s outside"), format!("uids {ids}"))
}

fn device(room: &mut Room) -> Outcome {
    bridge_link("grade0", true).expect("a bridge");
    let ended = room.run(&["cat", "/proc/net/dev"]).end();
    bridge_link("grade0", false).expect("no bridge");
    let ended = ended?;
    ended.succeeds()?;
    ended.so(ended.out.contains("lo:"), "a device lo")?;
    ended.so(!ended.out.contains("grade0"), "no device grade0 of the host")
}

fn port(room: &mut Room) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let script = format!("nc 127.0.0.1 {port} && echo reached || echo closed");
    // Who is let in is turned out at once.
    let door = std::thread::spawn(move || {
        listener.set_nonblocking(true).expect("fcntl(2)");
        wait_for(|| listener.accept().ok().map(drop));
    });
    let ended = room.sh(&script).end();
    // It waits no longer.
    let _ = std::net::TcpStream::connect(("127.0.0.1", port));
    let _ = door.join();
    ended?.prints("closed\n")
}

fn only_itself(room: &mut Room) -> Outcome {
    room.sh("echo /proc/[0-9]*").end()?.prints("/proc/1\n")
}

fn terminal(room: &mut Room) -> Outcome {
    let mut terminal = room.sh("test -t 0 && test -t 1 && stty size").on_terminal();
    terminal.see("24 80");
    let code = terminal.end();
    so(code == 0, "exit code 0", format!("exit code {code}"))
}

fn ctrl_c(room: &mut Room) -> Outcome {
    let script = format!("trap 'echo g''ot it; exit 7' INT; {WAITS}");
    let mut terminal = room.sh(&script).on_terminal();
    terminal.see("ready\r\n");
    terminal.type_keys("\x03");
    terminal.see("got it");
    let code = terminal.end();
    so(code == 7, "exit code 7", format!("exit code {code}"))
}

fn manners(room: &mut Room) -> Outcome {
    // The program runs under a shell that goes on after it, on the same terminal.
    let run = room.run(&["true"]);
    let mut terminal = run.between("stty -a; ", "; stty -a; echo e''nd");
    let text = terminal.see("end\r\n");
    terminal.end();
    let settings = |from: &str| from.lines().map(str::to_owned).collect::<Vec<_>>();
    let at = text.rfind("speed").unwrap_or(0);
    so(
        text.find("speed").is_some_and(|first| first < at),
        "stty's word twice",
        &text,
    )?;
    let (before, after) = text.split_at(at);
    let before = settings(&before[before.find("speed").unwrap_or(0)..]);
    let after = settings(after);
    let same = after.iter().all(|line| line.is_empty() || before.contains(line));
    so(same, "the terminal's modes as before", text)
}

fn memory_controller() -> Outcome {
    match has_controller("memory") {
        true => Ok(()),
        false => Err(Trouble::skip("this kernel has no memory controller")),
    }
}

/// The directories of a process' groups, v1 and v2.
fn groups(pid: i32) -> Vec<std::path::PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let paths: Vec<_> =
        text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    let roots = blackbox::cgroup_roots();
    let join = |root: &std::path::PathBuf, path: &str| {
        root.join(path.trim_start_matches('/'))
    };
    roots.iter().flat_map(|root| paths.iter().map(|path| join(root, path))).collect()
}

fn memory(room: &mut Room) -> Outcome {
    memory_controller()?;
    let bytes = 64 << 20;
    let mut running = room.run(&["sleep", "1000"]).memory(bytes).start()?;
    let pid = running.has("sleep")?;
    let limits: Vec<_> = groups(pid)
        .iter()
        .flat_map(|group| {
            ["memory.max", "memory.limit_in_bytes"].map(|file| group.join(file))
        })
        .filter_map(|file| fs::read_to_string(file).ok())
        .map(|text| text.trim().to_owned())
        .collect();
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill(2)");
    running.end()?;
    so(
        limits.contains(&bytes.to_string()),
        &format!("a group with a limit of {bytes} bytes"),
        format!("the limits of its groups: {limits:?}"),
    )
}

fn oom(room: &mut Room) -> Outcome {
    memory_controller()?;
    room.run(&["tail", "/dev/zero"]).memory(16 << 20).end()?.exits(137)
}

fn processes(room: &mut Room) -> Outcome {
    if !has_controller("pids") {
        return Err(Trouble::skip("this kernel has no pids controller"));
    }
    // The shell says each process that it has made, and gives up at one that it can't.
    let script =
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & echo $i; done";
    let ended = room.sh(script).pids(6).end()?;
    let made = ended.out.lines().count();
    ended.so((1..=5).contains(&made), "at most five processes beside the shell")
}

const SECRET: &str = "/run/grade-secret";

fn host_file(room: &mut Room) -> Outcome {
    fs::write(SECRET, "of the host").expect("write(2)");
    let ended = room
        .sh(&format!("cat {SECRET}; cd /; cat ../../..{SECRET}; echo end"))
        .end();
    fs::remove_file(SECRET).expect("unlink(2)");
    ended?.prints("end\n")
}

/// Run this in the root of the mount namespace. Who only changed the root of a process
/// has another one there, and needs no more than a /proc to get to it.
fn in_namespaces_root(command: &str) -> String {
    format!(
        "test -e /proc/self/ns/mnt || mount -t proc proc /proc || exit 9; \
         nsenter --mount=/proc/self/ns/mnt {command}"
    )
}

fn escape(room: &mut Room) -> Outcome {
    fs::write(SECRET, "of the host").expect("write(2)");
    let script = in_namespaces_root(&format!(
        "sh -c 'test -e {SECRET} && echo reached || echo held'"
    ));
    let ended = room.sh(&script).end();
    fs::remove_file(SECRET).expect("unlink(2)");
    ended?.prints("held\n")
}

fn host_mounts(room: &mut Room) -> Outcome {
    let at = room.directory("marker");
    let (kind, none) = (Some("tmpfs"), None::<&str>);
    mount(Some("grade-marker"), &at, kind, MsFlags::empty(), none)
        .expect("mount(2)");
    let ended = room.sh(&in_namespaces_root("cat /proc/self/mountinfo")).end();
    nix::mount::umount(&at).expect("umount(2)");
    let ended = ended?;
    ended.succeeds()?;
    ended.so(ended.out.contains(" / "), "a mount table")?;
    let left = ended.out.lines().find(|line| line.contains("grade-marker"));
    so(left.is_none(), "no mount of the host", left.unwrap_or_default())
}

const MARK: &str = "/tmp/grade-was-here";

fn image_untouched(room: &mut Room) -> Outcome {
    let script = format!("mkdir -p /tmp; echo x > {MARK} && cat {MARK}");
    room.sh(&script).end()?.prints("x\n")?;
    let mark = room.lab.image().join(MARK.trim_start_matches('/'));
    so(!mark.exists(), "the image as it was", format!("it has {MARK}"))?;
    so(
        !std::path::Path::new(MARK).exists(),
        "the host as it was",
        format!("it has {MARK}"),
    )
}

fn write_gone(room: &mut Room) -> Outcome {
    room.sh(&format!("mkdir -p /tmp; echo x > {MARK}")).end()?.succeeds()?;
    room.sh(&format!("test -e {MARK} && echo there || echo gone"))
        .end()?
        .prints("gone\n")
}

fn removed(room: &mut Room) -> Outcome {
    room.sh("rm /bin/vi && ! test -e /bin/vi").end()?.succeeds()?;
    room.sh("test -e /bin/vi && echo there || echo gone").end()?.prints("there\n")
}

fn guest_writes(room: &mut Room) -> Outcome {
    let host = room.directory("volume");
    let script = format!("echo from inside > {GUEST}/file");
    room.sh(&script).volume(&host, GUEST, false).end()?.succeeds()?;
    let text = fs::read_to_string(host.join("file")).unwrap_or_default();
    so(
        text == "from inside\n",
        "\"from inside\" in the host's file",
        format!("{text:?} in it"),
    )
}

fn host_writes(room: &mut Room) -> Outcome {
    let host = room.directory("volume");
    fs::write(host.join("before"), "one\n").expect("write(2)");
    let script = format!(
        "cat {GUEST}/before; until test -s {GUEST}/later; do sleep 0.1; done; \
         cat {GUEST}/later"
    );
    let mut running = room.sh(&script).volume(&host, GUEST, false).start()?;
    running.prints("one")?;
    fs::write(host.join("later"), "two\n").expect("write(2)");
    running.end()?.prints("one\ntwo\n")
}

fn read_only(room: &mut Room) -> Outcome {
    if room.subject.adapter.volume_read_only.is_empty() {
        return Err(Trouble::skip("the adapter has no words for a volume to read"));
    }
    let host = room.directory("volume");
    fs::write(host.join("file"), "as it was\n").expect("write(2)");
    fs::set_permissions(host.join("file"), fs::Permissions::from_mode(0o666))
        .unwrap();
    let script =
        format!("cat {GUEST}/file; (echo other > {GUEST}/file) || echo refused");
    let ended = room.sh(&script).volume(&host, GUEST, true).end()?;
    ended.prints("as it was\nrefused\n")
}
