//! A container's home: its id and the directory that is its own.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::unistd::Pid;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::cli::hints;
use crate::cli::step::{Hint, Step};
use crate::process::pidfd::Process;
use crate::read_whole;
use crate::state::State;
use crate::state::{Id, Name};

/// Who a container is, and where its own things lie.
///
/// A value only: most containers of chapter 2 and 3 keep nothing and make no
/// directory.
#[derive(Clone, Debug)]
pub struct Home {
    /// The id.
    pub id: Id,
    /// The name that the user gave.
    pub name: Option<Name>,
    /// The state directory.
    pub state: State,
}

/// Says that a container's host side is alive: a lock on `running/ID`, let go by the
/// kernel when its holder dies, however it dies.
///
/// The file is there before anything else of the container, and goes last. Its first
/// line names the parts; what they noted follows.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The engine's own notes: the name, and the process that runs.
const NOTE: &str = "home";

/// How a note of a process begins: the first one of a container that stays when it
/// ends, the first one of a container that doesn't, and the host side.
const STAYS: &str = "pid";
const GOES: &str = "process";
const HOST: &str = "host";
/// And that of the program, where the one that runs is an init above it.
const INNER: &str = "inner";

/// A container's lock, open before it is waited for: what is noted in it can be read
/// though it is removed meanwhile.
#[derive(Debug)]
pub struct Watched {
    file: File,
    path: PathBuf,
}

impl Watched {
    /// Sleep until nobody holds the container, and give back what this part had noted
    /// by then.
    ///
    /// # Errors
    /// Those of flock(2) and read(2).
    pub fn outlast(mut self, part: &str) -> Result<Vec<Vec<u8>>> {
        loop {
            match self.file.lock_shared() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                locked => {
                    locked.look(|| format!("flock(2) {}", self.path.display()))?;
                    break;
                }
            }
        }
        let text = read_all(&mut self.file, &self.path)?;
        Ok(noted(&text, part).map(<[u8]>::to_vec).collect())
    }
}

/// What a container's lock file tells of it.
#[derive(Debug)]
pub enum Life {
    /// Nobody holds the lock: it has ended, or its host side was killed.
    Over,
    /// It is held, and no process is noted yet.
    Starting,
    /// It is held, and this is the container's first process.
    Running(Process),
    /// It is held, and the noted process is gone: the host side undoes what it did.
    Ending,
}

