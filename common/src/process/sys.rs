//! The system calls that nix and rustix lack or leave unsafe. All `unsafe` of the
//! project is in this file, and in raw_ioctl.rs for what tests try.
#![allow(unsafe_code, reason = "making a process is what no library does for us")]

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use anyhow::Context;
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use crate::cli::step::Step;
use crate::process::bpf::Instruction;

/// Which side of the clone this process is on.
pub(crate) enum Side {
    /// Here a child was made: its pid as the parent sees it, and a descriptor
    /// that keeps meaning this very child.
    Parent(Pid, OwnedFd),
    /// This is the child.
    Child,
}

/// Make a child that goes on from here, as fork(2) does, in new namespaces.
///
/// `cgroup` is the directory of a cgroup v2 in which the child is to be born.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN, ENOSPC when a limit of /proc/sys/user is reached,
/// EINVAL for a namespace that this kernel doesn't know.
/// # Source
/// clone(2), "clone3()"
pub(crate) fn clone3(
    namespaces: CloneFlags,
    extra: CloneFlags,
    cgroup: Option<BorrowedFd>,
) -> nix::Result<Side> {
    let mut pidfd: RawFd = -1;
    let mut flags = (namespaces | extra).bits() as u64 | libc::CLONE_PIDFD as u64;
    let mut into = 0;
    if let Some(cgroup) = cgroup {
        flags |= CLONE_INTO_CGROUP;
        into = cgroup.as_raw_fd() as u64;
    }
    let shares_parent = extra.contains(CloneFlags::CLONE_PARENT);
    let args = libc::clone_args {
        flags,
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        // With CLONE_PARENT the kernel takes the caller's own exit signal, and
        // refuses another.
        exit_signal: if shares_parent { 0 } else { libc::SIGCHLD as u64 },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: into,
    };
    // SAFETY: without CLONE_VM the child has a copy of this memory, stack included,
    // so both sides may go on from here; being single-threaded (callers assert it), no
    // lock is held by a thread that the copy lacks. `args` outlives the call.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args))
    };
    match Errno::result(pid)? {
        0 => Ok(Side::Child),
        pid => {
            // SAFETY: CLONE_PIDFD has stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Side::Parent(Pid::from_raw(pid as libc::pid_t), pidfd))
        }
    }
}

/// From include/uapi/linux/sched.h; it does not fit into libc's `c_int` constants.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Make sure that this process has one thread: a copy made by [`clone3`] would hold
/// locks whose owners it lacks.
///
/// Not in `clone3` itself: once a process has joined a container's namespaces,
/// /proc is the container's and does not know it.
///
/// # Errors
/// Without a /proc that could tell.
/// # Panics
/// With more than one thread.
pub(crate) fn assert_one_thread() -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let tasks = "/proc/self/task";
    // The directory has a subdirectory for each thread, beside `.` and `..`.
    let links =
        std::fs::metadata(tasks).look(|| format!("stat(2) {tasks}"))?.nlink();
    assert_eq!(links, 3, "a clone needs a process with one thread");
    Ok(())
}

/// Every signal back to its default, none blocked: what a program may expect at
/// its start. Rust ignores SIGPIPE, nohup(1) SIGHUP, and exec keeps that.
///
/// # Source
/// signal(7), "Execution of signal handlers" and execve(2)
pub(crate) fn default_signals() -> nix::Result<()> {
    // The kernel's struct sigaction, all zero: SIG_DFL, no flags, an empty mask.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        // Past glibc, which refuses 32 and 33 as its own, and leaves them ignored in
        // what its posix_spawn(3) starts. For SIGKILL and SIGSTOP the kernel says
        // EINVAL, which is as good.
        // SAFETY: SIG_DFL installs no handler, and the array is as long as what the
        // kernel reads: 32 bytes, with 8 of them the mask.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()
}

