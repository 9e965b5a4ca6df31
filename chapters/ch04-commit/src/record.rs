//! What is known of a container: written when it is made, read by everybody else.
//!
//! ```text
//! containers/ID/record   who it is: written before its program runs
//! containers/ID/ended    how it ended: written by who saw it, or swept after it
//! ```

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ch02_union::Driver;
use clap::ValueEnum;
use common::images::now;
use common::state::Home;
use common::state::State;
use common::state::fields::Fields;
use common::state::{Id, Name};
use common::step::{Hint, Step};
use common::{Exit, Lifetime, Part, Plan, Running, hints, read_whole};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::store::Hold;

/// A container, as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub id: Id,
    /// Its name, if the user gave one.
    pub name: Option<Name>,
    /// The image's name.
    pub image: String,
    /// The image's layers at that time, the topmost first.
    pub layers: Vec<String>,
    /// Program and arguments, for the reader: what is no UTF-8 is replaced.
    pub command: Vec<String>,
    /// Seconds after 1970.
    pub created: u64,
    /// Who merges the layers.
    pub driver: Driver,
    /// The names of its parts, in order.
    pub parts: Vec<String>,
    /// The program's whole environment, byte for byte. It and what follows is known
    /// when all parts are prepared.
    pub environment: BTreeMap<OsString, OsString>,
    /// The program's working directory.
    pub directory: PathBuf,
    /// As whom it runs, as the user wrote it; else as root.
    pub user: Option<String>,
}

/// How a container is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its host side lives.
    Running,
    /// It has ended: how, and when, in seconds after 1970.
    Ended(Exit, u64),
    /// Its host side was killed, and nobody has looked after it yet.
    Dead,
}

impl Record {
    /// The container with this name, this id, or the only one whose id begins so.
    ///
    /// # Errors
    /// There is none; there are several; its record can't be read.
    pub fn find(state: &State, word: &str) -> Result<Record> {
        let named = match word.parse::<Name>() {
            Ok(name) => state.named(&name)?,
            Err(_) => None,
        };
        if let Some(id) = named.as_deref().and_then(Path::to_str) {
            return Record::read(state, &id.parse()?)?.with_context(|| {
                format!(
                    "container {word} has no record: it is just being made, or \
                         removed"
                )
            });
        }
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        let ids = ids(state)?;
        let mut found = ids.iter().filter(|id| {
            !word.is_empty()
                && word.bytes().all(hex)
                && id.as_str().starts_with(word)
        });
        match (found.next(), found.count()) {
            (None, _) => {
                bail!("there is no container {word:?}: give a name or an id")
            }
            (Some(id), 0) => Record::read(state, id)?.with_context(|| {
                format!(
                    "container {id} has no record: it is just being made or removed, or \
                     a chapter before images runs it"
                )
            }),
            (_, more) => bail!(
                "{} containers have ids that begin with {word}: give more of it",
                more + 1
            ),
        }
    }

    /// All containers that have a record, the oldest first.
    ///
    /// # Errors
    /// A record that can't be read or isn't one.
    pub fn all(state: &State) -> Result<Vec<Record>> {
        let mut all = Vec::new();
        for id in ids(state)? {
            all.extend(Record::read(state, &id)?);
        }
        all.sort_by(|one: &Record, other| {
            (one.created, &one.id).cmp(&(other.created, &other.id))
        });
        Ok(all)
    }

