//! Files that are named by their digests.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use common::hints;
use common::images::{Digest, Layout, remove_if_there};
use common::state::{Id, State};
use common::step::{Hint, Step};

use crate::download::Download;
use crate::hashing::{Hashing, sha256};

/// The blobs of a state directory: those of images, and complete downloads.
///
/// The caller holds a lease as long as no image has the blobs.
#[derive(Clone, Debug)]
pub struct Blobs {
    layout: Layout,
}

impl Blobs {
    /// Of this state directory.
    #[must_use]
    pub fn of(state: &State) -> Blobs {
        Blobs { layout: Layout::of(state) }
    }

    /// Where the blob of an image is.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.layout.blob(digest)
    }

    /// Where a complete download is.
    #[must_use]
    pub fn downloaded(&self, digest: &Digest) -> PathBuf {
        self.layout.downloads().join(digest.hex())
    }

    /// Whether there is a blob with this digest and this size in bytes.
    #[must_use]
    pub fn has(&self, digest: &Digest, size: u64) -> bool {
        [self.path(digest), self.downloaded(digest)]
            .iter()
            .any(|path| fs::metadata(path).is_ok_and(|about| about.len() == size))
    }

    /// Open a blob.
    ///
    /// # Errors
    /// The blob does not exist; open(2) fails.
    pub fn open(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest);
        match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            file => return file.untraced(|| format!("open(2) {}", path.display())),
        }
        let download = File::open(self.downloaded(digest));
        download.untraced(|| format!("the blob {}: open(2)", path.display()))
    }

    /// Read a whole blob of at most `most` bytes, and check its digest.
    ///
    /// # Errors
    /// The blob does not exist, is larger, or is damaged.
    pub fn read(&self, digest: &Digest, most: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.open(digest)?;
        file.take(most + 1)
            .read_to_end(&mut bytes)
            .untraced(|| format!("read(2) the blob {digest}"))?;
        ensure!(
            bytes.len() as u64 <= most,
            "the blob {digest} has more than {most} bytes"
        );
        let found = sha256(&bytes);
        ensure!(
            found == *digest,
            "the blob {digest} is damaged: its digest is {found}"
        );
        Ok(bytes)
    }

    /// Write a small blob.
    ///
    /// # Errors
    /// open(2), write(2) or rename(2) fails.
    pub fn write(&self, bytes: &[u8]) -> Result<Digest> {
        let mut writer = self.writer()?;
        writer.write_all(bytes).step(|| "write(2) a blob").hint(hints::state)?;
        Ok(writer.finish()?.0)
    }

    /// A writer for a blob whose digest is known only after it was written.
    ///
    /// # Errors
    /// open(2) fails.
    pub fn writer(&self) -> Result<Writer> {
        let path = self.layout.unfinished(Id::new()?.as_str());
        let file =
            File::create(&path).step(|| format!("open(2) {}", path.display()));
        let out = BufWriter::with_capacity(BUFFER, file.hint(hints::state)?);
        let out = Some(Hashing::new(out));
        Ok(Writer { out, path, blobs: self.clone() })
    }

    /// Download a blob, or continue a download that was interrupted. Returns `None`
    /// if another process has downloaded the blob meanwhile. If several processes
    /// need the blob, one of them downloads it, and the other processes wait here.
    ///
    /// # Errors
    /// open(2), flock(2) or read(2) fails.
    pub fn download(&self, digest: &Digest, size: u64) -> Result<Option<Download>> {
        let done = self.downloaded(digest);
        let download = Download::open(&done, digest, size)?;
        Ok((!self.has(digest, size)).then_some(download))
    }

    /// Move a complete download to the blobs. It is not an error if the blob already
    /// exists.
    ///
    /// # Errors
    /// The blob is missing or has another size; rename(2) fails.
    pub fn adopt(&self, digest: &Digest, size: u64) -> Result<()> {
        let path = self.path(digest);
        if size_of(&path)? == Some(size) {
            return Ok(());
        }
        let from = self.downloaded(digest);
        let found = size_of(&from)?;
        let found =
            found.with_context(|| format!("the blob {digest} is missing"))?;
        ensure!(
            found == size,
            "the blob {digest} has {found} bytes, and its descriptor says {size}"
        );
        fs::rename(&from, &path).step(|| format!("rename(2) to {}", path.display()))
    }
}

/// The size of a file in bytes; `None` if there is none.
fn size_of(path: &Path) -> Result<Option<u64>> {
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        about => about
            .map(|about| Some(about.len()))
            .untraced(|| format!("stat(2) {}", path.display())),
    }
}

/// The bytes that are written at once.
const BUFFER: usize = 128 << 10;

/// A blob that is being written. It is removed if it is not finished.
#[derive(Debug)]
pub struct Writer {
    out: Option<Hashing<BufWriter<File>>>,
    path: PathBuf,
    blobs: Blobs,
}

impl Writer {
    /// Give the blob its name. The blob is on the disk only after the next
    /// syncfs(2), and fsync(2) of the directory.
    ///
    /// # Errors
    /// write(2) or rename(2) fails.
    pub fn finish(mut self) -> Result<(Digest, u64)> {
        let step = || format!("write(2) {}", self.path.display());
        let out = self.out.take().context("the blob is finished already")?;
        let (mut out, digest, size) = out.finish();
        out.flush().step(step).hint(hints::state)?;
        let path = self.blobs.path(&digest);
        fs::rename(&self.path, &path)
            .step(|| format!("rename(2) to {}", path.display()))?;
        Ok((digest, size))
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Some(out) => out.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After a finish it is gone.
        let _ = remove_if_there(&self.path);
    }
}
