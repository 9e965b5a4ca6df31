//! Executing this program again from a file that is not the host's binary.
//!
//! A process that runs this program and that a container can see shows its file there:
//! /proc/PID/exe. Root in a container, with all capabilities, can open what that leads to,
//! and could change the mode, the owner or the content of the host's binary. So such a
//! process first executes itself again, from one of two files:
//!
//! | file | who | why it cannot be changed |
//! |---|---|---|
//! | the binary, on a read-only mount that is attached nowhere | CAP_SYS_ADMIN, or a user who can make a user namespace | the mount refuses; it is in no mount namespace, so nobody can change its flags |
//! | a copy in memory (a memfd), sealed | everyone else | the seals refuse, and it is not the host's file |
//!
//! The flags of the mount can be changed only as long as somebody has its descriptor. It
//! is close-on-exec, so the kernel closes it before the new program runs.
//!
//! # Source
//! open_tree(2), mount_setattr(2), memfd_create(2), fcntl(2) "File Sealing"; CVE-2019-5736

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

/// The file that this process was executed from.
const OWN: &str = "/proc/self/exe";

/// How the name of the copy in memory begins. Behind it come the device and the inode of
/// the host's binary: see [`forbidden`].
const COPY: &str = "/memfd:mydocker:";

const SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// Proof that this process runs from a file which a container cannot change. A part whose
/// process stays visible in a container takes it.
#[derive(Clone, Copy, Debug)]
pub struct SafeBinary(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mount,
    Memory,
}

impl SafeBinary {
    // ANCHOR: exec_self
    /// Execute this program again, unless it runs from such a file already.
    ///
    /// Call it before there is a second thread, and before anything is opened or changed:
    /// everything happens again. Arguments, environment, process ID, signal dispositions
    /// and signal mask stay the same.
    ///
    /// # Errors
    /// Without /proc; where neither file can be made; those of execveat(2).
    pub fn exec_self() -> Result<SafeBinary> {
        if let Some(kind) = kind_of(OWN)? {
            keep_name();
            return Ok(SafeBinary(kind));
        }
        let file = match read_only_mount() {
            Some(file) => file,
            None => sealed_copy()?,
        };
        // The file is judged by the same rule again when it runs. Without this check, a
        // kernel that says something else would let this process start for ever.
        if kind_of(&format!("/proc/self/fd/{}", file.as_raw_fd()))?.is_none() {
            bail!("the copy of this program could be changed: nothing was executed");
        }
        let Err(errno) = sys::execute_again(&file);
        Err(errno).look(|| format!("execveat(2) {OWN}")).hint(|errno| {
            (errno == Errno::EACCES).then(|| {
                "vm.memfd_noexec (sysctl) must be less than 2, or run this as root"
                    .to_owned()
            })
        })
    }
    // ANCHOR_END: exec_self

    /// Tell of the execution, for `--trace`. Not where it happened: the flags were not
    /// read then.
    pub fn trace(self) {
        step::tell(&match self.0 {
            Kind::Mount => "execveat(2) /proc/self/exe on a read-only mount",
            Kind::Memory => "execveat(2) a sealed copy of /proc/self/exe",
        });
    }
}

/// What protects this file, if anything does. Only the kernel says it: arguments and
/// environment could be anybody's.
fn kind_of(path: &str) -> Result<Option<Kind>> {
    let link =
        fs::read_link(path).look(|| format!("readlink(2) {path}")).hint(no_proc)?;
    let link = link.as_os_str().as_bytes();
    if link.starts_with(COPY.as_bytes()) {
        // Not O_PATH: seals are those of an open file.
        let file = File::open(path).look(|| format!("open(2) {path}"))?;
        let seals = fcntl_get_seals(&file).unwrap_or(SealFlags::empty());
        return Ok(seals.contains(SEALS).then_some(Kind::Memory));
    }
    // A path is relative to the root of the mount when the mount is attached nowhere. Its
    // root is the file, so the path is "/", which no other file has.
    if matches!(link, b"/" | b"/ (deleted)") {
        let about = statvfs(path).look(|| format!("statfs(2) {path}"))?;
        let read_only = about.f_flag.contains(StatVfsMountFlags::RDONLY);
        return Ok(read_only.then_some(Kind::Mount));
    }
    Ok(None)
}

// ANCHOR: read_only_mount
/// The binary on a mount of its own. `None`: the kernel refuses.
fn read_only_mount() -> Option<OwnedFd> {
    if rights::privileged() { mount_of(c"/proc/self/exe") } else { mount_by_child() }
}

/// This takes CAP_SYS_ADMIN in the user namespace of the mount namespace.
fn mount_of(path: &CStr) -> Option<OwnedFd> {
    let file = sys::clone_mount(path).ok()?;
    sys::one_mount_read_only(&file).ok()?;
    Some(file)
}

