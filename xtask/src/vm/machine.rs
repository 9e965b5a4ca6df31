//! One VM: QEMU's process, the talk with process 1 in it, and its end.
//!
//! QEMU's standard input and output are the channel, its standard error carries the
//! console and what QEMU itself has to say. So no file and no socket is left over.

use std::fmt;
use std::fs;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use common::step::report;
use vm_init::wire::{Frame, Stream, receive, send, send_bytes};
use vm_init::{AGREED, EXIT_PORT, Event, Order, place};

use super::accelerator::Accelerator;
use super::monitor::Monitor;
use super::payload::BUSES;
use super::snapshot::{self, Snapshot};
use super::{Disk, Set, say};

/// Of the console so much is kept: its end.
const CONSOLE: usize = 64 << 10;

/// A VM's memory.
const MEMORY: &str = "512M";

/// From QEMU's start until process 1 answers.
fn usual_limit(accelerator: Accelerator) -> Duration {
    match accelerator {
        Accelerator::Kvm => Duration::from_secs(10),
        Accelerator::Tcg => Duration::from_secs(40),
    }
}

/// How the kernel begins to say that it can't go on.
const PANIC: &str = "Kernel panic - not syncing";

/// From the order to finish to QEMU's end.
const GOODBYE: Duration = Duration::from_secs(10);

/// One way to boot; the ladder's rungs are tried in turn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rung {
    pub(super) accelerator: Accelerator,
    /// QEMU's `-M`: the small machine boots in half the time, the usual one anywhere.
    machine: &'static str,
    pub(super) image: PathBuf,
}

impl Rung {
    /// The machine's name.
    pub(super) fn name(&self) -> &'static str {
        self.machine.split(',').next().unwrap_or_default()
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = self.image.file_name().unwrap_or_default();
        let (machine, accelerator) = (self.name(), self.accelerator.name());
        write!(f, "{machine}, {}, {accelerator}", name.display())
    }
}

/// The rung on which the last boot of a set stood.
pub(crate) type LastRung = Mutex<Option<Rung>>;

/// The rungs for a set, the best first.
fn ladder(set: &Set) -> Vec<Rung> {
    let mut rungs = Vec::new();
    let mut accelerators = vec![set.accelerator];
    if set.accelerator == Accelerator::Kvm {
        accelerators.push(Accelerator::Tcg);
    }
    for accelerator in accelerators {
        let images = (set.kernel.images.first(), set.kernel.images.last());
        let (Some(first), Some(last)) = images else { continue };
        for (machine, image) in [("microvm,rtc=on", first), ("q35,hpet=off", last)] {
            rungs.push(Rung { accelerator, machine, image: image.clone() });
        }
    }
    rungs
}

/// Boot a VM, on the rung that stood last or on the first that stands.
///
/// # Errors
/// No rung stands: what each of them said.
pub(crate) fn boot(set: &Set) -> Result<Machine> {
    let known = lock(&set.rung).clone();
    let mut rungs = ladder(set);
    if let Some(known) = known {
        // One that has stood before gets a second chance.
        rungs = [&known, &known].into_iter().chain(&rungs).cloned().collect();
    }
    let mut tried = Vec::new();
    for rung in rungs {
        match up(set, &rung) {
            Ok(machine) => {
                if !tried.is_empty() {
                    say(&format!("up on {rung}; tried before:{}", tried.concat()));
                }
                let first = lock(&set.rung).replace(rung).is_none();
                if first && !machine.missing.is_empty() {
                    let missing = machine.missing.join(", ");
                    say(&format!("this kernel has no cgroup v1 {missing}"));
                }
                return Ok(machine);
            }
            Err(error) => tried.push(format!("\n  {rung}: {error:#}")),
        }
    }
    bail!(
        "no VM comes up with Linux {}; tried:{}\nhint: --kernel takes another \
         kernel; --here runs the tests on this machine, as root",
        set.kernel.release,
        tried.concat()
    )
}

