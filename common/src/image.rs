//! Images: a name for a stack of layers.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::hints;
use crate::state::State;
use crate::step::{Hint, Step};

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
    /// Seconds after 1970; 0 in the records of an earlier time.
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
        let path = state.images().join(format!("{name}.json"));
        let text = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.look(|| format!("read(2) {}", path.display()))?,
        };
        let not_one = || format!("{} is not an image record", path.display());
        let record = serde_json::from_slice(&text).with_context(not_one)?;
        Image::read(&record).with_context(not_one).map(Some)
    }

    /// From a record. By hand: a derive macro for one struct would make every
    /// chapter's first build some seconds longer.
    fn read(record: &Value) -> Result<Image> {
        let word = |value: &Value, name: &str| {
            let word = value.as_str().map(str::to_owned);
            word.with_context(|| format!("{name} is missing, or no text"))
        };
        let layers = record["layers"].as_array().context("it has no layers")?;
        let layers = layers.iter().map(|layer| word(layer, "a layer"));
        // Later than the rest, and not in every record.
        let words = |name: &str| {
            let words = record[name].as_array().into_iter().flatten();
            words.map(|value| word(value, name)).collect::<Result<_>>()
        };
        Ok(Image {
            name: word(&record["name"], "name")?,
            layers: layers.collect::<Result<_>>()?,
            source: word(&record["source"], "source")?,
            sha256: word(&record["sha256"], "sha256")?,
            command: words("command")?,
            environment: words("environment")?,
            created: record["created"].as_u64().unwrap_or(0),
            size: record["size"].as_u64().unwrap_or(0),
        })
    }

    /// The record, as it is written.
    #[must_use]
    pub fn record(&self) -> Value {
        json!({
            "name": self.name,
            "layers": self.layers,
            "source": self.source,
            "sha256": self.sha256,
            "command": self.command,
            "environment": self.environment,
            "created": self.created,
            "size": self.size,
        })
    }

    /// Write the record, so that after a power failure there is this one or the
    /// one before.
    ///
    /// # Errors
    /// Those of write(2), fsync(2) and rename(2).
    pub fn save(&self, state: &State) -> Result<()> {
        let images = state.images();
        let path = images.join(format!("{}.json", self.name));
        let new = images.join(format!(".{}.new", self.name));
        let step = || format!("write {}", path.display());
        let mut file = File::create(&new).step(step).hint(hints::state)?;
        let record = serde_json::to_vec_pretty(&self.record());
        file.write_all(&record.context("image record")?)
            .step(step)
            .hint(hints::state)?;
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
        let mut record = image.record();
        assert_eq!(Image::read(&record).unwrap(), image);
        for (key, reason) in
            [("source", "source is missing"), ("layers", "no layers")]
        {
            record[key] = 7.into();
            let error = Image::read(&record).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
