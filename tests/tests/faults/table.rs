//! The system calls of a run, and the errnos with which each of them fails.

use nix::errno::Errno::{self, *};
use nix::libc;

use blackbox::Call;

/// One system call.
pub(crate) struct Row {
    pub(crate) number: i64,
    pub(crate) name: &'static str,
    /// The errnos with which it fails, one after the other.
    pub(crate) errnos: &'static [Errno],
    /// The error contains one of these texts: the call or the step, as the chapters spell
    /// it.
    pub(crate) said: &'static [&'static str],
}

const fn row(
    number: i64,
    name: &'static str,
    errnos: &'static [Errno],
    said: &'static [&'static str],
) -> Row {
    Row { number, name, errnos, said }
}

/// The calls of a run, and the errnos that their man pages list for a machine that lacks a
/// resource, for a bad disk, or for a security policy.
///
/// ENOENT of a lookup is excluded: it is an answer, which would be wrong. EBADF, EFAULT and
/// similar errnos are excluded because only a faulty program gets them. The same applies to
/// EINVAL for existing signals. The kernel's brk(2) returns no errno, but the current break.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(libc::SYS_read, "read", &[EIO, EINTR], &["read(2)", "readlink", "exec"]),
    row(libc::SYS_write, "write", &[ENOSPC, EIO, EINTR], &["write(2)"]),
    row(libc::SYS_close, "close", &[EIO, EINTR], &[]),
    row(libc::SYS_poll, "poll", &[ENOMEM, EINTR], &["poll(2)"]),
    row(libc::SYS_ppoll, "ppoll", &[ENOMEM, EINTR], &["poll(2)"]),
    row(libc::SYS_brk, "brk", &[], &[]),
    row(libc::SYS_mmap, "mmap", &[ENOMEM], &[]),
    row(libc::SYS_mprotect, "mprotect", &[ENOMEM], &[]),
    row(libc::SYS_munmap, "munmap", &[ENOMEM], &[]),
    row(libc::SYS_mremap, "mremap", &[ENOMEM], &[]),
    row(libc::SYS_rt_sigaction, "rt_sigaction", &[], &[]),
    row(libc::SYS_rt_sigprocmask, "rt_sigprocmask", &[], &[]),
    row(libc::SYS_capget, "capget", &[], &[]),
    row(libc::SYS_sendmsg, "sendmsg", &[ENOBUFS, ENOMEM, EINTR], &["sendmsg(2)"]),
    row(libc::SYS_recvmsg, "recvmsg", &[ENOMEM, EINTR], &["recvmsg(2)"]),
    row(libc::SYS_socketpair, "socketpair", &[EMFILE, ENOMEM], &["socketpair(2)"]),
    row(libc::SYS_clone3, "clone3", &[ENOMEM, EAGAIN, EPERM, ENOSPC], &["clone3(2)"]),
    row(libc::SYS_execve, "execve", &[EACCES, ENOMEM, EIO, E2BIG], &["exec"]),
    row(libc::SYS_flock, "flock", &[ENOLCK, EINTR], &["flock(2)"]),
    row(libc::SYS_getcwd, "getcwd", &[ENOMEM, EACCES], &["getcwd(3)", "find "]),
    row(libc::SYS_chdir, "chdir", &[EACCES, EIO, ENOMEM], &["chdir(2)"]),
    row(libc::SYS_mkdir, "mkdir", &[ENOSPC, EACCES, EIO, EROFS], &["mkdir(2)"]),
    row(libc::SYS_mkdirat, "mkdirat", &[ENOSPC, EACCES, EIO, EROFS], &["mkdir(2)"]),
    row(libc::SYS_mknodat, "mknodat", &[ENOSPC, EIO, EPERM], &["mknod(2)"]),
    row(libc::SYS_dup2, "dup2", &[EBUSY, EINTR, EMFILE], &["dup2(2)"]),
    row(libc::SYS_rmdir, "rmdir", &[EBUSY, EIO, EPERM], &["rmdir(2)"]),
    row(libc::SYS_unlink, "unlink", &[EIO, EPERM, EROFS], &["unlink(2)", "rmdir(2)"]),
    row(libc::SYS_unlinkat, "unlinkat", &[EBUSY, EIO, EPERM], &["rm -r"]),
    row(libc::SYS_symlinkat, "symlinkat", &[ENOSPC, EIO, EPERM], &["symlink(2)"]),
    row(libc::SYS_readlink, "readlink", &[EACCES, EIO, ENOMEM], &["readlink(2)"]),
    row(libc::SYS_readlinkat, "readlinkat", &[EACCES, EIO, ENOMEM], &["readlink(2)"]),
    row(libc::SYS_chmod, "chmod", &[EPERM, EIO, EROFS], &["chmod(2)"]),
    row(libc::SYS_umask, "umask", &[], &[]),
    row(libc::SYS_setgroups, "setgroups", &[EPERM, ENOMEM], &["setgroups(2)"]),
    row(libc::SYS_seccomp, "seccomp", &[ENOMEM, EINVAL, EACCES], &["seccomp(2)"]),
    row(libc::SYS_pivot_root, "pivot_root", &[EBUSY, EINVAL, EPERM], &["pivot_root(2)"]),
    row(libc::SYS_prctl, "prctl", &[EINVAL], &["prctl(2)"]),
    row(libc::SYS_mount, "mount", &[ENOMEM, EPERM, EBUSY, ENOSPC], &["mount(2)"]),
    row(libc::SYS_umount2, "umount2", &[EBUSY, EPERM, ENOMEM], &["umount2(2)"]),
    row(libc::SYS_sethostname, "sethostname", &[EPERM], &["sethostname(2)"]),
    row(libc::SYS_getdents64, "getdents64", &[EIO, ENOMEM], &["readdir(3)", "rm -r"]),
    row(libc::SYS_fcntl, "fcntl", &[], &[]),
    row(libc::SYS_waitid, "waitid", &[EINTR], &["waitid(2)"]),
    row(libc::SYS_openat, "openat", &[EMFILE, ENOMEM, EACCES, ENOSPC],
        &["open(2)", "read(2)", "write(2)", "readdir(3)", "rm -r", "exec"]),
    row(libc::SYS_openat2, "openat2", &[EMFILE, ENOMEM, EACCES, EAGAIN], &["openat2(2)"]),
    row(libc::SYS_newfstatat, "newfstatat", &[ENOMEM, EIO],
        &["stat(2)", "readdir(3)", "rm -r"]),
    row(libc::SYS_fstat, "fstat", &[ENOMEM, EIO], &["fstat(2)"]),
    row(libc::SYS_statx, "statx", &[ENOMEM, EACCES, EIO],
        &["stat(2)", "rm -r", "exec", "open(2)", "read(2)", "write(2)"]),
    row(libc::SYS_getrandom, "getrandom", &[EINTR, EAGAIN], &["getrandom(2)"]),
    row(libc::SYS_signalfd4, "signalfd4", &[EMFILE, ENOMEM], &["signalfd(2)"]),
    row(libc::SYS_pidfd_send_signal, "pidfd_send_signal", &[EPERM, ENOMEM], &[]),
    row(libc::SYS_kill, "kill", &[EPERM], &["kill(2)"]),
    row(libc::SYS_clock_nanosleep, "clock_nanosleep", &[EINTR], &[]),
    row(libc::SYS_close_range, "close_range", &[EMFILE, ENOMEM], &["close_range(2)"]),
    row(libc::SYS_mount_setattr, "mount_setattr", &[EPERM, EINVAL, ENOMEM],
        &["mount_setattr(2)"]),
    row(libc::SYS_lseek, "lseek", &[], &[]),
    // Networks.
    row(libc::SYS_socket, "socket", &[EMFILE, ENOBUFS], &["socket(2)"]),
    row(libc::SYS_bind, "bind", &[EADDRNOTAVAIL, ENOMEM], &["bind(2)"]),
    row(libc::SYS_listen, "listen", &[EADDRINUSE], &["listen(2)"]),
    row(libc::SYS_accept4, "accept4", &[EMFILE, EINTR], &["accept(2)"]),
    row(libc::SYS_shutdown, "shutdown", &[], &[]),
    row(libc::SYS_connect, "connect", &[ENOMEM, EINTR], &["connect(2)"]),
    row(libc::SYS_setsockopt, "setsockopt", &[ENOMEM], &["setsockopt(2)"]),
    row(libc::SYS_getsockopt, "getsockopt", &[ENOMEM], &["getsockopt(2)"]),
    row(libc::SYS_getsockname, "getsockname", &[ENOBUFS], &["getsockname(2)"]),
    row(libc::SYS_sendto, "sendto", &[ENOBUFS, ENOMEM, EINTR], &["sendto(2)"]),
    row(libc::SYS_recvfrom, "recvfrom", &[ENOMEM, EINTR], &["recvfrom(2)"]),
    row(libc::SYS_setns, "setns", &[EPERM, ENOMEM], &["setns(2)"]),
    row(libc::SYS_pidfd_open, "pidfd_open", &[EMFILE, ENOMEM], &["pidfd_open(2)"]),
    row(libc::SYS_fsync, "fsync", &[EIO, ENOSPC], &["fsync(2)"]),
    row(libc::SYS_ftruncate, "ftruncate", &[EIO], &["ftruncate(2)"]),
    row(libc::SYS_rename, "rename", &[ENOSPC, EIO], &["rename(2)"]),
    row(libc::SYS_symlink, "symlink", &[ENOSPC, EIO], &["symlink(2)"]),
    row(libc::SYS_pipe2, "pipe2", &[EMFILE, ENFILE], &["pipe(2)"]),
    row(libc::SYS_setsid, "setsid", &[], &[]),
    row(libc::SYS_getppid, "getppid", &[], &[]),
    row(libc::SYS_tgkill, "tgkill", &[], &[]),
    row(libc::SYS_getpriority, "getpriority", &[], &[]),
    row(libc::SYS_pidfd_getfd, "pidfd_getfd", &[EMFILE, EPERM], &["pidfd_getfd(2)"]),
    row(libc::SYS_pwrite64, "pwrite64", &[ENOSPC, EIO], &["write(2)", "pwrite(2)"]),
    row(libc::SYS_pread64, "pread64", &[EIO, EINTR], &["read(2)", "pread(2)"]),
    row(libc::SYS_madvise, "madvise", &[], &[]),
    row(libc::SYS_dup, "dup", &[EMFILE], &["dup(2)"]),
    row(libc::SYS_dup3, "dup3", &[EBUSY, EMFILE], &["dup(2)", "dup3(2)"]),
    row(libc::SYS_futex, "futex", &[], &[]),
    row(libc::SYS_linkat, "linkat", &[ENOSPC, EIO], &["link(2)"]),
    row(libc::SYS_renameat, "renameat", &[ENOSPC, EIO], &["rename(2)"]),
    row(libc::SYS_renameat2, "renameat2", &[ENOSPC, EIO], &["rename(2)"]),
    row(libc::SYS_uname, "uname", &[], &[]),
    row(libc::SYS_getpid, "getpid", &[], &[]),
    row(libc::SYS_geteuid, "geteuid", &[], &[]),
    row(libc::SYS_getuid, "getuid", &[], &[]),
    // Start-up and end belong to libc and Rust: these calls do not fail, but the process is
    // killed before them.
    row(libc::SYS_arch_prctl, "arch_prctl", &[], &[]),
    row(libc::SYS_set_tid_address, "set_tid_address", &[], &[]),
    row(libc::SYS_set_robust_list, "set_robust_list", &[], &[]),
    row(libc::SYS_rseq, "rseq", &[], &[]),
    row(libc::SYS_prlimit64, "prlimit64", &[], &[]),
    row(libc::SYS_sched_getaffinity, "sched_getaffinity", &[], &[]),
    row(libc::SYS_gettid, "gettid", &[], &[]),
    row(libc::SYS_sigaltstack, "sigaltstack", &[], &[]),
    row(libc::SYS_exit_group, "exit_group", &[], &[]),
];

