//! The checks of the book's exercises, three a chapter. Each fails on the checkout as it
//! is, and its last column is a part of what it finds there.

use std::fs;
use std::path::Path;

use blackbox::living;
use common::SystemV;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::Entry;
use crate::outcome::{Outcome, Trouble, so};
use crate::room::Room;
use crate::subject::Running;

pub(crate) const ALL: &[Entry] = &[
    ("ch01-fifty-lines-1", "killed_by_signal_9_is_137", killed, "exit code 1"),
    (
        "ch01-fifty-lines-2",
        "a_program_that_is_not_there_is_127",
        missing,
        "exit code 1",
    ),
    ("ch01-fifty-lines-3", "the_network_is_another", another_net, "net:["),
    (
        "ch02-uts-1",
        "without_a_flag_there_is_no_domain_name",
        no_domain,
        "outside.example",
    ),
    (
        "ch02-uts-2",
        "a_name_with_a_dot_is_host_and_domain_name",
        dotted,
        "box.example.org",
    ),
    (
        "ch02-uts-3",
        "a_variable_tells_the_hosts_name",
        hosts_name,
        "\"\\n\", exit code 0",
    ),
    ("ch02-ipc-1", "a_flag_sets_the_longest_message", longest, "'--msgmax'"),
    ("ch02-ipc-2", "with_share_the_hosts_queue_is_seen", share_ipc, "'--share'"),
    ("ch02-ipc-3", "remove_all_leaves_none", remove_all, "'remove-all'"),
    ("ch02-pid-1", "a_file_tells_the_number_outside", pidfile, "'--pidfile'"),
    ("ch02-pid-2", "with_proc_it_sees_only_itself", own_proc, "'--proc'"),
    ("ch02-pid-3", "with_init_somebody_else_is_number_1", init, "'--init'"),
    ("ch02-mount-1", "with_slave_a_later_mount_is_seen", slave, "'--slave'"),
    ("ch02-mount-2", "with_private_tmp_it_is_empty", private_tmp, "'--private-tmp'"),
    (
        "ch02-mount-3",
        "with_read_only_nothing_is_written",
        read_only,
        "'--read-only'",
    ),
    ("ch02-user-1", "with_as_it_is_another_user", as_other, "'--as'"),
    ("ch02-user-2", "with_print_map_it_says_who_is_who", print_map, "'--print-map'"),
    ("ch02-user-3", "with_no_caps_root_has_no_rights", no_caps, "'--no-caps'"),
    ("ch02-net-1", "with_lo_it_can_talk_to_itself", lo, "'--lo'"),
    ("ch02-net-2", "with_low_ports_port_80_is_free", low_ports, "'--low-ports'"),
    ("ch02-net-3", "with_share_the_network_is_the_hosts", share_net, "'--share'"),
    ("ch02-setns-1", "list_shows_those_for_children", for_children, "KIND"),
    ("ch02-setns-2", "list_all_shows_those_of_others", list_all, "'--all'"),
    ("ch02-setns-3", "its_clock_is_ahead", clock, "'--boottime'"),
    ("ch02-cgroups-1", "with_peak_it_prints_its_highest_use", peak, "'--peak'"),
    ("ch02-cgroups-2", "kill_ends_all_of_a_group", kill_group, "'kill'"),
    ("ch02-cgroups-3", "stats_come_as_json", stats_json, "'--json'"),
    ("ch02-union-1", "changes_tells_what_a_layer_says", changes, "'changes'"),
    ("ch02-union-2", "with_read_only_nothing_is_written", union_ro, "'--read-only'"),
    ("ch02-union-3", "with_volatile_nothing_is_synced", volatile, "'--volatile'"),
    ("ch03-run-1", "proc_hides_what_is_others", hidepid, " /proc "),
    ("ch03-run-2", "a_flag_sets_the_working_directory", directory, "'-w'"),
    ("ch03-run-3", "a_flag_sets_a_variable", variable, "'-e'"),
    ("ch03-limits-1", "killed_for_memory_is_told", oom_told, "exit code 137"),
    ("ch03-limits-2", "memory_may_be_a_share_of_all", percent, "10%"),
    ("ch03-limits-3", "the_group_lies_in_another", parent, "'--cgroup-parent'"),
    (
        "ch04-pivot-root-1",
        "with_read_only_nothing_is_written",
        read_only,
        "'--read-only'",
    ),
    ("ch04-pivot-root-2", "tmp_is_in_memory", tmp, "\"\", exit code 1"),
    (
        "ch04-pivot-root-3",
        "etc_hostname_names_the_host",
        etc_hostname,
        "exit code 1",
    ),
    ("ch04-overlay-1", "with_upper_the_write_layer_stays", upper, "'--upper'"),
    (
        "ch04-overlay-2",
        "with_changes_it_tells_what_was_written",
        told,
        "'--changes'",
    ),
    ("ch04-overlay-3", "with_layer_a_tree_lies_above_the_image", layer, "'--layer'"),
    ("ch04-volume-1", "a_volume_may_be_without_setuid", nosuid, "neither ro nor rw"),
    ("ch04-volume-2", "with_tmpfs_a_directory_is_in_memory", tmpfs, "'--tmpfs'"),
    (
        "ch04-volume-3",
        "with_rslave_a_later_mount_is_seen",
        rslave,
        "neither ro nor rw",
    ),
    ("ch04-commit-1", "an_image_says_what_is_run", command, "'--command'"),
    ("ch04-commit-2", "an_image_has_a_second_name", tag, "'tag'"),
    ("ch04-commit-3", "of_many_layers_one_is_made", squash, "'squash'"),
    ("ch05-detach-1", "a_file_tells_the_id", id_file, "'--id-file'"),
    ("ch05-detach-2", "with_no_log_nothing_is_kept", no_log, "'--no-log'"),
    ("ch05-detach-3", "with_stdin_it_reads_a_file", stdin_file, "'--stdin'"),
    ("ch05-logs-1", "only_one_stream_is_shown", only, "'--only'"),
    ("ch05-logs-2", "until_a_time_is_what_came_before_it", before, "'--until'"),
    ("ch05-logs-3", "several_are_told_apart", several, "'two'"),
    ("ch05-exec-1", "detached_it_prints_its_number", number, "\"\""),
    ("ch05-exec-2", "with_timeout_it_ends_in_time", timeout, "'--timeout'"),
    ("ch05-exec-3", "with_only_net_the_root_is_the_hosts", only_net, "'--only'"),
    ("ch05-env-1", "with_group_add_it_is_in_one_more", group_add, "'--group-add'"),
    ("ch05-env-2", "with_unset_a_variable_is_gone", unset, "'--unset'"),
    ("ch05-env-3", "with_umask_new_files_are_closed", umask, "'--umask'"),
    ("ch05-init-1", "with_no_init_the_program_is_process_1", no_init, "'--no-init'"),
    (
        "ch05-init-2",
        "with_wait_all_the_last_process_ends_it",
        wait_all,
        "'--wait-all'",
    ),
    (
        "ch05-init-3",
        "with_signal_all_every_process_gets_it",
        signal_all,
        "'--signal-all'",
    ),
    ("ch05-attach-1", "without_a_name_it_is_the_newest", newest, "CONTAINER"),
    ("ch05-attach-2", "with_logs_it_shows_what_was_printed", with_logs, "'--logs'"),
    ("ch05-attach-3", "with_timeout_it_leaves_in_time", visit, "'--timeout'"),
    ("ch05-ps-1", "filter_shows_only_those_of_the_name", ps_filter, "'--filter'"),
    ("ch05-ps-2", "last_shows_the_newest", ps_last, "'--last'"),
    ("ch05-ps-3", "wide_shows_the_image", ps_wide, "'--wide'"),
    ("ch05-stop-1", "stop_asks_by_another_signal", stop_by, "'-s'"),
    ("ch05-stop-2", "stop_all_stops_all", stop_all, "'--all'"),
    ("ch05-stop-3", "wait_any_tells_the_first", wait_any, "'--any'"),
    ("ch05-rm-1", "prune_dead_leaves_those_that_ended", prune_dead, "'--dead'"),
    ("ch05-rm-2", "rm_all_removes_what_has_ended", rm_all, "'--all'"),
    ("ch05-rm-3", "prune_keep_keeps_the_newest", prune_keep, "'--keep'"),
];

