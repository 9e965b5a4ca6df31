//! Guest paths, resolved as the guest would: inside its own root.
//!
//! An image may contain any symlink, such as one to the absolute path `/etc` or to
//! `../../..`. Before pivot_root(2) the kernel would resolve it to a file of the
//! host, so every guest path is resolved here.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::cli::step::Step;

/// The number of symlinks that the kernel follows in one path; path_resolution(7).
const MAX_LINKS: u32 = 40;

/// The directory that will become the guest's `/`.
#[derive(Debug)]
pub struct GuestRoot {
    fd: OwnedFd,
    host: PathBuf,
}

/// A file or directory of the guest, as an open descriptor: later changes of its
/// path do not change which file it is.
#[derive(Debug)]
pub struct GuestFile(OwnedFd);

impl GuestFile {
    /// A path for calls that take no descriptor, such as mount(2). It is valid as
    /// long as this value exists and the host's /proc is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// Create the last component of this guest path directly in this directory. Use
    /// it only in a new filesystem: it contains no symlinks yet.
    ///
    /// # Errors
    /// EEXIST if the name exists; ENOSPC.
    pub fn make(&self, guest: &Path, kind: Kind) -> Result<GuestFile> {
        let name = guest.file_name().unwrap_or_default();
        let step = |call| move || format!("{call} {}", guest.display());
        let fd = match kind {
            Kind::Directory => {
                let mode = Mode::from_bits_truncate(0o755);
                mkdirat(self, name, mode).step(step("mkdir(2)"))?;
                let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                openat(self, name, flags, Mode::empty()).untraced(step("open(2)"))?
            }
            Kind::File => create(self, name).step(step("open(2) O_CREAT"))?,
        };
        Ok(GuestFile(fd))
    }

    /// Whether the file is a directory.
    ///
    /// # Errors
    /// fstat(2) fails.
    pub fn is_directory(&self) -> Result<bool> {
        let mode = fstat(&self.0).untraced(|| "fstat(2) of a guest path")?.st_mode;
        Ok(mode & libc::S_IFMT == libc::S_IFDIR)
    }
}

impl AsFd for GuestFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The kind of file that [`GuestRoot::make`] creates at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory, mode 755.
    Directory,
    /// An empty file, mode 644.
    File,
}