    /// The record of one container; `None` when it has none, or is gone.
    ///
    /// # Errors
    /// It can't be read, or is damaged.
    pub fn read(state: &State, id: &Id) -> Result<Option<Record>> {
        let path = state.containers().join(id.as_str()).join(RECORD);
        let Some(text) = read(&path)? else { return Ok(None) };
        let record = Record::from(id, &text);
        record.map(Some).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Where its own things lie.
    #[must_use]
    pub fn home(&self, state: &State) -> Home {
        Home { id: self.id.clone(), name: self.name.clone(), state: state.clone() }
    }

    /// The name, or else the id.
    #[must_use]
    pub fn called(&self) -> &str {
        self.name.as_ref().map_or(self.id.as_str(), Name::as_str)
    }

    /// How it is now. True when it is asked: a lock tells who lives, not a number.
    ///
    /// # Errors
    /// Those of open(2) and read(2).
    pub fn status(&self, state: &State) -> Result<Status> {
        let home = self.home(state);
        // First: whoever ends writes before it lets go of the lock.
        let lives = home.lives()?;
        match self.end(state)? {
            Some((how, at)) => Ok(Status::Ended(how, at)),
            None if lives => Ok(Status::Running),
            None => Ok(Status::Dead),
        }
    }
}

impl Record {
    /// How it ended, and when, in seconds after 1970; `None` when nobody wrote that.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn end(&self, state: &State) -> Result<Option<(Exit, u64)>> {
        let path = state.containers().join(self.id.as_str()).join(ENDED);
        let Some(text) = read(&path)? else { return Ok(None) };
        let end = Fields::read(&text).and_then(|ended| end_from(&ended));
        end.map(Some).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Whether it is there still: a removal takes the record first.
    #[must_use]
    pub fn exists(&self, state: &State) -> bool {
        state.containers().join(self.id.as_str()).join(RECORD).exists()
    }

    /// Forget it: whoever looks from now on sees no container. Nothing there is fine.
    ///
    /// # Errors
    /// Those of unlink(2).
    pub fn forget(home: &Home) -> Result<()> {
        let path = home.dir().join(RECORD);
        match fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.step(|| format!("unlink(2) {}", path.display())),
        }
    }

    /// How it ended, as its host side noted it in the lock.
    ///
    /// # Errors
    /// It is damaged.
    pub fn end_in(notes: &[Vec<u8>]) -> Result<Option<(Exit, u64)>> {
        let Some(note) = notes.last() else { return Ok(None) };
        let note = note.split(|byte| *byte == b' ').map(OsStr::from_bytes);
        let fields = ["how", "at"].into_iter().zip(note);
        let add = |fields: Fields<'static>, (name, value)| fields.with(name, value);
        end_from(&fields.fold(Fields::default(), add)).map(Some)
    }

    fn from(id: &Id, text: &[u8]) -> Result<Record> {
        let fields = Fields::read(text)?;
        let name = fields.word_if_any("name")?;
        let driver = fields.word("driver")?;
        let known = Driver::from_str(&driver, false).ok();
        let environment: Option<_> =
            fields.all("environment").map(variable).collect();
        let directory = fields.all("directory").next();
        Ok(Record {
            id: id.clone(),
            name: name.map(|name| name.parse()).transpose()?,
            image: fields.word("image")?,
            layers: fields.words("layer")?,
            command: fields.words("command")?,
            created: fields.number("created")?,
            driver: known.with_context(|| format!("driver {driver} is none"))?,
            parts: fields.words("part")?,
            environment: environment.context("a variable has no value")?,
            directory: directory.context("directory is missing")?.into(),
            user: fields.word_if_any("user")?,
        })
    }

    fn text(&self) -> Vec<u8> {
        let driver = self.driver.to_possible_value();
        let driver = driver.as_ref().map_or("", |value| value.get_name());
        let variables = self.environment.iter();
        let equals = OsStr::new("=");
        Fields::default()
            .with_all("name", self.name.as_ref().map(Name::as_str))
            .with("image", &self.image)
            .with_all("layer", &self.layers)
            .with_all("command", &self.command)
            .with("created", self.created.to_string())
            .with("driver", driver)
            .with_all("part", &self.parts)
            .with_all(
                "environment",
                variables
                    .map(|(key, value)| [key, equals, value].join(OsStr::new(""))),
            )
            .with("directory", &self.directory)
            .with_all("user", &self.user)
            .text()
    }
}

/// `KEY=VALUE`, where a key has no `=`.
fn variable(text: OsString) -> Option<(OsString, OsString)> {
    let mut halves = text.as_bytes().splitn(2, |byte| *byte == b'=');
    let mut half = || halves.next().map(|half| OsStr::from_bytes(half).to_owned());
    half().zip(half())
}

/// Whose the note is that [`Record::end_in`] reads.
pub const NOTE: &str = "record";

pub(crate) const RECORD: &str = "record";
const ENDED: &str = "ended";

