//! A run of ch04-volume, with an existing volume.

use std::fs;
use std::process::Stdio;

use blackbox::{Lab, Side, Traced};
use insta::assert_snapshot;
use nix::errno::Errno;
use nix::sys::signal::Signal;

/// The number of containers that have left something.
fn containers(lab: &Lab) -> usize {
    let count =
        |name| fs::read_dir(lab.state().join(name)).map_or(0, Iterator::count);
    // The lock file is created first and removed last.
    let [locks, directories] = ["running", "containers"].map(count);
    assert!(directories <= locks);
    locks
}

/// A complete run with an existing volume, stopped before each system call.
fn held(lab: &Lab) -> Traced {
    fs::create_dir_all(lab.dir().join("v")).unwrap();
    let _ = fs::remove_file(lab.dir().join("v/ran"));
    lab.traced("ch04-volume", |command| {
        let words = ["run", "-v", "v:/v", "touch", "/v/ran"];
        command.args(words).stderr(Stdio::null())
    })
}

/// Whether the program of such a run was executed.
fn ran(lab: &Lab) -> bool {
    lab.dir().join("v/ran").exists()
}

/// Call `act` with a run that is stopped before a system call of one side: for each call,
/// or for every `stride`th.
fn at_each_call(
    lab: &Lab,
    side: Side,
    stride: usize,
    mut act: impl FnMut(usize, Traced),
) {
    for number in (0..).step_by(stride) {
        let mut run = held(lab);
        if !run.to(side, number) {
            assert_eq!(run.end(), 0);
            assert!(number > 50, "{side:?} makes only {number} system calls");
            return;
        }
        act(number, run);
    }
}

#[test]
fn a_run_killed_at_any_system_call_leaves_only_what_a_sweep_removes() {
    let lab = Lab::new();
    for side in [Side::Host, Side::Guest] {
        at_each_call(&lab, side, 1, |number, mut run| {
            let executes = run.executes();
            run.signal(Side::Host, Signal::SIGKILL);
            // Returns when no process of it lives.
            assert_eq!(run.end(), 137, "{side:?} {number}");
            assert!(executes || !ran(&lab), "{side:?} {number}");
            let left = containers(&lab);
            assert!(left <= 1, "{side:?} {number}");
            // With one other container, each run examines it before it creates anything.
            if left > 0 {
                let mut next = lab.chapter("ch04-volume");
                next.args(["run", "no-such-program"]).assert().code(127);
            }
            assert_eq!(containers(&lab), 0, "{side:?} {number}");
        });
    }
}

#[test]
fn a_run_ended_by_a_signal_at_any_system_call_cleans_up() {
    let lab = Lab::new();
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    for side in [Side::Host, Side::Guest] {
        let (mut own, mut outrun) = (Vec::new(), 0);
        at_each_call(&lab, side, 2, |number, mut run| {
            let signal = signals[number % signals.len()];
            let executes = run.executes();
            run.signal(Side::Host, signal);
            let code = run.end();
            assert_eq!(containers(&lab), 0, "{side:?} {number} {signal}");
            // A running program is PID 1, which ignores the signal and ends by itself.
            let ended = code == 128 + signal as i32;
            assert!(ended || code == 0, "{side:?} {number}: {code}");
            if side == Side::Guest || executes {
                own.push(!ended);
            } else if !ended {
                // With two CPUs, the child may execute the program before the supervisor
                // handles its signals.
                outrun += 1;
            }
        });
        assert!(outrun <= 10, "{outrun} signals had no effect");
        // This applies to the last few calls, when the child has reported that it executes
        // the program, and searches PATH. Rarely, the child reaches them before the
        // supervisor handles its signals.
        if side == Side::Guest {
            let ran = own.iter().filter(|ran| **ran).count();
            assert!(own.len() - ran > 50 && ran <= 15, "{own:?}");
        }
    }
}

#[test]
fn a_child_killed_at_any_system_call_is_reported_and_cleaned_up() {
    let lab = Lab::new();
    let mut codes = Vec::new();
    at_each_call(&lab, Side::Guest, 3, |number, mut run| {
        run.signal(Side::Guest, Signal::SIGKILL);
        codes.push(run.end());
        assert!(!ran(&lab), "{number}");
        assert_eq!(containers(&lab), 0, "{number}");
    });
    // After the child has reported that it executes the program, its end counts as the end
    // of the program.
    let lost = codes.iter().take_while(|code| **code == 125).count();
    assert!(codes[lost..].iter().all(|code| *code == 137), "{codes:?}");
    assert!(codes.len() - lost <= 10, "{codes:?}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn each_failed_mount_is_reported_and_the_program_does_not_run() {
    let lab = Lab::new();
    let errors = lab.dir().join("errors");
    let mut named = Vec::new();
    for number in 0.. {
        let mut run = lab.traced("ch04-volume", |command| {
            command.args(["run", "-v", "v:/v", "-v", "w:/w:ro", "touch", "/v/ran"]);
            command.stderr(fs::File::create(&errors).unwrap())
        });
        let mut mounts = 0;
        while run.step().is_some() {
            if run.call().is_some() {
                mounts += 1;
                if mounts > number {
                    break;
                }
            }
        }
        let Some(call) = run.call() else {
            run.end();
            break;
        };
        run.fail(Errno::ENODEV);
        // Each further mount fails in the same way.
        while run.step().is_some() {
            if run.call().is_some() {
                run.fail(Errno::ENODEV);
            }
        }
        let code = run.end();
        let said = fs::read_to_string(&errors).unwrap();
        assert!(!ran(&lab), "{said}");
        // The error of a kernel without overlayfs.
        let advised = said.contains("hint: this kernel has no overlayfs");
        assert_eq!(advised, said.contains("mount(2) overlay"), "{said}");
        named.push(said.lines().next().unwrap_or_default().to_owned());
        assert_eq!(code, 125, "{number} {call}: {said}");
        let start = format!("{call}(2) ");
        assert!(said.contains(&start) && said.contains(": ENODEV: "), "{said}");
        assert_eq!(containers(&lab), 0, "{said}");
    }
    assert!(ran(&lab));
    // The paths that are masked depend on the kernel.
    named.retain(|line| !line.contains(" /proc/") && !line.contains(" /sys/"));
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("[0-9a-f]{64}", "LAYER");
    settings.add_filter("[0-9a-f]{12}", "ID");
    let dir = lab.dir().to_str().unwrap().to_owned();
    let named = named.join("\n").replace(&dir, "DIR");
    settings.bind(|| assert_snapshot!("failed-mounts", named));
}
