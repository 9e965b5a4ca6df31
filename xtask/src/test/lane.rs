//! A lane: running tests in VMs of one kind, several in parallel. After an error,
//! the VM is discarded, and the remaining tests run in a new one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use common::step::report as in_words;
use vm_init::wire::Stream;
use vm_init::{Event, Order};

use super::judge::{End, Verdict, judge};
use super::report::{Report, Reports};
use super::select::located;
use super::{skips, word};
use crate::mutex::lock;
use crate::progress::Progress;
use crate::vm::machine::{Machine, Word};
use crate::vm::{Set, say};

/// PID 1 of the VM enforces the time limit of a test. If it exceeds the limit by
/// this time, the whole VM counts as hung.
const GRACE: Duration = Duration::from_secs(20);

/// Tests must not write to the console. A test that writes more bytes than this
/// floods it.
const CONSOLE: usize = 256 << 10;

/// The number of bytes that are kept of a test's output, from its end.
const OUTPUT: usize = 256 << 10;

/// The name of the lane in reports.
pub(crate) fn name(set: &Set) -> String {
    format!("{} {}", set.kernel.wanted, set.cgroup)
}

/// A function that is called with the VM of a failed test: the test's name, the VM,
/// and the number of tests that the VM has run.
pub(crate) type OnFailure<'a> =
    &'a (dyn Fn(&str, &mut Machine, u32) -> Result<()> + Sync);

/// How tests are run.
#[derive(Clone, Copy)]
pub(crate) struct Suite<'a> {
    /// The test program.
    pub(crate) program: &'a str,
    /// Environment variables of the program, besides those of every test.
    pub(crate) environment: &'a [(String, String)],
    /// The command that repeats a part, if it is not `cargo xtask test`.
    pub(crate) again: Option<&'a str>,
    /// The number of parallel VMs.
    pub(crate) jobs: usize,
    /// The time limit of a test.
    pub(crate) seconds: u64,
    /// Called for the first failed test; no other test is started then.
    pub(crate) on_failure: Option<OnFailure<'a>>,
}

