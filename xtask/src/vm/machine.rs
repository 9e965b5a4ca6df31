//! One VM: QEMU's process, the talk with process 1 in it, and its end.
//!
//! QEMU's standard input and output are the channel, its standard error carries the
//! console and what QEMU itself has to say. So no file and no socket is left over.

use std::io::BufReader;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use vm_init::wire::{Frame, Stream, receive, send, send_bytes};
use vm_init::{AGREED, Event, Order};

use super::Set;
use super::accelerator::Accelerator;
use super::command_line::{Memory, command};
use super::console::{self, Console};
use super::monitor::Monitor;
use super::rung::Rung;
use crate::mutex::lock;

/// From QEMU's start until process 1 answers.
fn usual_limit(accelerator: Accelerator) -> Duration {
    match accelerator {
        Accelerator::Kvm => Duration::from_secs(10),
        Accelerator::Tcg => Duration::from_secs(40),
    }
}

/// From the order to finish to QEMU's end.
const GOODBYE: Duration = Duration::from_secs(10);

/// What the VM said, or didn't.
#[derive(Debug)]
pub(crate) enum Word {
    /// An event.
    Event(Event),
    /// Part of a program's output.
    Bytes(Stream, Vec<u8>),
    /// The channel is at its end: the VM is gone.
    Gone,
    /// What came is no frame: somebody else writes on the channel.
    Noise(String),
    /// Nothing came in time.
    Silence,
}

/// A VM that runs.
pub(crate) struct Machine {
    qemu: Child,
    line: Option<ChildStdin>,
    words: Receiver<Word>,
    console: Arc<Mutex<Console>>,
    threads: Vec<JoinHandle<()>>,
    /// cgroup v1 controllers that this kernel could not mount.
    pub(super) missing: Vec<String>,
    begun: Instant,
    /// From QEMU's start until process 1 had followed its first order.
    pub(crate) boot: Duration,
}

impl Machine {
    /// Boot.
    pub(super) fn start(set: &Set, rung: &Rung) -> Result<Machine> {
        let command = command(set, rung, &Memory::Own)?;
        let mut machine = Machine::spawn(command)?;
        machine.missing = machine.ready(set, rung)?;
        machine.begin(set, rung)
    }

    /// Boot, and keep what has come up: its memory in one file, its devices in another.
    /// Given back are the cgroup v1 controllers that this kernel could not mount.
    ///
    /// # Errors
    /// It doesn't come up; QEMU can't write it.
    pub(super) fn keep(
        set: &Set,
        rung: &Rung,
        memory: &Path,
        devices: &Path,
    ) -> Result<Vec<String>> {
        let mut command = command(set, rung, &Memory::Filling(memory))?;
        let mut monitor = Monitor::new(set.scratch.path(), &mut command)?;
        let mut machine = Machine::spawn(command)?;
        let missing = machine.ready(set, rung)?;
        monitor.greet()?;
        monitor.save(devices)?;
        // Not killed: what stands between us and QEMU would be, and QEMU not.
        monitor.quit();
        machine.ended();
        Ok(missing)
    }

    /// Continue where [`Machine::keep`] stopped, from the files that it wrote.
    ///
    /// # Errors
    /// QEMU refuses them, or the VM does not answer.
    pub(super) fn restore(
        set: &Set,
        rung: &Rung,
        memory: &Path,
        devices: &Path,
    ) -> Result<Machine> {
        let mut command = command(set, rung, &Memory::From(memory))?;
        let mut monitor = Monitor::new(set.scratch.path(), &mut command)?;
        command.args(["-incoming", "defer"]);
        let machine = Machine::spawn(command)?;
        monitor.greet()?;
        monitor.restore(devices)?;
        machine.begin(set, rung)
    }

    /// Start QEMU, and read what it says.
    fn spawn(mut command: Command) -> Result<Machine> {
        let begun = Instant::now();
        let mut qemu = command.spawn().context("start QEMU")?;
        let line = qemu.stdin.take();
        let output = qemu.stdout.take().context("QEMU's output")?;
        let error = qemu.stderr.take().context("QEMU's errors")?;
        let console = Arc::new(Mutex::new(Console::default()));
        let (sender, words) = channel();
        let kept = Arc::clone(&console);
        let threads = vec![
            thread::spawn(move || {
                let mut output = BufReader::new(output);
                loop {
                    let word = match receive(&mut output) {
                        Ok(Some(Frame::Message(event))) => Word::Event(event),
                        Ok(Some(Frame::Bytes(stream, bytes))) => {
                            Word::Bytes(stream, bytes)
                        }
                        Ok(None) => Word::Gone,
                        Err(error) => Word::Noise(error.to_string()),
                    };
                    let last = matches!(word, Word::Gone | Word::Noise(_));
                    if sender.send(word).is_err() || last {
                        return;
                    }
                }
            }),
            thread::spawn(move || console::keep(error, &kept)),
        ];
        let (missing, boot) = (Vec::new(), Duration::ZERO);
        Ok(Machine { qemu, line, words, console, threads, missing, begun, boot })
    }