/// The row of a call.
///
/// # Panics
/// A call without a row. Without the panic, the lane would silently omit it.
pub(crate) fn row_of(number: i64) -> &'static Row {
    let found = ROWS.iter().find(|row| row.number == number);
    found.unwrap_or_else(|| {
        panic!(
            "a run makes system call {number}: add it to tests/tests/faults/table.rs"
        )
    })
}

/// Calls that add something to the machine or remove something. Only after such a call is a
/// kill a new case.
const CHANGES: &[i64] = &[
    libc::SYS_bind,
    libc::SYS_chmod,
    libc::SYS_clone3,
    libc::SYS_flock,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_prctl,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_umount2,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_waitid,
    libc::SYS_write,
];

/// Whether a call changes something in this sense.
pub(crate) fn changes(call: &Call) -> bool {
    let creates = call.number == libc::SYS_openat
        && call.arguments[2] & libc::O_CREAT as u64 != 0;
    // close(2) of the last descriptor releases a lock, or gives the other side an end of
    // file.
    let releases = call.number == libc::SYS_close
        && (call.what.starts_with("socket:") || call.what.contains("/running/"));
    creates || releases || CHANGES.contains(&call.number)
}

/// The plausible errnos for this call.
pub(crate) fn errnos(call: &Call) -> Vec<Errno> {
    let creates = call.number != libc::SYS_openat
        || call.arguments[2] & libc::O_CREAT as u64 != 0;
    // A directory has no data that could be lost, so close(2) of a directory never fails
    // with EIO. (Rust would panic.)
    let writes = call.number != libc::SYS_close || !call.what.ends_with('/');
    let errnos = row_of(call.number).errnos.iter().copied();
    let plausible = |errno: &Errno| match errno {
        ENOSPC => creates,
        EIO => writes,
        _ => true,
    };
    errnos.filter(plausible).collect()
}
