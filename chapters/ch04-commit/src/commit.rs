//! `commit` and `export`: what a container has written, made an image or a tar.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};
use ch02_cgroups::{Group, freeze};
use ch02_union::Driver;
use ch02_user::Outside;
use common::images::{Image, now};
use common::state::Life;
use common::state::Name;
use common::state::State;
use common::step::Step;
use common::{Guard, Home, rights};
use nix::sched::CloneFlags;
use provision::busybox;

use crate::layer::{self, Reader};
use crate::merged::Level;
use crate::pack::pack;
use crate::record::{RECORD, Record};
use crate::squeeze::{self, Packing};
use crate::store::Store;

// ANCHOR: commit
/// Make an image of a container: its image's layers, and a copy of its write layer
/// above them.
///
/// # Errors
/// No such container; a full disk, and other system calls'. No image is made then.
pub fn commit(state: &State, container: &str, name: &Name) -> Result<Image> {
    refuse_busybox(name)?;
    let user_namespace = become_root();
    let store = Store::open(state)?;
    let held = Held::new(state, container)?;
    let record = &held.record;
    let below = Image::find(state, &record.image)?.unwrap_or_default();
    let draft = store.draft()?;
    let bytes = {
        let _still = held.freeze()?;
        let (from, to) = (held.upper(), &draft.path);
        held.whole(layer::copy(&from, to, record.driver, user_namespace))?
    };
    // A tree that was copied as a whole needs nothing below.
    let (layers, base) = match record.driver {
        Driver::Copy => (Vec::new(), 0),
        _ => (record.layers.clone(), below.size),
    };
    let image = Image {
        name: name.to_string(),
        layers,
        source: format!("container {} of {}", record.id, record.image),
        command: below.command,
        environment: below.environment,
        created: now(),
        size: base + bytes,
        ..Image::default()
    };
    store.publish(draft, image)
}
// ANCHOR_END: commit

/// Write a container's whole tree as a tar; `-` is standard output. The name tells
/// how it is packed.
///
/// # Errors
/// No such container; a terminal; a full disk, and other system calls'.
pub fn export(state: &State, container: &str, to: &Path) -> Result<()> {
    let user_namespace = become_root();
    let held = Held::new(state, container)?;
    let record = &held.record;
    let reader = |aufs| Reader { aufs, user_namespace };
    let aufs = record.driver == Driver::Aufs;
    let mut levels: Vec<Level> = vec![(held.upper(), reader(aufs))];
    if record.driver != Driver::Copy {
        let below = record.layers.iter().map(|layer| state.layers().join(layer));
        levels.extend(below.map(|layer| (layer, reader(false))));
    }
    squeeze::file(to, |out| {
        let _still = held.freeze()?;
        let packed = squeeze::packed(Packing::of(to), out, |out| pack(&levels, out));
        held.whole(packed)
    })
}

/// So long a start is waited for.
const STARTING: Duration = Duration::from_secs(2);

/// A container that nobody removes meanwhile, but for its own host side.
struct Held {
    record: Record,
    home: Home,
    /// Its host side removes it when its program ends.
    goes: bool,
    _lock: File,
}

impl Held {
    fn new(state: &State, container: &str) -> Result<Held> {
        let record = Record::find(state, container)?;
        let home = record.home(state);
        let dir = home.dir();
        let lock = match File::open(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(removed(&record));
            }
            lock => lock.look(|| format!("open(2) {}", dir.display()))?,
        };
        lock.lock_shared().look(|| format!("flock(2) {}", dir.display()))?;
        // It has a record before it has a write layer.
        let deadline = Instant::now() + STARTING;
        while matches!(home.life()?, Life::Starting) {
            if Instant::now() > deadline {
                bail!(
                    "container {container} is just being started: try again later"
                );
            }
            sleep(Duration::from_millis(5));
        }
        // Before the record is looked for, which goes before the note of this does.
        let goes = home.goes()?;
        let path = dir.join(RECORD);
        let there = path.try_exists();
        if !there.look(|| format!("stat(2) {}", path.display()))? {
            return Err(removed(&record));
        }
        Ok(Held { record, home, goes, _lock: lock })
    }

    fn upper(&self) -> PathBuf {
        self.home.dir().join("upper")
    }

    fn runs(&self) -> Result<bool> {
        Ok(matches!(self.home.life()?, Life::Running(_)))
    }

    /// What was read of it, unless it was being removed by then: what is gone already
    /// nobody would miss in a copy.
    fn whole<T>(&self, read: Result<T>) -> Result<T> {
        if self.goes && !self.runs()? {
            return Err(removed(&self.record));
        }
        read
    }

    /// Stop it as long as the answer lives, if it runs and can be stopped.
    fn freeze(&self) -> Result<Option<Still>> {
        if !self.runs()? {
            return Ok(None);
        }
        let group = Group::find(self.record.id.as_str());
        let group = group.ok().filter(|_| rights::privileged());
        let Some(group) = group.filter(can_freeze) else {
            // It has ended meanwhile, and its group went with it.
            if !self.runs()? {
                return Ok(None);
            }
            // Not SIGSTOP: the program sees it, its parent sees it, and one that was
            // stopped already would go on afterwards.
            let line = format!(
                "container {} is running and was not frozen, as it has no group: a \
                 file that is being written may be copied half\n",
                self.record.called()
            );
            let _ = io::stderr().write_all(line.as_bytes());
            return Ok(None);
        };
        match Still::new(group) {
            Err(_) if !self.runs()? => Ok(None),
            still => still.map(Some),
        }
    }
}

fn removed(record: &Record) -> Error {
    anyhow!("container {} is being removed", record.called())
}

fn can_freeze(group: &Group) -> bool {
    group.file("freezer.state").is_ok() || group.file("cgroup.freeze").is_ok()
}

// ANCHOR: still
/// A group that is frozen as long as this lives, and not longer than this process.
struct Still {
    group: Group,
    _guard: Guard,
}

impl Still {
    fn new(group: Group) -> Result<Still> {
        // Before it is frozen: who is killed in between leaves it as it was.
        let thawed = group.clone();
        let guard = Guard::after_death(move || {
            let _ = freeze(&thawed, false);
        })?;
        let still = Still { group, _guard: guard };
        freeze(&still.group, true)?;
        Ok(still)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        // A container that has ended meanwhile has no group.
        let _ = freeze(&self.group, false);
    }
}
// ANCHOR_END: still

pub(crate) fn refuse_busybox(name: &Name) -> Result<()> {
    if name.as_str() == busybox::NAME {
        bail!("busybox is the image that fetches itself: choose another name");
    }
    Ok(())
}

/// Become root in a new user namespace, unless this process is privileged: then it can
/// read all files of the user's containers, whatever their modes are. True in any user
/// namespace but the initial one: there are no "trusted." attributes, no device nodes,
/// and perhaps no other owners.
pub(crate) fn become_root() -> bool {
    if rights::privileged() {
        return !rights::in_initial_user_namespace();
    }
    let outside = Outside::caller();
    // Where this is denied, the file that cannot be read is named later.
    let _ = nix::sched::unshare(CloneFlags::CLONE_NEWUSER)
        .context("unshare(2)")
        .and_then(|()| outside.becomes_root_of("self"));
    true
}
