//! ioctl(2) through each ABI of the machine: what a container's program could try, and a
//! test does, to get past a seccomp filter.
#![allow(unsafe_code, reason = "libraries make system calls in one way only")]

use std::os::fd::RawFd;

use nix::errno::Errno;

/// Ask a terminal for something with a byte as the argument, in one of the machine's ways
/// to make a system call: how a test tries what a filter denies. `request` is the whole
/// register.
///
/// # Errors
/// Those of ioctl(2).
/// # Source
/// ioctl_tty(2), "TIOCSTI"
pub fn raw_ioctl(
    fd: RawFd,
    request: u64,
    byte: u8,
    call: RawCall,
) -> nix::Result<()> {
    let argument = &raw const byte;
    match call {
        // SAFETY: TIOCSTI and TIOCLINUX read one byte at the argument, which outlives
        // the call.
        RawCall::Native => Errno::result(unsafe {
            libc::syscall(libc::SYS_ioctl, fd, request, argument)
        })
        .map(drop),
        #[cfg(target_arch = "x86_64")]
        RawCall::X32 => Errno::result(unsafe {
            // SAFETY: as above; a kernel without this ABI answers ENOSYS.
            libc::syscall(0x4000_0000 | 514, fd, request, argument)
        })
        .map(drop),
        #[cfg(target_arch = "x86_64")]
        RawCall::I386 => {
            // Its pointers have 32 bits, so 0 stands for one: the filter looks first,
            // and the kernel says EFAULT.
            let mut result: i64 = 54;
            // SAFETY: the kernel reads nothing of this process, as address 0 is not
            // mapped. rbx is LLVM's own, and is put back.
            unsafe {
                std::arch::asm!(
                    "xchg {fd}, rbx",
                    "int 0x80",
                    "xchg {fd}, rbx",
                    fd = inout(reg) i64::from(fd) => _,
                    inout("rax") result,
                    in("rcx") request,
                    in("rdx") 0_u64,
                    out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                );
            }
            match result as i32 {
                0 => Ok(()),
                errno => Err(Errno::from_raw(-errno)),
            }
        }
    }
}

/// How [`raw_ioctl`] enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawCall {
    /// As every program of this machine does.
    Native,
    /// By the numbers of the x32 ABI.
    #[cfg(target_arch = "x86_64")]
    X32,
    /// By `int 0x80`, with the numbers of the i386 ABI.
    #[cfg(target_arch = "x86_64")]
    I386,
}