/// The signal's disposition back to the default, in this process and in what it
/// executes.
///
/// # Source
/// signal(2), "SIG_DFL"
pub fn default_signal(signal: nix::sys::signal::Signal) {
    // SAFETY: SIG_DFL installs no handler.
    unsafe { libc::signal(signal as libc::c_int, libc::SIG_DFL) };
}

/// Mark every descriptor above 2 close-on-exec: what the caller of the host side
/// left open must not reach the container.
///
/// # Source
/// close_range(2), "CLOSE_RANGE_CLOEXEC"
pub(crate) fn close_on_exec_from(first: RawFd) -> nix::Result<()> {
    close_range(first, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Close every descriptor above 2 but this one. It is for a child whose code never
/// returns into the caller's: the values that own the descriptors are the parent's.
///
/// # Source
/// close_range(2)
pub(crate) fn close_all_but(kept: impl AsFd) -> nix::Result<()> {
    let kept = kept.as_fd().as_raw_fd();
    if kept > 3 {
        close_range(3, kept - 1, 0)?;
    }
    close_range(kept + 1, RawFd::MAX, 0)
}

/// Close every descriptor above 2 that this process did not open itself: what came
/// through execve(2) is not close-on-exec, and all that is opened here is.
///
/// # Errors
/// Without a /proc that could tell which there are.
pub(crate) fn close_inherited() -> anyhow::Result<()> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let list = "/proc/self/fd";
    let entries = std::fs::read_dir(list).look(|| format!("readdir(3) {list}"))?;
    let names = entries.flatten().map(|entry| entry.file_name());
    let fds: Vec<RawFd> =
        names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    for fd in fds.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: borrowed for one call, which fails for one that is closed by now,
        // as that of the list itself.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let flags = fcntl(borrowed, FcntlArg::F_GETFD).map(FdFlag::from_bits_retain);
        if flags.is_ok_and(|flags| !flags.contains(FdFlag::FD_CLOEXEC)) {
            // SAFETY: nothing in this process owns it, as nobody here opened it.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

/// Close every descriptor from `first` on, in a process that uses none of them any
/// more and ends with [`leave`].
pub(crate) fn close_from(first: RawFd) -> nix::Result<()> {
    close_range(first, RawFd::MAX, 0)
}

fn close_range(first: RawFd, last: RawFd, flags: libc::c_uint) -> nix::Result<()> {
    // SAFETY: with CLOEXEC nothing is closed now; without it the caller says that
    // no owner of a closed descriptor runs again, not even its destructor.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            last as libc::c_uint,
            flags,
        )
    };
    Errno::result(result).map(drop)
}

/// Make the mount at `fd`, and every mount below it, read-only.
///
/// Unlike a remount this keeps all other flags, which in a user namespace must not
/// be dropped, and it reaches what the host has mounted further down.
///
/// # Errors
/// EINVAL when `fd` is not the root of a mount, EPERM without CAP_SYS_ADMIN over
/// the mount namespace.
/// # Source
/// mount_setattr(2); Linux 5.12
pub fn mount_read_only(fd: impl AsFd) -> nix::Result<()> {
    read_only(fd, libc::AT_RECURSIVE)
}

/// The same for the mount at `fd` alone.
///
/// # Errors
/// As [`mount_read_only`].
pub fn one_mount_read_only(fd: impl AsFd) -> nix::Result<()> {
    read_only(fd, 0)
}

/// A mount of the file at this path that is attached nowhere. It ends with the last use of
/// the file.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN over the mount namespace; EINVAL when the file is on a mount
/// of another namespace.
/// # Source
/// open_tree(2), "OPEN_TREE_CLONE"; Linux 5.2
pub(crate) fn clone_mount(path: &CStr) -> nix::Result<OwnedFd> {
    // SAFETY: the path is a C string.
    let fd = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC,
        )
    })?;
    // SAFETY: the kernel has made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Execute an open file, with exactly the arguments and the environment that this process
