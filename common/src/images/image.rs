//! Images: a name for a stack of layers.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::cli::hints;
use crate::cli::step::{Hint, Step};
use crate::read_whole;
use crate::state::State;
use crate::state::fields::Fields;

/// An image: a name for a stack of read-only layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// What the user calls it, `busybox`.
    pub name: String,
    /// Names of directories in `layers/`, the topmost first, as overlay's
    /// `lowerdir` wants them.
    pub layers: Vec<String>,
    /// Where it was got from, for the reader.
    pub source: String,
    /// Of the file that it was made from, in lower-case hexadecimal; empty where
    /// that is not known.
    pub sha256: String,
    /// What a container of it runs unless it is told otherwise; empty means `sh`.
    pub command: Vec<String>,
    /// What is added to its environment, as `KEY=VALUE`.
    pub environment: Vec<String>,
    /// Seconds after 1970.
    pub created: u64,
    /// Bytes of all files of all layers; 0 where nobody has counted.
    pub size: u64,
}

impl Image {
    /// Read an image's record; `None` when there is no such image.
    ///
    /// # Errors
    /// A record that can't be read or isn't one.
    pub fn find(state: &State, name: &str) -> Result<Option<Image>> {
        let path = Image::path(state, name);
        let text = match read_whole::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.look(|| format!("read(2) {}", path.display()))?,
        };
        let not_one = || format!("{} is not an image record", path.display());
        Image::read(&text).with_context(not_one).map(Some)
    }

    /// Where the record of this image is.
    #[must_use]
    pub fn path(state: &State, name: &str) -> PathBuf {
        state.images().join(name)
    }

    fn read(text: &[u8]) -> Result<Image> {
        let fields = Fields::read(text)?;
        let layers = fields.words("layer")?;
        ensure!(!layers.is_empty(), "it has no layers");
        Ok(Image {
            name: fields.word("name")?,
            layers,
            source: fields.word("source")?,
            sha256: fields.word("sha256")?,
            command: fields.words("command")?,
            environment: fields.words("environment")?,
            created: fields.number("created")?,
            size: fields.number("size")?,
        })
    }

    /// The record, as it is written.
    fn record(&self) -> Vec<u8> {
        Fields::default()
            .with("name", &self.name)
            .with_all("layer", &self.layers)
            .with("source", &self.source)
            .with("sha256", &self.sha256)
            .with_all("command", &self.command)
            .with_all("environment", &self.environment)
            .with("created", self.created.to_string())
            .with("size", self.size.to_string())
            .text()
    }

    /// Write the record, so that after a power failure there is this one or the
    /// one before.
    ///
    /// # Errors
    /// Those of write(2), fsync(2) and rename(2).
    pub fn save(&self, state: &State) -> Result<()> {
        let images = state.images();
        let path = Image::path(state, &self.name);
        let new = images.join(format!(".{}.new", self.name));
        let step = || format!("write {}", path.display());
        let mut file = File::create(&new).step(step).hint(hints::state)?;
        file.write_all(&self.record()).step(step).hint(hints::state)?;
        file.sync_all().step(step).hint(hints::state)?;
        fs::rename(&new, &path).step(step)?;
        File::open(&images).and_then(|directory| directory.sync_all()).step(step)
    }

    /// The layers' directories, the topmost first.
    #[must_use]
    pub fn directories(&self, state: &State) -> Vec<PathBuf> {
        self.layers.iter().map(|layer| state.layers().join(layer)).collect()
    }
}

/// Seconds after 1970.
#[must_use]
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// The bytes of all files below this directory.
///
/// # Errors
/// Those of readdir(3) and lstat(2).
pub fn weigh(directory: &Path) -> Result<u64> {
    let step = || format!("readdir(3) {}", directory.display());
    let mut bytes = 0;
    for entry in fs::read_dir(directory).look(step)? {
        let entry = entry.look(step)?;
        let about = entry
            .metadata()
            .look(|| format!("lstat(2) {}", entry.path().display()))?;
        bytes += if about.is_dir() { weigh(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_what_is_missing_is_named() {
        let image = Image {
            name: "a".into(),
            layers: vec!["top".into(), "bottom".into()],
            source: "a file".into(),
            sha256: "0".into(),
            command: vec!["sh".into(), "-l".into()],
            environment: vec!["A=b".into()],
            created: 1,
            size: 2,
        };
        let record = image.record();
        assert_eq!(Image::read(&record).unwrap(), image);
        let record = String::from_utf8(record).unwrap();
        for (was, is, reason) in [
            ("source", "sauce", "source is missing"),
            ("layer ", "lair ", "no layers"),
            ("size 2", "size x", "size is \"x\", and no number"),
            ("\nend", "\n", "its last line is not `end`"),
        ] {
            let damaged = record.replace(was, is);
            let error = Image::read(damaged.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
