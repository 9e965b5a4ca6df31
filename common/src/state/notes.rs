//! The notes in a container's lock file. Each note is one line: a kind and a value.
//!
//! ```text
//! format 1 ch05-attach
//! name web
//! group /sys/fs/cgroup/memory/mydocker-3f2a9c41b7d0
//! port tcp 0.0.0.0 8080 80
//! host 4711 812345
//! process until-removed 4712 812347
//! ended 0 1795298400
//! ```
//!
//! Some notes are facts, and nothing must be undone for them. Every other note names
//! a resource on the host that must be undone. It is written before the resource is
//! created.
//! The undo table of a binary (`undo.rs`) has a function for each kind of note.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Result, bail};
use nix::unistd::Pid;

use crate::cli::hints;
use crate::cli::step::{Hint, Step};
use crate::process::pidfd::{NotedProcess, Process};
use crate::read_whole;
use crate::state::fields::{FORMAT, NEWER};
use crate::state::home::Home;
use crate::state::name::Name;

/// The container's name.
pub(crate) const NAME: &str = "name";
/// The container's first process: the lifetime of the files, the PID, the start
/// time.
const PROCESS: &str = "process";
/// The program, if the first process is an init process.
const PROGRAM: &str = "program";
/// The supervisor.
const SUPERVISOR: &str = "host";
/// The exit status of the program.
pub(crate) const ENDED: &str = "ended";

/// A published port: see `published.rs`.
pub(crate) const PORT: &str = "port";

/// The kinds that are facts: nothing must be undone.
const FACTS: [&str; 6] = [NAME, PROCESS, PROGRAM, SUPERVISOR, ENDED, PORT];

const UNTIL_REMOVED: &str = "until-removed";
const UNTIL_EXIT: &str = "until-exit";

/// The text of a lock file.
#[derive(Clone, Debug, Default)]
pub struct Notes(Vec<u8>);

impl From<Vec<u8>> for Notes {
    fn from(text: Vec<u8>) -> Notes {
        Notes(text)
    }
}

/// The first line of a lock file: the format, and the program that wrote it.
pub(crate) fn header() -> Vec<u8> {
    let program = env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default();
    let program = program.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let program: String = program.chars().filter(|c| plain(*c)).collect();
    format!("format {FORMAT} {program}\n").into_bytes()
}

impl Notes {
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    }

    /// The values of this kind, in the order in which they were written.
    pub fn of(&self, kind: &str) -> impl Iterator<Item = &[u8]> {
        self.lines().skip(1).filter_map(move |line| {
            line.strip_prefix(kind.as_bytes())?.strip_prefix(b" ")
        })
    }

    /// The kinds of notes that must be undone.
    #[must_use]
    pub fn kinds(&self) -> BTreeSet<String> {
        let words = self.lines().skip(1);
        let words = words.filter_map(|line| line.split(|byte| *byte == b' ').next());
        let words = words.map(|word| String::from_utf8_lossy(word).into_owned());
        words.filter(|word| !FACTS.contains(&word.as_str())).collect()
    }

    /// The file name of the program that created the container.
    #[must_use]
    pub fn maker(&self) -> String {
        let first = self.lines().next().unwrap_or_default();
        let first = String::from_utf8_lossy(first);
        first.split(' ').nth(2).unwrap_or_default().to_owned()
    }

    /// Check that this program understands the notes. A file that was just created
    /// may have no header yet: then nothing else of the container exists.
    ///
    /// # Errors
    /// The file has another format.
    pub fn check_format(&self) -> Result<()> {
        let Some(first) = self.lines().next() else { return Ok(()) };
        let first = String::from_utf8_lossy(first);
        let version = first.strip_prefix("format ").and_then(|rest| {
            rest.split(' ').next().and_then(|number| number.parse::<u32>().ok())
        });
        match version {
            Some(FORMAT) => Ok(()),
            Some(version) if version > FORMAT => bail!("{}", NEWER),
            _ => bail!(
                "an older version of this program created it: remove it with that \
                 version's `rm` or `prune`"
            ),
        }
    }

    /// Whether no version of this program has written this text. The first line of a
    /// lock file is `format` and a number. In older versions it is a note: a kind
    /// and a value. Both contain a space.
    #[must_use]
    pub fn are_damaged(&self) -> bool {
        self.lines().next().is_some_and(|first| !first.contains(&b' '))
    }

    /// The name, if the container has one.
    #[must_use]
    pub fn name(&self) -> Option<Name> {
        self.of(NAME).find_map(|name| str::from_utf8(name).ok()?.parse().ok())
    }

    /// The container's first process, if its program was started.
    #[must_use]
    pub fn process(&self) -> Option<NotedProcess> {
        self.first_process().map(|(_, noted)| noted)
    }

    /// The process that runs the program: the first process, or its child if it is
    /// an init process.
    #[must_use]
    pub fn program(&self) -> Option<NotedProcess> {
        let program = self.of(PROGRAM).find_map(noted);
        program.or_else(|| self.process())
    }

    /// The supervisor.
    #[must_use]
    pub fn supervisor(&self) -> Option<NotedProcess> {
        self.of(SUPERVISOR).find_map(noted)
    }

    /// Whether the program was started and the container's files are kept after its
    /// end.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.first_process().is_some_and(|(lifetime, _)| lifetime == UNTIL_REMOVED)
    }

    /// Whether the program was started and the container's files are removed at its
    /// end.
    #[must_use]
    pub fn goes_with_program(&self) -> bool {
        self.first_process().is_some_and(|(lifetime, _)| lifetime == UNTIL_EXIT)
    }

    fn first_process(&self) -> Option<(&str, NotedProcess)> {
        self.of(PROCESS).find_map(|note| {
            let space = note.iter().position(|byte| *byte == b' ')?;
            let lifetime = str::from_utf8(&note[..space]).ok()?;
            Some((lifetime, noted(&note[space + 1..])?))
        })
    }
}

