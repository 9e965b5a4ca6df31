//! The system calls that nix and rustix lack, or offer only as `unsafe`. This file
//! contains all `unsafe` code of the project, except for raw_ioctl.rs, which only
//! tests use.
#![allow(unsafe_code, reason = "no library offers clone3(2)")]

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

/// The process that returned from the clone: the parent or the child.
pub(crate) enum Side {
    /// The parent: the child's PID as the parent sees it, and its pidfd.
    Parent(Pid, OwnedFd),
    /// The child.
    Child,
}

/// Create a child that continues from here, as fork(2) does, in new namespaces.
///
/// `cgroup` is the directory of the cgroup v2 in which the child starts.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN; ENOSPC when a limit of /proc/sys/user is reached;
/// EINVAL for a namespace that this kernel does not support.
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
        // With CLONE_PARENT the kernel uses the caller's own exit signal, and
        // rejects any other value.
        exit_signal: if shares_parent { 0 } else { libc::SIGCHLD as u64 },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: into,
    };
    // SAFETY: without CLONE_VM the child has a copy of this memory, including the
    // stack, so both sides can continue from here. The process is single-threaded
    // (callers assert it), so no lock is held by a thread that the copy lacks.
    // `clone_args` outlives the call.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args))
    };
    match Errno::result(pid)? {
        0 => Ok(Side::Child),
        pid => {
            // SAFETY: CLONE_PIDFD has stored a new descriptor, which has no other
            // owner.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Side::Parent(Pid::from_raw(pid as libc::pid_t), pidfd))
        }
    }
}

/// From include/uapi/linux/sched.h; it does not fit into libc's `c_int` constants.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Check that this process has one thread. A copy made by [`clone3`] would contain
/// the locks of other threads, but not the threads that release them.
///
/// `clone3` does not call this function: after a process has joined a container's
/// namespaces, /proc is the container's and does not show the process.
///
/// # Errors
/// /proc cannot be read.
/// # Panics
/// There is more than one thread.
pub(crate) fn assert_one_thread() -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let tasks = "/proc/self/task";
    // The directory has one subdirectory for each thread, besides `.` and `..`.
    let links =
        std::fs::metadata(tasks).untraced(|| format!("stat(2) {tasks}"))?.nlink();
    assert_eq!(links, 3, "a clone needs a process with one thread");
    Ok(())
}

