//! The commands that change images. Their calls fail with the most probable errno, and the
//! commands are killed after each change. Afterwards an image is complete or does not exist,
//! and the next change leaves no unused files. A run tries one of eight faults, selected by
//! the seed; `--all` tries all of them.

mod calls;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use blackbox::server::Server;
use blackbox::{Call, Faulty, Lab, Side, images, values};
use nix::errno::Errno;
use nix::libc;
use tar::{Builder, Header};

use crate::count;
use calls::{CHANGES, OWN, errno};

const TIMEOUT: Duration = Duration::from_secs(120);

/// The chapter of a command: the earliest one that has it.
fn chapter(words: &[&str]) -> &'static str {
    if words[0] == "pull" { "ch07-pull" } else { "ch04-save" }
}

/// A command, and the state before it, in addition to the container `one`.
struct Scene {
    words: &'static [&'static str],
    before: &'static [&'static [&'static str]],
    /// The objects that exist after the command has succeeded.
    image: bool,
    container: bool,
    tar: bool,
}

const NOTHING: Scene =
    Scene { words: &[], before: &[], image: false, container: false, tar: false };

const COMMIT: Scene =
    Scene { words: &["commit", "one", "image"], image: true, ..NOTHING };
const IMPORT: Scene =
    Scene { words: &["import", "in.tar", "image"], image: true, ..NOTHING };
const EXPORT: Scene =
    Scene { words: &["export", "-o", "out.tar", "one"], tar: true, ..NOTHING };
const SAVE: Scene =
    Scene { words: &["save", "-o", "out.tar", "busybox"], tar: true, ..NOTHING };
const LOAD: Scene =
    Scene { words: &["load", "-i", "image"], image: true, ..NOTHING };
const TAG: Scene = Scene {
    words: &["tag", "other", "image"],
    before: &[&["import", "in.tar", "other"]],
    image: true,
    ..NOTHING
};
const REMOVE_IMAGE: Scene = Scene {
    words: &["rmi", "image"],
    before: &[&["import", "in.tar", "image"]],
    ..NOTHING
};
const PRUNE: Scene = Scene {
    words: &["image", "prune", "--all"],
    before: &[&["import", "in.tar", "image"], &["import", "in.tar", "other"]],
    ..NOTHING
};
const PULL: Scene = Scene { words: &["pull", "HOST/image"], image: true, ..NOTHING };
const REMOVE: Scene = Scene {
    words: &["rm", "two"],
    before: &[&["run", "--name", "two", "busybox", "touch", "/file"]],
    ..NOTHING
};

struct Ground {
    lab: Lab,
    /// A registry with the same image.
    registry: Server,
    /// The names in these directories when nothing is left.
    plain: [BTreeSet<String>; PLACES.len()],
}

/// The directories of the state directory, and at the end the directory of the tars.
const PLACES: [&str; 9] = [
    "state/images",
    "state/images/names",
    "state/images/records",
    "state/images/blobs/sha256",
    "state/images/downloads",
    "state/layers",
    "state/containers",
    "state/running",
    ".",
];
/// The indexes of the names, of the downloads, and of the tars.
const NAMES: usize = 1;
const DOWNLOADS: usize = 4;
const TARS: usize = 8;

impl Ground {
    fn new() -> Ground {
        let mut lab = Lab::with_patience(TIMEOUT);
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        builder.append_data(&mut header, "file", &b"text\n"[..]).unwrap();
        let tar = builder.into_inner().unwrap();
        fs::write(lab.dir().join("in.tar"), &tar).unwrap();
        let registry = images::serve([("image".to_owned(), tar)]);
        File::create(lab.dir().join("said")).unwrap();
        let script = "echo text > /file; rm /etc/hosts";
        let words = ["run", "--name", "one", "busybox", "sh", "-c", script];
        lab.chapter(chapter(&words)).args(words).assert().success();
        let image = |words: &[&str]| {
            lab.chapter(chapter(words)).args(words).assert().success()
        };
        image(&["import", "in.tar", "image"]);
        image(&["save", "-o", "image", "image"]);
        image(&["rmi", "image"]);
        lab.update_snapshot();
        let mut ground = Ground { lab, registry, plain: Default::default() };
        ground.plain = ground.names();
        ground
    }

