//! One VM: the QEMU process, the protocol with PID 1, and the shutdown.
//!
//! QEMU's standard input and output are the channel. Its standard error carries the
//! console and QEMU's own messages. Therefore no file and no socket is left behind.

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
use super::boot_config::BootConfig;
use super::command_line::{Memory, command};
use super::console::{self, Console};
use super::monitor::Monitor;
use crate::mutex::lock;

/// The time limit from QEMU's start until PID 1 answers.
fn usual_limit(accelerator: Accelerator) -> Duration {
    match accelerator {
        Accelerator::Kvm => Duration::from_secs(10),
        Accelerator::Tcg => Duration::from_secs(40),
    }
}

/// The time limit from the last order to QEMU's end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// A message of the VM, or its absence.
#[derive(Debug)]
pub enum Word {
    /// An event.
    Event(Event),
    /// Part of a program's output.
    Bytes(Stream, Vec<u8>),
    /// End of file on the channel: the VM has ended.
    Gone,
    /// Bytes that are not a frame: another process writes on the channel.
    Noise(String),
    /// No message arrived in time.
    Silence,
}

/// A running VM.
pub struct Machine {
    qemu: Child,
    line: Option<ChildStdin>,
    words: Receiver<Word>,
    console: Arc<Mutex<Console>>,
    threads: Vec<JoinHandle<()>>,
    /// The cgroup v1 controllers that the kernel could not mount.
    pub(super) missing: Vec<String>,
    begun: Instant,
    /// The time from QEMU's start until PID 1 had executed its first order.
    pub boot: Duration,
}

impl Machine {
    /// Boot.
    pub(super) fn start(set: &Set, boot_config: &BootConfig) -> Result<Machine> {
        let command = command(set, boot_config, &Memory::Own)?;
        let mut machine = Machine::spawn(command)?;
        machine.missing = machine.ready(set, boot_config)?;
        machine.begin(set, boot_config)
    }

    /// Boot a VM, and save its memory to one file and its devices to another.
    /// Returns the cgroup v1 controllers that the kernel could not mount.
    ///
    /// # Errors
    /// The VM does not boot; QEMU cannot write the files.
    pub(super) fn keep(
        set: &Set,
        boot_config: &BootConfig,
        memory: &Path,
        devices: &Path,
    ) -> Result<Vec<String>> {
        let mut command = command(set, boot_config, &Memory::Filling(memory))?;
        let mut monitor = Monitor::new(set.scratch.path(), &mut command)?;
        let mut machine = Machine::spawn(command)?;
        let missing = machine.ready(set, boot_config)?;
        monitor.greet()?;
        monitor.save(devices)?;
        // Not killed: this would kill a process between this one and QEMU, but not
        // QEMU.
        monitor.quit();
        machine.ended();
        Ok(missing)
    }

    /// Restore a VM from the files of [`Machine::keep`].
    ///
    /// # Errors
    /// QEMU refuses the files, or the VM does not answer.
    pub(super) fn restore(
        set: &Set,
        boot_config: &BootConfig,
        memory: &Path,
        devices: &Path,
    ) -> Result<Machine> {
        let mut command = command(set, boot_config, &Memory::From(memory))?;
        let mut monitor = Monitor::new(set.scratch.path(), &mut command)?;
        command.args(["-incoming", "defer"]);
        let machine = Machine::spawn(command)?;
        monitor.greet()?;
        monitor.restore(devices)?;
        machine.begin(set, boot_config)
    }

    /// Start QEMU, and the threads that read its output.
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

    /// Wait for PID 1. Returns the cgroup v1 controllers that it could not mount.
    fn ready(&mut self, set: &Set, boot_config: &BootConfig) -> Result<Vec<String>> {
        match self.first_word(set, boot_config)? {
            Event::Ready { missing, .. } => Ok(missing),
            event => bail!("expected the event Ready, got {event:?}"),
        }
    }