impl Home {
    /// The container's own directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.state.containers().join(self.id.as_str())
    }

    fn lock_path(&self) -> PathBuf {
        self.state.running().join(self.id.as_str())
    }

    /// Take the lock, the name, and make the directory.
    ///
    /// # Errors
    /// A name that is taken, and those of open(2), flock(2) and mkdir(2).
    pub fn make(&self, parts: &[&str]) -> Result<Lock> {
        let lock = self.lock(parts)?;
        if let Some(name) = &self.name {
            self.note(NOTE, format!("name {name}").as_bytes())?;
            self.take(name)?;
        }
        let dir = self.dir();
        // Only the owner looks in: setuid programs in a write layer are not for other
        // users of the host.
        let make = || fs::DirBuilder::new().mode(0o700).create(&dir);
        let made = match make() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                spread(&self.state.make(self.state.containers())?);
                make()
            }
            made => made,
        };
        made.step(|| format!("mkdir(2) {}", dir.display())).hint(hints::state)?;
        Ok(lock)
    }

    /// Take the lock of a container that nobody has locked, and say which parts there
    /// may be to undo, should this process die.
    ///
    /// # Errors
    /// Those of open(2) and flock(2).
    pub fn lock(&self, parts: &[&str]) -> Result<Lock> {
        self.state.make(self.state.running())?;
        let path = self.lock_path();
        let mut file = loop {
            let file = File::options().create(true).append(true).open(&path);
            let file = file
                .look(|| format!("open(2) {}", path.display()))
                .hint(hints::state)?;
            file.lock().look(|| format!("flock(2) {}", path.display()))?;
            // A sweep that had the empty file first has removed it.
            if nlink(&file)? > 0 {
                break file;
            }
        };
        file.write_all(format!("{}\n", parts.join(" ")).as_bytes())
            .look(|| format!("write(2) {}", path.display()))
            .hint(hints::state)?;
        Ok(Lock { _file: file })
    }

    /// Write down what a part's clean-up must find again, before it is made.
    ///
    /// # Errors
    /// Those of open(2) and write(2).
    pub fn note(&self, part: &str, line: &[u8]) -> Result<()> {
        self.note_all(part, &[line])
    }

    /// Several notes of a part, in one go.
    ///
    /// # Errors
    /// Those of open(2) and write(2).
    pub fn note_all(&self, part: &str, lines: &[&[u8]]) -> Result<()> {
        let path = self.lock_path();
        let lines =
            lines.iter().flat_map(|line| [part.as_bytes(), b" ", line, b"\n"]);
        let lines = lines.collect::<Vec<_>>().concat();
        File::options()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&lines))
            .look(|| format!("write(2) {}", path.display()))
            .hint(hints::state)
    }

    /// The program runs as this process: from here on the container stays.
    pub(crate) fn note_stays(&self, pid: Pid) -> Result<()> {
        self.note_as(STAYS, pid)
    }

    /// The program of a container that does not stay runs as this process, which
    /// others may want to join.
    ///
    /// # Errors
    /// Those of pidfd_open(2) and write(2).
    pub(crate) fn note_goes(&self, pid: Pid) -> Result<()> {
        self.note_as(GOES, pid)
    }

    /// The program runs as this process, and the container's first one is an init.
    pub(crate) fn note_inner(&self, pid: Pid) -> Result<()> {
        self.note_as(INNER, pid)
    }

    fn note_as(&self, role: &str, pid: Pid) -> Result<()> {
        let process = Process::of(pid).look(|| format!("pidfd_open(2) {pid}"))?;
        let since = process.map_or(0, |process| process.since);
        self.note(NOTE, format!("{role} {pid} {since}").as_bytes())
    }

    /// How far the container is, by one look at its lock file.
    ///
    /// # Errors
    /// Those of open(2), read(2) and pidfd_open(2).
    pub fn life(&self) -> Result<Life> {
        let path = self.lock_path();
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Life::Over),
            file => file.look(|| format!("open(2) {}", path.display()))?,
        };
        // Shared: two who look don't take each other for the host side.
        if file.try_lock_shared().is_ok() {
            return Ok(Life::Over);
        }
        let text = read_all(&mut file, &path)?;
        let program = |note| note_of(note, &[STAYS, GOES]);
        let Some((pid, since)) = noted(&text, NOTE).find_map(program) else {
            return Ok(Life::Starting);
        };
        let process = Process::noted(pid, since);
        let process = process.look(|| format!("pidfd_open(2) {pid}"))?;
        Ok(process.map_or(Life::Ending, Life::Running))
    }

    /// The container's lock, to be waited for; `None` when there is none.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn watch(&self) -> Result<Option<Watched>> {
        let path = self.lock_path();
        match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            file => {
                let file = file.look(|| format!("open(2) {}", path.display()))?;
                Ok(Some(Watched { file, path }))
            }
        }
    }

    /// The process that the program runs as, as the host side has noted it; `None` when
    /// it has ended, or was never started. An init above it may not be looked at.
    ///
    /// # Errors
    /// Those of read(2) and pidfd_open(2).
    pub fn process(&self) -> Result<Option<Process>> {
        self.noted_as(&[&[INNER], &[STAYS, GOES]])
    }

    /// Whether it was not to stay when its program ends: then its host side removes it,
    /// and asks nobody.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn goes(&self) -> Result<bool> {
        let notes = self.notes(NOTE)?;
        Ok(notes.iter().any(|note| process_in(note, GOES).is_some()))
    }

    /// Who is noted in the first of these ways of which there is a note.
    fn noted_as(&self, ways: &[&[&str]]) -> Result<Option<Process>> {
        let notes = self.notes(NOTE)?;
        let first = |roles| notes.iter().find_map(|note| note_of(note, roles));
        let found = ways.iter().find_map(|roles| first(roles));
        let Some((pid, since)) = found else { return Ok(None) };
        Process::noted(pid, since).look(|| format!("pidfd_open(2) {pid}"))
    }

    /// Whether the container's host side lives.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn lives(&self) -> Result<bool> {
        let path = self.lock_path();
        match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            // Shared: two who look don't take each other for the host side.
            file => {
                let file = file.look(|| format!("open(2) {}", path.display()))?;
                Ok(file.try_lock_shared().is_err())
            }
        }
    }

    /// What was noted for this part, in order. Nothing where there is no container.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn notes(&self, part: &str) -> Result<Vec<Vec<u8>>> {
        let path = self.lock_path();
        match read_whole::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            text => {
                let text = text.look(|| format!("read(2) {}", path.display()))?;
                Ok(noted(&text, part).map(<[u8]>::to_vec).collect())
            }
        }
    }

    /// Who has noted something that may have to be undone; nobody where there is no
    /// container.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn noters(&self) -> Result<BTreeSet<String>> {
        let path = self.lock_path();
        let text = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(BTreeSet::new());
            }
            text => text.look(|| format!("read(2) {}", path.display()))?,
        };
        let words = text.split(|byte| *byte == b'\n').skip(1);
        let words = words.filter_map(|line| line.split(|byte| *byte == b' ').next());
        let words = words.map(|word| String::from_utf8_lossy(word).into_owned());
        Ok(words.filter(|word| !word.is_empty()).collect())
    }

    /// The names of the container's parts, while its host side lives or nobody has
    /// swept after it.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn parts(&self) -> Result<Vec<String>> {
        let path = self.lock_path();
        let text = fs::read(&path).look(|| format!("read(2) {}", path.display()))?;
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        Ok(line.split_whitespace().map(str::to_owned).collect())
    }

    /// Remove the directory, give the name back, and let go of the lock file. Nothing
    /// there is fine.
    ///
    /// # Errors
    /// Those of unlink(2) and rmdir(2).
    pub fn remove(&self) -> Result<()> {
        if let Some(name) = &self.name {
            let link = self.state.names().join(name.as_str());
            let owner = self.state.named(name)?;
            if owner.is_some_and(|id| id == Path::new(self.id.as_str())) {
                gone(fs::remove_file(&link))
                    .step(|| format!("unlink(2) {}", link.display()))?;
            }
        }
        remove_tree(&self.dir())?;
        self.let_go()
    }

    /// Remove the lock file: nothing is left that a sweep would have to undo.
    ///
    /// # Errors
    /// Those of unlink(2).
    pub fn let_go(&self) -> Result<()> {
        let path = self.lock_path();
        gone(fs::remove_file(&path)).look(|| format!("unlink(2) {}", path.display()))
    }

    /// A name is a symlink to an id: symlink(2) lets exactly one of many win.
    fn take(&self, name: &Name) -> Result<()> {
        let names = self.state.make(self.state.names())?;
        let link = names.join(name.as_str());
        loop {
            match std::os::unix::fs::symlink(self.id.as_str(), &link) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    return made.step(|| format!("symlink(2) {}", link.display()));
                }
            }
            match fs::read_link(&link) {
                // Given back in between.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                owner => bail!(
                    "the name {name} is taken by container {}: choose another --name",
                    owner.unwrap_or_default().display()
                ),
            }
        }
    }
}