    fn names(&self) -> [BTreeSet<String>; PLACES.len()] {
        PLACES.map(|place| {
            let entries = fs::read_dir(self.lab.dir().join(place)).unwrap();
            let name =
                |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
            entries.map(|entry| name(entry.unwrap())).collect()
        })
    }

    fn must(&self, words: &[&str]) -> Result<(), String> {
        let ended = self.lab.chapter(chapter(words)).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let well = ended.status.success();
        if well { Ok(()) } else { Err(format!("{}: {said}", words.join(" "))) }
    }

    fn run(&self, scene: &Scene, call: Option<i64>) -> Faulty {
        for words in scene.before {
            self.must(words).unwrap();
        }
        let host = self.registry.name();
        let words = scene.words.iter().map(|word| word.replace("HOST", &host));
        self.lab.faulty(chapter(scene.words), call, |command| {
            let said = File::create(self.lab.dir().join("said")).unwrap();
            command.args(words).stdout(Stdio::null()).stderr(said)
        })
    }

    /// Make one trial, judge the result, and clean up.
    fn attempt(
        &self,
        scene: &Scene,
        call: &Call,
        errno: Option<Errno>,
    ) -> Result<&'static str, String> {
        let run = self.run(scene, Some(call.number));
        let outcome = match errno {
            Some(errno) => run.fail(call, errno),
            None => run.killed(call, Side::Host),
        };
        let said = fs::read_to_string(self.lab.dir().join("said")).unwrap();
        let now = self.names();
        let [image, container, tar] = self.there(&now);
        let done =
            (image, container, tar) == (scene.image, scene.container, scene.tar);
        let told = errno.is_some_and(|errno| {
            // The library that reads tars has its own form of read errors.
            let its_own = format!("(os error {})", errno as i32);
            said.contains(&format!("{errno:?}: "))
                || call.what.ends_with("in.tar") && said.contains(&its_own)
        });
        let what = match (errno, outcome.code) {
            _ if self.lab.has_killed() => Err("it hung, and was killed".to_owned()),
            _ if !outcome.reached => Err("it never came to this call".to_owned()),
            _ if said.contains("panicked") => Err("it panicked".to_owned()),
            (None, 137) if done => Ok("images: killed, done"),
            (None, 137) => Ok("images: killed, not done or swept later"),
            (Some(_), 125) if told && said.starts_with("error: ") => {
                Ok("images: failed, told")
            }
            (Some(_), 0) if done => Ok("images: failed, done nevertheless"),
            (_, code) => Err(format!("it ended with {code}, done is {done}")),
        };
        let what = what.map_err(|what| format!("{what}; it said: {}", said.trim()));
        let whole = self.image(&now).map_or(Ok(()), |name| self.whole(name));
        let tidied = self.tidy(image, container);
        what.and_then(|what| whole.and(tidied).map(|()| what))
    }

    /// Whether the image, the container `two`, and the tar exist.
    fn there(&self, now: &[BTreeSet<String>; PLACES.len()]) -> [bool; 3] {
        let two = self.lab.state().join("names/two").symlink_metadata().is_ok();
        let image = self.image(now).is_some();
        [image, two, now[TARS].contains("out.tar")]
    }

    /// The file for the name of the image. The name contains a registry if it was pulled.
    fn image<'a>(
        &self,
        now: &'a [BTreeSet<String>; PLACES.len()],
    ) -> Option<&'a str> {
        let names = now[NAMES].iter().map(String::as_str);
        names
            .into_iter()
            .find(|name| name.rsplit('+').next() == Some("image:latest"))
    }

    /// Check the content of the image.
    fn whole(&self, name: &str) -> Result<(), String> {
        let record = self.lab.state().join("images/names").join(name);
        let layers = values(record, "layer");
        let top = layers.first().ok_or("no layer")?;
        let file = self.lab.state().join("layers").join(top).join("file");
        match fs::read_to_string(file) {
            Ok(text) if text == "text\n" => Ok(()),
            other => Err(format!("the image's file is {other:?}")),
        }
    }

    /// Remove everything, and check that the next changes leave nothing, also of a partial
    /// removal.
    fn tidy(&self, image: bool, container: bool) -> Result<(), String> {
        if image {
            let now = self.names();
            let name = self.image(&now).ok_or("the image is gone")?;
            self.must(&["rmi", &name.replace('+', "/")])?;
        }
        if !self.names()[DOWNLOADS].is_empty() {
            // The next pull uses them, whatever they contain.
            let name = format!("{}/image", self.registry.name());
            self.must(&["pull", &name])?;
            self.must(&["rmi", &name])?;
            self.must(&["image", "prune"])?;
        }
        if self.names()[NAMES].contains("other:latest") {
            self.must(&["rmi", "other"])?;
        }
        if container {
            self.must(&["rm", "two"])?;
        }
        let _ = fs::remove_file(self.lab.dir().join("out.tar"));
        if self.names()[TARS] != self.plain[TARS] {
            self.must(EXPORT.words)?;
            fs::remove_file(self.lab.dir().join("out.tar")).unwrap();
        }
        if self.names() != self.plain {
            self.must(&["run", "--rm", "busybox", "true"])?;
            self.must(&["import", "in.tar", "next"])?;
            self.must(&["rmi", "next"])?;
        }
        match self.lab.left() {
            left if left.is_empty() && self.names() == self.plain => Ok(()),
            left => Err(format!("it left {left:?}, {:?}", self.names())),
        }
    }
}

