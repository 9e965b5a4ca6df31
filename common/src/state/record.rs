//! The record of a container: written when it is created, read by every command.
//!
//! ```text
//! containers/ID/record   written before its program runs
//! containers/ID/ended    a symlink to the exit status and time: `3 1795298400`;
//!                        created by the process that saw the end, or by a sweep
//! ```
//!
//! The end is stored as a symlink, like a name: one system call creates it
//! completely, and one system call reads it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::cli::hints;
use crate::cli::step::{Hint, Step};
use crate::images::now;
use crate::process::exit::Exit;
use crate::read_whole;
use crate::state::directory::State;
use crate::state::fields::Fields;
use crate::state::home::Home;
use crate::state::id::Id;
use crate::state::name::Name;
use crate::state::notes::{ENDED as NOTE, Notes};

/// The file names in the container's directory.
pub(crate) const RECORD: &str = "record";
const ENDED: &str = "ended";

/// A container, as it was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its ID.
    pub id: Id,
    /// Its name, if the user gave one.
    pub name: Option<Name>,
    /// The image's name, as the caller wrote it.
    pub image: String,
    /// The image's ID; empty in a record of an older version.
    pub image_id: String,
    /// The image's layers when the container was created, the topmost first.
    pub layers: Vec<String>,
    /// Program and arguments, for display: bytes that are not UTF-8 are replaced.
    pub command: Vec<String>,
    /// Seconds after 1970.
    pub created: u64,
    /// The union driver that merges the layers.
    pub driver: String,
    /// The program's environment, byte for byte. It contains HOME only if the caller
    /// or the image has set it. This field and the following fields are known only
    /// after all parts are prepared.
    pub environment: BTreeMap<OsString, OsString>,
    /// The program's working directory.
    pub directory: PathBuf,
    /// The program's user, as the caller wrote it; `None` means root.
    pub user: Option<String>,
    /// The signal that `stop` sends, if it is not SIGTERM.
    pub stop_signal: Option<String>,
    /// The volumes, in the order of their mounts; empty in a record of an older
    /// version.
    pub mounts: Vec<Mount>,
}

/// A directory or file of the host that is mounted in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The path on the host, which is absolute.
    pub host: PathBuf,
    /// The path in the container, which is absolute.
    pub guest: PathBuf,
    /// Whether the container may only read it.
    pub read_only: bool,
}

/// How and when a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The exit; [`Exit::Unseen`] if the supervisor was killed.
    pub how: Exit,
    /// The time of the end, in seconds after 1970.
    pub at: u64,
}

impl Record {
    /// The record of one container; `None` if it has none or was removed.
    ///
    /// # Errors
    /// The record cannot be read, or is damaged.
    pub fn read(state: &State, id: &Id) -> Result<Option<Record>> {
        let Some(text) = read(state, id, RECORD)? else { return Ok(None) };
        let record = Record::from(id, &text);
        record.map(Some).with_context(|| damaged(state, id, RECORD))
    }

    /// Write the record.
    ///
    /// # Errors
    /// write(2) or rename(2) fails.
    pub fn write(&self, home: &Home) -> Result<()> {
        write(&home.dir().join(RECORD), &self.text())
    }

    /// The identity and state directory of this container.
    #[must_use]
    pub fn home(&self, state: &State) -> Home {
        Home { id: self.id.clone(), name: self.name.clone(), state: state.clone() }
    }