/// The container's host side, for those who wait for its end: that comes after all
/// that is done and written for the container, however it ends.
impl Home {
    /// This process is it.
    ///
    /// # Errors
    /// Those of pidfd_open(2) and write(2).
    pub fn note_host(&self) -> Result<()> {
        self.note_as(HOST, Pid::this())
    }

    /// Who has noted so; `None` when it is gone.
    ///
    /// # Errors
    /// Those of read(2) and pidfd_open(2).
    pub fn host(&self) -> Result<Option<Process>> {
        self.noted_as(&[&[HOST]])
    }
}

impl State {
    /// Names of containers: symlinks to their ids.
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.root().join("names")
    }

    /// Whose name it is: an id, as it is written there; `None` when nobody has it.
    ///
    /// # Errors
    /// Those of readlink(2).
    pub fn named(&self, name: &Name) -> Result<Option<PathBuf>> {
        let link = self.names().join(name.as_str());
        match fs::read_link(&link) {
            Err(e) if no_link(&e) => Ok(None),
            owner => {
                owner.look(|| format!("readlink(2) {}", link.display())).map(Some)
            }
        }
    }

    /// The containers whose host side is dead.
    ///
    /// # Errors
    /// Those of readdir(3).
    pub fn dead(&self) -> Result<Vec<Dead>> {
        let mut dead = Vec::new();
        let running = self.running();
        let entries = match fs::read_dir(&running) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(dead),
            entries => {
                entries.look(|| format!("readdir(3) {}", running.display()))?
            }
        };
        for entry in entries {
            let entry =
                entry.look(|| format!("readdir(3) {}", running.display()))?;
            let Some(id) = entry.file_name().to_str().and_then(|n| n.parse().ok())
            else {
                continue;
            };
            // Who holds the lock of a file that is still linked owns the container.
            let path = entry.path();
            let mut file = match File::open(&path) {
                // Gone by now.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                // Somebody else's.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => continue,
                file => file.look(|| format!("open(2) {}", path.display()))?,
            };
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(e)) => {
                    return Err(e).look(|| format!("flock(2) {}", path.display()));
                }
                Ok(()) => {}
            }
            if nlink(&file)? == 0 {
                continue;
            }
            let text = read_all(&mut file, &path)?;
            let parts = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let parts = String::from_utf8_lossy(parts);
            let name = noted(&text, NOTE).find_map(|note| {
                std::str::from_utf8(note).ok()?.strip_prefix("name ")?.parse().ok()
            });
            dead.push(Dead {
                home: Home { id, name, state: self.clone() },
                parts: parts.split_whitespace().map(str::to_owned).collect(),
                stays: noted(&text, NOTE)
                    .any(|note| process_in(note, STAYS).is_some()),
                _lock: Lock { _file: file },
            });
        }
        Ok(dead)
    }
}