/// One VM on this rung: restored, where that can be, else booted.
fn up(set: &Set, rung: &Rung) -> Result<Machine> {
    // The processor itself boots a kernel about as fast.
    let kept = set.kept
        && set.medium.disk.is_some()
        && rung.accelerator == Accelerator::Tcg;
    if kept {
        let restored = snapshot::find(set, rung).and_then(|snapshot| {
            let machine = Machine::restore(set, rung, &snapshot);
            machine.inspect_err(|_| snapshot.discard())
        });
        match restored {
            Ok(machine) => return Ok(machine),
            Err(error) => say(&format!("no snapshot: {}", report(&error))),
        }
    }
    Machine::start(set, rung)
}

/// What a VM's memory is.
enum Memory<'a> {
    /// Its own.
    Own,
    /// This file, which it fills.
    Filling(&'a Path),
    /// This file to begin with; what it writes is its own.
    From(&'a Path),
}

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
    missing: Vec<String>,
    begun: Instant,
    /// From QEMU's start until process 1 had followed its first order.
    pub(crate) boot: Duration,
}

/// The end of what the console showed.
#[derive(Default)]
struct Console {
    tail: Vec<u8>,
    total: usize,
}

/// Lock, also after a thread's panic: what is inside is always whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    /// Boot.
    fn start(set: &Set, rung: &Rung) -> Result<Machine> {
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

    /// Go on where the snapshot was made.
    fn restore(set: &Set, rung: &Rung, snapshot: &Snapshot) -> Result<Machine> {
        let mut command = command(set, rung, &Memory::From(&snapshot.memory()))?;
        let mut monitor = Monitor::new(set.scratch.path(), &mut command)?;
        command.args(["-incoming", "defer"]);
        let mut machine = Machine::spawn(command)?;
        monitor.greet()?;
        monitor.restore(&snapshot.devices())?;
        machine.missing = snapshot.missing().to_vec();
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
            thread::spawn(move || keep_console(error, &kept)),
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
        self.text().contains(PANIC)
    }

    /// The console's last lines; after a panic of the kernel the first that tell
    /// of it.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        let text = self.text();
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect();
        let last = lines.len().saturating_sub(count);
        let panic = lines.iter().position(|line| line.contains(PANIC));
        let start = panic.map_or(last, |at| at.min(last));
        lines[start..].iter().take(count).copied().collect::<Vec<_>>().join("\n")
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.console).tail).into_owned()
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

fn keep_console(mut source: impl Read, console: &Mutex<Console>) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = source.read(&mut bytes) {
        let mut console = lock(console);
        console.total += count;
        console.tail.extend(&bytes[..count]);
        let excess = console.tail.len().saturating_sub(CONSOLE);
        console.tail.drain(..excess);
    }
}

/// What the kernel is not to set up: a tenth of the boot, and nothing of it is part of
/// a container. A name that a kernel doesn't have is passed over.
const SKIPPED: [&str; 11] = [
    // Thousands of files for tracing.
    "tracer_init_tracefs",
    // A self-test, keys for modules that nobody signed, and another kind of keys.
    "crypto_kdf108_init",
    "load_system_certificate_list",
    "init_encrypted",
    // Who registers functions for BPF programs has all the kernel's types read.
    "bpf_fs_kfuncs_init",
    "bpf_key_sig_kfuncs_init",
    "bpf_prog_test_run_init",
    "bpf_rstat_kfunc_init",
    "bpf_tcp_ca_kfunc_init",
    "cubictcp_register",
    "kfunc_init",
];