    /// Wait for process 1; the cgroup v1 controllers that this kernel could not mount.
    fn ready(&mut self, set: &Set, rung: &Rung) -> Result<Vec<String>> {
        match self.first_word(set, rung)? {
            Event::Ready { missing, .. } => Ok(missing),
            event => bail!("not ready, but {event:?}"),
        }
    }

    /// Give the first order.
    fn begin(mut self, set: &Set, rung: &Rung) -> Result<Machine> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let (seconds, nanoseconds) =
            (now.as_secs() as i64, now.subsec_nanos().into());
        self.order(&Order::Begin { seconds, nanoseconds })?;
        match self.first_word(set, rung)? {
            Event::Begun => {}
            Event::Refused { error } => bail!("the VM could not begin: {error}"),
            event => bail!("not begun, but {event:?}"),
        }
        self.boot = self.begun.elapsed();
        Ok(self)
    }

    /// An event that must come soon.
    fn first_word(&mut self, set: &Set, rung: &Rung) -> Result<Event> {
        let limit = set.boot_limit.unwrap_or(usual_limit(rung.accelerator));
        let how = match self.next(limit) {
            Word::Event(event) => return Ok(event),
            Word::Silence => format!("not up in {} s", limit.as_secs()),
            Word::Gone => format!("QEMU ended with {}", self.ended()),
            Word::Noise(what) => format!("noise on the channel: {what}"),
            word => format!("not ready, but {word:?}"),
        };
        let last = self.last_lines(4);
        bail!("{how}{}", if last.is_empty() { last } else { format!(": {last}") });
    }

    /// Give an order.
    ///
    /// # Errors
    /// The VM is gone.
    pub(crate) fn order(&mut self, order: &Order) -> Result<()> {
        let line = self.line.as_mut().context("the VM is gone")?;
        send(line, order).context("the VM is gone")
    }

    /// Where orders and input go, for who sends them from another thread.
    pub(crate) fn take_line(&mut self) -> Result<Line> {
        Ok(Line(self.line.take().context("the VM is gone")?))
    }

    /// Wait for the next word.
    pub(crate) fn next(&self, limit: Duration) -> Word {
        match self.words.recv_timeout(limit) {
            Ok(word) => word,
            Err(RecvTimeoutError::Timeout) => Word::Silence,
            Err(RecvTimeoutError::Disconnected) => Word::Gone,
        }
    }

    /// The VM's goodbye: its last word, with as many tests as it was given, and the
    /// agreed exit code.
    ///
    /// # Errors
    /// It says something else, or nothing: what it says can't be trusted.
    pub(crate) fn finish(mut self, tests: u32) -> Result<()> {
        self.order(&Order::Finish)?;
        drop(self.line.take());
        self.goodbye(tests)
    }

    /// The same, after the order was given.
    ///
    /// # Errors
    /// As [`Machine::finish`].
    pub(crate) fn goodbye(&mut self, tests: u32) -> Result<()> {
        let expected = Event::Finished { tests };
        match self.next(GOODBYE) {
            Word::Event(event) if event == expected => {}
            word => {
                bail!("the VM's last word should be {expected:?}, and is {word:?}")
            }
        }
        match self.ended().code() {
            Some(AGREED) => Ok(()),
            code => bail!("QEMU's exit code should be {AGREED}, and is {code:?}"),
        }
    }

    /// Wait for QEMU's end, which is near; if it isn't, bring it about.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + GOODBYE;
        loop {
            if let Ok(Some(status)) = self.qemu.try_wait() {
                self.read_out();
                return status;
            }
            if Instant::now() > end {
                let _ = self.qemu.kill();
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Wait until all that QEMU said is read. It is over soon, unless somebody else
    /// has its pipes too, who shall not hold us up.
    fn read_out(&self) {
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end
            && !self.threads.iter().all(JoinHandle::is_finished)
        {
            sleep(Duration::from_millis(1));
        }
    }

    /// How many bytes the console has shown.
    pub(crate) fn console_length(&self) -> usize {
        lock(&self.console).total
    }

    /// Whether the kernel said that it can't go on.
    pub(crate) fn panicked(&self) -> bool {
        lock(&self.console).panicked()
    }

    /// The console's last lines; after a panic of the kernel the first that tell
    /// of it.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        lock(&self.console).last_lines(count)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Thrown away: nothing in it is worth a goodbye.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The host's end of the channel.
pub(crate) struct Line(ChildStdin);

impl Line {
    pub(crate) fn order(&mut self, order: &Order) -> Result<()> {
        send(&mut self.0, order).context("the VM is gone")
    }

    pub(crate) fn input(&mut self, bytes: &[u8]) -> Result<()> {
        send_bytes(&mut self.0, Stream::Input, bytes).context("the VM is gone")
    }
}
