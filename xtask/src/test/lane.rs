//! A lane: the tests in VMs of one kind, several at a time. A VM in which something
//! went wrong is thrown away, and the tests that are left go on in a fresh one.

use std::collections::VecDeque;
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use common::step::report as in_words;
use vm_init::wire::Stream;
use vm_init::{Event, Order};

use super::judge::{End, Verdict, judge};
use super::report::{Report, Reports};
use super::skips;
use crate::vm::machine::{Machine, Word};
use crate::vm::{Set, say};

/// A test's own time is process 1's business. After it, and so much more, the whole
/// VM counts as hung.
const GRACE: Duration = Duration::from_secs(20);

/// No test has business on the console. One that writes more there floods it.
const CONSOLE: usize = 256 << 10;

/// Of a test's output so much is kept, its end.
const OUTPUT: usize = 256 << 10;

/// The lane's name in reports.
pub(crate) fn name(set: &Set) -> String {
    format!("{} {}", set.kernel.wanted, set.cgroup)
}

/// Run the tests, and report each as it ends.
///
/// # Errors
/// No VM comes up; one whose goodbye was not right.
pub(crate) fn run(
    set: &Set,
    program: &str,
    tests: &[String],
    jobs: usize,
    seconds: u64,
    reports: &mut Reports,
) -> Result<()> {
    let queue = Mutex::new(tests.iter().collect::<VecDeque<_>>());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = |sender: std::sync::mpsc::Sender<Report>| -> Result<()> {
        let mut vm = None;
        let mut given = 0;
        while let Some(name) = next() {
            if vm.is_none() {
                given = 0;
                vm = Some(set.boot()?);
            }
            let Some(machine) = &mut vm else { continue };
            given += 1;
            let (report, usable) = one(set, machine, program, name, seconds);
            if !usable {
                vm = None;
            }
            // Nobody listens only when the lane is being given up.
            let _ = sender.send(report);
            // A page shows numbers that depend on what came before.
            if program == super::BOOK
                && let Some(machine) = vm.take()
            {
                machine.finish(given)?;
            }
        }
        match vm {
            Some(machine) => machine.finish(given),
            None => Ok(()),
        }
    };
    thread::scope(|scope| {
        let (sender, results) = channel();
        let workers: Vec<_> = (0..jobs)
            .map(|_| {
                let sender = sender.clone();
                let work = &work;
                scope.spawn(move || work(sender))
            })
            .collect();
        drop(sender);
        for report in results {
            reports.add(report);
        }
        let mut errors: Vec<Error> = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => errors.push(error),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        match errors.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    })
}

/// One test; and whether the VM is as good as before.
fn one(
    set: &Set,
    vm: &mut Machine,
    program: &str,
    name: &str,
    seconds: u64,
) -> (Report, bool) {
    let begun = Instant::now();
    let shown_before = vm.console_length();
    let mut report = Report {
        lane: self::name(set),
        name: name.to_owned(),
        verdict: Verdict::Passed,
        milliseconds: 0,
        output: String::new(),
        kernel: String::new(),
        again: again(set, program, name),
    };
    let mut output = Vec::new();
    let verdict = conversation(set, vm, program, name, seconds, &mut output);
    report.output = String::from_utf8_lossy(&output).into_owned();
    report.milliseconds = begun.elapsed().as_millis() as u64;
    let (verdict, usable) = match verdict {
        Ok((verdict, milliseconds, clean)) => {
            report.milliseconds = milliseconds;
            (verdict, clean)
        }
        Err(trouble) => (Verdict::Failed(trouble), false),
    };
    let shown = vm.console_length() - shown_before;
    let flooded = shown > CONSOLE;
    report.verdict = if flooded && verdict == Verdict::Passed {
        Verdict::Failed(format!("flooded the console with {shown} bytes"))
    } else {
        verdict
    };
    if matches!(report.verdict, Verdict::Failed(_)) {
        report.kernel = vm.last_lines(20);
    }
    (report, usable && !flooded)
}

/// The command that runs a test again.
fn again(set: &Set, program: &str, name: &str) -> String {
    let (kernel, cgroup) = (&set.kernel.wanted, set.cgroup);
    match name.strip_prefix("book::").filter(|_| program == super::BOOK) {
        Some(page) => {
            // A page names the machine itself that is another one than usual.
            let page = page.split("::").next().unwrap_or(page);
            format!("cargo xtask test book {page}")
        }
        None => {
            format!("cargo xtask test --kernel {kernel} --cgroup {cgroup} {name}")
        }
    }
}

/// The order, and what comes of it: the verdict, how long the test took in
/// milliseconds, and whether it left the VM as it was. What befell the VM is an error.
fn conversation(
    set: &Set,
    vm: &mut Machine,
    program: &str,
    name: &str,
    seconds: u64,
    output: &mut Vec<u8>,
) -> Result<(Verdict, u64, bool), String> {
    let ticket = rand_ticket();
    let order =
        Order::Test { program: program.into(), name: name.into(), seconds, ticket };
    if let Err(error) = vm.order(&order) {
        say(&in_words(&error));
        return Err(gone(vm));
    }
    let deadline = Instant::now() + Duration::from_secs(seconds) + GRACE;
    loop {
        match vm.next(deadline.saturating_duration_since(Instant::now())) {
            Word::Bytes(Stream::Output, bytes) => {
                output.extend(bytes);
                let excess = output.len().saturating_sub(OUTPUT);
                output.drain(..excess);
            }
            Word::Event(Event::Ended {
                ticket: shown,
                how,
                milliseconds,
                skips,
                left,
            }) if shown == ticket => {
                let clean = left.is_empty() && how != vm_init::How::TimedOut;
                let text = String::from_utf8_lossy(output).into_owned();
                let end = End { how, seconds, output: text, skips, left };
                let kernel = &set.kernel.wanted;
                let expected = skips::expected(kernel, Some(set.cgroup), name);
                return Ok((judge(&end, expected), milliseconds, clean));
            }
            Word::Event(Event::Refused { error }) => {
                return Err(format!("the VM could not run it: {error}"));
            }
            Word::Gone => return Err(gone(vm)),
            Word::Silence => return Err("hung the VM".into()),
            Word::Event(_) | Word::Bytes(..) | Word::Noise(_) => {
                return Err("wrote on the runner's channel".into());
            }
        }
    }
}

/// How the VM went, in words.
fn gone(vm: &mut Machine) -> String {
    let status = vm.ended();
    if vm.panicked() {
        return "the kernel panicked".into();
    }
    match status.code() {
        Some(0) => "powered the VM off".into(),
        Some(vm_init::AGREED) => {
            "the VM ended with the agreed code, and without its last word".into()
        }
        _ => format!("QEMU ended with {status}"),
    }
}

/// What a test can't know.
fn rand_ticket() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Each has keys of its own, from the system's random numbers.
    RandomState::new().build_hasher().finish()
}
