//! Download a blob, if necessary in several attempts.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use common::hints;
use common::images::Digest;
use common::step::{Hint, Step};

use crate::hashing::Hashing;

/// A download to the file `HEX.part`. The file is renamed to `HEX` after its digest
/// was checked. If the download is interrupted, the file stays.
#[derive(Debug)]
pub struct Download {
    /// The file is locked, so that only one process downloads the blob at a time.
    file: Hashing<File>,
    part: PathBuf,
    done: PathBuf,
    digest: Digest,
    size: u64,
}

impl Download {
    /// Continue where the last attempt ended. Its bytes are read again to compute
    /// the digest.
    pub(crate) fn open(done: &Path, digest: &Digest, size: u64) -> Result<Download> {
        let part = done.with_extension("part");
        let step = || format!("open(2) {}", part.display());
        loop {
            let mut options = File::options();
            options.create(true).truncate(false).read(true).write(true);
            let file = options.open(&part).step(step).hint(hints::state)?;
            file.lock().untraced(|| format!("flock(2) {}", part.display()))?;
            // The process that had the lock may have renamed the file.
            if same_file(&file, &part) || done.exists() {
                let mut file = Hashing::new(file);
                io::copy(&mut file, &mut io::sink())
                    .untraced(|| format!("read(2) {}", part.display()))?;
                let (done, digest) = (done.to_owned(), digest.clone());
                let mut download = Download { file, part, done, digest, size };
                if download.offset() > size {
                    download.restart()?;
                }
                return Ok(download);
            }
        }
    }

    /// The number of bytes that are already downloaded.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.file.size()
    }

    /// Start again from the beginning, because the server cannot continue.
    ///
    /// # Errors
    /// ftruncate(2) or lseek(2) fails.
    pub fn restart(&mut self) -> Result<()> {
        let step = || format!("ftruncate(2) {}", self.part.display());
        // The clone refers to the same open file, so the lock stays.
        let mut file = self.file.inner().try_clone().step(step)?;
        file.set_len(0).step(step)?;
        file.seek(SeekFrom::Start(0)).step(step)?;
        self.file = Hashing::new(file);
        Ok(())
    }

    /// Check the size and the digest, and give the file its name. A file with another
    /// digest is removed.
    ///
    /// # Errors
    /// The size or the digest is wrong; fsync(2) or rename(2) fails.
    pub fn finish(self) -> Result<()> {
        let (file, digest, size) = self.file.finish();
        if size < self.size {
            bail!(
                "the download of {} ended after {size} of {} bytes",
                self.digest,
                self.size
            );
        }
        if digest != self.digest {
            fs::remove_file(&self.part)
                .step(|| format!("unlink(2) {}", self.part.display()))?;
            bail!(
                "the download of {} has the digest {digest}: it was changed on the way, \
                 or the server is damaged",
                self.digest
            );
        }
        file.sync_all().step(|| format!("fsync(2) {}", self.part.display()))?;
        fs::rename(&self.part, &self.done)
            .step(|| format!("rename(2) to {}", self.done.display()))
    }
}

impl Write for Download {
    /// Returns an error as soon as there are more bytes than the expected size.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.offset() + bytes.len() as u64 > self.size {
            let text = format!("{} has more than {} bytes", self.digest, self.size);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode = |about: &fs::Metadata| (about.dev(), about.ino());
    let [opened, named] = [file.metadata(), fs::metadata(path)];
    matches!((opened, named), (Ok(a), Ok(b)) if inode(&a) == inode(&b))
}

#[cfg(test)]
mod tests {
    use common::images::Layout;
    use common::state::State;

    use super::*;
    use crate::{Blobs, sha256};

    fn blobs(dir: &Path) -> Blobs {
        let state = State::at(dir);
        Layout::of(&state).make().unwrap();
        Blobs::of(&state)
    }

    #[test]
    fn an_interrupted_download_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let digest = sha256(b"abcdef");
        let mut first = blobs.download(&digest, 6).unwrap().unwrap();
        first.write_all(b"abc").unwrap();
        let error = first.finish().unwrap_err().to_string();
        assert!(error.contains("ended after 3 of 6 bytes"), "{error}");
        assert!(!blobs.has(&digest, 6));
        let mut second = blobs.download(&digest, 6).unwrap().unwrap();
        assert_eq!(second.offset(), 3);
        second.write_all(b"def").unwrap();
        second.finish().unwrap();
        assert!(blobs.has(&digest, 6));
        assert_eq!(blobs.read(&digest, 6).unwrap(), b"abcdef");
        assert!(blobs.download(&digest, 6).unwrap().is_none());
        blobs.adopt(&digest, 6).unwrap();
        blobs.adopt(&digest, 6).unwrap();
        assert!(blobs.path(&digest).exists());
        assert!(!blobs.downloaded(&digest).exists());
    }

    #[test]
    fn a_download_that_is_too_long_or_wrong_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let digest = sha256(b"abc");
        let mut long = blobs.download(&digest, 3).unwrap().unwrap();
        let error = long.write_all(b"abcd").unwrap_err().to_string();
        assert!(error.contains("more than 3 bytes"), "{error}");
        long.write_all(b"abX").unwrap();
        let error = long.finish().unwrap_err().to_string();
        assert!(error.contains("has the digest"), "{error}");
        // The next attempt starts from the beginning.
        let mut again = blobs.download(&digest, 3).unwrap().unwrap();
        assert_eq!(again.offset(), 0);
        again.write_all(b"xyz").unwrap();
        again.restart().unwrap();
        again.write_all(b"abc").unwrap();
        again.finish().unwrap();
        assert_eq!(blobs.read(&digest, 3).unwrap(), b"abc");
    }

    #[test]
    fn a_damaged_blob_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let digest = blobs.write(b"abc").unwrap();
        assert_eq!(blobs.read(&digest, 3).unwrap(), b"abc");
        let error = blobs.read(&digest, 2).unwrap_err().to_string();
        assert!(error.contains("more than 2 bytes"), "{error}");
        fs::write(blobs.path(&digest), "abX").unwrap();
        let error = blobs.read(&digest, 3).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");
    }
}
