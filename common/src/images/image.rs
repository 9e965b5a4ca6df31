//! The record of an image: everything about an image that a start reads.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use super::digest::Digest;
use super::durable::write_durably;
use super::layout::Layout;
use super::reference::Reference;
use crate::cli::step::Step;
use crate::read_whole;
use crate::state::State;
use crate::state::fields::Fields;

/// An image: a stack of read-only layers, and how a container of it is started.
///
/// The record repeats information of the image's manifest and configuration. So a
/// start does not have to parse JSON or compute a digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The ID: the digest of the configuration.
    pub id: Digest,
    /// The name by which it was found; the short ID if it was found by the ID. It is
    /// not part of the record.
    pub name: String,
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The media type of the manifest.
    pub media_type: String,
    /// The digests of the layers' blobs, the lowest first, as in the manifest.
    pub blobs: Vec<Digest>,
    /// Names of directories in `layers/`, which are chain IDs; the topmost first, as
    /// overlay's `lowerdir` expects them.
    pub layers: Vec<String>,
    /// The origin of the image, as a text for people.
    pub source: String,
    /// The SHA-256 of the file that it was made from, in hexadecimal; empty if that
    /// is not known.
    pub sha256: String,
    /// How a container is started.
    pub settings: Settings,
    /// The time of its creation, in seconds since 1970.
    pub created: u64,
    /// The size of all files of all layers, in bytes.
    pub size: u64,
}

/// The settings that an image has for its containers.
///
/// # Source
/// OCI image specification, config.md, "Properties"
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The program and its first arguments; the command follows them.
    pub entrypoint: Vec<String>,
    /// The command of a container if the caller gives none; empty means `sh`.
    pub command: Vec<String>,
    /// Variables, as `KEY=VALUE`.
    pub environment: Vec<String>,
    /// The working directory; empty means `/`.
    pub directory: String,
    /// The user, as `-u` takes it; empty means root.
    pub user: String,
    /// The signal that `stop` sends, such as `SIGQUIT`; empty means SIGTERM.
    pub stop_signal: String,
    /// The ports on which the program listens, such as `80/tcp`.
    pub ports: Vec<String>,
    /// The paths of the volumes. Their data is not part of the write layer.
    pub volumes: Vec<String>,
}

impl Image {
    /// The image with this name; `None` if there is none.
    ///
    /// # Errors
    /// Its record cannot be read, or is damaged.
    pub fn find(state: &State, reference: &Reference) -> Result<Option<Image>> {
        let layout = Layout::of(state);
        let image = if let Some(digest) = &reference.digest {
            // A tag beside a digest is not used.
            let named = Reference { tag: None, ..reference.clone() };
            let path = layout.name(&named);
            match Image::at(&path)? {
                None => by_digest(state, &reference.repository, digest)?,
                found => found,
            }
        } else {
            Image::at(&layout.name(reference))?
        };
        Ok(image.map(|image| Image { name: reference.short(), ..image }))
    }

    /// The image with this ID; `None` if there is none.
    ///
    /// # Errors
    /// Its record cannot be read, or is damaged.
    pub fn by_id(state: &State, id: &Digest) -> Result<Option<Image>> {
        let found = Image::at(&Layout::of(state).record(id))?;
        Ok(found.map(|image| Image { name: id.short().to_owned(), ..image }))
    }

    /// Read the record at this path. The path may also be a name, which is a symlink
    /// to the record.
    fn at(path: &Path) -> Result<Option<Image>> {
        let text = match read_whole::read(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.untraced(|| format!("read(2) {}", path.display()))?,
        };
        // Show the path of the record and not of the name, because the record is the
        // damaged file.
        let shown = || fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let damaged = || {
            let shown = shown();
            let id = shown.file_name().unwrap_or_default().to_string_lossy();
            let id: String = id.chars().take(12).collect();
            format!(
                "{} is not an image record (`rmi {id}` removes it)",
                shown.display()
            )
        };
        Image::read(&text).with_context(damaged).map(Some)
    }

    fn read(text: &[u8]) -> Result<Image> {
        let fields = Fields::read(text)?;
        let layers = fields.words("layer")?;
        ensure!(!layers.is_empty(), "it has no layers");
        let blobs = fields.words("blob")?;
        let blobs: Result<_> = blobs.iter().map(|blob| blob.parse()).collect();
        Ok(Image {
            id: fields.word("id")?.parse()?,
            name: String::new(),
            manifest: fields.word("manifest")?.parse()?,
            media_type: fields.word("media-type")?,
            blobs: blobs?,
            layers,
            source: fields.word("source")?,
            sha256: fields.word("sha256")?,
            settings: Settings {
                entrypoint: fields.words("entrypoint")?,
                command: fields.words("command")?,
                environment: fields.words("environment")?,
                directory: fields.word("directory")?,
                user: fields.word("user")?,
                stop_signal: fields.word("stop-signal")?,
                ports: fields.words("port")?,
                volumes: fields.words("volume")?,
            },
            created: fields.number("created")?,
            size: fields.number("size")?,
        })
    }

