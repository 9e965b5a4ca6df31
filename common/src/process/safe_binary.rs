//! Executing this program again from a file that is not the host's binary.
//!
//! When a process executes this program inside a container, the container sees the
//! file as /proc/PID/exe. Root in a container, with all capabilities, can open this
//! link, and could change the mode, the owner or the content of the host's binary.
//! Such a process therefore first executes itself again, from one of two files:
//! | file | used if | why it cannot be changed |
//! |---|---|---|
//! | the binary, on a detached read-only mount | the process has CAP_SYS_ADMIN, or can create a user namespace | the mount is read-only, and it is in no mount namespace, so no process can change its flags |
//! | a copy in memory (a memfd), sealed | otherwise | the seals forbid it, and the copy is not the host's file |
//!
//! The flags of the mount can be changed only through its descriptor. The descriptor
//! is close-on-exec, so the kernel closes it before the new program runs.
//!
//! # Source
//! open_tree(2), mount_setattr(2), memfd_create(2), fcntl(2) "File Sealing";
//! CVE-2019-5736

use std::ffi::{CStr, CString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::prctl;
use rustix::fs::{
    MemfdFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fcntl_get_seals,
    memfd_create, statvfs,
};

use crate::cli::step::{self, Hint, Step};
use crate::process::channel::{Channel, Frame};
use crate::process::child::Child;
use crate::process::sys::Side;
use crate::process::{rights, sys};

/// The file that this process executes.
const SELF_EXE: &str = "/proc/self/exe";

/// The beginning of the name of a copy in memory. It is followed by the device and
/// the inode of the host's binary: see [`forbidden`].
const COPY: &str = "/memfd:mydocker:";

const SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// Proof that this process runs from a file that a container cannot change. A part
/// whose process stays visible in a container requires this value.
#[derive(Clone, Copy, Debug)]
pub struct SafeBinary(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mount,
    Memory,
}

impl SafeBinary {
    // ANCHOR: exec_self
    /// Execute this program again, unless it already runs from such a file.
    ///
    /// Call it while there is one thread, and before anything is opened or changed:
    /// the program starts again from the beginning. Arguments, environment, process
    /// ID, signal dispositions and signal mask stay the same.
    ///
    /// # Errors
    /// /proc is missing; neither file can be created; execveat(2) fails.
    pub fn exec_self() -> Result<SafeBinary> {
        if let Some(kind) = kind_of(SELF_EXE)? {
            keep_name();
            return Ok(SafeBinary(kind));
        }
        let file = match read_only_mount() {
            Some(file) => file,
            None => sealed_copy()?,
        };
        // The new program makes the same check. If the check always failed there,
        // this process would execute itself forever. Therefore check the file first.
        if kind_of(&format!("/proc/self/fd/{}", file.as_raw_fd()))?.is_none() {
            bail!("the copy of this program is not protected: it was not executed");
        }
        let Err(errno) = sys::execute_again(&file);
        Err(errno).untraced(|| format!("execveat(2) {SELF_EXE}")).hint(|errno| {
            (errno == Errno::EACCES).then(|| {
                "set the sysctl vm.memfd_noexec to less than 2, or run this as root"
                    .to_owned()
            })
        })
    }
    // ANCHOR_END: exec_self

    /// Trace the execution, for `--trace`. [`SafeBinary::exec_self`] cannot do it,
    /// because it runs before the options are parsed.
    pub fn trace(self) {
        step::trace(&match self.0 {
            Kind::Mount => "execveat(2) /proc/self/exe on a read-only mount",
            Kind::Memory => "execveat(2) a sealed copy of /proc/self/exe",
        });
    }
}

/// The protection of this file, if it has any. The answer comes only from the
/// kernel, because the caller could forge the arguments and the environment.
fn kind_of(path: &str) -> Result<Option<Kind>> {
    let link = fs::read_link(path)
        .untraced(|| format!("readlink(2) {path}"))
        .hint(no_proc)?;
    let link = link.as_os_str().as_bytes();
    if link.starts_with(COPY.as_bytes()) {
        // Not O_PATH: fcntl(2) reads seals only from an open file.
        let file = File::open(path).untraced(|| format!("open(2) {path}"))?;
        let seals = fcntl_get_seals(&file).unwrap_or(SealFlags::empty());
        return Ok(seals.contains(SEALS).then_some(Kind::Memory));
    }
    // The path of a file on a detached mount is relative to the root of the mount.
    // Here the root is the file itself, so the path is "/". No other file has this
    // path.
    if matches!(link, b"/" | b"/ (deleted)") {
        let about = statvfs(path).untraced(|| format!("statfs(2) {path}"))?;
        let read_only = about.f_flag.contains(StatVfsMountFlags::RDONLY);
        return Ok(read_only.then_some(Kind::Mount));
    }
    Ok(None)
}

// ANCHOR: read_only_mount
/// The binary on its own detached mount; `None` if the kernel refuses to create it.
fn read_only_mount() -> Option<OwnedFd> {
    if rights::privileged() { mount_of(c"/proc/self/exe") } else { mount_by_child() }
}

/// Create the mount. This requires CAP_SYS_ADMIN in the user namespace that owns the
/// mount namespace.
fn mount_of(path: &CStr) -> Option<OwnedFd> {
    let file = sys::clone_mount(path).ok()?;
    sys::one_mount_read_only(&file).ok()?;
    Some(file)
}

/// An ordinary user has that capability only in a new user namespace. This process
/// must stay in its namespace, so a child creates the mount and passes its
/// descriptor.
fn mount_by_child() -> Option<OwnedFd> {
    // /proc/self/exe refers to the mount in the caller's namespace. The child has a
    // copy of that mount, which can only be reached by a path.
    let path = fs::read_link(SELF_EXE).ok()?;
    let path = CString::new(path.into_os_string().into_vec()).ok()?;
    let (ours, theirs) = Channel::pair().ok()?;
    sys::assert_one_thread().ok()?;
    let own_namespaces = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    match sys::clone3(own_namespaces, CloneFlags::empty(), None).ok()? {
        Side::Child => {
            if let Some(file) = mount_of(&path) {
                let _ = theirs.send(&Frame::Descriptor(String::new(), file));
            }
            sys::exit_now(0)
        }
        Side::Parent(pid, pidfd) => {
            drop(theirs);
            let mut child = Child::new(pid, pidfd);
            let frame = ours.receive();
            child.reap().ok()?;
            let Ok(Some(Frame::Descriptor(_, file))) = frame else { return None };
            // The file at this path may have been replaced meanwhile.
            let id = |about: Metadata| (about.dev(), about.ino());
            let found = fs::metadata(format!("/proc/self/fd/{}", file.as_raw_fd()));
            let same = id(found.ok()?) == id(fs::metadata(SELF_EXE).ok()?);
            same.then_some(file)
        }
    }
}
// ANCHOR_END: read_only_mount

// ANCHOR: sealed_copy
/// A sealed copy of the binary in memory.
fn sealed_copy() -> Result<OwnedFd> {
    let mut own = File::open(SELF_EXE)
        .untraced(|| format!("open(2) {SELF_EXE}"))
        .hint(|errno| {
            (errno == Errno::EACCES).then(|| {
                "the file of this program must be readable by the user".to_owned()
            })
        })?;
    let about = own.metadata().untraced(|| format!("fstat(2) {SELF_EXE}"))?;
    // The kernel adds the prefix "/memfd:" of COPY.
    let name = format!("mydocker:{}:{}", about.dev(), about.ino());
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = match memfd_create(&name, flags | MemfdFlags::EXEC) {
        // Before Linux 6.3, every memfd was executable.
        Err(rustix::io::Errno::INVAL) => memfd_create(&name, flags),
        made => made,
    };
    let mut copy = File::from(made.untraced(|| "memfd_create(2)")?);
    io::copy(&mut own, &mut copy)
        .untraced(|| format!("sendfile(2) of {SELF_EXE}"))?;
    fcntl_add_seals(&copy, SEALS).untraced(|| "fcntl(2) F_ADD_SEALS")?;
    // A file that is open for writing cannot be executed (ETXTBSY): keep only the
    // read-only descriptor.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(File::open(&path).untraced(|| format!("open(2) {path}"))?.into())
}
// ANCHOR_END: sealed_copy

/// Before Linux 6.14, a process that was executed by descriptor has the descriptor's
/// number as its name in /proc/PID/comm. Restore the name of the program.
fn keep_name() {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default();
    // argv contains no NUL byte, so the conversion succeeds.
    if let Ok(name) = CString::new(name.as_bytes()) {
        let _ = prctl::set_name(&name);
    }
}

/// Device and inode of each file that is this program: the file that this process
/// executes, and the host's binary if it is a different file. A container must
/// execute none of them.
pub(crate) fn forbidden() -> Result<Vec<(u64, u64)>> {
    let id = |about: Metadata| (about.dev(), about.ino());
    let own = fs::metadata(SELF_EXE)
        .untraced(|| format!("stat(2) {SELF_EXE}"))
        .hint(no_proc)?;
    let link =
        fs::read_link(SELF_EXE).untraced(|| format!("readlink(2) {SELF_EXE}"))?;
    let original = original(link.as_os_str().as_bytes());
    Ok([id(own)].into_iter().chain(original).collect())
}

/// The device and inode in the name of a copy in memory.
fn original(link: &[u8]) -> Option<(u64, u64)> {
    let rest = link.strip_prefix(COPY.as_bytes())?;
    let rest = std::str::from_utf8(rest).ok()?;
    let (device, rest) = rest.split_once(':')?;
    let inode = rest.split(' ').next()?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

fn no_proc(errno: Errno) -> Option<String> {
    (errno == Errno::ENOENT)
        .then(|| "/proc must be mounted: mount -t proc proc /proc".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_copy_identifies_the_copied_file() {
        let link = format!("{COPY}2049:131 (deleted)");
        assert_eq!(original(link.as_bytes()), Some((2049, 131)));
        assert_eq!(original(b"/memfd:other:1:2 (deleted)"), None);
        assert_eq!(original(b"/usr/bin/mydocker"), None);
        assert_eq!(original(format!("{COPY}x (deleted)").as_bytes()), None);
    }

    #[test]
    fn an_ordinary_file_and_a_copy_without_seals_are_not_safe() {
        assert_eq!(kind_of(SELF_EXE).unwrap(), None);
        let copy = memfd_create("mydocker:1:2", MemfdFlags::ALLOW_SEALING).unwrap();
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        assert_eq!(kind_of(&path).unwrap(), None);
        fcntl_add_seals(&copy, SealFlags::WRITE).unwrap();
        assert_eq!(kind_of(&path).unwrap(), None);
        fcntl_add_seals(&copy, SEALS).unwrap();
        assert_eq!(kind_of(&path).unwrap(), Some(Kind::Memory));
    }

    #[test]
    fn a_sealed_copy_has_the_bytes_of_the_binary_and_its_name_identifies_it() {
        let copy = sealed_copy().unwrap();
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        assert_eq!(kind_of(&path).unwrap(), Some(Kind::Memory));
        assert!(fs::read(&path).unwrap() == fs::read(SELF_EXE).unwrap());
        let own = fs::metadata(SELF_EXE).unwrap();
        let link = fs::read_link(&path).unwrap();
        let original = original(link.as_os_str().as_bytes());
        assert_eq!(original, Some((own.dev(), own.ino())));
        File::options()
            .write(true)
            .open(&path)
            .and_then(|mut file| io::Write::write_all(&mut file, b"x"))
            .unwrap_err();
    }

    #[test]
    fn the_file_of_this_process_is_forbidden() {
        let own = fs::metadata(SELF_EXE).unwrap();
        assert_eq!(forbidden().unwrap(), [(own.dev(), own.ino())]);
    }
}
