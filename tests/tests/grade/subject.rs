//! A run of the program that is graded: how its command line is put together, and
//! what is to be seen of it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use blackbox::Terminal;
use nix::sys::signal::Signal;

use crate::outcome::{Outcome, Trouble};
use crate::room::Room;

/// A run that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Of what a program prints, so much is looked at.
const OUTPUT: u64 = 64 << 10;

/// Signals that a program gets for a mistake of its own.
const CRASHES: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGSYS,
    Signal::SIGTRAP,
];

/// One run, before it is started.
pub(crate) struct Run<'a> {
    room: &'a Room,
    command: Vec<String>,
    hostname: Vec<String>,
    volumes: Vec<String>,
    limits: Vec<String>,
    flags: Vec<String>,
    input: Vec<u8>,
    as_user: bool,
    as_it_is: bool,
    directory: PathBuf,
}

impl<'a> Run<'a> {
    pub(crate) fn new(room: &'a Room, command: &[&str]) -> Run<'a> {
        Run {
            room,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            hostname: Vec::new(),
            volumes: Vec::new(),
            limits: Vec::new(),
            flags: Vec::new(),
            input: Vec::new(),
            as_user: false,
            as_it_is: false,
            directory: room.lab.dir().to_owned(),
        }
    }

    /// Flags of a chapter: for exercises.
    pub(crate) fn flags(mut self, words: &[&str]) -> Run<'a> {
        self.flags.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    pub(crate) fn hostname(mut self, name: &str) -> Run<'a> {
        let words = &self.room.subject.adapter.hostname;
        self.hostname.extend(words.iter().map(|word| word.replace("{name}", name)));
        self
    }

    pub(crate) fn volume(
        mut self,
        host: &Path,
        guest: &str,
        read_only: bool,
    ) -> Run<'a> {
        let adapter = &self.room.subject.adapter;
        let words =
            if read_only { &adapter.volume_read_only } else { &adapter.volume };
        self.volumes.extend(words.iter().map(|word| {
            word.replace("{host}", &host.to_string_lossy()).replace("{guest}", guest)
        }));
        self
    }

    pub(crate) fn memory(mut self, bytes: u64) -> Run<'a> {
        let words = &self.room.subject.adapter.memory;
        let filled = words.iter().map(|w| w.replace("{bytes}", &bytes.to_string()));
        self.limits.extend(filled);
        self
    }

    pub(crate) fn pids(mut self, count: u32) -> Run<'a> {
        let words = &self.room.subject.adapter.pids;
        let filled = words.iter().map(|w| w.replace("{count}", &count.to_string()));
        self.limits.extend(filled);
        self
    }

    pub(crate) fn input(mut self, text: &str) -> Run<'a> {
        self.input = text.into();
        self
    }

    /// Run it in this directory.
    pub(crate) fn at(mut self, directory: &str) -> Run<'a> {
        self.directory = directory.into();
        self
    }

    /// Its words follow the program's name.
    pub(crate) fn as_it_is(mut self) -> Run<'a> {
        self.as_it_is = true;
        self
    }

    /// Run it as the ordinary user.
    pub(crate) fn as_user(mut self) -> Run<'a> {
        self.as_user = true;
        self
    }

    fn words(&self, tty: bool) -> Vec<String> {
        let adapter = &self.room.subject.adapter;
        if self.as_it_is {
            let binary = self.room.subject.binary.clone();
            return std::iter::once(binary).chain(self.command.clone()).collect();
        }
        let mut words = Vec::new();
        for word in &adapter.run {
            let many: &[String] = match word.as_str() {
                "{tty}" if tty => &adapter.tty,
                "{tty}" => &[],
                "{hostname}" => &self.hostname,
                "{volumes}" => &self.volumes,
                "{limits}" => &self.limits,
                "{command}" => &self.command,
                _ => std::slice::from_ref(word),
            };
            // Our own chapters' flags come before the program.
            if word == "{command}" {
                words.extend(self.flags.iter().cloned());
            }
            let literal = word == "{command}";
            words.extend(many.iter().map(|word| match literal {
                true => word.clone(),
                false => self.room.fill(word, self.as_user),
            }));
        }
        words
    }

    fn prepare(&self, tty: bool) -> Command {
        let words = self.words(tty);
        let shown: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        self.room.commands.borrow_mut().push(shown.join(" "));
        let mut command = if self.as_user {
            let mut command = self.room.user_command();
            command.args(&words);
            command
        } else {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).env_clear().env("HOME", self.room.lab.dir());
            command
        };
        command.current_dir(&self.directory);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for (name, value) in &self.room.subject.adapter.environment {
            command.env(name, self.room.fill(value, self.as_user));
        }
        command
    }

    /// Start it on a terminal.
    pub(crate) fn on_terminal(&self) -> Terminal {
        Terminal::run(self.prepare(true))
    }

    /// The same, with a shell's commands before and after it on that terminal.
    pub(crate) fn between(&self, before: &str, after: &str) -> Terminal {
        let inner = self.prepare(true);
        let words = std::iter::once(inner.get_program()).chain(inner.get_args());
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(format!("{before}\"$@\"{after}")).arg("sh").args(words);
        shell.env_clear();
        for (name, value) in inner.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        shell.current_dir(self.room.lab.dir());
        Terminal::run(shell)
    }

    /// Start it, and let it run.
    pub(crate) fn start(&self) -> Result<Running<'a>, Trouble> {
        let open = |name: &str| {
            let file = File::options()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true)
                .open(self.room.path(name));
            file.expect("a file for its output")
        };
        let (out, err) = (open("stdout"), open("stderr"));
        let mut command = self.prepare(false);
        command.stdin(Stdio::piped());
        command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
        let mut child = command.spawn().map_err(|error| {
            Trouble::error("the program to start", format!("not started: {error}"))
        })?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read has closed it.
            let _ = stdin.write_all(&self.input);
        }
        Ok(Running { room: self.room, child, out, err })
    }

    /// Run it to its end.
    pub(crate) fn end(&self) -> Result<Ended, Trouble> {
        self.start()?.end()
    }
}

