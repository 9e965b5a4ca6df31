//! Pack files into a tar.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::libc::O_NOFOLLOW;
use nix::sys::stat::{SFlag, major, minor};
use nix::unistd::{getegid, geteuid};
use rustix::fs::{lgetxattr, llistxattr};
use tar::{Builder, EntryType, Header};

use crate::cli::slow::Counted;
use crate::cli::step::Step;

/// Writes files as a tar.
pub struct Packer<W: Write> {
    tar: Builder<W>,
    /// The path in the tar of the first name of a file that has several names.
    links: HashMap<(u64, u64), PathBuf>,
    /// The caller's user and group.
    caller: (u32, u32),
}

impl<W: Write> Packer<W> {
    /// A tar that is written to `out`.
    #[must_use]
    pub fn new(out: W) -> Packer<W> {
        Packer {
            tar: Builder::new(out),
            links: HashMap::new(),
            caller: (geteuid().as_raw(), getegid().as_raw()),
        }
    }

    /// Write the end of the tar.
    ///
    /// # Errors
    /// write(2) fails.
    pub fn finish(self) -> Result<()> {
        let written = self.tar.into_inner().and_then(|mut out| out.flush());
        written.step(|| "write(2) the tar")
    }

    /// Add the file `file` as `path`. A file that no longer exists is left out. A
    /// socket is left out too, because it is useless without the process that
    /// listens on it.
    ///
    /// # Errors
    /// open(2), read(2), readlink(2) or getxattr(2) fails; the tar cannot be
    /// written.
    pub fn file(
        &mut self,
        path: &Path,
        file: &Path,
        about: &Metadata,
    ) -> Result<()> {
        let kind = SFlag::from_bits_truncate(about.mode()) & SFlag::S_IFMT;
        let mut header = Header::new_gnu();
        header.set_mode(about.mode() & 0o7777);
        // In the container, the caller's files belong to root, because an ordinary
        // user is root in a user namespace.
        let owner = |id: u32, own: u32| if id == own { 0 } else { u64::from(id) };
        header.set_uid(owner(about.uid(), self.caller.0));
        header.set_gid(owner(about.gid(), self.caller.1));
        header.set_mtime(u64::try_from(about.mtime()).unwrap_or(0));
        header.set_size(0);
        if kind != SFlag::S_IFDIR && about.nlink() > 1 {
            let inode = (about.dev(), about.ino());
            if let Some(first) = self.links.get(&inode) {
                header.set_entry_type(EntryType::Link);
                let packed = self.tar.append_link(&mut header, path, first);
                return packed.step(|| "write(2) the tar");
            }
            self.links.insert(inode, path.to_owned());
        }
        header.set_entry_type(match kind {
            SFlag::S_IFREG => EntryType::Regular,
            SFlag::S_IFDIR => EntryType::Directory,
            SFlag::S_IFLNK => EntryType::Symlink,
            SFlag::S_IFCHR => EntryType::Char,
            SFlag::S_IFBLK => EntryType::Block,
            SFlag::S_IFIFO => EntryType::Fifo,
            _ => return Ok(()),
        });
        if matches!(kind, SFlag::S_IFCHR | SFlag::S_IFBLK) {
            let number =
                |part: u64| u32::try_from(part).context("a device's number");
            header.set_device_major(number(major(about.rdev()))?)?;
            header.set_device_minor(number(minor(about.rdev()))?)?;
        }
        let opened = match kind {
            SFlag::S_IFREG => match open(file) {
                // A process that is not frozen may have removed it.
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                opened => {
                    Some(opened.untraced(|| format!("open(2) {}", file.display()))?)
                }
            },
            _ => None,
        };
        let step = || format!("write(2) {} to the tar", path.display());
        self.extend(&extensions(file, about)?).step(step)?;
        let packed = match opened {
            Some(opened) => {
                header.set_size(about.len());
                // Holes are written as zeros, as busybox's tar does not know maps of
                // sparse files.
                // A process that is not frozen may truncate it: the rest is zeros.
                let data = opened.chain(io::repeat(0)).take(about.len());
                self.tar.append_data(&mut header, path, Counted(data))
            }
            None if kind == SFlag::S_IFLNK => {
                let target = fs::read_link(file)
                    .untraced(|| format!("readlink(2) {}", file.display()))?;
                self.tar.append_link(&mut header, path, target)
            }
            None => self.tar.append_data(&mut header, path, io::empty()),
        };
        packed.step(step)
    }