/// An ordinary user has that capability only in a user namespace of their own. This
/// process must stay where it is, so a child makes the mount there and hands it over.
fn mount_by_child() -> Option<OwnedFd> {
    // /proc/self/exe leads to the mount of the caller's namespace. The child has a copy
    // of that mount, which only a path leads to.
    let path = fs::read_link(OWN).ok()?;
    let path = CString::new(path.into_os_string().into_vec()).ok()?;
    let (ours, theirs) = Channel::pair().ok()?;
    sys::assert_one_thread().ok()?;
    let own_namespaces = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    match sys::clone3(own_namespaces, CloneFlags::empty(), None).ok()? {
        Side::Child => {
            if let Some(file) = mount_of(&path) {
                let _ = theirs.send(&Frame::Descriptor(String::new(), file));
            }
            sys::leave(0)
        }
        Side::Parent(pid, pidfd) => {
            drop(theirs);
            let mut child = Child::new(pid, pidfd);
            let frame = ours.receive();
            child.reap().ok()?;
            let Ok(Some(Frame::Descriptor(_, file))) = frame else { return None };
            // Another file may have that path by now.
            let id = |about: Metadata| (about.dev(), about.ino());
            let found = fs::metadata(format!("/proc/self/fd/{}", file.as_raw_fd()));
            let same = id(found.ok()?) == id(fs::metadata(OWN).ok()?);
            same.then_some(file)
        }
    }
}
// ANCHOR_END: read_only_mount

// ANCHOR: sealed_copy
/// A copy of the binary in memory, which nobody can change any more.
fn sealed_copy() -> Result<OwnedFd> {
    let mut own =
        File::open(OWN).look(|| format!("open(2) {OWN}")).hint(|errno| {
            (errno == Errno::EACCES).then(|| {
                "an ordinary user must be able to read this program".to_owned()
            })
        })?;
    let about = own.metadata().look(|| format!("fstat(2) {OWN}"))?;
    // The first nine bytes of COPY are the kernel's.
    let name = format!("mydocker:{}:{}", about.dev(), about.ino());
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = match memfd_create(&name, flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 every memfd could be executed.
        Err(rustix::io::Errno::INVAL) => memfd_create(&name, flags),
        made => made,
    };
    let mut copy = File::from(made.look(|| "memfd_create(2)")?);
    io::copy(&mut own, &mut copy).look(|| format!("sendfile(2) of {OWN}"))?;
    fcntl_add_seals(&copy, SEALS).look(|| "fcntl(2) F_ADD_SEALS")?;
    // A file that is open to be written is not executed, ETXTBSY: only the other
    // descriptor stays.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(File::open(&path).look(|| format!("open(2) {path}"))?.into())
}
// ANCHOR_END: sealed_copy

/// Before Linux 6.14, a process executed by descriptor has the descriptor's number as its
/// name in /proc/PID/comm. Give it the name of the program back.
fn keep_name() {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default();
    // A name cannot have a NUL byte, as argv cannot.
    if let Ok(name) = CString::new(name.as_bytes()) {
        let _ = prctl::set_name(&name);
    }
}

/// The device and inode of every file that is this program: the file that this process was
/// executed from, and the host's binary if that is another one. A container must execute
/// none of them.
pub(crate) fn forbidden() -> Result<Vec<(u64, u64)>> {
    let id = |about: Metadata| (about.dev(), about.ino());
    let own = fs::metadata(OWN).look(|| format!("stat(2) {OWN}")).hint(no_proc)?;
    let link = fs::read_link(OWN).look(|| format!("readlink(2) {OWN}"))?;
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
    fn the_name_of_a_copy_tells_which_file_was_copied() {
        let link = format!("{COPY}2049:131 (deleted)");
        assert_eq!(original(link.as_bytes()), Some((2049, 131)));
        assert_eq!(original(b"/memfd:other:1:2 (deleted)"), None);
        assert_eq!(original(b"/usr/bin/mydocker"), None);
        assert_eq!(original(format!("{COPY}x (deleted)").as_bytes()), None);
    }

    #[test]
    fn an_ordinary_file_and_a_copy_without_seals_do_not_count() {
        assert_eq!(kind_of(OWN).unwrap(), None);
        let copy = memfd_create("mydocker:1:2", MemfdFlags::ALLOW_SEALING).unwrap();
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        assert_eq!(kind_of(&path).unwrap(), None);
        fcntl_add_seals(&copy, SealFlags::WRITE).unwrap();
        assert_eq!(kind_of(&path).unwrap(), None);
        fcntl_add_seals(&copy, SEALS).unwrap();
        assert_eq!(kind_of(&path).unwrap(), Some(Kind::Memory));
    }

    #[test]
    fn a_sealed_copy_is_the_binary_and_names_it() {
        let copy = sealed_copy().unwrap();
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        assert_eq!(kind_of(&path).unwrap(), Some(Kind::Memory));
        assert!(fs::read(&path).unwrap() == fs::read(OWN).unwrap());
        let own = fs::metadata(OWN).unwrap();
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
    fn the_own_file_is_forbidden() {
        let own = fs::metadata(OWN).unwrap();
        assert_eq!(forbidden().unwrap(), [(own.dev(), own.ino())]);
    }
}