impl GuestRoot {
    /// Open the guest's root by its host path.
    ///
    /// # Errors
    /// open(2) fails.
    pub fn open(host: &Path) -> Result<GuestRoot> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(host, flags, Mode::empty()).untraced(|| {
            format!("open(2) {} as the guest's root", host.display())
        })?;
        Ok(GuestRoot { fd, host: host.to_owned() })
    }

    /// The file at a guest path; `None` if it is missing. A `.` component and a
    /// trailing slash are ignored, as in all guest paths.
    ///
    /// # Errors
    /// openat2(2) fails with another error than ENOENT.
    /// # Source
    /// openat2(2), "RESOLVE_IN_ROOT"
    pub fn find(&self, guest: &Path) -> Result<Option<GuestFile>> {
        let relative = guest.strip_prefix("/").unwrap_or(guest);
        let path =
            if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        loop {
            match openat2(&self.fd, path, how) {
                // EAGAIN: a concurrent rename prevents the kernel from checking that
                // `..` stayed inside the root.
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(Errno::ENOENT) => return Ok(None),
                opened => {
                    let fd = opened.untraced(|| self.shown("openat2(2)", guest))?;
                    return Ok(Some(GuestFile(fd)));
                }
            }
        }
    }

    /// Like [`GuestRoot::find`], but a missing file is an error.
    fn existing(&self, guest: &Path) -> Result<GuestFile> {
        let found = self.find(guest)?.ok_or(Errno::ENOENT);
        found.untraced(|| self.shown("openat2(2)", guest))
    }

    /// The file at a guest path. If it is missing, it is created, with all its
    /// parents.
    ///
    /// A symlink without a target is followed inside the root, and its target is
    /// created.
    ///
    /// # Errors
    /// A call fails with EROFS, EACCES, ENOTDIR or ELOOP; the path is a file
    /// although a directory was requested, or a directory although a file was
    /// requested.
    pub fn make(&self, guest: &Path, kind: Kind) -> Result<GuestFile> {
        let place = match self.find(guest)? {
            Some(place) => place,
            None => self.walk(guest, kind)?,
        };
        let is_directory = place.is_directory()?;
        match kind {
            Kind::Directory if !is_directory => {
                bail!("{} is not a directory in the container", guest.display())
            }
            Kind::File if is_directory => {
                bail!("{} is a directory in the container", guest.display())
            }
            _ => Ok(place),
        }
    }

    /// The file at a guest path, which must not be a symlink: an existing symlink is
    /// removed. Its directory is found or created as by [`GuestRoot::make`].
    ///
    /// # Errors
    /// EEXIST if the name exists; ENOSPC; the path is a directory.
    pub fn make_plain_file(&self, guest: &Path) -> Result<GuestFile> {
        let name = guest.file_name().unwrap_or_default();
        let parent = guest.parent().unwrap_or(Path::new("/"));
        let parent = self.make(parent, Kind::Directory)?;
        if readlinkat(&parent, name).is_ok() {
            unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir)
                .step(|| self.shown("unlink(2)", guest))?;
        }
        match create(&parent, name) {
            Err(Errno::EEXIST) => {}
            made => {
                return made
                    .step(|| self.shown("open(2) O_CREAT", guest))
                    .map(GuestFile);
            }
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let place = openat(&parent, name, flags, Mode::empty());
        let place = GuestFile(place.untraced(|| self.shown("open(2)", guest))?);
        if place.is_directory()? {
            bail!("{} is a directory in the container", guest.display());
        }
        Ok(place)
    }

    /// Resolve the path component by component, as the kernel does, and create
    /// missing components.
    fn walk(&self, guest: &Path, kind: Kind) -> Result<GuestFile> {
        let mut here = PathBuf::new();
        let mut todo: VecDeque<OsString> = names(guest).collect();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            let parent = self.existing(&here)?;
            if name == ".." {
                // `..` is only valid after a directory.
                if !parent.is_directory()? {
                    return Err(Errno::ENOTDIR)
                        .untraced(|| self.shown("openat2(2)", &here));
                }
                here.pop();
                continue;
            }
            match readlinkat(&parent, name.as_os_str()) {
                Ok(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::ELOOP)
                            .untraced(|| self.shown("readlink(2)", guest));
                    }
                    let target = PathBuf::from(target);
                    if target.is_absolute() {
                        here = PathBuf::new();
                    }
                    for name in names(&target).collect::<Vec<_>>().into_iter().rev()
                    {
                        todo.push_front(name);
                    }
                }
                // The component exists, and it is not a symlink.
                Err(Errno::EINVAL) => here.push(name),
                Err(Errno::ENOENT) => {
                    here.push(name);
                    let is_last = todo.is_empty();
                    let kind = if is_last { kind } else { Kind::Directory };
                    self.add(&parent, &here, kind)?;
                }
                Err(errno) => {
                    return Err(errno).untraced(|| self.shown("readlink(2)", guest));
                }
            }
        }
        self.existing(&here)
    }

    /// Create the last component of this guest path, which is in the directory
    /// `parent`.
    fn add(&self, parent: &GuestFile, path: &Path, kind: Kind) -> Result<()> {
        let name = path.file_name().unwrap_or_default();
        match kind {
            Kind::File => {
                create(parent, name).step(|| self.shown("open(2) O_CREAT", path))?;
            }
            Kind::Directory => {
                let mode = Mode::from_bits_truncate(0o755);
                mkdirat(parent, name, mode).step(|| self.shown("mkdir(2)", path))?;
            }
        }
        Ok(())
    }

    fn shown(&self, call: &str, guest: &Path) -> String {
        let guest = guest.strip_prefix("/").unwrap_or(guest);
        format!("{call} /{} in {}", guest.display(), self.host.display())
    }
}

/// Create an empty file; it must not exist yet.
fn create(parent: impl AsFd, name: impl AsRef<OsStr>) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    openat(parent, name.as_ref(), flags, Mode::from_bits_truncate(0o644))
}

fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root_with(links: &[(&str, &str)]) -> (tempfile::TempDir, GuestRoot) {
        let host = tempfile::tempdir().unwrap();
        let inside = host.path().join("root");
        fs::create_dir(&inside).unwrap();
        for (name, target) in links {
            symlink(target, inside.join(name)).unwrap();
        }
        let root = GuestRoot::open(&inside).unwrap();
        (host, root)
    }

    #[test]
    fn missing_directories_are_created_inside() {
        let (host, root) = root_with(&[]);
        root.make(Path::new("/a/b/c"), Kind::Directory).unwrap();
        assert!(host.path().join("root/a/b/c").is_dir());
        root.make(Path::new("/a/f"), Kind::File).unwrap();
        assert!(host.path().join("root/a/f").is_file());
    }

    #[test]
    fn symlinks_to_the_outside_are_resolved_inside() {
        let (host, root) =
            root_with(&[("up", "../../.."), ("abs", "/outside/deep")]);
        root.make(Path::new("/up/x"), Kind::Directory).unwrap();
        assert!(host.path().join("root/x").is_dir());
        assert!(!host.path().join("x").exists());
        root.make(Path::new("/abs/y"), Kind::Directory).unwrap();
        assert!(host.path().join("root/outside/deep/y").is_dir());
        assert!(!Path::new("/outside").exists());
    }

    #[test]
    fn the_target_of_a_dangling_symlink_is_created_inside() {
        let (host, root) = root_with(&[("data", "../mnt/disk")]);
        root.make(Path::new("/data"), Kind::File).unwrap();
        assert!(host.path().join("root/mnt/disk").is_file());
    }

    #[test]
    fn a_plain_file_replaces_a_symlink() {
        let (host, root) = root_with(&[("link", "target"), ("etc", "/other")]);
        fs::write(host.path().join("root/target"), "kept").unwrap();
        root.make_plain_file(Path::new("/link")).unwrap();
        let about = host.path().join("root/link").symlink_metadata().unwrap();
        assert!(about.is_file());
        assert_eq!(fs::read(host.path().join("root/target")).unwrap(), b"kept");
        // A symlink in the middle is followed inside the root, as the program will.
        root.make_plain_file(Path::new("/etc/hosts")).unwrap();
        assert!(host.path().join("root/other/hosts").is_file());
        root.make_plain_file(Path::new("/target")).unwrap();
        assert_eq!(fs::read(host.path().join("root/target")).unwrap(), b"kept");
        root.make(Path::new("/dir"), Kind::Directory).unwrap();
        let error = root.make_plain_file(Path::new("/dir")).unwrap_err();
        assert_eq!(format!("{error}"), "/dir is a directory in the container");
    }

    #[test]
    fn a_trailing_dot_is_ignored() {
        let (host, root) = root_with(&[]);
        fs::write(host.path().join("root/file"), "").unwrap();
        for guest in ["/file/.", "/file/", "/./file"] {
            let found = root.find(Path::new(guest)).unwrap();
            assert!(found.is_some_and(|place| !place.is_directory().unwrap()));
        }
    }

    #[test]
    fn dot_dot_after_a_file_is_an_error() {
        let (host, root) = root_with(&[("link", "new/../file/../x")]);
        fs::write(host.path().join("root/file"), "").unwrap();
        let error = root.make(Path::new("/link"), Kind::Directory).unwrap_err();
        assert!(format!("{error:#}").contains("ENOTDIR"), "{error:#}");
        assert!(!host.path().join("root/x").exists());
    }

    #[test]
    fn symlink_loops_and_wrong_kinds_are_refused() {
        let (_host, root) = root_with(&[("a", "b"), ("b", "a")]);
        let error = root.make(Path::new("/a/x"), Kind::Directory).unwrap_err();
        assert!(format!("{error:#}").contains("ELOOP"), "{error:#}");
        root.make(Path::new("/f"), Kind::File).unwrap();
        let error = root.make(Path::new("/f"), Kind::Directory).unwrap_err();
        assert_eq!(format!("{error}"), "/f is not a directory in the container");
        assert!(root.find(Path::new("/nothing")).unwrap().is_none());
    }
}