/// The part that writes a container's record, and at its end how that was.
#[derive(Debug)]
pub struct Recorded {
    image: String,
    layers: Vec<String>,
    driver: Driver,
    /// Nobody removes the image's layers until the record says that they are used.
    hold: Option<Hold>,
    /// As far as it is known.
    record: Option<Record>,
    /// It is removed when its program ends.
    goes: bool,
}

impl Recorded {
    /// A container of this image, whose layers are held until the record is written.
    #[must_use]
    pub fn new(
        image: &common::images::Image,
        driver: Driver,
        hold: Hold,
    ) -> Recorded {
        let (image, layers) = (image.name.clone(), image.layers.clone());
        let hold = Some(hold);
        Recorded { image, layers, driver, hold, record: None, goes: false }
    }
}

// ANCHOR: part
impl Part for Recorded {
    fn name(&self) -> &'static str {
        NOTE
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        let lossy = |word: &std::ffi::OsString| word.to_string_lossy().into_owned();
        let record = Record {
            id: plan.home.id.clone(),
            name: plan.home.name.clone(),
            image: self.image.clone(),
            layers: self.layers.clone(),
            command: plan.command.iter().map(lossy).collect(),
            created: now(),
            driver: self.driver,
            parts: plan.home.parts()?,
            environment: BTreeMap::new(),
            directory: "/".into(),
            user: None,
        };
        write(&plan.home.dir().join(RECORD), &record.text())?;
        self.record = Some(record);
        self.hold = None;
        Ok(())
    }

    fn attach(&mut self, plan: &Plan, _child: Pid) -> Result<()> {
        let Some(record) = &mut self.record else { return Ok(()) };
        // By now all parts have said what the program gets.
        record.environment = plan.environment.clone();
        record.directory = plan.directory.clone();
        record.user = plan.user.clone();
        self.goes = plan.lifetime != Lifetime::UntilRemoved;
        write(&plan.home.dir().join(RECORD), &record.text())
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        // One that stays is joined in any case.
        if self.goes {
            running.let_join();
        }
        Ok(())
    }

    fn ended(&self, home: &Home, how: Exit) -> Result<()> {
        let text = match how {
            Exit::Code(code) => code.to_string(),
            Exit::Signal(signal) => signal.to_string(),
            Exit::Unseen => UNSEEN.to_owned(),
            Exit::NotStarted => return Ok(()),
        };
        // One that has no record has no end to tell of; and one whose end was seen
        // does not lose it to a sweep.
        let seen = home.dir().join(ENDED).exists();
        if !home.dir().join(RECORD).exists() || (how == Exit::Unseen && seen) {
            return Ok(());
        }
        let at = now().to_string();
        // For who waits: of one that goes with its program the file goes too.
        home.note(NOTE, format!("{text} {at}").as_bytes())?;
        let ended = Fields::default().with("how", text).with("at", at);
        write(&home.dir().join(ENDED), &ended.text())
    }

    fn removed(&self, home: &Home) -> Result<()> {
        Record::forget(home)
    }
}
// ANCHOR_END: part

/// How a program ended of which nobody saw it.
const UNSEEN: &str = "unseen";

/// An exit code, the name of a signal, or [`UNSEEN`].
fn end_from(ended: &Fields) -> Result<(Exit, u64)> {
    let how = match ended.word("how")? {
        word if word == UNSEEN => Exit::Unseen,
        word => match word.parse() {
            Ok(code) => Exit::Code(code),
            Err(_) => Exit::Signal(word.parse::<Signal>().context("how it ended")?),
        },
    };
    Ok((how, ended.number("at")?))
}

/// The containers that have a directory.
fn ids(state: &State) -> Result<Vec<Id>> {
    let containers = state.containers();
    let entries = match fs::read_dir(&containers) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => {
            entries.look(|| format!("readdir(3) {}", containers.display()))?
        }
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry.look(|| format!("readdir(3) {}", containers.display()))?;
        ids.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()));
    }
    Ok(ids)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match read_whole::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        // Where it is empty the power failed when the name had come to the disk, and
        // nothing else.
        text => text
            .map(|text| Some(text).filter(|text| !text.is_empty()))
            .look(|| format!("read(2) {}", path.display())),
    }
}