/// was executed with.
///
/// # Errors
/// Those of execveat(2); it returns only then.
/// # Source
/// execveat(2), "AT_EMPTY_PATH"
pub(crate) fn execute_again(file: impl AsFd) -> nix::Result<Infallible> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let arguments: Vec<CString> = std::env::args_os()
        // They were C strings, so they hold no NUL byte.
        .filter_map(|word| CString::new(word.into_encoded_bytes()).ok())
        .collect();
    let mut pointers: Vec<*const libc::c_char> =
        arguments.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: both arrays end with a null pointer. `pointers` and what it points to outlive
    // the call. `environ` is the C library's, and there is one thread, which changes none
    // of it meanwhile.
    let result = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            pointers.as_ptr(),
            environ,
            libc::AT_EMPTY_PATH,
        )
    };
    Err(Errno::result(result).err().unwrap_or(Errno::UnknownErrno))
}

/// Remove read-only from the mount at `fd`: how a test tries what must be refused.
///
/// # Errors
/// As [`mount_read_only`].
pub fn one_mount_writable(fd: impl AsFd) -> nix::Result<()> {
    set_attributes(fd, 0, 0, libc::MOUNT_ATTR_RDONLY)
}

fn read_only(fd: impl AsFd, flags: libc::c_int) -> nix::Result<()> {
    set_attributes(fd, flags, libc::MOUNT_ATTR_RDONLY, 0)
}

fn set_attributes(
    fd: impl AsFd,
    flags: libc::c_int,
    set: u64,
    clear: u64,
) -> nix::Result<()> {
    let attr = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is a C string, `attr` outlives the call and its size is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            &raw const attr,
            size_of_val(&attr),
        )
    };
    Errno::result(result).map(drop)
}

/// Install a seccomp filter in this process. It stays, in children and executed programs
/// too.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN and without no_new_privs; EINVAL for a program that the
/// kernel does not accept, and from a kernel without filters.
/// # Source
/// seccomp(2), "SECCOMP_SET_MODE_FILTER"
pub(crate) fn set_seccomp_filter(program: &[Instruction]) -> nix::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog {
        len: length,
        // The kernel only reads it.
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `Instruction` has the layout of `struct sock_filter`, the pointer and the
    // length are those of one slice, and both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            // Without this flag, older kernels would slow the process down.
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    };
    Errno::result(result).map(drop)
}

/// Ignore a signal, in this process and in what it executes.
///
/// # Errors
/// EINVAL for SIGKILL and SIGSTOP.
/// # Source
/// signal(2), "SIG_IGN"
pub fn ignore_signal(signal: nix::sys::signal::Signal) -> nix::Result<()> {
    // SAFETY: SIG_IGN installs no handler.
    let before = unsafe { libc::signal(signal as libc::c_int, libc::SIG_IGN) };
    if before == libc::SIG_ERR { Err(Errno::last()) } else { Ok(()) }
}

/// The kinds of System V objects, which an IPC namespace keeps apart.
///
/// # Source
/// sysvipc(7)
#[derive(Clone, Copy, Debug)]
pub enum SystemV {
    /// A message queue.
    Queue,
    /// A set of one semaphore.
    Semaphores,
    /// A page of shared memory.
    Memory,
}

impl SystemV {
    /// Make one for the owner only; its id.
    ///
    /// # Errors
    /// ENOSPC when the namespace has as many as it may.
    /// # Source
    /// msgget(2), semget(2), shmget(2)
    pub fn make(self) -> nix::Result<i32> {
        let (key, mode) = (libc::IPC_PRIVATE, 0o600);
        // SAFETY: only numbers are passed.
        Errno::result(unsafe {
            match self {
                SystemV::Queue => libc::msgget(key, mode),
                SystemV::Semaphores => libc::semget(key, 1, mode),
                SystemV::Memory => libc::shmget(key, 4096, mode),
            }
        })
    }