/// A container whose host side is dead, and the lock that now keeps others from
/// sweeping it too.
#[derive(Debug)]
pub struct Dead {
    /// Who it was.
    pub home: Home,
    /// The names of its parts.
    pub parts: Vec<String>,
    /// Its program ran, and what it keeps is not to go with it.
    pub stays: bool,
    _lock: Lock,
}

/// The lines of a lock file that this part noted.
fn noted<'a>(text: &'a [u8], part: &str) -> impl Iterator<Item = &'a [u8]> {
    let lines = text.split(|byte| *byte == b'\n').skip(1);
    lines.filter_map(move |line| {
        line.strip_prefix(part.as_bytes())?.strip_prefix(b" ")
    })
}

/// The process that has one of these roles.
fn note_of(note: &[u8], roles: &[&str]) -> Option<(Pid, u64)> {
    roles.iter().find_map(|role| process_in(note, role))
}

/// A note of [`Home::note_as`].
fn process_in(note: &[u8], role: &str) -> Option<(Pid, u64)> {
    let note = std::str::from_utf8(note).ok()?.strip_prefix(role)?;
    let (pid, since) = note.strip_prefix(' ')?.split_once(' ')?;
    Some((Pid::from_raw(pid.parse().ok()?), since.parse().ok()?))
}

fn read_all(file: &mut File, path: &Path) -> Result<Vec<u8>> {
    read_whole::rest(file).look(|| format!("read(2) {}", path.display()))
}

/// Whether there is no symlink that could be read.
fn no_link(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}

/// Tell the file system that what is in this directory has nothing to do with each
/// other. ext4 then looks for inodes in many places. Otherwise it takes them near the
/// directory, and without a journal a new one passes over all that were freed there in
/// the last minute: with three hundred containers a second, thousands.
///
/// # Source
/// chattr(1), "T"; fs/ext4/ialloc.c, "`recently_deleted`"
fn spread(directory: &Path) {
    let mark = |file: File| {
        let flags = ioctl_getflags(&file)?;
        ioctl_setflags(&file, flags | IFlags::TOPDIR)
    };
    // Others know no such hint, and need none.
    let _ = File::open(directory).map(mark);
}