impl<'a> Suite<'a> {
    /// Run one test after the other.
    pub(crate) fn of(program: &'a str, seconds: u64) -> Suite<'a> {
        Suite {
            program,
            environment: &[],
            again: None,
            jobs: 1,
            seconds,
            on_failure: None,
        }
    }
}

/// What a worker tells.
enum Told {
    Begins(String),
    Ended(Report),
}

/// Run the tests, report each when it ends, and print the lane's summary.
///
/// # Errors
/// A VM does not boot; the last message of a VM is wrong.
pub(crate) fn run(
    set: &Set,
    suite: Suite,
    tests: &[String],
    reports: &mut Reports,
) -> Result<()> {
    let begun = Instant::now();
    let first = reports.count();
    let queue = Mutex::new(tests.iter().collect::<VecDeque<_>>());
    let next = || lock(&queue).pop_front();
    // The shell must start after the summary was printed: a barrier of two.
    let (kept, told) = (AtomicBool::new(false), Barrier::new(2));
    let progress = Progress::start("booting a VM");
    let work = |sender: Sender<Told>| -> Result<()> {
        let mut vm = None;
        let mut given = 0;
        while let Some(name) = next() {
            if vm.is_none() {
                given = 0;
                vm = Some(set.boot()?);
            }
            let Some(machine) = &mut vm else { continue };
            given += 1;
            let _ = sender.send(Told::Begins(name.clone()));
            let (report, state) = one(set, machine, suite, name);
            let failed = matches!(report.verdict, Verdict::Failed(_));
            // The receiver is closed only when the lane is aborted.
            let _ = sender.send(Told::Ended(report));
            if let Some(on_failure) = suite.on_failure.filter(|_| failed) {
                lock(&queue).clear();
                if state == State::Gone {
                    say(&format!("no shell: the VM ended with {name}"));
                } else if !kept.swap(true, Ordering::Relaxed) {
                    // In this thread, because QEMU is killed when the thread that
                    // started it ends.
                    drop(sender);
                    told.wait();
                    return on_failure(name, machine, given);
                }
            }
            if state != State::Usable {
                vm = None;
            }
            // Pages show numbers that depend on earlier commands, so each page
            // gets a new VM.
            if suite.program == super::BOOK
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
    let ran = thread::scope(|scope| {
        let (sender, results) = channel();
        let workers: Vec<_> = (0..suite.jobs)
            .map(|_| {
                let sender = sender.clone();
                let work = &work;
                scope.spawn(move || work(sender))
            })
            .collect();
        drop(sender);
        for told in results {
            let done = reports.count() - first;
            match told {
                Told::Begins(name) => {
                    progress
                        .step(&format!("{name} ({done} of {} done)", tests.len()));
                }
                Told::Ended(report) => progress.above(|| reports.add(report)),
            }
        }
        drop(progress);
        // Reports of other workers may come later; the lane has failed anyway.
        if kept.load(Ordering::Relaxed) {
            reports.close(&name(set), begun.elapsed(), false);
            told.wait();
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
    });
    if !kept.into_inner() {
        let complete = ran.is_ok() && reports.count() - first == tests.len();
        reports.close(&name(set), begun.elapsed(), complete);
    }
    ran
}

/// The state of a VM after a test.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Another test may run in it.
    Usable,
    /// A shell may run in it, but no other test.
    Spoilt,
    /// It has ended, or it no longer answers.
    Gone,
}

/// Run one test. Returns its report and the state of the VM.
fn one(set: &Set, vm: &mut Machine, suite: Suite, name: &str) -> (Report, State) {
    let begun = Instant::now();
    let shown_before = vm.console_length();
    let mut report = Report {
        lane: self::name(set),
        name: name.to_owned(),
        verdict: Verdict::Passed,
        milliseconds: 0,
        output: String::new(),
        kernel: String::new(),
        again: suite
            .again
            .map_or_else(|| again(set, suite.program, name), str::to_owned),
    };
    let mut output = Vec::new();
    let verdict = run_order(set, vm, suite, name, &mut output);
    report.output = String::from_utf8_lossy(&output).into_owned();
    report.milliseconds = begun.elapsed().as_millis() as u64;
    let (verdict, mut state) = match verdict {
        Ok((verdict, milliseconds, clean)) => {
            report.milliseconds = milliseconds;
            (verdict, if clean { State::Usable } else { State::Spoilt })
        }
        Err(trouble) => (Verdict::Failed(trouble), State::Gone),
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
    if flooded && state == State::Usable {
        state = State::Spoilt;
    }
    (report, state)
}

/// The command that repeats a test.
fn again(set: &Set, program: &str, name: &str) -> String {
    let (kernel, cgroup) = (&set.kernel.wanted, set.cgroup);
    match name.strip_prefix("book::").filter(|_| program == super::BOOK) {
        Some(page) => {
            // A page that needs another machine names it itself.
            let page = page.split("::").next().unwrap_or(page);
            format!("cargo xtask test book {page}")
        }
        None => {
            let word = word(program);
            format!(
                "cargo xtask test {word}--kernel {kernel} --cgroup {cgroup} {name}"
            )
        }
    }
}

/// Order a test and wait for its end. Returns the verdict, the time in milliseconds,
/// and whether the VM is unchanged. An error means that the VM is lost.
fn run_order(
    set: &Set,
    vm: &mut Machine,
    suite: Suite,
    name: &str,
    output: &mut Vec<u8>,
) -> Result<(Verdict, u64, bool), String> {
    let Asked { how, milliseconds, skips, left } = ask(vm, suite, name, output)?;
    let clean = left.is_empty() && how != vm_init::How::TimedOut;
    let text = String::from_utf8_lossy(output).into_owned();
    let end = End { how, seconds: suite.seconds, output: text, skips, left };
    let kernel = &set.kernel.wanted;
    let expected = skips::expected(kernel, Some(set.cgroup), name);
    Ok((judge(&end, expected), milliseconds, clean))
}

/// The answer of PID 1.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) how: vm_init::How,
    pub(crate) milliseconds: u64,
    pub(crate) skips: Vec<String>,
    pub(crate) left: Vec<String>,
}

/// Let PID 1 run one test, or another program that takes a test's arguments.
///
/// # Errors
/// The VM is lost: the reason.
pub(crate) fn ask(
    vm: &mut Machine,
    suite: Suite,
    name: &str,
    output: &mut Vec<u8>,
) -> Result<Asked, String> {
    let ticket = rand_ticket();
    let seconds = suite.seconds;
    let (program, test) = located(suite.program, name);
    let order = Order::Test(vm_init::Test {
        program: program.to_owned(),
        name: test.to_owned(),
        environment: suite.environment.to_vec(),
        seconds,
        ticket,
        keep: suite.on_failure.is_some(),
    });
    if let Err(error) = vm.order(&order) {
        say(&in_words(&error));
        return Err(describe_end(vm));
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
                return Ok(Asked { how, milliseconds, skips, left });
            }
            Word::Event(Event::Refused { error }) => {
                return Err(format!("the VM could not run the test: {error}"));
            }
            Word::Gone => return Err(describe_end(vm)),
            Word::Silence => return Err("hung the VM".into()),
            Word::Event(_) | Word::Bytes(..) | Word::Noise(_) => {
                return Err("wrote on the runner's channel".into());
            }
        }
    }
}

/// How the VM ended, as text.
fn describe_end(vm: &mut Machine) -> String {
    let status = vm.ended();
    if vm.panicked() {
        return "the kernel panicked".into();
    }
    match status.code() {
        Some(0) => "powered the VM off".into(),
        Some(vm_init::AGREED) => {
            "the VM ended with the agreed exit status, but without its last message"
                .into()
        }
        _ => format!("QEMU ended with {status}"),
    }
}

/// A number that a test cannot guess.
fn rand_ticket() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Each RandomState has its own keys, from the system's random numbers.
    RandomState::new().build_hasher().finish()
}
