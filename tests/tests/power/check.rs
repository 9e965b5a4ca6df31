//! The check: the disk in the state of the power failure is mounted and read.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use crate::disk::{attach, detach, named};
use crate::journal::{Journal, Replay};
use crate::plan::{Images, Step, after, large, steps};
use crate::work::{registry, tar};
use crate::{STATE, chapter};

/// A generator of pseudorandom numbers. They need not be unpredictable.
struct Random(u64);

impl Random {
    /// # Source
    /// Marsaglia, "Xorshift RNGs"
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Simulate a power failure immediately after each step, where only flushed writes are on
/// the disk, and at `points` random moments, where also half of the other writes are.
pub(crate) fn check(rounds: u64, seed: u64, points: u64) -> ExitCode {
    let journal = Journal::read(File::open(named("journal")).unwrap());
    let marks = journal.marks();
    let steps = steps(rounds);
    assert_eq!(marks.len(), steps.len() + 1, "marks in the journal");
    let mut random = Random(seed.wrapping_mul(2) + 1);
    let first = marks[0].0 + 1;
    let between = (journal.entries.len() - first) as u64;
    let mut all: Vec<(usize, bool)> =
        marks.iter().map(|&(at, _)| (at + 1, false)).collect();
    let chance = |random: &mut Random| first + (random.next() % between) as usize;
    all.extend((0..points).map(|_| (chance(&mut random), true)));
    all.sort();
    let disk = named("scratch");
    let server = registry(&steps);
    let mut replay = Replay::new(&journal);
    let (mut wrong, mut seen) = (0, 0);
    for (end, half) in &all {
        let bytes = replay.at(*end, || *half && random.next() % 2 == 0);
        fs::write(&disk, bytes).expect("write(2) the disk");
        let done = marks.iter().rev().find(|(at, _)| at < end).map_or(0, |it| it.1);
        let done = done as usize;
        let may = [&steps[..done], &steps[..(done + 1).min(steps.len())]].map(after);
        let found = match attach(&disk) {
            Err(errno) => Err(format!("mount(2): {errno}")),
            Ok(()) => {
                let found = look(&may).and_then(|images| {
                    match steps.get(done) {
                        Some(Step::Pull(name, content)) => {
                            pull(&format!("{}/{name}", server.name()), *content)?;
                        }
                        _ => {}
                    }
                    swept().map(|()| images)
                });
                detach();
                found
            }
        };
        match found {
            Ok(images) => seen += images,
            Err(error) => {
                wrong += 1;
                println!("before write {end}, after step {done}: {error}");
            }
        }
    }
    println!(
        "{} of {} writes tried, {wrong} wrong; {seen} images read",
        all.len(),
        journal.entries.len()
    );
    if wrong == 0 && seen > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Check that the images are those before or those after the step, and that each image is
/// complete. Returns the number of images.
fn look(may: &[Images; 2]) -> Result<usize, String> {
    let list = chapter(&["images", "--json"])?;
    let list: Value = serde_json::from_str(&list).map_err(|e| e.to_string())?;
    let list = list.as_array().ok_or("no list of images")?;
    let mut names = BTreeSet::new();
    for record in list {
        let layers: Vec<&str> = record["layers"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        // Two commits of one container in the same second make one image. An image
        // without a name was replaced, or has no name yet: the sweep removes it.
        for name in record["names"].as_array().unwrap() {
            let name = name.as_str().ok_or("a name is no text")?;
            // A pulled image also has a name with its digest.
            if name.contains('@') {
                continue;
            }
            let name = name.strip_suffix(":latest").ok_or("another tag")?;
            let name = name.rsplit('/').next().unwrap_or(name);
            let is = |images: &Images| match images.get(name) {
                Some((content, count)) => whole(&layers, Some(*content), *count),
                None if name == "busybox" => whole(&layers, None, 1),
                None => Err("it should not be there".to_owned()),
            };
            is(&may[0])
                .or(is(&may[1]))
                .map_err(|error| format!("image {name}: {error}"))?;
            names.insert(name.to_owned());
        }
    }
    let fits = |images: &Images| {
        images.keys().all(|name| names.contains(name))
            && images.len() + 1 == names.len()
    };
    if !may.iter().any(fits) {
        return Err(format!(
            "there are {names:?}, not {:?}",
            may.each_ref().map(Images::keys)
        ));
    }
    Ok(list.len())
}

/// Check that the interrupted pull succeeds when it is repeated, and that the image is
/// complete. The registry is a new one: the downloaded data are identified by digest.
fn pull(name: &str, content: u64) -> Result<(), String> {
    chapter(&["pull", name])?;
    let file = format!("{}:latest", name.replace('/', "+"));
    let record = Path::new(STATE).join("images/names").join(file);
    let layers = blackbox::values(record, "layer");
    let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
    let found = whole(&layers, Some(content), 1);
    chapter(&["rmi", name])?;
    found.map_err(|error| format!("{name}, pulled again: {error}"))
}

/// Check the content of the layers of an image.
fn whole(layers: &[&str], content: Option<u64>, count: usize) -> Result<(), String> {
    if layers.len() != count {
        return Err(format!("{} layers", layers.len()));
    }
    let place = |layer: &str| Path::new(STATE).join("layers").join(layer);
    let read = |path: &Path| {
        fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    if let Some(content) = content {
        let top = place(layers[0]);
        let number = top.join("d/number");
        let same = read(&number)? == format!("{content}\n").as_bytes();
        let linked = number.metadata().is_ok_and(|about| about.nlink() == 2);
        let large = read(&top.join("large"))? == large(content);
        let hosts = top.join("etc/hosts").symlink_metadata();
        let hidden = hosts.is_ok_and(|about| about.file_type().is_char_device());
        if !(same && linked && large && hidden == (count == 2)) {
            return Err(format!(
                "not what was written: {same} {linked} {large} {hidden}"
            ));
        }
    }
    if count == 2 || content.is_none() {
        let program = place(layers[layers.len() - 1]).join("bin/busybox");
        if read(&program)? != fs::read("/bin/busybox").unwrap() {
            return Err("busybox is another".to_owned());
        }
    }
    Ok(())
}

/// Check that a remaining container can be removed, and that only files in use are left
/// after the next change.
fn swept() -> Result<(), String> {
    let state = Path::new(STATE);
    let names = |directory: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(state.join(directory)).into_iter().flatten();
        entries
            .flatten()
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect()
    };
    fs::write("/run/tar", tar(7)).unwrap();
    chapter(&["import", "/run/tar", "after"])?;
    // A container that is only partly on the disk does not block these commands.
    chapter(&["rmi", "after"])?;
    chapter(&["run", "--rm", "busybox", "true"])?;
    chapter(&["image", "prune"])?;
    let downloads = names("images/downloads");
    if !downloads.is_empty() {
        return Err(format!("downloads stay: {downloads:?}"));
    }
    for container in names("containers") {
        chapter(&["rm", &container])?;
    }
    let mut used: [BTreeSet<String>; 3] = Default::default();
    let index = fs::read_to_string(state.join("images/index.json"));
    let index = index.map_err(|error| error.to_string())?;
    for name in names("images/names") {
        let record = state.join("images/names").join(&name);
        let hex = |digest: &String| digest.replace("sha256:", "");
        used[0].extend(blackbox::values(&record, "layer"));
        for key in ["id", "manifest", "blob"] {
            used[1].extend(blackbox::values(&record, key).iter().map(hex));
        }
        used[2].extend(blackbox::values(&record, "id").iter().map(hex));
        let shown = name.replace('+', "/");
        if !index.contains(&format!("ref.name\":\"{shown}\"")) {
            return Err(format!("the index lacks {name}"));
        }
    }
    for (place, used) in
        ["layers", "images/blobs/sha256", "images/records"].iter().zip(&used)
    {
        let found = names(place);
        if found != *used {
            return Err(format!("{place} has {found:?}, used are {used:?}"));
        }
    }
    for blob in &used[1] {
        let path = state.join("images/blobs/sha256").join(blob);
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        if oci::sha256(&bytes).hex() != blob {
            return Err(format!("the blob {blob} is damaged"));
        }
    }
    Ok(())
}
