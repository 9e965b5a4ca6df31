//! busybox's blobs: the layer, the configuration, the manifest.
//!
//! The chapters that start from busybox need no JSON library for these two texts.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::archive::pack_layer;
use common::hints;
use common::images::{Digest, Layout, write_durably};
use common::step::{Hint, Step};
use hmac_sha256::Hash;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use super::at;

/// The media types.
///
/// # Source
/// OCI image specification, media-types.md
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The blobs of an image.
pub(super) struct Blobs {
    pub(super) layer: Digest,
    pub(super) config: Digest,
    pub(super) manifest: Digest,
    tar: PathBuf,
    texts: [String; 2],
}

impl Blobs {
    /// Create the blobs of this root filesystem. Its times are set to 0, so that the
    /// same busybox gives the same digests on every machine. `directory` contains
    /// the layer until [`Blobs::place`] moves it.
    pub(super) fn new(root: &Path, directory: &Path) -> Result<Blobs> {
        reset_times(root)?;
        let tar = directory.join("layer.tar");
        let file = File::create(&tar).step(|| at("open(2)", &tar));
        let mut out = Hashing {
            file: io::BufWriter::new(file.hint(hints::state)?),
            hash: Hash::new(),
            size: 0,
        };
        pack_layer(root, &mut out).hint(hints::state)?;
        let (layer, size) = (Digest::from_bytes(&out.hash.finalize()), out.size);
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":["{layer}"]}},"history":[{{"created_by":"busybox"}}]}}"#
        );
        let id = digest_of(config.as_bytes());
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"{CONFIG}","digest":"{id}","size":{}}},"layers":[{{"mediaType":"{LAYER}","digest":"{layer}","size":{size}}}]}}"#,
            config.len()
        );
        Ok(Blobs {
            layer,
            config: id,
            manifest: digest_of(manifest.as_bytes()),
            tar,
            texts: [config, manifest],
        })
    }

    /// Move the blobs to their directory. The layer is not synced yet.
    pub(super) fn place(&self, layout: &Layout) -> Result<()> {
        let path = layout.blob(&self.layer);
        fs::rename(&self.tar, &path).step(|| at("rename(2) to", &path))?;
        for (digest, text) in [&self.config, &self.manifest].iter().zip(&self.texts)
        {
            write_durably(&layout.blob(digest), text.as_bytes())?;
        }
        Ok(())
    }
}

/// Writes to a file and computes the digest of the bytes.
struct Hashing {
    file: io::BufWriter<File>,
    hash: Hash,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Set the times of a directory and of all files in it to 1970-01-01, the Unix
/// epoch.
fn reset_times(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok_and(|about| about.is_dir()) {
        let step = || at("readdir(3)", path);
        for entry in fs::read_dir(path).step(step)? {
            reset_times(&entry.step(step)?.path())?;
        }
    }
    let time = TimeSpec::new(0, 0);
    utimensat(AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink)
        .step(|| at("utimensat(2)", path))
}

/// The SHA-256 of a file in hexadecimal, and its size in bytes.
pub(super) fn digest(file: &Path) -> Result<(String, u64)> {
    let bytes = fs::read(file).step(|| at("read(2)", file))?;
    Ok((digest_of(&bytes).hex().to_owned(), bytes.len() as u64))
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(&Hash::hash(bytes))
}