/// As a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// One that runs.
pub(crate) struct Running<'a> {
    room: &'a Room,
    child: Child,
    out: File,
    err: File,
}

impl Running<'_> {
    /// The graded program's own process.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The number of the container's process of this name, once there is one.
    pub(crate) fn has(&mut self, name: &str) -> Result<i32, Trouble> {
        let found = crate::room::wait_for(|| {
            let is = |(_, it): &(i32, String)| it == name;
            let found = blackbox::living().into_iter().find(is).map(|(pid, _)| pid);
            let ended =
                found.is_none() && matches!(self.child.try_wait(), Ok(Some(_)));
            (ended || found.is_some()).then_some(found)
        });
        match found.flatten() {
            Some(pid) => Ok(pid),
            None => Err(self.trouble(format!("a process {name} in the container"))),
        }
    }

    /// What it has printed by now.
    pub(crate) fn stdout(&mut self) -> String {
        tail(&mut self.out)
    }

    /// Wait until it has printed this.
    pub(crate) fn prints(&mut self, text: &str) -> Outcome {
        let seen = crate::room::wait_for(|| {
            // Asked first: what it printed before its end is there then.
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            let seen = self.stdout().contains(text);
            (seen || ended).then_some(seen)
        });
        if seen == Some(true) {
            return Ok(());
        }
        Err(self.trouble(format!("{text:?} on standard output")))
    }

    /// What was expected has not come.
    fn trouble(&mut self, expected: String) -> Trouble {
        let (out, err) = (self.stdout(), tail(&mut self.err));
        note(self.room, &out, &err);
        let own = self.room.subject.adapter.own_error;
        // One that has ended says by its end what it was.
        if let Ok(Some(status)) = self.child.try_wait() {
            let signal = status.signal();
            let code = status.code().or(signal.map(|n| 128 + n)).unwrap_or(-1);
            return Ended { code, signal, out, err, own }.trouble(expected);
        }
        let actual = format!("hang: it had not come when time was up, but {out:?}");
        Trouble::fail(expected, actual)
    }

    /// Wait for its end.
    pub(crate) fn end(mut self) -> Result<Ended, Trouble> {
        let end = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waitpid(2)") {
                break status;
            }
            if Instant::now() > end {
                let (out, err) = (tail(&mut self.out), tail(&mut self.err));
                note(self.room, &out, &err);
                let _ = self.child.kill();
                let _ = self.child.wait();
                let limit = LIMIT.as_secs();
                return Err(Trouble::fail(
                    "an end",
                    format!("hang: it had not ended after {limit} s"),
                ));
            }
            sleep(Duration::from_millis(2));
        };
        let (out, err) = (tail(&mut self.out), tail(&mut self.err));
        note(self.room, &out, &err);
        let code = status.code().or(status.signal().map(|n| 128 + n)).unwrap_or(-1);
        let own = self.room.subject.adapter.own_error;
        Ok(Ended { code, signal: status.signal(), out, err, own })
    }
}