/// Reset the disposition of every signal to the default and block none, as a program
/// expects at its start. Rust ignores SIGPIPE, nohup(1) ignores SIGHUP, and
/// execve(2) preserves this.
///
/// # Source
/// signal(7), "Execution of signal handlers" and execve(2)
pub(crate) fn default_signals() -> nix::Result<()> {
    // The kernel's struct sigaction, all zero: SIG_DFL, no flags, empty mask.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        // Bypass glibc, which reserves the signals 32 and 33 and refuses to change
        // them. A program that glibc's posix_spawn(3) started ignores these two
        // signals. The error EINVAL for SIGKILL and SIGSTOP is ignored.
        // SAFETY: SIG_DFL installs no handler, and the array has the size that the
        // kernel reads: 32 bytes, of which 8 are the mask.
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

/// Reset the signal's disposition to the default, in this process and in programs
/// that it executes.
///
/// # Source
/// signal(2), "SIG_DFL"
pub fn default_signal(signal: nix::sys::signal::Signal) {
    // SAFETY: SIG_DFL installs no handler.
    unsafe { libc::signal(signal as libc::c_int, libc::SIG_DFL) };
}

/// Mark every descriptor from `first` on close-on-exec. Descriptors that the caller
/// of the supervisor left open must not reach the container.
///
/// # Source
/// close_range(2), "CLOSE_RANGE_CLOEXEC"
pub(crate) fn close_on_exec_from(first: RawFd) -> nix::Result<()> {
    close_range(first, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Close every descriptor above 2 except this one. Call it only in a child that
/// never returns into the caller's code, because the owners of the descriptors still
/// exist there.
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

/// Close every inherited descriptor above 2. All descriptors that this process opens
/// itself are close-on-exec, so a descriptor without this flag was inherited.
///
/// # Errors
/// /proc cannot be read.
pub(crate) fn close_inherited() -> anyhow::Result<()> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let list = "/proc/self/fd";
    let entries =
        std::fs::read_dir(list).untraced(|| format!("readdir(3) {list}"))?;
    let names = entries.flatten().map(|entry| entry.file_name());
    let fds: Vec<RawFd> =
        names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    for fd in fds.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: borrowed for one call. The call fails if the descriptor is already
        // closed, such as the descriptor of the directory that was listed.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let flags = fcntl(borrowed, FcntlArg::F_GETFD).map(FdFlag::from_bits_retain);
        if flags.is_ok_and(|flags| !flags.contains(FdFlag::FD_CLOEXEC)) {
            // SAFETY: this process did not open it, so no value owns it.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

/// Close every descriptor from `first` on, in a process that uses none of them again
/// and ends with [`exit_now`].
pub(crate) fn close_from(first: RawFd) -> nix::Result<()> {
    close_range(first, RawFd::MAX, 0)
}

fn close_range(first: RawFd, last: RawFd, flags: libc::c_uint) -> nix::Result<()> {
    // SAFETY: with CLOEXEC nothing is closed now. Otherwise the caller guarantees
    // that no owner of a closed descriptor runs again, not even its destructor.
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
/// Unlike a remount, this keeps all other flags. In a user namespace, the kernel
/// does not permit a process to drop them. It also changes submounts of the host.
///
/// # Errors
/// EINVAL if `fd` is not the root of a mount; EPERM without CAP_SYS_ADMIN over the
/// mount namespace.
/// # Source
/// mount_setattr(2); Linux 5.12
pub fn mount_read_only(fd: impl AsFd) -> nix::Result<()> {
    read_only(fd, libc::AT_RECURSIVE)
}

/// Make only the mount at `fd` read-only.
///
/// # Errors
/// EINVAL if `fd` is not the root of a mount; EPERM without CAP_SYS_ADMIN over the
/// mount namespace.
pub fn one_mount_read_only(fd: impl AsFd) -> nix::Result<()> {
    read_only(fd, 0)
}

/// A detached mount of the file at this path. It disappears when the file is no
/// longer open.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN over the mount namespace; EINVAL if the file is on a
/// mount of another namespace.
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
    // SAFETY: the kernel has created this descriptor, and it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Execute an open file, with exactly the arguments and the environment with which
/// this process was executed.
///
/// # Errors
/// execveat(2) fails; on success this does not return.
/// # Source
/// execveat(2), "AT_EMPTY_PATH"
pub(crate) fn execute_again(file: impl AsFd) -> nix::Result<Infallible> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let arguments: Vec<CString> = std::env::args_os()
        // The arguments were C strings, so they contain no NUL byte.
        .filter_map(|word| CString::new(word.into_encoded_bytes()).ok())
        .collect();
    let mut pointers: Vec<*const libc::c_char> =
        arguments.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: both arrays end with a null pointer. `pointers` and the strings
    // outlive the call. `environ` belongs to the C library, and the only thread does
    // not change it during the call.
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

/// Make the mount at `fd` writable again. Tests use it to check that the kernel
/// refuses this change.
///
/// # Errors
/// EINVAL if `fd` is not the root of a mount; EPERM without CAP_SYS_ADMIN over the
/// mount namespace.
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
    // SAFETY: the path is a C string, `attr` outlives the call, and its size is
    // passed.
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

/// Install a seccomp filter in this process. Children and executed programs inherit
/// it, and it cannot be removed.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN and without no_new_privs; EINVAL for a program that
/// the kernel does not accept, and from a kernel without seccomp filters.
/// # Source
/// seccomp(2), "SECCOMP_SET_MODE_FILTER"
pub(crate) fn set_seccomp_filter(program: &[Instruction]) -> nix::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog {
        len: length,
        // The kernel only reads it.
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `Instruction` has the layout of `struct sock_filter`, the pointer and
    // the length belong to one slice, and both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            // Without this flag, older kernels would slow down the process.
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    };
    Errno::result(result).map(drop)
}

/// Ignore a signal, in this process and in programs that it executes.
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

/// The kinds of System V IPC objects, which an IPC namespace isolates.
///
/// # Source
/// sysvipc(7)
#[derive(Clone, Copy, Debug)]
pub enum SystemV {
    /// A message queue.
    Queue,
    /// A semaphore set with one semaphore.
    Semaphores,
    /// A shared memory segment of one page.
    Memory,
}

impl SystemV {
    /// Create an object with permissions for the owner only; returns its ID.
    ///
    /// # Errors
    /// ENOSPC if the namespace's limit is reached.
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

    /// Remove the object with this ID.
    ///
    /// # Errors
    /// EINVAL if there is no object with this ID; EPERM if it belongs to another
    /// user.
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
    // SAFETY: the kernel reads exactly `len` bytes.
    let result = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    Errno::result(result).map(drop)
}

/// Replace the command line and the environment that other processes see in /proc by
/// this name.
///
/// Afterwards, this process cannot read its own environment variables any more.
///
/// # Errors
/// /proc/self/stat cannot be read, or lacks the addresses.
/// # Source
/// proc_pid_stat(5), "arg_start" to "env_end"; PR_SET_NAME(2const)
pub(crate) fn rename(name: &str) -> anyhow::Result<()> {
    let path = "/proc/self/stat";
    let stat =
        std::fs::read_to_string(path).untraced(|| format!("read(2) {path}"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // The fields after the name start with number 3; these are 48 to 51.
    let mut ends = fields.split_whitespace().skip(45).map_while(|n| n.parse().ok());
    let mut area = || Some(ends.next()?..ends.next()?);
    let (arguments, environment): (Range<usize>, Range<usize>) =
        area().zip(area()).with_context(|| format!("{path} is truncated"))?;
    for area in [&arguments, &environment] {
        let start = std::ptr::with_exposed_provenance_mut::<u8>(area.start);
        // SAFETY: the kernel reports that these bytes are the C strings of
        // execve(2), on the stack below main. There are no references to them,
        // because std returns copies. A pointer into them now points to an empty
        // string.
        unsafe { start.write_bytes(0, area.len()) };
    }
    let length = name.len().min(arguments.len().saturating_sub(1));
    let start = std::ptr::with_exposed_provenance_mut::<u8>(arguments.start);
    // SAFETY: as above, and the name is no longer than the area.
    unsafe { start.copy_from_nonoverlapping(name.as_ptr(), length) };
    let name = CString::new(name)?;
    nix::sys::prctl::set_name(&name).untraced(|| "prctl(2) PR_SET_NAME")
}

/// Write a byte to an I/O port of the machine. A test VM reports its verdict this
/// way.
///
/// # Errors
/// EPERM without CAP_SYS_RAWIO, EINVAL for a port above 0x3ff.
/// # Source
/// ioperm(2)
#[cfg(target_arch = "x86_64")]
pub fn write_port(port: u16, byte: u8) -> nix::Result<()> {
    // SAFETY: this grants a permission and does not affect the memory.
    Errno::result(unsafe { libc::ioperm(port.into(), 1, 1) })?;
    // SAFETY: the permission was granted, and the instruction does not access the
    // memory of this process.
    unsafe { std::arch::asm!("out dx, al", in("dx") port, in("al") byte) };
    Ok(())
}

/// End this process at once, without destructors, buffers or exit handlers: a child
/// must not run the code that belongs to its parent.
///
/// # Source
/// _exit(2)
pub(crate) fn exit_now(code: u8) -> ! {
    // SAFETY: _exit does not return and touches no memory of this process.
    unsafe { libc::_exit(code.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "one thread")]
    fn a_second_thread_is_detected() {
        // The test harness runs every test in its own thread.
        let _ = assert_one_thread();
    }
}