/// QEMU's command line.
fn command(set: &Set, rung: &Rung, memory: &Memory) -> Result<Command> {
    // By way of this program, so that QEMU dies with whoever started it.
    // Not by its path, where a build may have put another one meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg(crate::HELD).arg(std::process::id().to_string());
    command.arg(&set.qemu.program);
    // Two processors, so that a container can be kept on one of them.
    let mut kind = rung.machine.to_owned();
    let file = match memory {
        Memory::Own => None,
        Memory::Filling(path) => Some((path, "on")),
        Memory::From(path) => Some((path, "off")),
    };
    if let Some((path, share)) = file {
        let path = path.to_string_lossy().replace(',', ",,");
        let memory = format!("size={MEMORY},share={share},mem-path={path}");
        command.args(["-object", &format!("memory-backend-file,id=ram,{memory}")]);
        kind += ",memory-backend=ram";
    }
    command.args(["-M", &kind, "-m", MEMORY, "-smp", "2"]);
    command.args(["-nodefaults", "-no-user-config"]);
    command.args(["-display", "none", "-no-reboot"]);
    match rung.accelerator {
        Accelerator::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
        // Both by one thread in turn: with a thread for each, this emulation now and
        // then executes a breakpoint that the kernel, patching its own code, has
        // already taken back, and the kernel panics.
        Accelerator::Tcg => {
            command.args(["-accel", "tcg,thread=single", "-cpu", "qemu64"])
        }
    };
    command.arg("-kernel").arg(&rung.image);
    command.arg("-initrd").arg(&set.medium.initramfs);
    let mut line = kernel_line(set, rung.accelerator);
    if let Some(disk) = &set.medium.disk {
        let microvm = rung.machine.starts_with("microvm");
        let (bus, device) = if microvm {
            (BUSES[0], "virtio-blk-device,drive=usr")
        } else {
            (BUSES[1], "virtio-blk-pci,drive=usr")
        };
        // QEMU reads a comma as the end of the path, and two as one in it.
        let disk = disk.to_string_lossy().replace(',', ",,");
        let drive = "if=none,id=usr,format=raw,readonly=on";
        command.args(["-drive", &format!("{drive},file={disk}")]);
        command.args(["-device", device]);
        line += &format!(" {}{bus}", place::BUS);
    }
    for disk in &set.disks {
        attach(&mut command, rung, disk);
    }
    command.arg("-append").arg(line);
    // The first serial port is the console, the second the channel.
    let console = "file,id=console,path=/dev/fd/2";
    command.args(["-chardev", console, "-serial", "chardev:console"]);
    command.args(["-chardev", "stdio,id=channel,signal=off"]);
    command.args(["-device", "isa-serial,chardev=channel,index=1"]);
    let exit = format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1");
    command.args(["-device", &exit]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Attach a disk that is written to. The VM may flush it; what the host does with that
/// is of no matter.
///
/// # Source
/// qapi/block-core.json of QEMU, "BlockdevOptionsBlklogwrites"
fn attach(command: &mut Command, rung: &Rung, disk: &Disk) {
    let file = |node: &str, path: &Path| {
        let path = path.to_string_lossy().replace(',', ",,");
        format!("driver=file,node-name={node},filename={path},cache.no-flush=on")
    };
    let name = disk.name;
    match &disk.journal {
        None => {
            command.args(["-blockdev", &file(name, &disk.path)]);
        }
        Some(journal) => {
            command.args(["-blockdev", &file("data", &disk.path)]);
            command.args(["-blockdev", &file("log", journal)]);
            let filter = format!("driver=blklogwrites,node-name={name}");
            command.args(["-blockdev", &format!("{filter},file=data,log=log")]);
        }
    }
    let microvm = rung.machine.starts_with("microvm");
    let device = if microvm { "virtio-blk-device" } else { "virtio-blk-pci" };
    let device = format!("{device},drive={name},serial={name},write-cache=on");
    command.args(["-device", &device]);
}

/// The kernel's command line. What is switched off costs time at boot, and guards
/// against nothing in a machine that lives for seconds.
pub(super) fn kernel_line(set: &Set, accelerator: Accelerator) -> String {
    let mut line = "console=ttyS0 loglevel=2 panic=-1 oops=panic cryptomgr.notests \
                    init_on_alloc=0 mitigations=off no5lvl nowatchdog audit=0"
        .to_owned();
    // No VM wakes up from its disk.
    line += " noresume initcall_blacklist=";
    line += &SKIPPED.join(",");
    if accelerator == Accelerator::Tcg {
        // The guest reads the host's time stamp counter. Told how fast it is, the
        // kernel need not measure it by timers that the small machine lacks.
        line += " tsc=reliable";
        if let Some(khz) = host_khz() {
            line += &format!(" tsc_early_khz={khz} lpj={}", khz * 4);
        }
    }
    line += &format!(" {}{}", place::CGROUP, set.cgroup);
    if set.raw_root {
        line += &format!(" {}", place::RAW_ROOT);
    }
    line
}

fn host_khz() -> Option<u64> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("cpu MHz"))?;
    let mhz: f64 = line.split_once(':')?.1.trim().parse().ok()?;
    Some((mhz * 1000.0) as u64)
}