/// Under another name first, so that nobody reads half of it. It is not synced: what
/// a boot ends needs no record of how.
fn write(path: &Path, text: &[u8]) -> Result<()> {
    let step = || format!("write {}", path.display());
    let new: PathBuf = path.with_extension("new");
    fs::write(&new, text).step(step).hint(hints::state)?;
    fs::rename(&new, path).step(step)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn record(id: &str, name: Option<&str>) -> Record {
        Record {
            id: id.parse().unwrap(),
            name: name.map(|name| name.parse().unwrap()),
            image: "busybox".into(),
            layers: vec!["a".into()],
            command: vec!["sh".into(), "-c".into()],
            created: 7,
            driver: Driver::Copy,
            parts: vec!["record".into()],
            environment: BTreeMap::from([
                ("A".into(), "a b".into()),
                ("B".into(), OsString::from_vec(b"\xff=\n".into())),
            ]),
            directory: OsString::from_vec(b"/\xff".into()).into(),
            user: Some("ann:9".into()),
        }
    }

    fn save(state: &State, record: &Record) {
        let dir = record.home(state).dir();
        fs::create_dir_all(&dir).unwrap();
        write(&dir.join(RECORD), &record.text()).unwrap();
        if let Some(name) = &record.name {
            fs::create_dir_all(state.names()).unwrap();
            let link = state.names().join(name.as_str());
            std::os::unix::fs::symlink(record.id.as_str(), link).unwrap();
        }
    }

    #[test]
    fn a_container_is_found_by_name_by_id_and_by_what_its_id_begins_with() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let one = record("aaaa00000000", Some("web"));
        let other = record("aabb00000000", None);
        save(&state, &one);
        save(&state, &other);
        for word in ["web", "aaaa00000000", "aaa"] {
            assert_eq!(Record::find(&state, word).unwrap(), one, "{word}");
        }
        assert_eq!(Record::find(&state, "aab").unwrap(), other);
        assert_eq!(Record::all(&state).unwrap(), [one, other]);
        for (word, reason) in [
            ("aa", "2 containers"),
            ("", "no container"),
            ("../names/web", "no container"),
            ("ffff", "no container"),
        ] {
            let error = Record::find(&state, word).unwrap_err().to_string();
            assert!(error.contains(reason), "{word}: {error}");
        }
    }

    #[test]
    fn what_a_power_failure_left_of_a_container_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let one = record("aaaa00000000", None);
        save(&state, &one);
        fs::write(one.home(&state).dir().join(RECORD), "").unwrap();
        assert!(Record::all(&state).unwrap().is_empty());
        let store = crate::Store::open(&state).unwrap();
        store.sweep().unwrap();
        assert!(!one.home(&state).dir().exists());
        // One that is damaged otherwise stays, and is told.
        save(&state, &one);
        fs::write(one.home(&state).dir().join(RECORD), "name").unwrap();
        store.sweep().unwrap();
        let error = Record::all(&state).unwrap_err().to_string();
        assert!(error.contains("record is damaged"), "{error}");
    }

    #[test]
    fn the_end_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let one = record("aaaa00000000", None);
        save(&state, &one);
        assert_eq!(one.status(&state).unwrap(), Status::Dead);
        let image = common::images::Image::default();
        let images = state.images();
        fs::create_dir_all(&images).unwrap();
        let hold = crate::Store::open(&state).unwrap().hold().unwrap();
        let part = Recorded::new(&image, Driver::Overlay, hold);
        let home = one.home(&state);
        let _lock = home.lock(&[]).unwrap();
        for how in [Exit::Unseen, Exit::Code(3), Exit::Signal(Signal::SIGKILL)] {
            part.ended(&home, how).unwrap();
            let status = one.status(&state).unwrap();
            assert!(matches!(status, Status::Ended(h, at) if h == how && at > 0));
            let notes = home.notes(NOTE).unwrap();
            assert_eq!(Record::end_in(&notes).unwrap().unwrap().0, how);
        }
        // A sweep, after a host side that was killed when all was written.
        part.ended(&home, Exit::Unseen).unwrap();
        let kept = Exit::Signal(Signal::SIGKILL);
        assert_eq!(one.end(&state).unwrap().unwrap().0, kept);
    }
}
