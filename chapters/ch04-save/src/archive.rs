//! An archive of images, unpacked into a temporary directory.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ch04_commit::Draft;
use ch04_image::Store;
use ch04_tar::compression::decompress;
use common::archive::{Keep, unpack_stream};
use common::guest::GuestRoot;
use common::images::Digest;
use common::step::Step;
use oci::{Blobs, Hashing, LARGEST};
use rustix::fs::{AtFlags, CWD, linkat};

/// An unpacked archive. Its directory is removed when this value is dropped.
pub(crate) struct Archive {
    root: GuestRoot,
    blobs: Blobs,
    _draft: Draft,
}

impl Archive {
    /// Unpack an archive, compressed or not.
    pub(crate) fn unpack(store: &Store, from: impl Read + Send) -> Result<Archive> {
        let draft = Draft::begin(store)?;
        let keep = Keep { owners: false, attributes: false, whiteouts: None };
        decompress(from, |tar| unpack_stream(tar, &draft.path, keep))?;
        let root = GuestRoot::open(&draft.path)?;
        Ok(Archive { root, blobs: Blobs::of(store.state()), _draft: draft })
    }

    /// The content of a small file; `None` if the archive has no such file.
    pub(crate) fn text(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.file(name)? else { return Ok(None) };
        let mut text = Vec::new();
        let read = file.take(LARGEST + 1).read_to_end(&mut text);
        read.untraced(|| format!("read(2) {name}"))?;
        ensure!(
            text.len() as u64 <= LARGEST,
            "{name} is too large: expected at most {LARGEST} bytes"
        );
        Ok(Some(text))
    }

    /// Make a file of the archive a blob of the store. Returns its digest, its size and
    /// its first bytes. The digest is computed, because the names in an archive may be
    /// false.
    pub(crate) fn blob(&self, name: &str) -> Result<(Digest, u64, [u8; 6])> {
        let file = self.file(name)?;
        let mut file =
            file.with_context(|| format!("the archive has no file {name}"))?;
        let mut head = [0; 6];
        let mut hashing = Hashing::new(&mut file);
        let read = hashing.by_ref().take(6).read(&mut head);
        read.untraced(|| format!("read(2) {name}"))?;
        io::copy(&mut hashing, &mut io::sink())
            .untraced(|| format!("read(2) {name}"))?;
        let (_, digest, size) = hashing.finish();
        let path = self.blobs.path(&digest);
        if !self.blobs.has(&digest, size) {
            let step = || format!("link(2) {name} to {}", path.display());
            file.set_permissions(Permissions::from_mode(0o644)).step(step)?;
            // A hard link makes a second copy of the data unnecessary.
            let from =
                format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
            match linkat(CWD, from, CWD, &path, AtFlags::SYMLINK_FOLLOW) {
                Err(rustix::io::Errno::EXIST) => {
                    fs::remove_file(&path).step(step)?;
                    let from = format!(
                        "/proc/self/fd/{}",
                        std::os::fd::AsRawFd::as_raw_fd(&file)
                    );
                    linkat(CWD, from, CWD, &path, AtFlags::SYMLINK_FOLLOW)
                        .step(step)?;
                }
                linked => linked.step(step)?,
            }
        }
        Ok((digest, size, head))
    }

    /// Open a regular file. Symbolic links are followed only inside the archive.
    fn file(&self, name: &str) -> Result<Option<File>> {
        let Some(place) = self.root.find(Path::new(name))? else { return Ok(None) };
        let path = place.path();
        let about = fs::metadata(&path).untraced(|| format!("stat(2) {name}"))?;
        ensure!(about.is_file(), "{name} in the archive is not a regular file");
        File::open(&path).map(Some).untraced(|| format!("open(2) {name}"))
    }
}