/// The first fault to try, and the distance to the next one.
fn which() -> (usize, usize) {
    if std::env::var_os("MYDOCKER_ALL").is_some() {
        return (0, 1);
    }
    let seed = std::env::var("MYDOCKER_SEED").ok();
    let seed: usize = seed.and_then(|seed| seed.parse().ok()).unwrap_or(0);
    (seed % 8, 8)
}

fn all(scene: &Scene) {
    let ground = Ground::new();
    let calls = ground.run(scene, None).calls();
    let now = ground.names();
    let [image, container, tar] = ground.there(&now);
    assert_eq!((image, container, tar), (scene.image, scene.container, scene.tar));
    ground.tidy(image, container).unwrap();
    // The first call of main itself is about the state directory or a file in it.
    let mine = |call: &Call| call.what.contains("state");
    let main =
        calls.iter().position(mine).expect("a call about the state directory");
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    let mut changed = true;
    for call in &calls[main..] {
        let fails = !OWN.contains(&call.number)
            && seen.insert((call.number, call.place.clone()));
        faults.extend(fails.then(|| (call, Some(errno(call)))));
        faults.extend(changed.then_some((call, None)));
        let creates = call.number == libc::SYS_openat
            && call.arguments[2] & libc::O_CREAT as u64 != 0;
        changed = creates || CHANGES.contains(&call.number);
    }
    let name = scene.words[0];
    count(&format!("images: faults of {name}, in all"), faults.len());
    let (first, step) = which();
    let mut wrong = Vec::new();
    for (call, fault) in faults.into_iter().skip(first).step_by(step) {
        match ground.attempt(scene, call, fault) {
            Ok(key) => count(key, 1),
            Err(what) => wrong.push(format!(
                "{name}: system call {} #{} ({}) {fault:?}: {what}",
                call.number, call.nth, call.what
            )),
        }
    }
    assert!(seen.len() > 10, "{} calls only", seen.len());
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn commit() {
    all(&COMMIT);
}

#[test]
fn import() {
    all(&IMPORT);
}

#[test]
fn export() {
    all(&EXPORT);
}

#[test]
fn save() {
    all(&SAVE);
}

#[test]
fn load() {
    all(&LOAD);
}

#[test]
fn tag() {
    all(&TAG);
}

#[test]
fn rmi() {
    all(&REMOVE_IMAGE);
}

#[test]
fn image_prune() {
    all(&PRUNE);
}

#[test]
fn pull() {
    all(&PULL);
}

#[test]
fn rm() {
    all(&REMOVE);
}
