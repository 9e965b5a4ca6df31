//! A lane: the tests in VMs of one kind, several at a time. A VM in which something
//! went wrong is thrown away, and the tests that are left go on in a fresh one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
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

/// What is done with the VM of a test that failed, and with all that it left there:
/// the test's name, the VM, and how many tests it was given.
pub(crate) type Look<'a> =
    &'a (dyn Fn(&str, &mut Machine, u32) -> Result<()> + Sync);

/// Suite tests are run.
#[derive(Clone, Copy)]
pub(crate) struct Suite<'a> {
    /// The test program.
    pub(crate) program: &'a str,
    /// Variables for it, beside those that each test has.
    pub(crate) environment: &'a [(String, String)],
    /// The command that runs a part again, if it isn't `cargo xtask test`.
    pub(crate) again: Option<&'a str>,
    /// Suite many VMs at a time.
    pub(crate) jobs: usize,
    /// A test's time.
    pub(crate) seconds: u64,
    /// With it the first test that fails is the last that is begun.
    pub(crate) look: Option<Look<'a>>,
}

impl<'a> Suite<'a> {
    /// One test after the other.
    pub(crate) fn of(program: &'a str, seconds: u64) -> Suite<'a> {
        Suite {
            program,
            environment: &[],
            again: None,
            jobs: 1,
            seconds,
            look: None,
        }
    }
}

/// Run the tests, report each as it ends, and close the lane.
///
/// # Errors
/// No VM comes up; one whose goodbye was not right.
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
    // Who looks does so when all is told; so two wait for each other.
    let (kept, told) = (AtomicBool::new(false), Barrier::new(2));
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
            let (report, state) = one(set, machine, suite, name);
            let failed = matches!(report.verdict, Verdict::Failed(_));
            // Nobody listens only when the lane is being given up.
            let _ = sender.send(report);
            if let Some(look) = suite.look.filter(|_| failed) {
                lock(&queue).clear();
                if state == State::Gone {
                    say(&format!("no shell: the VM went with {name}"));
                } else if !kept.swap(true, Ordering::Relaxed) {
                    // In this very thread: QEMU dies with the one that started it.
                    drop(sender);
                    told.wait();
                    return look(name, machine, given);
                }
            }
            if state != State::Usable {
                vm = None;
            }
            // A page shows numbers that depend on what came before.
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
        for report in results {
            reports.add(report);
        }
        // Those of the other workers come later; this is a failure anyway.
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

/// What a test has made of its VM.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// As good as before.
    Usable,
    /// Somebody may look around in it, and no other test is given to it.
    Spoilt,
    /// It has ended, or answers no more.
    Gone,
}

/// One test; and what became of the VM.
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
    let verdict = conversation(set, vm, suite, name, &mut output);
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
            let word = word(program);
            format!(
                "cargo xtask test {word}--kernel {kernel} --cgroup {cgroup} {name}"
            )
        }
    }
}

/// The order, and what comes of it: the verdict, how long the test took in
/// milliseconds, and whether it left the VM as it was. What befell the VM is an error.
fn conversation(
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

/// What process 1 answers.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) how: vm_init::How,
    pub(crate) milliseconds: u64,
    pub(crate) skips: Vec<String>,
    pub(crate) left: Vec<String>,
}

/// Let process 1 run one test, or something else that takes a test's arguments.
///
/// # Errors
/// What befell the VM, which is of no more use then.
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
        keep: suite.look.is_some(),
    });
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
                return Ok(Asked { how, milliseconds, skips, left });
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

/// Suite the VM went, in words.
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