/// Run containers of these names to their ends.
fn ended(room: &Room, names: &[&str]) -> Outcome {
    names.iter().try_for_each(|name| {
        room.words(&["run", "--name", name, "busybox", "true"]).end()?.succeeds()
    })
}

/// Start one that ends when it is asked to, by SIGTERM or SIGQUIT.
fn lives<'a>(room: &'a Room, name: &str) -> Result<Running<'a>, Trouble> {
    let script = "trap 'exit 4' TERM; trap 'exit 5' QUIT; echo up; \
                  while :; do sleep 0.1; done";
    let words = ["run", "--name", name, "busybox", "sh", "-c", script];
    let mut running = room.words(&words).start()?;
    running.prints("up\n")?;
    Ok(running)
}

/// Let all end that run in this check, and remove what was kept. What went wrong before
/// is what is told.
fn tidy(room: &Room, running: Vec<Running>, outcome: Outcome) -> Outcome {
    for (pid, name) in living() {
        if name == "sh" || name == "sleep" {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    for one in running {
        let _ = one.end();
    }
    // Each chapter from ch04-commit on has it, whatever was made of the chapter.
    let names = fs::read_dir(room.lab.state().join("containers"));
    for id in names.into_iter().flatten().flatten() {
        let id = id.file_name().to_string_lossy().into_owned();
        room.words(&["rm", &id]).end()?.succeeds()?;
    }
    outcome
}

fn ps_filter(room: &mut Room) -> Outcome {
    let outcome = ended(room, &["web", "other", "wed"]).and_then(|()| {
        let seen = room.words(&["ps", "-a", "--filter", "name=we"]).end()?;
        let right = ["web", "wed"].iter().all(|it| seen.out.contains(it));
        seen.so(right && !seen.out.contains("other"), "web and wed, and not other")
    });
    tidy(room, Vec::new(), outcome)
}

fn ps_last(room: &mut Room) -> Outcome {
    let outcome = ended(room, &["one"]).and_then(|()| {
        // Made in another second.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        ended(room, &["two"])?;
        let seen = room.words(&["ps", "--last", "1"]).end()?;
        let right = seen.out.contains("two") && !seen.out.contains("one");
        seen.so(right, "two, and not one")
    });
    tidy(room, Vec::new(), outcome)
}

fn ps_wide(room: &mut Room) -> Outcome {
    let outcome = ended(room, &["one"]).and_then(|()| {
        let seen = room.words(&["ps", "-a", "--wide"]).end()?;
        let right = seen.out.contains("IMAGE") && seen.out.contains("busybox");
        seen.so(right, "a column IMAGE")
    });
    tidy(room, Vec::new(), outcome)
}

fn stop_by(room: &mut Room) -> Outcome {
    let running = lives(room, "one")?;
    let stopped = room.words(&["stop", "-s", "QUIT", "one"]).end();
    let outcome = stopped.and_then(|ended| {
        ended.prints("one\n")?;
        room.words(&["wait", "one"]).end()?.prints("5\n")
    });
    tidy(room, vec![running], outcome)
}

fn stop_all(room: &mut Room) -> Outcome {
    let running = vec![lives(room, "one")?, lives(room, "two")?];
    let stopped = room.words(&["stop", "--all"]).end();
    let outcome = stopped.and_then(|ended| {
        ended.succeeds()?;
        room.words(&["wait", "one", "two"]).end()?.prints("4\n4\n")
    });
    tidy(room, running, outcome)
}

fn wait_any(room: &mut Room) -> Outcome {
    let running = vec![lives(room, "one")?, lives(room, "two")?];
    let outcome = room.words(&["stop", "two"]).end().and_then(|_| {
        room.words(&["wait", "--any", "one", "two"]).end()?.prints("two\n")
    });
    tidy(room, running, outcome)
}

fn prune_dead(room: &mut Room) -> Outcome {
    let outcome = ended(room, &["one"]).and_then(|()| {
        let running = lives(room, "two")?;
        let host = Pid::from_raw(running.pid());
        kill(host, Signal::SIGKILL).expect("kill(2)");
        let _ = running.end();
        room.words(&["prune", "--dead"]).end()?.prints("two\n")
    });
    tidy(room, Vec::new(), outcome)
}

fn rm_all(room: &mut Room) -> Outcome {
    let outcome = ended(room, &["one"]);
    let running = vec![lives(room, "two")?];
    let outcome = outcome.and_then(|()| {
        let removed = room.words(&["rm", "--all"]).end()?;
        removed.so(removed.out == "one\n", "one removed, and two not")
    });
    tidy(room, running, outcome)
}

fn prune_keep(room: &mut Room) -> Outcome {
    let outcome = ended(room, &["one"]).and_then(|()| {
        std::thread::sleep(std::time::Duration::from_millis(1100));
        ended(room, &["two"])?;
        room.words(&["prune", "--keep", "1"]).end()?.prints("one\n")
    });
    tidy(room, Vec::new(), outcome)
}

/// End a container whose end is not what matters.
fn stop(running: Running) {
    for (pid, name) in living() {
        if name == "sh" || name == "sleep" {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    let _ = running.end();
}

const DOMAIN: &str = "/proc/sys/kernel/domainname";

fn no_domain(room: &mut Room) -> Outcome {
    fs::write(DOMAIN, "outside.example").expect("write(2)");
    room.run(&["cat", DOMAIN]).end()?.prints("(none)\n")
}

fn dotted(room: &mut Room) -> Outcome {
    let run = room.sh(&format!("hostname; cat {DOMAIN}"));
    run.flags(&["--hostname", "box.example.org"]).end()?.prints("box\nexample.org\n")
}

fn hosts_name(room: &mut Room) -> Outcome {
    room.sh("echo $HOST_HOSTNAME").end()?.prints("outside\n")
}

fn longest(room: &mut Room) -> Outcome {
    let file = "/proc/sys/kernel/msgmax";
    let before = fs::read_to_string(file).expect("read(2)");
    let ended = room.run(&["cat", file]).flags(&["--msgmax", "4000"]).end()?;
    ended.prints("4000\n")?;
    let after = fs::read_to_string(file).expect("read(2)");
    so(after == before, "the host's as before", after)
}

fn share_ipc(room: &mut Room) -> Outcome {
    let id = SystemV::Queue.make().expect("msgget(2)");
    let run = room.run(&["sh", "-c", "wc -l < /proc/sysvipc/msg"]);
    let ended = run.flags(&["--share"]).end();
    SystemV::Queue.remove(id).expect("msgctl(2)");
    ended?.prints("2\n")
}

fn remove_all(room: &mut Room) -> Outcome {
    let mut made = Vec::new();
    for kind in ["queue", "semaphores", "memory"] {
        let ended = room.words(&["make", kind]).end()?;
        ended.succeeds()?;
        made.push((kind, ended.out.trim().to_owned()));
    }
    let removed = room.words(&["remove-all"]).end();
    let ended = room.words(&["list"]).end()?;
    for (kind, id) in &made {
        // What is there still, this check made.
        room.words(&["remove", kind, id]).end()?;
    }
    removed?.succeeds()?;
    ended.so(ended.out.lines().count() == 1, "a heading and nothing below it")
}

fn pidfile(room: &mut Room) -> Outcome {
    let file = room.path("pid");
    let file = file.to_string_lossy();
    let mut running = room
        .sh("echo ready; exec sleep 1000")
        .flags(&["--pidfile", &file])
        .start()?;
    running.prints("ready")?;
    let pid = running.has("sleep")?;
    let text = fs::read_to_string(&*file).unwrap_or_default();
    stop(running);
    so(
        text.trim() == pid.to_string(),
        &format!("{pid} in the file"),
        format!("{text:?}"),
    )
}

fn own_proc(room: &mut Room) -> Outcome {
    room.sh("echo /proc/[0-9]*").flags(&["--proc"]).end()?.prints("/proc/1\n")
}

fn init(room: &mut Room) -> Outcome {
    let ended = room.sh("echo $$; exit 5").flags(&["--init"]).end()?;
    ended.exits(5)?;
    let number = ended.out.trim().parse().unwrap_or(0);
    ended.so(number > 1, "a number above 1")
}

/// What is mounted on the host later is seen inside.
fn later_mount(room: &Room, at: &Path, inside: &str, flags: &[&str]) -> Outcome {
    let script = format!(
        "echo ready; i=0; until test -e {inside}/seen || test $i = 300; do \
         i=$((i + 1)); sleep 0.1; done; test -e {inside}/seen && echo seen"
    );
    let mut running = room.sh(&script).flags(flags).start()?;
    running.prints("ready")?;
    let none = None::<&str>;
    mount(none, at, Some("tmpfs"), MsFlags::empty(), none).expect("mount(2)");
    fs::write(at.join("seen"), "").expect("write(2)");
    let ended = running.end();
    nix::mount::umount2(at, nix::mount::MntFlags::MNT_DETACH).expect("umount2(2)");
    ended?.prints("ready\nseen\n")
}

fn slave(room: &mut Room) -> Outcome {
    let at = room.directory("later");
    later_mount(room, &at, &at.to_string_lossy(), &["--slave"])
}

fn private_tmp(room: &mut Room) -> Outcome {
    let ended = room
        .sh("ls -A /tmp; touch /tmp/grade-inside")
        .flags(&["--private-tmp"])
        .at("/")
        .end()?;
    ended.prints("")?;
    so(
        !Path::new("/tmp/grade-inside").exists(),
        "nothing in the host's /tmp",
        "a file",
    )
}

fn read_only(room: &mut Room) -> Outcome {
    let run = room.sh("touch /grade 2> /dev/null || echo refused");
    let ended = run.flags(&["--read-only"]).end();
    let _ = fs::remove_file("/grade");
    ended?.prints("refused\n")
}

fn as_other(room: &mut Room) -> Outcome {
    room.run(&["id", "-u"])
        .flags(&["--as", "1000"])
        .as_user()
        .end()?
        .prints("1000\n")
}

fn print_map(room: &mut Room) -> Outcome {
    let ended = room.run(&["true"]).flags(&["--print-map"]).as_user().end()?;
    ended.succeeds()?;
    let line = format!("uid 0 inside is uid {} outside", blackbox::user());
    ended.so(ended.err.contains(&line), &format!("{line:?} on standard error"))
}

fn no_caps(room: &mut Room) -> Outcome {
    let run = room.run(&["grep", "CapEff", "/proc/self/status"]);
    let none = "CapEff:\t0000000000000000\n";
    run.flags(&["--no-caps"]).as_user().end()?.prints(none)
}

fn lo(room: &mut Room) -> Outcome {
    let run = room.sh("ifconfig lo | grep -o UP");
    run.flags(&["--lo"]).end()?.prints("UP\n")
}

fn low_ports(room: &mut Room) -> Outcome {
    let run = room.run(&["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"]);
    run.flags(&["--low-ports"]).end()?.prints("0\n")
}

fn share_net(room: &mut Room) -> Outcome {
    let outside = fs::read_link("/proc/self/ns/net").expect("readlink(2)");
    let run = room.run(&["readlink", "/proc/self/ns/net"]);
    run.flags(&["--share"]).end()?.prints(&format!("{}\n", outside.display()))
}

fn for_children(room: &mut Room) -> Outcome {
    let ended = room.words(&["list"]).end()?;
    ended.succeeds()?;
    ended.so(ended.out.contains("pid_for_children"), "a line pid_for_children")
}

fn list_all(room: &mut Room) -> Outcome {
    let mut running = room.words(&["run", "--uts", "sleep", "1000"]).start()?;
    let pid = running.has("sleep")?;
    let link = fs::read_link(format!("/proc/{pid}/ns/uts")).expect("readlink(2)");
    let number = link.to_string_lossy().replace("uts:[", "").replace(']', "");
    let ended = room.words(&["list", "--all"]).end();
    stop(running);
    let ended = ended?;
    ended.succeeds()?;
    ended.so(ended.out.contains(&number), &format!("the namespace {number}"))
}

fn clock(room: &mut Room) -> Outcome {
    let words = [
        "run",
        "--time",
        "--boottime",
        "36000",
        "cut",
        "-d.",
        "-f1",
        "/proc/uptime",
    ];
    let ended = room.words(&words).end()?;
    ended.succeeds()?;
    let seconds: u64 = ended.out.trim().parse().unwrap_or(0);
    ended.so(seconds >= 36000, "36000 seconds or more since boot")
}

fn peak(room: &mut Room) -> Outcome {
    room.words(&["create", "grade-demo"]).end()?.succeeds()?;
    room.words(&["exec", "grade-demo", "true"]).end()?.succeeds()?;
    let ended = room.words(&["delete", "--peak", "grade-demo"]).end()?;
    if ended.code != 0 {
        room.words(&["delete", "grade-demo"]).end()?.succeeds()?;
    }
    ended.succeeds()?;
    let number =
        ended.err.lines().find_map(|line| line.strip_prefix("memory.peak "));
    let number: Option<u64> = number.and_then(|text| text.trim().parse().ok());
    ended.so(number.is_some_and(|n| n > 0), "\"memory.peak N\" on standard error")
}

fn kill_group(room: &mut Room) -> Outcome {
    room.words(&["create", "grade-demo"]).end()?.succeeds()?;
    let mut running =
        room.words(&["exec", "grade-demo", "sleep", "1000"]).start()?;
    running.has("sleep")?;
    let killed = room.words(&["kill", "grade-demo"]).end();
    let gone = killed.as_ref().is_ok_and(|it| it.code == 0) && room.gone("sleep");
    stop(running);
    room.words(&["delete", "grade-demo"]).end()?.succeeds()?;
    killed?.succeeds()?;
    so(gone, "nobody in the group", "sleep runs on")
}

fn stats_json(room: &mut Room) -> Outcome {
    room.words(&["create", "grade-demo"]).end()?.succeeds()?;
    let ended = room.words(&["stats", "--json", "grade-demo"]).end();
    room.words(&["delete", "grade-demo"]).end()?.succeeds()?;
    let ended = ended?;
    ended.succeeds()?;
    let is_json = serde_json::from_str::<serde_json::Value>(&ended.out).is_ok();
    ended.so(is_json, "JSON on standard output")
}

/// The directories of a union, and the flags for them.
fn union(room: &Room) -> Vec<String> {
    let mut flags = Vec::new();
    for name in ["lower", "upper", "work"] {
        let directory = room.directory(name);
        flags
            .extend([format!("--{name}"), directory.to_string_lossy().into_owned()]);
    }
    fs::write(room.path("lower/a"), "one\n").expect("write(2)");
    fs::write(room.path("lower/b"), "two\n").expect("write(2)");
    flags
}

fn changes(room: &mut Room) -> Outcome {
    let flags = union(room);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    room.sh("echo new > c; echo more >> a; rm b").flags(&flags).end()?.succeeds()?;
    // Without the place to work.
    let words = [&["changes"], &flags[..4]].concat();
    room.words(&words).end()?.prints("C /a\nD /b\nA /c\n")
}

fn union_ro(room: &mut Room) -> Outcome {
    let flags = union(room);
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.push("--read-only");
    let run = room.sh("cat a; touch c 2> /dev/null || echo refused");
    run.flags(&flags).end()?.prints("one\nrefused\n")
}

fn volatile(room: &mut Room) -> Outcome {
    let flags = union(room);
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.push("--volatile");
    let ended =
        room.run(&["grep", " overlay ", "/proc/mounts"]).flags(&flags).end()?;
    ended.succeeds()?;
    ended.so(ended.out.contains("volatile"), "a mount with the option volatile")
}

fn killed(room: &mut Room) -> Outcome {
    room.sh("kill -9 $$").end()?.exits(137)
}

fn missing(room: &mut Room) -> Outcome {
    room.run(&["no-such-program"]).end()?.exits(127)
}

fn another_net(room: &mut Room) -> Outcome {
    let outside = fs::read_link("/proc/self/ns/net").expect("readlink(2)");
    let ended = room.run(&["readlink", "/proc/self/ns/net"]).end()?;
    ended.succeeds()?;
    let other = ended.out.trim() != outside.to_string_lossy();
    ended.so(other, &format!("another one than {}", outside.display()))
}

fn hidepid(room: &mut Room) -> Outcome {
    let ended = room.run(&["grep", " /proc proc ", "/proc/mounts"]).end()?;
    ended.succeeds()?;
    ended.so(ended.out.contains("hidepid=invisible"), "/proc with hidepid=invisible")
}

fn directory(room: &mut Room) -> Outcome {
    room.run(&["pwd"]).flags(&["-w", "/usr"]).end()?.prints("/usr\n")
}

fn variable(room: &mut Room) -> Outcome {
    let run = room.sh("echo $GREETING");
    run.flags(&["-e", "GREETING=hello you"]).end()?.prints("hello you\n")
}

fn oom_told(room: &mut Room) -> Outcome {
    let ended = room.run(&["tail", "/dev/zero"]).flags(&["-m", "16m"]).end()?;
    ended.exits(137)?;
    ended.so(ended.err.contains("memory"), "a line about memory on standard error")
}

/// The limit of the memory of a process' group.
fn limit(pid: i32) -> String {
    let group =
        fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let path = group.trim().rsplit(':').next().unwrap_or_default().to_owned();
    let file = format!("/sys/fs/cgroup{path}/memory.max");
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn percent(room: &mut Room) -> Outcome {
    let mut running =
        room.sh("echo ready; exec sleep 1000").flags(&["-m", "10%"]).start()?;
    running.prints("ready")?;
    let limit = limit(running.has("sleep")?);
    stop(running);
    let table = fs::read_to_string("/proc/meminfo").expect("read(2)");
    let all = table.split_whitespace().nth(1).and_then(|text| text.parse().ok());
    let tenth: u64 = all.unwrap_or(0_u64) * 1024 / 10;
    // The kernel counts in pages.
    let near = limit.parse().is_ok_and(|it: u64| it.abs_diff(tenth) <= 4096);
    so(near, &format!("a limit of {tenth} bytes"), format!("a limit of {limit:?}"))
}

fn parent(room: &mut Room) -> Outcome {
    let flags = ["-pids", "50", "--cgroup-parent", "grade-parent"];
    let mut running =
        room.sh("echo ready; exec sleep 1000").flags(&flags).start()?;
    running.prints("ready")?;
    let pid = running.has("sleep")?;
    let group =
        fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    stop(running);
    // It is who made it that takes it away.
    let _ = fs::remove_dir("/sys/fs/cgroup/grade-parent");
    so(group.contains("/grade-parent/"), "a group in grade-parent", group)
}

fn tmp(room: &mut Room) -> Outcome {
    let ended = room.run(&["grep", " /tmp tmpfs ", "/proc/mounts"]).end()?;
    ended.succeeds()
}

fn etc_hostname(room: &mut Room) -> Outcome {
    let run = room.run(&["cat", "/etc/hostname"]);
    run.flags(&["--hostname", "box"]).end()?.prints("box\n")
}

fn upper(room: &mut Room) -> Outcome {
    let kept = room.directory("kept");
    let flags = ["--upper", &kept.to_string_lossy()];
    room.sh("echo one > /root/file").flags(&flags).end()?.succeeds()?;
    room.run(&["cat", "/root/file"]).flags(&flags).end()?.prints("one\n")
}

fn told(room: &mut Room) -> Outcome {
    let ended = room.run(&["touch", "/root/file"]).flags(&["--changes"]).end()?;
    ended.succeeds()?;
    let there = ended.err.lines().any(|line| line == "A /root/file");
    ended.so(there, "\"A /root/file\" on standard error")
}

fn layer(room: &mut Room) -> Outcome {
    let above = room.directory("above");
    fs::create_dir(above.join("srv")).expect("mkdir(2)");
    fs::write(above.join("srv/page"), "hello\n").expect("write(2)");
    let flags = ["--layer", &above.to_string_lossy()];
    room.run(&["cat", "/srv/page"]).flags(&flags).end()?.prints("hello\n")
}

fn nosuid(room: &mut Room) -> Outcome {
    let host = room.directory("volume");
    let spec = format!("{}:/mnt:nosuid", host.display());
    let run = room.run(&["grep", " /mnt ", "/proc/mounts"]);
    let ended = run.flags(&["-v", &spec]).end()?;
    ended.succeeds()?;
    ended.so(ended.out.contains("nosuid"), "a mount with the option nosuid")
}

fn tmpfs(room: &mut Room) -> Outcome {
    let run = room.run(&["grep", "-c", " /scratch tmpfs ", "/proc/mounts"]);
    run.flags(&["--tmpfs", "/scratch"]).end()?.prints("1\n")
}

fn rslave(room: &mut Room) -> Outcome {
    let host = room.directory("volume");
    let at = room.directory("volume/later");
    let spec = format!("{}:/mnt:rslave", host.display());
    later_mount(room, &at, "/mnt/later", &["-v", &spec])
}

/// With an image `first` of a container that ran this, see what else can be done.
fn committed(room: &Room, script: &str, then: impl FnOnce() -> Outcome) -> Outcome {
    let run = ["run", "--name", "one", "busybox", "sh", "-c", script];
    room.words(&run).end()?.succeeds()?;
    let made = room.words(&["commit", "one", "first"]).end();
    let outcome = made.and_then(|made| made.succeeds()).and_then(|()| then());
    // What is there still, this check made.
    room.words(&["rm", "one"]).end()?;
    for image in ["first", "second"] {
        room.words(&["rmi", image]).end()?;
    }
    outcome
}

fn command(room: &mut Room) -> Outcome {
    committed(room, "true", || {
        let words = ["commit", "--command", "echo two words", "one", "second"];
        room.words(&words).end()?.succeeds()?;
        room.words(&["run", "--rm", "second"]).end()?.prints("two words\n")?;
        // What the command line says comes first, still.
        let words = ["run", "--rm", "second", "echo", "other"];
        room.words(&words).end()?.prints("other\n")
    })
}

fn tag(room: &mut Room) -> Outcome {
    let layers = || fs::read_dir(room.lab.state().join("layers")).unwrap().count();
    committed(room, "echo text > /file", || {
        let before = layers();
        room.words(&["tag", "first", "second"]).end()?.succeeds()?;
        let after = layers();
        so(
            after == before,
            "no more layers than before",
            format!("{after} of {before}"),
        )?;
        room.words(&["rmi", "first"]).end()?.succeeds()?;
        let words = ["run", "--rm", "second", "cat", "/file"];
        room.words(&words).end()?.prints("text\n")
    })
}

fn squash(room: &mut Room) -> Outcome {
    committed(room, "rm /etc/hosts; echo text > /file", || {
        room.words(&["squash", "first"]).end()?.succeeds()?;
        let layers = room.lab.layers("first").len();
        so(layers == 1, "one layer", format!("{layers} layers"))?;
        let words = ["run", "--rm", "first", "sh", "-c", "ls /etc; cat /file"];
        room.words(&words).end()?.prints("group\npasswd\ntext\n")
    })
}

fn id_file(room: &mut Room) -> Outcome {
    let file = room.path("id");
    let words = ["run", "-d", "--rm", "--id-file", &file.to_string_lossy()];
    let ended = room.words(&[&words[..], &["busybox", "true"]].concat()).end()?;
    ended.succeeds()?;
    let gone = room.gone("ch05-detach");
    so(gone, "the container to end", "it runs on")?;
    let text = fs::read_to_string(&file).unwrap_or_default();
    let same = text.trim() == ended.out.trim();
    so(same, &format!("{} in the file", ended.out.trim()), format!("{text:?}"))
}

/// The text of the log of the one container.
fn log_text(room: &Room) -> String {
    let containers = room.lab.state().join("containers");
    let mut entries = fs::read_dir(containers).expect("readdir(3)");
    let one = entries.next().expect("a container").expect("readdir(3)");
    fs::read_to_string(one.path().join("log")).unwrap_or_default()
}

fn no_log(room: &mut Room) -> Outcome {
    let words = ["run", "--no-log", "--name", "one", "busybox", "echo", "hello"];
    room.words(&words).end()?.prints("hello\n")?;
    let log = log_text(room);
    room.words(&["rm", "one"]).end()?.succeeds()?;
    so(log.is_empty(), "nothing in the log", format!("{log:?}"))
}

fn stdin_file(room: &mut Room) -> Outcome {
    let file = room.path("input");
    fs::write(&file, "hello\n").expect("write(2)");
    let words = ["run", "-d", "--name", "one", "--stdin", &file.to_string_lossy()];
    let ended = room.words(&[&words[..], &["busybox", "cat"]].concat()).end()?;
    ended.succeeds()?;
    let gone = room.gone("ch05-detach");
    so(gone, "the container to end", "it runs on")?;
    let log = log_text(room);
    room.words(&["rm", "one"]).end()?.succeeds()?;
    so(log.ends_with(" stdout F hello\n"), "hello in the log", format!("{log:?}"))
}

/// Run a script in a container of this name, to its end.
fn logged(room: &mut Room, name: &str, script: &str) -> Outcome {
    let words = ["run", "--name", name, "busybox", "sh", "-c", script];
    room.words(&words).end()?.succeeds()
}

fn only(room: &mut Room) -> Outcome {
    logged(room, "one", "echo out; echo err >&2")?;
    let ended = room.words(&["logs", "--only", "stderr", "one"]).end();
    room.words(&["rm", "one"]).end()?.succeeds()?;
    let ended = ended?;
    ended.prints("")?;
    ended.so(ended.err == "err\n", "\"err\" on standard error")
}

fn before(room: &mut Room) -> Outcome {
    logged(room, "one", "echo first; sleep 2; echo second")?;
    let log = log_text(room);
    let second = log.lines().last().unwrap_or_default();
    let time = second.split(' ').next().unwrap_or_default().to_owned();
    let ended = room.words(&["logs", "--until", &time, "one"]).end();
    room.words(&["rm", "one"]).end()?.succeeds()?;
    ended?.prints("first\n")
}

fn several(room: &mut Room) -> Outcome {
    logged(room, "one", "echo 1")?;
    logged(room, "two", "echo 2")?;
    let ended = room.words(&["logs", "one", "two"]).end();
    room.words(&["rm", "one", "two"]).end()?.succeeds()?;
    ended?.prints("one 1\ntwo 2\n")
}

/// A container named `one`, which can be joined.
fn one(room: &Room) -> Result<Running<'_>, crate::outcome::Trouble> {
    let script = "echo ready; exec sleep 1000";
    let words = ["run", "--rm", "--name", "one", "busybox", "sh", "-c", script];
    let mut running = room.words(&words).start()?;
    running.prints("ready")?;
    // Its program may be faster than the note that it runs.
    crate::room::wait_for(|| {
        let joined = room.words(&["exec", "one", "true"]).end();
        joined.is_ok_and(|ended| ended.code == 0).then_some(())
    });
    Ok(running)
}

fn number(room: &mut Room) -> Outcome {
    let running = one(room)?;
    let exec = ["exec", "-d", "one", "sh", "-c", "exec sleep 999"];
    let ended = room.words(&exec).end();
    let is = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline"));
        line.is_ok_and(|line| line == b"sleep\0999\0")
    };
    let found = crate::room::wait_for(|| living().into_keys().find(is));
    if let Some(pid) = found.map(Pid::from_raw) {
        // Its parent is this process by now. Unless it is reaped, the container's own
        // program, which is number 1 there, doesn't come to its end.
        let _ = kill(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
    }
    stop(running);
    let ended = ended?;
    ended.succeeds()?;
    let number = ended.out.trim().parse().ok();
    so(
        number.is_some() && number == found,
        "the number of sleep 999 on the host",
        format!("{:?}", ended.out),
    )
}

fn timeout(room: &mut Room) -> Outcome {
    let running = one(room)?;
    let exec = ["exec", "--timeout", "1", "one", "sleep", "998"];
    let ended = room.words(&exec).end();
    stop(running);
    ended?.exits(124)
}

fn only_net(room: &mut Room) -> Outcome {
    let running = one(room)?;
    let script = "hostname; cat /proc/net/dev";
    let exec = ["exec", "--only", "net", "one", "sh", "-c", script];
    let ended = room.words(&exec).end();
    stop(running);
    let ended = ended?;
    ended.succeeds()?;
    let devices = ended.out.lines().filter(|line| line.contains(':')).count();
    ended.so(ended.out.starts_with("outside\n"), "the host's name first")?;
    ended.so(devices == 1, "no device but lo")
}

/// A shell script in a container of busybox, with these flags.
fn env<'a>(room: &'a Room, flags: &[&str], script: &str) -> crate::subject::Run<'a> {
    let run = [&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat();
    room.words(&run)
}

fn group_add(room: &mut Room) -> Outcome {
    let flags = ["-u", "7:8", "--group-add", "29", "--group-add", "30"];
    let ended = env(room, &flags, "grep Groups /proc/self/status").end()?;
    ended.succeeds()?;
    let words: Vec<&str> = ended.out.split_whitespace().skip(1).collect();
    let there = ["29", "30"].iter().all(|group| words.contains(group));
    ended.so(there, "the groups 29 and 30")
}

fn unset(room: &mut Room) -> Outcome {
    let flags = ["-e", "A=1", "--unset", "HOME", "--unset", "A"];
    let ended = env(room, &flags, "env").end()?;
    ended.succeeds()?;
    let gone = ended
        .out
        .lines()
        .all(|line| !line.starts_with(['H', 'A']) || line.starts_with("HOSTNAME="));
    ended.so(gone, "neither HOME nor A")
}

fn umask(room: &mut Room) -> Outcome {
    let script = ": > /file; stat -c %a /file";
    env(room, &["--umask", "077"], script).end()?.prints("600\n")
}

fn no_init(room: &mut Room) -> Outcome {
    env(room, &["--no-init"], "echo $$").end()?.prints("1\n")?;
    env(room, &[], "echo $$").end()?.prints("2\n")
}

fn wait_all(room: &mut Room) -> Outcome {
    let script = "(sleep 1; echo late) & exit 3";
    let ended = env(room, &["--init", "--wait-all"], script).end()?;
    ended.exits(3)?;
    ended.so(ended.out == "late\n", "\"late\"")
}

fn signal_all(room: &mut Room) -> Outcome {
    let script = "(trap 'echo child; exit' TERM; while :; do sleep 0.1; done) &
        trap 'sleep 1; exit 5' TERM; echo ready; while :; do sleep 0.1; done";
    let words = ["run", "--rm", "--init", "--signal-all", "--name", "one"];
    let words = [&words[..], &["busybox", "sh", "-c", script]].concat();
    let mut running = room.words(&words).start()?;
    running.prints("ready\n")?;
    // The shell in the background sets its trap meanwhile.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let killed = room.words(&["kill", "-s", "TERM", "one"]).end();
    let told = running.prints("ready\nchild\n");
    stop(running);
    killed?.succeeds()?;
    told
}

/// Start a container named `one` in the background, and remove it after `then`.
fn behind(room: &Room, script: &str, then: impl FnOnce() -> Outcome) -> Outcome {
    let words = ["run", "-d", "--name", "one", "busybox", "sh", "-c", script];
    room.words(&words).end()?.succeeds()?;
    let outcome = then();
    room.words(&["rm", "-f", "one"]).end()?;
    outcome
}

fn newest(room: &mut Room) -> Outcome {
    behind(room, "sleep 1; echo out; exit 3", || {
        let ended = room.words(&["attach"]).end()?;
        ended.exits(3)?;
        ended.so(ended.out == "out\n", "\"out\"")
    })
}

fn with_logs(room: &mut Room) -> Outcome {
    behind(room, "echo before; sleep 2; echo after", || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let ended = room.words(&["attach", "--logs", "one"]).end()?;
        ended.prints("before\nafter\n")
    })
}

fn visit(room: &mut Room) -> Outcome {
    behind(room, "sleep 1000", || {
        room.words(&["attach", "--timeout", "1", "one"]).end()?.succeeds()?;
        room.words(&["ps", "-q"]).end()?.succeeds()
    })
}