/// Parse `PID START`.
fn noted(note: &[u8]) -> Option<NotedProcess> {
    let (pid, since) = str::from_utf8(note).ok()?.split_once(' ')?;
    let pid = Pid::from_raw(pid.parse().ok()?);
    Some(NotedProcess { pid, since: since.parse().ok()? })
}

impl Home {
    /// Write a note. If the note names a resource, write it before the resource is
    /// created.
    ///
    /// # Errors
    /// open(2) or write(2) fails.
    pub fn note(&self, kind: &str, value: &[u8]) -> Result<()> {
        self.note_all(kind, &[value])
    }

    /// Write several notes of one kind, by one write(2).
    ///
    /// # Errors
    /// open(2) or write(2) fails.
    pub fn note_all(&self, kind: &str, values: &[&[u8]]) -> Result<()> {
        let path = self.lock_path();
        let lines =
            values.iter().flat_map(|value| [kind.as_bytes(), b" ", value, b"\n"]);
        let lines = lines.collect::<Vec<_>>().concat();
        File::options()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&lines))
            .untraced(|| format!("write(2) {}", path.display()))
            .hint(hints::state)
    }

    /// All notes; empty if there is no lock file.
    ///
    /// # Errors
    /// read(2) fails.
    pub fn notes(&self) -> Result<Notes> {
        let path = self.lock_path();
        match read_whole::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Notes::default()),
            text => {
                Ok(text.untraced(|| format!("read(2) {}", path.display()))?.into())
            }
        }
    }

    /// Note the container's first process, after its program was started.
    ///
    /// # Errors
    /// pidfd_open(2) or write(2) fails.
    pub(crate) fn note_process(&self, pid: Pid, kept: bool) -> Result<()> {
        let lifetime = if kept { UNTIL_REMOVED } else { UNTIL_EXIT };
        self.note_pid(PROCESS, &format!("{lifetime} "), pid)
    }

    /// Note the program, which is the child of an init process.
    ///
    /// # Errors
    /// pidfd_open(2) or write(2) fails.
    pub(crate) fn note_program(&self, pid: Pid) -> Result<()> {
        self.note_pid(PROGRAM, "", pid)
    }

    /// Note this process as the supervisor. Other processes can then wait for its
    /// end. It ends only after it has finished all work for the container.
    ///
    /// # Errors
    /// pidfd_open(2) or write(2) fails.
    pub fn note_supervisor(&self) -> Result<()> {
        self.note_pid(SUPERVISOR, "", Pid::this())
    }

    fn note_pid(&self, kind: &str, before: &str, pid: Pid) -> Result<()> {
        let process =
            Process::of(pid).untraced(|| format!("pidfd_open(2) {pid}"))?;
        let since = process.map_or(0, |process| process.since);
        self.note(kind, format!("{before}{pid} {since}").as_bytes())
    }

    /// The values of one kind, for the part that wrote them.
    ///
    /// # Errors
    /// read(2) fails.
    pub fn noted(&self, kind: &str) -> Result<Vec<OsString>> {
        use std::os::unix::ffi::OsStringExt;
        let notes = self.notes()?;
        Ok(notes.of(kind).map(|value| OsString::from_vec(value.to_vec())).collect())
    }

    /// The process that runs the program, with a pidfd; `None` if it has ended or
    /// was never started.
    ///
    /// # Errors
    /// read(2) or pidfd_open(2) fails.
    pub fn program(&self) -> Result<Option<Process>> {
        open_noted(self.notes()?.program())
    }

    /// The supervisor, with a pidfd; `None` if it has ended.
    ///
    /// # Errors
    /// read(2) or pidfd_open(2) fails.
    pub fn supervisor(&self) -> Result<Option<Process>> {
        open_noted(self.notes()?.supervisor())
    }
}

fn open_noted(noted: Option<NotedProcess>) -> Result<Option<Process>> {
    let Some(noted) = noted else { return Ok(None) };
    noted.open().untraced(|| format!("pidfd_open(2) {}", noted.pid))
}
