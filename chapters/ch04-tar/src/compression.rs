//! Compressed streams. A separate thread compresses or decompresses, while the
//! caller's thread writes or reads the files.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use common::step::Step;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use nix::errno::Errno;
use nix::libc::O_TMPFILE;
use rustix::fs::{AtFlags, CWD, linkat};
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, FrameCompressor};

/// The compression of a tar archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// No compression.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Select the compression by the extension of a file's name. A name without a
    /// known extension means no compression.
    ///
    /// # Errors
    /// The extension belongs to a compression that this program does not support. A
    /// reader would expect this compression.
    pub fn by_extension(path: &Path) -> Result<Compression> {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        Ok(match extension.to_str().unwrap_or_default() {
            "gz" | "tgz" => Compression::Gzip,
            "zst" | "tzst" => Compression::Zstd,
            "xz" | "txz" | "lzma" | "tlz" | "lz" | "lz4" | "lzo" | "bz2" | "tbz"
            | "tbz2" | "br" | "z" | "zip" | "7z" => bail!(
                "cannot write {}: only .gz, .tgz, .zst and .tzst are compressed; \
                 choose one of them, or .tar without compression",
                path.display()
            ),
            _ => Compression::Plain,
        })
    }

    /// Detect the compression by the first bytes of a file.
    ///
    /// # Errors
    /// The file is compressed by xz or bzip2, which this program does not support.
    pub fn detect(head: &[u8]) -> Result<Compression> {
        Ok(match head {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', ..] | [b'B', b'Z', b'h', ..] => bail!(
                "the file is compressed by xz or bzip2, which is not supported: \
                 decompress it first"
            ),
            _ => Compression::Plain,
        })
    }
}

/// The size in bytes of a piece that one thread passes to the other, and the maximum
/// number of queued pieces. If the queue is full, the faster thread waits.
const PIECE: usize = 128 << 10;
const PIECES: usize = 8;

/// Call `read` with the decompressed bytes of `from`.
///
/// # Errors
/// `read` fails; `from` cannot be read; its data are damaged or truncated, or have a
/// compression that is not supported.
pub fn decompress(
    from: impl Read + Send,
    read: impl FnOnce(&mut dyn Read) -> Result<()>,
) -> Result<()> {
    let mut from = BufReader::with_capacity(PIECE, from);
    let method = Compression::detect(from.fill_buf().untraced(|| "read(2)")?)?;
    if method == Compression::Plain {
        return read(&mut from);
    }
    thread::scope(|scope| {
        let (send, receive) = sync_channel(PIECES);
        scope.spawn(move || {
            let mut to = Sender { send, piece: Vec::with_capacity(PIECE) };
            let copied = match method {
                Compression::Zstd => zstd_frames(from, &mut to),
                _ => io::copy(&mut MultiGzDecoder::new(from), &mut to).map(drop),
            };
            to.finish(copied);
        });
        let mut pieces = Pieces { receive, piece: Vec::new(), at: 0 };
        // If `read` returns early, the channel is closed, and the thread ends.
        read(&mut pieces)
    })
}

/// Decompress all frames of a file as one stream.
fn zstd_frames(mut from: impl BufRead, to: &mut Sender) -> io::Result<()> {
    while !from.fill_buf()?.is_empty() {
        let mut decoder =
            StreamingDecoder::new(&mut from).map_err(io::Error::other)?;
        io::copy(&mut decoder, to)?;
    }
    Ok(())
}

/// Call `write` with a writer. This writer compresses the bytes and writes them to
/// `to`.
///
/// # Errors
/// `write` fails; the compression fails; `to` cannot be written.
pub fn compress(
    method: Compression,
    to: &mut (impl Write + Send),
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    if method == Compression::Plain {
        return write(&mut io::BufWriter::with_capacity(PIECE, to));
    }
    thread::scope(|scope| {
        let (send, receive) = sync_channel(PIECES);
        let packer = scope.spawn(move || {
            let mut pieces = Pieces { receive, piece: Vec::new(), at: 0 };
            match method {
                Compression::Zstd => zstd(pieces, to),
                _ => {
                    let mut gzip =
                        GzEncoder::new(to, flate2::Compression::default());
                    io::copy(&mut pieces, &mut gzip)?;
                    gzip.finish().map(drop)
                }
            }
        });
        let mut sender = Sender { send, piece: Vec::with_capacity(PIECE) };
        let written = write(&mut sender);
        sender.finish(match &written {
            Ok(()) => Ok(()),
            Err(_) => Err(io::Error::other("the tar archive is incomplete")),
        });
        let packed = packer.join().map_err(|_| anyhow!("packing failed"))?;
        match (written, packed) {
            // The compressing thread failed first. `write` then failed because no
            // thread received its bytes.
            (Err(error), Err(reason)) if reason.raw_os_error().is_some() => {
                Err(error.context(reason))
            }
            (written, packed) => {
                written.and(packed.step(|| "write(2) the compressed tar archive"))
            }
        }
    })
}