    /// Add an empty file that belongs to root.
    ///
    /// # Errors
    /// write(2) fails.
    pub fn empty(&mut self, path: &Path) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        let packed = self.tar.append_data(&mut header, path, io::empty());
        packed.step(|| format!("write(2) {} to the tar", path.display()))
    }

    /// Write an extended header before the next file. The library would write a
    /// header without a name, which busybox treats as the end of the tar.
    ///
    /// # Source
    /// POSIX.1-2024, pax, "pax Extended Header"
    fn extend(&mut self, records: &[(String, Vec<u8>)]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let text: Vec<u8> = records.iter().flat_map(|(k, v)| record(k, v)).collect();
        let mut header = Header::new_ustar();
        header.set_path("PaxHeaders/next")?;
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(text.len() as u64);
        header.set_cksum();
        self.tar.append(&header, &text[..])
    }
}

/// The record `LENGTH KEY=VALUE`. The length includes its own digits.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let digits = |length: usize| length.to_string().len();
    let mut length = rest + digits(rest);
    if digits(length) > digits(rest) {
        length = rest + digits(length);
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn open(file: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(O_NOFOLLOW).open(file)
}

/// The records for properties that do not fit into an ordinary header: times with
/// nanoseconds or before 1970, and extended attributes.
fn extensions(file: &Path, about: &Metadata) -> Result<Vec<(String, Vec<u8>)>> {
    let mut all = Vec::new();
    if about.mtime_nsec() != 0 || about.mtime() < 0 {
        let time = decimal_time(about.mtime(), about.mtime_nsec());
        all.push(("mtime".to_owned(), time.into_bytes()));
    }
    if about.is_symlink() {
        return Ok(all);
    }
    let mut names = vec![0; MAX_ATTRIBUTE];
    let step = || format!("getxattr(2) {}", file.display());
    let length = match llistxattr(file, &mut names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOENT) => {
            return Ok(all);
        }
        length => length.untraced(step)?,
    };
    let mut names = &names[..length];
    while let Ok(raw) = CStr::from_bytes_until_nul(names) {
        names = &names[raw.to_bytes_with_nul().len()..];
        let Ok(name) = raw.to_str() else { continue };
        // Other names hold labels and private data of this machine.
        if !(name.starts_with("user.") || name == "security.capability")
            || name.contains(".overlay.")
        {
            continue;
        }
        let mut value = vec![0; MAX_ATTRIBUTE];
        let length = lgetxattr(file, raw, &mut value[..]).untraced(step)?;
        value.truncate(length);
        // A keyword cannot contain these two characters. GNU tar escapes them in the
        // same way.
        let name = name.replace('%', "%25").replace('=', "%3D");
        all.push((format!("SCHILY.xattr.{name}"), value));
    }
    Ok(all)
}

/// Seconds since 1970 with a fraction. The kernel counts nanoseconds forward from the
/// second, also before 1970: half a second before 1970 is second -1 and 500,000,000 ns.
fn decimal_time(seconds: i64, nanoseconds: i64) -> String {
    match seconds < 0 && nanoseconds > 0 {
        true => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
        false => format!("{seconds}.{nanoseconds:09}"),
    }
}

/// The maximum size in bytes of the list of a file's extended attributes, and of one
/// value.
///
/// # Source
/// xattr(7), "VFS-imposed limits"
const MAX_ATTRIBUTE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_is_a_negative_decimal_number() {
        for (seconds, nanoseconds, text) in [
            (1, 500_000_000, "1.500000000"),
            (-1, 0, "-1.000000000"),
            (-1, 500_000_000, "-0.500000000"),
            (-2, 1, "-1.999999999"),
        ] {
            assert_eq!(decimal_time(seconds, nanoseconds), text);
        }
    }

    #[test]
    fn a_records_length_counts_its_own_digits() {
        for size in [0, 1, 80, 86, 87, 88, 89, 90, 987, 988, 989, 9999] {
            let text = record("mtime", &vec![b'x'; size]);
            let length = text.split(|byte| *byte == b' ').next().unwrap();
            let length: usize = String::from_utf8_lossy(length).parse().unwrap();
            assert_eq!(length, text.len());
        }
    }
}