    /// The name if there is one, otherwise the ID.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.name.as_ref().map_or(self.id.as_str(), Name::as_str)
    }

    /// Whether the container still exists: a removal deletes the record first.
    #[must_use]
    pub fn exists(&self, state: &State) -> bool {
        exists(&self.home(state))
    }

    fn from(id: &Id, text: &[u8]) -> Result<Record> {
        let fields = Fields::read(text)?;
        let name = fields.word_if_any("name")?;
        let environment: Option<_> =
            fields.all("environment").map(variable).collect();
        let directory = fields.all("directory").next();
        Ok(Record {
            id: id.clone(),
            name: name.map(|name| name.parse()).transpose()?,
            image: fields.word("image")?,
            image_id: fields.word_if_any("image-id")?.unwrap_or_default(),
            layers: fields.words("layer")?,
            command: fields.words("command")?,
            created: fields.number("created")?,
            driver: fields.word("driver")?,
            environment: environment.context("a variable has no value")?,
            directory: directory.context("directory is missing")?.into(),
            user: fields.word_if_any("user")?,
            stop_signal: fields.word_if_any("stop-signal")?,
            mounts: mounts(&fields)?,
        })
    }

    fn text(&self) -> Vec<u8> {
        let variables = self.environment.iter();
        let equals = OsStr::new("=");
        Fields::default()
            .with_all("name", self.name.as_ref().map(Name::as_str))
            .with("image", &self.image)
            .with("image-id", &self.image_id)
            .with_all("layer", &self.layers)
            .with_all("command", &self.command)
            .with("created", self.created.to_string())
            .with("driver", &self.driver)
            .with_all(
                "environment",
                variables
                    .map(|(key, value)| [key, equals, value].join(OsStr::new(""))),
            )
            .with("directory", &self.directory)
            .with_all("user", &self.user)
            .with_all("stop-signal", &self.stop_signal)
            .with_all(MOUNT[0], self.mounts.iter().map(|it| &it.host))
            .with_all(MOUNT[1], self.mounts.iter().map(|it| &it.guest))
            .with_all(MOUNT[2], self.mounts.iter().map(|it| mode(it.read_only)))
            .text()
    }
}

impl End {
    /// The end of this container; `None` if none was written.
    ///
    /// # Errors
    /// readlink(2) or read(2) fails, or the text is damaged.
    pub fn read(state: &State, id: &Id) -> Result<Option<End>> {
        let end = match state.read_link(id, ENDED) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Earlier versions wrote a record.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                let Some(text) = read(state, id, ENDED)? else { return Ok(None) };
                Fields::read(&text).and_then(|fields| {
                    End::from(&fields.word("how")?, &fields.word("at")?)
                })
            }
            text => End::parse(
                text.untraced(|| {
                    format!("readlink(2) {}", state.file_path(id, ENDED).display())
                })?
                .as_bytes(),
            ),
        };
        end.map(Some).with_context(|| damaged(state, id, ENDED))
    }

    /// The end as the supervisor wrote it to the lock file.
    ///
    /// # Errors
    /// The note is damaged.
    pub fn noted(notes: &Notes) -> Result<Option<End>> {
        notes.of(NOTE).last().map(End::parse).transpose()
    }

    /// Parse `HOW AT`, the text of the note and of the symlink.
    fn parse(text: &[u8]) -> Result<End> {
        let text = str::from_utf8(text).ok().and_then(|text| text.split_once(' '));
        let (how, at) = text.context("the text of the end is damaged")?;
        End::from(how, at)
    }

    fn from(how: &str, at: &str) -> Result<End> {
        let how = match how {
            UNSEEN => Exit::Unseen,
            word => match word.parse() {
                Ok(code) => Exit::Code(code),
                Err(_) => Exit::Signal(
                    word.parse::<Signal>().context("invalid exit status")?,
                ),
            },
        };
        Ok(End { how, at: at.parse().context("invalid time of the end")? })
    }
}

/// The text for an end that no process saw.
const UNSEEN: &str = "unseen";

/// Write the exit status and time to the container's directory and, for processes
/// that wait, to its lock file. Nothing is written for a container without a record.
/// [`Exit::Unseen`] does not replace an exit status that is already written.
///
/// # Errors
/// write(2) or symlink(2) fails.
pub fn write_end(home: &Home, how: Exit) -> Result<()> {
    let how_text = match how {
        Exit::Code(code) => code.to_string(),
        Exit::Signal(signal) => signal.to_string(),
        Exit::Unseen => UNSEEN.to_owned(),
        Exit::NotStarted => return Ok(()),
    };
    let path = home.dir().join(ENDED);
    let was_seen = || fs::symlink_metadata(&path).is_ok();
    if !exists(home) || (how == Exit::Unseen && was_seen()) {
        return Ok(());
    }
    let text = format!("{how_text} {}", now());
    // Write both. If the container is removed when its program ends, the symlink is
    // removed too, and only the note remains for a process that waits. On a full
    // disk, one of the two writes may succeed although the other fails.
    let noted = home.note(NOTE, text.as_bytes());
    match symlink(&text, &path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => noted,
        made => made
            .step(|| format!("symlink(2) {}", path.display()))
            .hint(hints::state)
            .and(noted),
    }
}

