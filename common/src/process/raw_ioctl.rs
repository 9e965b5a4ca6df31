//! ioctl(2) through each ABI of the machine: what a program could try to bypass a
//! seccomp filter. Tests use it.
#![allow(unsafe_code, reason = "libraries make system calls in one way only")]

use std::os::fd::RawFd;

use nix::errno::Errno;

/// Call ioctl(2) on a terminal with a byte as the argument, through one of the
/// machine's system call ABIs. Tests use it to check what a filter denies. `request`
/// is the whole register.
///
/// # Errors
/// The errno of ioctl(2).
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
        // SAFETY: TIOCSTI and TIOCLINUX read one byte at the argument, which
        // outlives the call.
        RawCall::Native => Errno::result(unsafe {
            libc::syscall(libc::SYS_ioctl, fd, request, argument)
        })
        .map(drop),
        #[cfg(target_arch = "x86_64")]
        RawCall::X32 => Errno::result(unsafe {
            // SAFETY: as above; a kernel without this ABI returns ENOSYS.
            libc::syscall(0x4000_0000 | 514, fd, request, argument)
        })
        .map(drop),
        #[cfg(target_arch = "x86_64")]
        RawCall::I386 => {
            // Pointers of this ABI have 32 bits, so 0 replaces the pointer. The
            // filter runs first; without it the kernel returns EFAULT.
            let mut result: i64 = 54;
            // SAFETY: the kernel reads no memory of this process, because address 0
            // is not mapped. LLVM reserves rbx, so rbx is restored.
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

/// The ABI by which [`raw_ioctl`] enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawCall {
    /// The native ABI of this machine.
    Native,
    /// The numbers of the x32 ABI.
    #[cfg(target_arch = "x86_64")]
    X32,
    /// `int 0x80`, with the numbers of the i386 ABI.
    #[cfg(target_arch = "x86_64")]
    I386,
}