fn tail(file: &mut File) -> String {
    let length = file.metadata().map_or(0, |meta| meta.len());
    // The program has the same open file, and writes where it stands: it is looked at
    // by another one.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(OUTPUT)));
        let _ = file.take(OUTPUT).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn note(room: &Room, out: &str, err: &str) {
    let mut output = room.output.borrow_mut();
    output.push_str(out);
    output.push_str(err);
    let excess = output.len().saturating_sub(2000);
    let start = (excess..=output.len()).find(|&at| output.is_char_boundary(at));
    output.drain(..start.unwrap_or(0));
}

/// One that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// As a shell tells it: a signal is 128 + n.
    pub(crate) code: i32,
    signal: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    own: i32,
}

impl Ended {
    /// It ended with 0 and printed exactly this.
    pub(crate) fn prints(&self, expected: &str) -> Outcome {
        match self.code == 0 && self.out == expected {
            true => Ok(()),
            false => Err(self.trouble(format!("{expected:?} on standard output"))),
        }
    }

    /// It ended with 0.
    pub(crate) fn succeeds(&self) -> Outcome {
        self.exits(0)
    }

    pub(crate) fn exits(&self, code: i32) -> Outcome {
        match self.code == code {
            true => Ok(()),
            false => Err(self.trouble(format!("exit code {code}"))),
        }
    }

    /// It is so, else this was expected.
    pub(crate) fn so(&self, holds: bool, expected: &str) -> Outcome {
        if holds { Ok(()) } else { Err(self.trouble(expected.to_owned())) }
    }

    /// It is not what was expected: was it another result, or none?
    pub(crate) fn trouble(&self, expected: String) -> Trouble {
        let signal = self.signal.and_then(|n| Signal::try_from(n).ok());
        if let Some(signal) = signal.filter(|signal| CRASHES.contains(signal)) {
            return Trouble::error(expected, format!("crashed: {signal} ended it"));
        }
        // The line that calls itself an error says more than the last, if there is one.
        let mut lines = self.err.lines().filter(|line| !line.trim().is_empty());
        let error = lines.clone().find(|line| line.starts_with("error: "));
        let last = error.or(lines.next_back());
        let last = last.map_or(String::new(), |line| format!(": {}", line.trim()));
        if self.code == self.own {
            let own = self.own;
            return Trouble::error(
                expected,
                format!("it gave up with its own exit code {own}{last}"),
            );
        }
        let is_usage = |line: &str| line.to_lowercase().starts_with("usage");
        if let Some(line) =
            self.err.lines().chain(self.out.lines()).find(|line| is_usage(line))
        {
            // The line before says why, with most.
            let why = self.err.lines().find(|line| !line.trim().is_empty());
            let why = why.unwrap_or(line).trim();
            return Trouble::error(
                expected,
                format!("it printed its usage, with exit code {}: {why}", self.code),
            );
        }
        let out = &self.out;
        Trouble::fail(expected, format!("{out:?}, exit code {}{last}", self.code))
    }
}