    /// Remove it.
    ///
    /// # Errors
    /// EINVAL when there is none of that id, EPERM when it is another's.
    /// # Source
    /// msgctl(2), semctl(2), shmctl(2), "IPC_RMID"
    pub fn remove(self, id: i32) -> nix::Result<()> {
        let what = libc::IPC_RMID;
        let nothing = std::ptr::null_mut();
        // SAFETY: IPC_RMID reads and writes no memory.
        let result = unsafe {
            match self {
                SystemV::Queue => libc::msgctl(id, what, nothing),
                SystemV::Semaphores => libc::semctl(id, 0, what),
                SystemV::Memory => libc::shmctl(id, what, nothing.cast()),
            }
        };
        Errno::result(result).map(drop)
    }
}

/// Set the NIS domain name of this UTS namespace, at most 64 bytes.
///
/// # Errors
/// EINVAL when it is longer, EPERM without CAP_SYS_ADMIN over the namespace.
/// # Source
/// setdomainname(2)
pub fn setdomainname(name: &str) -> nix::Result<()> {
    // SAFETY: the kernel reads as many bytes as it is told.
    let result = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    Errno::result(result).map(drop)
}

/// Show another name and nothing else where other processes read the command line and
/// the environment that this one was executed with.
///
/// Who asks for an environment variable of the own process finds none from here on.
///
/// # Errors
/// Without a /proc that tells where the two lie.
/// # Source
/// proc_pid_stat(5), "arg_start" to "env_end"; PR_SET_NAME(2const)
pub(crate) fn rename(name: &str) -> anyhow::Result<()> {
    let path = "/proc/self/stat";
    let stat = std::fs::read_to_string(path).look(|| format!("read(2) {path}"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // After the name in brackets comes the third field; these are 48 to 51.
    let mut ends = fields.split_whitespace().skip(45).map_while(|n| n.parse().ok());
    let mut area = || Some(ends.next()?..ends.next()?);
    let (arguments, environment): (Range<usize>, Range<usize>) =
        area().zip(area()).with_context(|| format!("{path} is cut short"))?;
    for area in [&arguments, &environment] {
        let start = std::ptr::with_exposed_provenance_mut::<u8>(area.start);
        // SAFETY: the kernel says that these bytes are the C strings of execve(2), on
        // the stack below main. Nobody has a reference to them: std copies what it gives
        // out. Who follows a pointer into them finds an empty string.
        unsafe { start.write_bytes(0, area.len()) };
    }
    let length = name.len().min(arguments.len().saturating_sub(1));
    let start = std::ptr::with_exposed_provenance_mut::<u8>(arguments.start);
    // SAFETY: as above, and the name is no longer than the area.
    unsafe { start.copy_from_nonoverlapping(name.as_ptr(), length) };
    let name = CString::new(name)?;
    nix::sys::prctl::set_name(&name).look(|| "prctl(2) PR_SET_NAME")
}

/// Write a byte to an I/O port of the machine: how a test VM tells its verdict.
///
/// # Errors
/// EPERM without CAP_SYS_RAWIO, EINVAL for a port past 0x3ff.
/// # Source
/// ioperm(2)
#[cfg(target_arch = "x86_64")]
pub fn write_port(port: u16, byte: u8) -> nix::Result<()> {
    // SAFETY: a permission for this process, of no influence on its memory.
    Errno::result(unsafe { libc::ioperm(port.into(), 1, 1) })?;
    // SAFETY: the permission was given, and the instruction touches no memory of
    // this process.
    unsafe { std::arch::asm!("out dx, al", in("dx") port, in("al") byte) };
    Ok(())
}

/// End this process at once: no destructor, no buffer, no exit handler. A child
/// must not run what belongs to its parent.
///
/// # Source
/// _exit(2)
pub(crate) fn leave(code: u8) -> ! {
    // SAFETY: _exit does not return and touches no memory of this process.
    unsafe { libc::_exit(code.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "one thread")]
    fn a_second_thread_is_noticed() {
        // The test harness runs every test in a thread of its own.
        let _ = assert_one_thread();
    }
}