    /// Send the first order.
    fn begin(mut self, set: &Set, boot_config: &BootConfig) -> Result<Machine> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let (seconds, nanoseconds) =
            (now.as_secs() as i64, now.subsec_nanos().into());
        self.order(&Order::Begin { seconds, nanoseconds })?;
        match self.first_word(set, boot_config)? {
            Event::Begun => {}
            Event::Refused { error } => {
                bail!("the VM could not execute the first order: {error}")
            }
            event => bail!("expected the event Begun, got {event:?}"),
        }
        self.boot = self.begun.elapsed();
        Ok(self)
    }

    /// Wait for an event that must arrive soon.
    fn first_word(&mut self, set: &Set, boot_config: &BootConfig) -> Result<Event> {
        let limit = set.boot_limit.unwrap_or(usual_limit(boot_config.accelerator));
        let how = match self.next(limit) {
            Word::Event(event) => return Ok(event),
            Word::Silence => format!("no answer within {} s", limit.as_secs()),
            Word::Gone => format!("QEMU ended with {}", self.ended()),
            Word::Noise(what) => format!("noise on the channel: {what}"),
            word => format!("expected an event, got {word:?}"),
        };
        let last = self.last_lines(4);
        bail!("{how}{}", if last.is_empty() { last } else { format!(": {last}") });
    }

    /// Send an order.
    ///
    /// # Errors
    /// The VM has ended.
    pub fn order(&mut self, order: &Order) -> Result<()> {
        let line = self.line.as_mut().context("the VM has ended")?;
        send(line, order).context("the VM has ended")
    }

    /// The end of the channel for orders and input, for use in another thread.
    pub fn take_line(&mut self) -> Result<Line> {
        Ok(Line(self.line.take().context("the VM has ended")?))
    }

    /// Wait for the next message.
    pub fn next(&self, limit: Duration) -> Word {
        match self.words.recv_timeout(limit) {
            Ok(word) => word,
            Err(RecvTimeoutError::Timeout) => Word::Silence,
            Err(RecvTimeoutError::Disconnected) => Word::Gone,
        }
    }

    /// Shut down the VM, and check its last message (with the number of tests) and
    /// the agreed exit status.
    ///
    /// # Errors
    /// The message or the status is wrong or missing: the results cannot be trusted.
    pub fn finish(mut self, tests: u32) -> Result<()> {
        self.order(&Order::Finish)?;
        drop(self.line.take());
        self.shut_down(tests)
    }

    /// Read the VM's last message, after the order to end was sent.
    ///
    /// # Errors
    /// The message or the status is wrong or missing: the results cannot be trusted.
    pub fn shut_down(&mut self, tests: u32) -> Result<()> {
        let expected = Event::Finished { tests };
        match self.next(SHUTDOWN_TIMEOUT) {
            Word::Event(event) if event == expected => {}
            word => {
                bail!(
                    "the last message of the VM must be {expected:?}, but is {word:?}"
                )
            }
        }
        match self.ended().code() {
            Some(AGREED) => Ok(()),
            code => bail!("QEMU's exit status must be {AGREED}, but is {code:?}"),
        }
    }

    /// Wait for QEMU's end; kill it if it takes too long.
    pub fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + SHUTDOWN_TIMEOUT;
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

    /// Wait until QEMU's output is read completely. This ends soon, unless another
    /// process has QEMU's pipes open; that process must not block this one.
    fn read_out(&self) {
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end
            && !self.threads.iter().all(JoinHandle::is_finished)
        {
            sleep(Duration::from_millis(1));
        }
    }

    /// The number of bytes that the console has shown.
    pub fn console_length(&self) -> usize {
        lock(&self.console).total
    }

    /// Whether the kernel has panicked.
    pub fn panicked(&self) -> bool {
        lock(&self.console).panicked()
    }

    /// The last lines of the console; after a kernel panic, the lines from its
    /// message on.
    pub fn last_lines(&self, count: usize) -> String {
        lock(&self.console).last_lines(count)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The VM is discarded, so it is not shut down.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The host's end of the channel.
pub struct Line(ChildStdin);

impl Line {
    /// Send an order.
    ///
    /// # Errors
    /// The VM has ended.
    pub fn order(&mut self, order: &Order) -> Result<()> {
        send(&mut self.0, order).context("the VM has ended")
    }

    /// Send input of the running program.
    ///
    /// # Errors
    /// The VM has ended.
    pub fn input(&mut self, bytes: &[u8]) -> Result<()> {
        send_bytes(&mut self.0, Stream::Input, bytes).context("the VM has ended")
    }
}
