//! The interface of a program: arguments, streams, exit status, signals, terminal.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::WAITS;
use crate::Entry;
use crate::outcome::{Outcome, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("argv", "arguments_are_passed_unchanged", arguments, ""),
    ("argv", "the_three_standard_streams_stay_separate", streams, ""),
    ("exit-code", "the_exit_status_of_the_program_is_returned", own_codes, ""),
    ("exit-code", "a_missing_program_gives_exit_status_127", not_found, ""),
    (
        "exit-code",
        "a_program_that_is_not_executable_gives_exit_status_126",
        not_executable,
        "",
    ),
    (
        "exit-code",
        "a_program_killed_by_signal_n_gives_exit_status_128_plus_n",
        killed,
        "",
    ),
    ("signals", "a_signal_to_the_outer_process_reaches_the_program", forwarded, ""),
    (
        "signals",
        "no_process_survives_if_the_outer_process_is_killed",
        killed_outside,
        "",
    ),
    ("leak", "ten_runs_leave_nothing", ten_runs, ""),
    ("leak", "a_failed_run_leaves_nothing", failed_run, ""),
    ("tty", "the_program_has_a_terminal_of_the_right_size", terminal, ""),
    (
        "tty",
        "ctrl_c_reaches_the_program_and_its_exit_status_is_returned",
        ctrl_c,
        "",
    ),
    ("tty", "the_terminal_modes_outside_are_restored", terminal_modes, ""),
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
        // PID 1 of a namespace gets only signals with a handler, and `exec` removes a
        // trap. The program is therefore killed from outside, and PID 1 by SIGKILL, which
        // always works.
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
    // The next run cleans up what the killed program has left.
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

fn terminal_modes(room: &mut Room) -> Outcome {
    // The program runs under a shell that continues after it, on the same terminal.
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