fn nlink(file: &File) -> Result<u64> {
    Ok(file.metadata().look(|| "fstat(2) of a container's lock")?.nlink())
}

/// How long a container whose host side was killed may take to die.
const DYING: Duration = Duration::from_secs(2);

/// Remove a directory and all below it; nothing there is fine.
///
/// # Errors
/// Those of unlink(2) and rmdir(2).
pub fn remove_tree(dir: &Path) -> Result<()> {
    let deadline = Instant::now() + DYING;
    loop {
        match remove_once(dir) {
            // The kernel frees the lock of a killed host side before it ends the
            // container, which may write until then.
            Err(e)
                if e.kind() == io::ErrorKind::DirectoryNotEmpty
                    && Instant::now() < deadline =>
            {
                sleep(Duration::from_millis(5));
            }
            removed => return removed.step(|| format!("rm -r {}", dir.display())),
        }
    }
}

fn remove_once(dir: &Path) -> io::Result<()> {
    // An empty one is most often what is left.
    let removed = match fs::remove_dir(dir).or_else(|_| fs::remove_dir_all(dir)) {
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => fs::remove_file(dir),
        // overlay leaves its `work/work` with mode 000, which only root looks into;
        // a container's own directories may be as closed.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            open_up(dir);
            fs::remove_dir_all(dir)
        }
        removed => removed,
    };
    gone(removed)
}