/// Compress with zstd. The compressor panics if a read or write fails.
/// [`ErrorCapture`] therefore hides errors from it, and this function returns them
/// afterwards.
fn zstd(from: Pieces, to: impl Write) -> io::Result<()> {
    let mut source = ErrorCapture { inner: from, error: None };
    let mut drain = ErrorCapture { inner: io::BufWriter::new(to), error: None };
    let mut frames = FrameCompressor::new(CompressionLevel::Fastest);
    frames.set_source(&mut source);
    frames.set_drain(&mut drain);
    frames.compress();
    drop(frames);
    if let Some(error) = source.error.or(drain.error) {
        return Err(error);
    }
    drain.inner.flush()
}

/// A stream that reports no errors, and stores the first error.
struct ErrorCapture<T> {
    inner: T,
    error: Option<io::Error>,
}

impl<T: Read> Read for ErrorCapture<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = if self.error.is_some() { Ok(0) } else { self.inner.read(into) };
        Ok(read.unwrap_or_else(|error| {
            self.error = Some(error);
            0
        }))
    }
}

impl<T: Write> Write for ErrorCapture<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.error.is_none() {
            self.error = self.inner.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The writing end of the channel between the two threads.
struct Sender {
    send: SyncSender<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
}

impl Sender {
    /// Send the end of file, or an error. If the receiver gets neither, it reports
    /// an error.
    fn finish(mut self, how: io::Result<()>) {
        let last = self.flush().and(how).map(|()| Vec::new());
        // If the receiver has ended, it has already reported its own error.
        let _ = self.send.send(last);
    }
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let next = Vec::with_capacity(PIECE);
        let piece = std::mem::replace(&mut self.piece, next);
        if piece.is_empty() {
            return Ok(());
        }
        self.send.send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// The reading end of the channel.
struct Pieces {
    receive: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            let lost = |_| io::Error::other("the other thread has ended");
            self.piece = self.receive.recv().map_err(lost)??;
            self.at = 0;
        }
        let count = (self.piece.len() - self.at).min(into.len());
        into[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Write a file atomically: it exists completely or not at all. `-` means standard
/// output.
///
/// # Errors
/// `write` fails; an errno of open(2), write(2), fsync(2) or rename(2); the output
/// is a terminal.
pub fn file(
    path: &Path,
    write: impl FnOnce(&mut &File) -> Result<()>,
) -> Result<()> {
    use std::os::fd::AsFd;
    let step = || format!("write(2) {}", path.display());
    let special = path.metadata().is_ok_and(|about| !about.is_file());
    if path == Path::new("-") || special {
        let out = match special {
            true => File::options().write(true).open(path).step(step)?,
            false => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        };
        if io::IsTerminal::is_terminal(&out) {
            bail!(
                "a tar archive must not be written to a terminal: use -o FILE, or a \
                 pipe"
            );
        }
        return write(&mut &out);
    }
    let new = AtomicFile::new(path)?;
    write(&mut &new.file)?;
    new.finish(path)
}

// ANCHOR: unfinished
/// A file that is being written. If the filesystem supports O_TMPFILE, the file has
/// no name, so nothing remains if its writer is killed.
struct AtomicFile {
    file: File,
    /// A temporary name in the same directory as the final name.
    name: PathBuf,
}

impl AtomicFile {
    fn new(path: &Path) -> Result<AtomicFile> {
        let step = || format!("write(2) {}", path.display());
        let last = path.file_name().context("the name of the archive is missing")?;
        let mut prefix = OsString::from(".");
        prefix.push(last);
        prefix.push(".");
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        sweep(directory, &prefix);
        prefix.push(format!("{}.new", std::process::id()));
        let name = path.with_file_name(prefix);
        let mut options = File::options();
        let file = options.write(true).custom_flags(O_TMPFILE).open(directory);
        let file = match file {
            // Some filesystems do not support O_TMPFILE. There the file has its
            // temporary name until `finish`.
            Err(e) if nameless_is_refused(&e) => {
                let file = File::create(&name).step(step)?;
                // The lock shows to other writers that this writer is alive.
                file.lock().untraced(|| format!("flock(2) {}", name.display()))?;
                file
            }
            file => file.step(step)?,
        };
        Ok(AtomicFile { file, name })
    }

    /// Give the complete file its final name. It replaces an existing file.
    fn finish(self, path: &Path) -> Result<()> {
        let step = || format!("write(2) {}", path.display());
        self.file.sync_all().step(|| format!("fsync(2) {}", path.display()))?;
        if !self.name.exists() {
            // linkat(2) cannot replace a file, so link the temporary name first and
            // rename it.
            let file = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            linkat(CWD, file, CWD, &self.name, AtFlags::SYMLINK_FOLLOW)
                .step(step)?;
        }
        std::fs::rename(&self.name, path).step(step)
    }
}
// ANCHOR_END: unfinished

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After a success, the temporary name no longer exists.
        let _ = std::fs::remove_file(&self.name);
    }
}

fn nameless_is_refused(error: &io::Error) -> bool {
    let refused = [Errno::EOPNOTSUPP, Errno::EISDIR, Errno::EINVAL, Errno::ENOENT];
    let errno = error.raw_os_error().map(Errno::from_raw);
    errno.is_some_and(|errno| refused.contains(&errno))
}

/// Remove temporary files of this name whose writers were killed.
fn sweep(directory: &Path, prefix: &OsStr) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.as_bytes().strip_prefix(prefix.as_bytes());
        let number = number.and_then(|rest| rest.strip_suffix(b".new"));
        let own = number
            .is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit));
        let path = entry.path();
        if own && File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            // An error is ignored: the new file does not depend on this removal.
            let _ = std::fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(method: Compression, bytes: &[u8]) -> Vec<u8> {
        let mut packed_bytes = Vec::new();
        compress(method, &mut packed_bytes, |out| Ok(out.write_all(bytes)?))
            .unwrap();
        let mut back = Vec::new();
        decompress(&packed_bytes[..], |from| {
            from.read_to_end(&mut back)?;
            Ok(())
        })
        .unwrap();
        back
    }

    #[test]
    fn packed_data_are_unpacked_unchanged() {
        let text: Vec<u8> =
            (0..700_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for method in [Compression::Plain, Compression::Gzip, Compression::Zstd] {
            assert!(round_trip(method, &text) == text, "{method:?}");
            assert!(round_trip(method, b"x") == b"x", "{method:?}");
        }
    }

    #[test]
    fn the_extension_selects_the_compression_or_is_refused() {
        for (name, expected) in [
            ("-", Compression::Plain),
            ("x", Compression::Plain),
            ("x.tar", Compression::Plain),
            ("x.tgz", Compression::Gzip),
            ("x.TAR.GZ", Compression::Gzip),
            ("x.tar.zst", Compression::Zstd),
            ("x.xz/gz", Compression::Plain),
        ] {
            assert_eq!(
                Compression::by_extension(Path::new(name)).unwrap(),
                expected,
                "{name}"
            );
        }
        for name in ["x.tar.xz", "x.tbz2", "x.tar.Z", "x.tar.lz4", "x.zip"] {
            let error =
                Compression::by_extension(Path::new(name)).unwrap_err().to_string();
            assert!(error.contains(&format!("cannot write {name}:")), "{error}");
        }
    }

    #[test]
    fn a_truncated_stream_is_an_error() {
        let text: Vec<u8> = (0..99_999_u32).flat_map(u32::to_le_bytes).collect();
        for method in [Compression::Gzip, Compression::Zstd] {
            let mut bytes = Vec::new();
            compress(method, &mut bytes, |out| Ok(out.write_all(&text)?)).unwrap();
            for length in [bytes.len() - 1, bytes.len() / 2] {
                let read = decompress(&bytes[..length], |from| {
                    io::copy(from, &mut io::sink())?;
                    Ok(())
                });
                assert!(read.is_err(), "{method:?} {length}");
            }
        }
    }

    #[test]
    fn a_full_disk_is_an_error_and_not_a_panic() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(28))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let text: Vec<u8> = (0..999_999_u32).flat_map(u32::to_le_bytes).collect();
        for method in [Compression::Plain, Compression::Gzip, Compression::Zstd] {
            let done = compress(method, &mut Full, |out| Ok(out.write_all(&text)?));
            let error = format!("{:#}", done.unwrap_err());
            assert!(
                error.contains("No space") || error.contains("ENOSPC"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_is_replaced_completely_or_not_and_stale_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let names = || {
            let entries = std::fs::read_dir(dir.path()).unwrap().flatten();
            let mut names: Vec<OsString> = entries.map(|e| e.file_name()).collect();
            names.sort();
            names
        };
        let path = dir.path().join("x.tar");
        for text in ["one", "two"] {
            file(&path, |out| Ok(out.write_all(text.as_bytes())?)).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        let failed = file(&path, |out| {
            out.write_all(b"three")?;
            bail!("no more")
        });
        assert_eq!(failed.unwrap_err().to_string(), "no more");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(names(), ["x.tar"]);
        // A file of a killed writer, a file of a living writer, and a file of
        // another program.
        let own = [".x.tar.1.new", ".x.tar.2.new", ".x.tar.a.new"];
        for name in own {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let living = File::open(dir.path().join(own[1])).unwrap();
        living.lock().unwrap();
        file(&path, |_| Ok(())).unwrap();
        assert_eq!(names(), [own[1], own[2], "x.tar"]);
    }
}