    /// The text of the record.
    fn record(&self) -> Vec<u8> {
        let settings = &self.settings;
        Fields::default()
            .with("id", self.id.as_str())
            .with("manifest", self.manifest.as_str())
            .with("media-type", &self.media_type)
            .with_all("blob", self.blobs.iter().map(Digest::as_str))
            .with_all("layer", &self.layers)
            .with("source", &self.source)
            .with("sha256", &self.sha256)
            .with_all("entrypoint", &settings.entrypoint)
            .with_all("command", &settings.command)
            .with_all("environment", &settings.environment)
            .with("directory", &settings.directory)
            .with("user", &settings.user)
            .with("stop-signal", &settings.stop_signal)
            .with_all("port", &settings.ports)
            .with_all("volume", &settings.volumes)
            .with("created", self.created.to_string())
            .with("size", self.size.to_string())
            .text()
    }

    /// Write the record. After a power failure, either this record or the old one
    /// exists. No name leads to it yet. The caller holds the exclusive lock.
    ///
    /// # Errors
    /// write(2), fsync(2) or rename(2) fails.
    pub fn save(&self, state: &State) -> Result<()> {
        write_durably(&Layout::of(state).record(&self.id), &self.record())
    }

    /// The layers' directories, the topmost first.
    #[must_use]
    pub fn directories(&self, state: &State) -> Vec<PathBuf> {
        self.layers.iter().map(|layer| state.layers().join(layer)).collect()
    }
}

/// The image of this repository whose manifest has this digest.
fn by_digest(
    state: &State,
    repository: &str,
    digest: &Digest,
) -> Result<Option<Image>> {
    let names = match Layout::of(state).all_names() {
        // There are no images at all.
        Err(_) => return Ok(None),
        Ok(names) => names,
    };
    for (reference, id) in names {
        if reference.repository == repository
            // A damaged record hides only its own image.
            && let Ok(Some(image)) = Image::by_id(state, &id)
            && image.manifest == *digest
        {
            return Ok(Some(image));
        }
    }
    Ok(None)
}

/// The current time, in seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// The size of all files below this directory, in bytes.
///
/// # Errors
/// readdir(3) or lstat(2) fails.
pub fn tree_size(directory: &Path) -> Result<u64> {
    let step = || format!("readdir(3) {}", directory.display());
    let mut bytes = 0;
    for entry in fs::read_dir(directory).untraced(step)? {
        let entry = entry.untraced(step)?;
        let about = entry
            .metadata()
            .untraced(|| format!("lstat(2) {}", entry.path().display()))?;
        bytes +=
            if about.is_dir() { tree_size(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        let digest = |digit: &str| Digest::from_hex(&digit.repeat(64)).unwrap();
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        Image {
            id: digest("1"),
            manifest: digest("2"),
            media_type: "application/x".into(),
            blobs: vec![digest("3"), digest("4")],
            layers: words(&["top", "bottom"]),
            source: "a file".into(),
            sha256: "0".into(),
            settings: Settings {
                entrypoint: words(&["/e"]),
                command: words(&["sh", "-l"]),
                environment: words(&["A=b\nc"]),
                directory: "/srv".into(),
                user: "7:8".into(),
                stop_signal: "SIGQUIT".into(),
                ports: words(&["80/tcp"]),
                volumes: words(&["/data"]),
            },
            created: 1,
            size: 2,
            ..Image::default()
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_missing_field_is_named() {
        let image = image();
        let record = image.record();
        assert_eq!(Image::read(&record).unwrap(), image);
        let record = String::from_utf8(record).unwrap();
        for (was, is, reason) in [
            ("source", "sauce", "source is missing"),
            ("layer ", "lair ", "no layers"),
            ("size 2", "size x", "size is \"x\", which is not a number"),
            ("id sha256:", "id md5:", "only sha256 is supported"),
            ("\nend", "\n", "its last line is not `end`"),
        ] {
            let damaged = record.replace(was, is);
            let error =
                format!("{:#}", Image::read(damaged.as_bytes()).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn names_lead_to_records_and_a_digest_selects_within_a_repository() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let layout = Layout::of(&state);
        layout.make().unwrap();
        let image = image();
        image.save(&state).unwrap();
        let reference = |text: &str| text.parse::<Reference>().unwrap();
        let found = |text: &str| {
            let found = Image::find(&state, &reference(text)).unwrap();
            found.map(|found| found.id)
        };
        assert_eq!(found("a/b:1"), None);
        layout.set_name(&reference("a/b:1"), &image.id).unwrap();
        assert_eq!(found("a/b:1"), Some(image.id.clone()));
        assert_eq!(found("b:1"), None);
        assert_eq!(
            found(&format!("a/b@{}", image.manifest)),
            Some(image.id.clone())
        );
        assert_eq!(found(&format!("b@{}", image.manifest)), None);
        assert_eq!(found(&format!("a/b@{}", image.id)), None);
        layout.remove_name(&reference("a/b:1")).unwrap();
        assert_eq!(found("a/b:1"), None);
        assert!(Image::by_id(&state, &image.id).unwrap().is_some());
    }

    #[test]
    fn images_of_an_older_version_are_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        fs::create_dir_all(state.images()).unwrap();
        fs::write(state.images().join("busybox"), "format 1\n").unwrap();
        let error = Layout::of(&state).make().unwrap_err().to_string();
        assert!(error.contains("older version"), "{error}");
        assert!(
            error.contains(&format!("rm -r {}", dir.path().display())),
            "{error}"
        );
        assert!(!state.images().join("oci-layout").exists());
    }
}