fn open_up(dir: &Path) {
    // What can't be opened is named by the removal that follows.
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|e| match e.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => Ok(()),
        _ => Err(e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(state: &State, name: Option<&str>) -> Home {
        let name = name.map(|name| name.parse().unwrap());
        Home { id: Id::new().unwrap(), name, state: state.clone() }
    }

    #[test]
    fn a_living_home_is_not_swept_and_a_dead_one_is() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        assert!(state.dead().unwrap().is_empty());
        let home = home(&state, Some("web"));
        let lock = home.make(&["overlay", "volume"]).unwrap();
        home.note("volume", b"a b").unwrap();
        home.note("volumes", b"another's").unwrap();
        home.note("volume", b"\xff").unwrap();
        assert!(state.dead().unwrap().is_empty());
        drop(lock);
        let dead = state.dead().unwrap();
        let [Dead { home: found, parts, .. }] = &dead[..] else {
            panic!("{dead:?}")
        };
        assert_eq!(found.id, home.id);
        assert_eq!(found.name, home.name);
        assert_eq!(parts, &["overlay", "volume"]);
        assert_eq!(found.notes("volume").unwrap(), [&b"a b"[..], b"\xff"]);
        assert!(found.notes("overlay").unwrap().is_empty());
        let noters: Vec<String> = found.noters().unwrap().into_iter().collect();
        assert_eq!(noters, ["home", "volume", "volumes"]);
        found.remove().unwrap();
        found.remove().unwrap();
        assert!(found.notes("volume").unwrap().is_empty());
        assert!(state.dead().unwrap().is_empty());
        assert_eq!(fs::read_dir(state.names()).unwrap().count(), 0);
    }

    #[test]
    fn containers_are_spread_where_the_file_system_can() {
        // Beside the build, which is on a disk more often than /tmp.
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let other = dir.path().join("other");
        fs::create_dir(&other).unwrap();
        spread(&other);
        let state = State::at(dir.path().join("state"));
        drop(home(&state, None).make(&[]).unwrap());
        let flags = |path: &Path| ioctl_getflags(File::open(path).unwrap());
        let can = flags(&other).is_ok_and(|flags| flags.contains(IFlags::TOPDIR));
        let does = flags(&state.containers());
        assert_eq!(can, does.is_ok_and(|flags| flags.contains(IFlags::TOPDIR)));
        assert_eq!(fs::read_dir(state.containers()).unwrap().count(), 1);
        drop(home(&state, None).make(&[]).unwrap());
        assert_eq!(fs::read_dir(state.containers()).unwrap().count(), 2);
    }

    #[test]
    fn a_host_side_is_found_by_its_number_and_its_birth() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&State::at(dir.path()), None);
        assert!(home.host().unwrap().is_none());
        let lock = home.make(&[]).unwrap();
        assert!(home.host().unwrap().is_none());
        home.note("home", format!("host {} 1", Pid::this()).as_bytes()).unwrap();
        assert!(home.host().unwrap().is_none(), "another one has that number");
        home.remove().unwrap();
        drop(lock);
        let _lock = home.make(&[]).unwrap();
        home.note_host().unwrap();
        assert_eq!(home.host().unwrap().unwrap().pid, Pid::this());
    }

    #[test]
    fn a_life_is_told_by_lock_and_process() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&State::at(dir.path()), None);
        assert!(matches!(home.life().unwrap(), Life::Over));
        let lock = home.make(&[]).unwrap();
        assert!(matches!(home.life().unwrap(), Life::Starting));
        home.note("home", format!("pid {} 1", Pid::this()).as_bytes()).unwrap();
        // The number is another's now.
        assert!(matches!(home.life().unwrap(), Life::Ending));
        drop(lock);
        assert!(matches!(home.life().unwrap(), Life::Over));
        home.remove().unwrap();
        let lock = home.make(&[]).unwrap();
        home.note_goes(Pid::this()).unwrap();
        let life = home.life().unwrap();
        assert!(matches!(life, Life::Running(it) if it.pid == Pid::this()));
        drop(lock);
        // One that goes with its program is swept with all it has.
        let dead = home.state.dead().unwrap();
        assert!(!dead[0].stays);
    }

    #[test]
    fn who_waits_reads_the_last_note_though_the_file_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&State::at(dir.path()), None);
        assert!(home.watch().unwrap().is_none());
        let lock = home.make(&[]).unwrap();
        let watched = home.watch().unwrap().unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| watched.outlast("end").unwrap());
            home.note("end", b"code 3").unwrap();
            home.remove().unwrap();
            drop(lock);
            assert_eq!(waiter.join().unwrap(), [b"code 3"]);
        });
    }

    #[test]
    fn a_name_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let first = home(&state, Some("web"));
        let _lock = first.make(&[]).unwrap();
        let second = home(&state, Some("web"));
        let error = second.make(&[]).unwrap_err();
        assert_eq!(
            format!("{error}"),
            format!(
                "the name web is taken by container {}: choose another --name",
                first.id
            )
        );
        second.remove().unwrap();
        assert!(state.names().join("web").symlink_metadata().is_ok());
    }

    #[test]
    fn whoever_comes_too_late_for_a_name_is_told_whose_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let name: Name = "web".parse().unwrap();
        // Each takes it and gives it back, so it often is gone when it was found taken.
        let contend = || {
            let one = home(&state, Some("web"));
            for _ in 0..5_000 {
                match one.take(&name) {
                    Ok(()) => one.remove().unwrap(),
                    Err(e) => assert!(!e.to_string().contains("container :"), "{e}"),
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(contend);
            scope.spawn(contend);
        });
    }

    #[test]
    fn a_home_that_died_before_its_directory_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        drop(home(&state, None).lock(&["overlay"]).unwrap());
        let dead = state.dead().unwrap();
        assert_eq!(dead.len(), 1);
        dead[0].home.remove().unwrap();
        assert_eq!(fs::read_dir(state.running()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_a_sweep_has_removed_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let home = home(&state, None);
        state.make(state.running()).unwrap();
        File::create(home.lock_path()).unwrap();
        // A sweep came between open(2) and flock(2) of the owner.
        let swept = state.dead().unwrap();
        std::thread::scope(|scope| {
            let owner = scope.spawn(|| home.lock(&["overlay"]).unwrap());
            sleep(Duration::from_millis(50));
            swept[0].home.remove().unwrap();
            drop(swept);
            let _lock = owner.join().unwrap();
            assert_eq!(fs::read(home.lock_path()).unwrap(), b"overlay\n");
            assert!(state.dead().unwrap().is_empty());
        });
    }
}
