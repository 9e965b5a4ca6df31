//! The system calls that fail, or before which a command is killed.

use blackbox::Call;
use nix::errno::Errno;
use nix::libc;

/// Calls that libc and the runtime make for themselves, and calls that cannot fail.
pub(super) const OWN: &[i64] = &[
    libc::SYS_arch_prctl,
    libc::SYS_brk,
    libc::SYS_close,
    libc::SYS_execve,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getpid,
    // For the maps of the standard library, which panic if it fails.
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_poll,
    libc::SYS_prlimit64,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_umask,
    // For threads.
    libc::SYS_clone3,
    libc::SYS_futex,
    libc::SYS_madvise,
    libc::SYS_sched_yield,
    // For connections, which are repeated. The tests of chapter 7 break them.
    libc::SYS_clock_nanosleep,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socket,
];

/// Calls that change something, so that a kill after them is a new case.
pub(super) const CHANGES: &[i64] = &[
    libc::SYS_fsync,
    libc::SYS_linkat,
    libc::SYS_mkdir,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_syncfs,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_write,
];

/// The most probable errno of a call.
pub(super) fn errno(call: &Call) -> Errno {
    let creates = call.number == libc::SYS_openat
        && call.arguments[2] & libc::O_CREAT as u64 != 0;
    match call.number {
        libc::SYS_openat if !creates => Errno::EMFILE,
        libc::SYS_openat | libc::SYS_write | libc::SYS_mkdir => Errno::ENOSPC,
        libc::SYS_flock => Errno::ENOLCK,
        _ => Errno::EIO,
    }
}
