//! A run of the graded program: how its command line is assembled.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use blackbox::Terminal;

use crate::ended::Ended;
use crate::outcome::Trouble;
use crate::room::Room;
use crate::running::Running;

impl Room {
    /// A run of the program that is graded.
    pub(crate) fn run<'a>(&'a self, command: &[&str]) -> Run<'a> {
        Run::new(self, command)
    }

    /// The program with these arguments, without the adapter: for exercises.
    pub(crate) fn words<'a>(&'a self, words: &[&str]) -> Run<'a> {
        Run::new(self, words).as_it_is()
    }

    /// A run of a shell script in a container.
    pub(crate) fn sh<'a>(&'a self, script: &str) -> Run<'a> {
        self.run(&["sh", "-c", script])
    }
}

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
    fn new(room: &'a Room, command: &[&str]) -> Run<'a> {
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

    /// The arguments follow the name of the program unchanged.
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
            // The flags of our own chapters come before the command.
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

    /// Start it on a terminal, with shell commands before and after it.
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

    /// Start it, and do not wait.
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
            // A program that does not read may have closed its input.
            let _ = stdin.write_all(&self.input);
        }
        Ok(Running::new(self.room, child, out, err))
    }

    /// Run it to its end.
    pub(crate) fn end(&self) -> Result<Ended, Trouble> {
        self.start()?.end()
    }
}

/// The word, quoted for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