/// Remove the record. Processes that look for the container no longer find it. It is
/// not an error if there is no record.
///
/// # Errors
/// unlink(2) fails.
pub fn forget(home: &Home) -> Result<()> {
    let path = home.dir().join(RECORD);
    match fs::remove_file(&path) {
        // A directory with this name is not a record. It is removed together with
        // the container's directory.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::IsADirectory
            ) =>
        {
            Ok(())
        }
        removed => removed.step(|| format!("unlink(2) {}", path.display())),
    }
}

/// Whether the container has a record.
#[must_use]
pub fn exists(home: &Home) -> bool {
    home.dir().join(RECORD).exists()
}

/// Whether the record is known to be missing, or empty because of a power failure
/// before its content reached the disk. Returns false if the record cannot be
/// examined, because it may exist.
#[must_use]
pub fn is_missing(directory: &Path) -> bool {
    match fs::metadata(directory.join(RECORD)) {
        Err(e) => e.kind() == io::ErrorKind::NotFound,
        Ok(about) => about.len() == 0,
    }
}

/// Parse `KEY=VALUE`; a key contains no `=`.
fn variable(text: OsString) -> Option<(OsString, OsString)> {
    let mut key = text.into_vec();
    let equals = key.iter().position(|byte| *byte == b'=')?;
    let value = key.split_off(equals + 1);
    key.truncate(equals);
    Some((OsString::from_vec(key), OsString::from_vec(value)))
}

/// The fields of the mounts: three lists of the same length. One list would need a
/// separator, and a path may contain any separator.
const MOUNT: [&str; 3] = ["mount-host", "mount-guest", "mount-mode"];

fn mode(read_only: bool) -> &'static str {
    if read_only { "ro" } else { "rw" }
}

fn mounts(fields: &Fields) -> Result<Vec<Mount>> {
    let [hosts, guests, modes] =
        MOUNT.map(|key| fields.all(key).collect::<Vec<_>>());
    ensure!(
        hosts.len() == guests.len() && hosts.len() == modes.len(),
        "the lists of its mounts have different lengths"
    );
    let both = hosts.into_iter().zip(guests).zip(modes);
    Ok(both
        .map(|((host, guest), read_only)| Mount {
            host: host.into(),
            guest: guest.into(),
            read_only: read_only == mode(true),
        })
        .collect())
}

/// The content of a file of the container; `None` if the file does not exist or is
/// empty.
pub(crate) fn read(state: &State, id: &Id, name: &str) -> Result<Option<Vec<u8>>> {
    let text = state.open_file(id, name);
    match text.and_then(|mut file| read_whole::rest(&mut file)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        // The file is empty if the power failed after its name reached the disk, and
        // before its content did.
        text => text
            .map(|text| Some(text).filter(|text| !text.is_empty()))
            .untraced(|| format!("read(2) {}", state.file_path(id, name).display())),
    }
}

pub(crate) fn damaged(state: &State, id: &Id, name: &str) -> String {
    format!("{} is damaged", state.file_path(id, name).display())
}

/// Write to a temporary name first, so that no process reads a partial file. The
/// file is not synced, because no program of a container outlives a boot.
fn write(path: &Path, text: &[u8]) -> Result<()> {
    let step = || format!("write {}", path.display());
    let new: PathBuf = path.with_extension("new");
    fs::write(&new, text).step(step).hint(hints::state)?;
    fs::rename(&new, path).step(step)
}
