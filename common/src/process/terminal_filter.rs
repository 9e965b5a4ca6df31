//! A seccomp filter that prevents programs of a container from injecting terminal
//! input.
//!
//! Two requests of ioctl(2) put bytes into a terminal's *input* queue, as if a user
//! had typed them. A container without `-t` has the caller's terminal open, so it
//! could inject a command. The caller's shell would read the command and execute it
//! outside the container:
//!
//! - TIOCSTI ("simulate terminal input") inserts one byte;
//! - TIOCLINUX on a virtual console selects text of the screen and pastes it.
//!
//! The filter is a program for a small virtual machine in the kernel, "classic BPF".
//! The kernel runs it at the start of each system call. It has one register, the
//! accumulator. It reads the structure below, and its return value decides what
//! happens to the call:
//!
//! | offset | field of `struct seccomp_data` |
//! |---|---|
//! | 0 | the number of the system call, 32 bits |
//! | 4 | the architecture, 32 bits: it determines the meaning of the number |
//! | 8 | the instruction pointer, 64 bits |
//! | 16 + 8 n | argument n, 64 bits |
//!
//! # Source
//! seccomp(2), "Filters"; Documentation/networking/filter.rst; ioctl_tty(2),
//! ioctl_console(2)

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use nix::errno::Errno;

use crate::cli::step::{Hint, Step};
use crate::process::bpf::Instruction;
use crate::process::sys;

/// Load 32 bits at this offset of the structure into the accumulator:
/// BPF_LD|BPF_W|BPF_ABS.
const LOAD: u16 = 0x20;
/// Compare the accumulator with the operand, and jump: BPF_JMP|BPF_JEQ|BPF_K.
const EQUAL: u16 = 0x15;
/// Mask the accumulator with the operand: BPF_ALU|BPF_AND|BPF_K.
const AND: u16 = 0x54;
/// Return the operand as the verdict: BPF_RET|BPF_K.
const RETURN: u16 = 0x06;

/// The call is executed: SECCOMP_RET_ALLOW.
const ALLOW: u32 = 0x7fff_0000;
/// The call is not executed and fails with EPERM: SECCOMP_RET_ERRNO, with the errno
/// in the low 16 bits.
const DENY: u32 = 0x0005_0000 | libc::EPERM as u32;
/// The process is killed: SECCOMP_RET_KILL_PROCESS.
const KILL: u32 = 0x8000_0000;

/// A system call ABI that programs of this machine can use.
struct Abi {
    /// AUDIT_ARCH_* of include/uapi/linux/audit.h: the ELF machine, and flags for 64
    /// bits and little-endian.
    architecture: u32,
    /// The bits of the system call number that are compared.
    mask: u32,
    /// The system call numbers of ioctl.
    ioctl: &'static [u32],
}

/// The kernel detects x32 by bit 30 of the number, and reports x86-64 as the
/// architecture. In that ABI ioctl has the number 514. In older kernels, 16 with bit
/// 30 and 514 without bit 30 also selected ioctl. Therefore the mask removes bit 30,
/// and both numbers are compared.
#[cfg(target_arch = "x86_64")]
const ABIS: [Abi; 2] = [
    Abi { architecture: 0xc000_003e, mask: !(1 << 30), ioctl: &[16, 514] },
    // i386: a 64-bit program can also use it, by the instruction `int 0x80`.
    Abi { architecture: 0x4000_0003, mask: !0, ioctl: &[54] },
];
#[cfg(target_arch = "aarch64")]
const ABIS: [Abi; 2] = [
    Abi { architecture: 0xc000_00b7, mask: !0, ioctl: &[29] },
    // 32-bit arm.
    Abi { architecture: 0x4000_0028, mask: !0, ioctl: &[54] },
];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("list the ABIs of this machine, and the numbers of ioctl in each");

/// TIOCSTI and TIOCLINUX, in every ABI of these machines.
const REQUESTS: [u32; 2] = [0x5412, 0x541c];

/// Offsets in `struct seccomp_data`. The kernel's ioctl uses the lower 32 bits of
/// its request and ignores the upper half of the register, so only the lower half is
/// compared. It comes first, because these machines are little-endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const REQUEST: u32 = 16 + 8;

// ANCHOR: program
/// The program: one block for each ABI, and after them the verdict for other
/// architectures.
///
/// ```text
///     load architecture
///     equal to the ABI's?          no: skip the block
///       load number; and mask
///       equal to ioctl's?          none: allow
///       load request, lower half
///       equal to TIOCSTI, TIOCLINUX?   yes: deny
///       allow
///     kill
/// ```
///
/// A process with an unknown architecture is killed: the filter cannot know which
/// number is ioctl there. The table contains all ABIs of the machine, so no program
/// reaches this instruction.
pub(crate) fn program() -> Vec<Instruction> {
    let plain =
        |code, operand| Instruction { code, jump_true: 0, jump_false: 0, operand };
    let equal = |operand, jump_true: usize, jump_false: usize| Instruction {
        code: EQUAL,
        // A block has about ten instructions.
        jump_true: jump_true as u8,
        jump_false: jump_false as u8,
        operand,
    };
    let mut program = vec![plain(LOAD, ARCHITECTURE)];
    for abi in ABIS {
        let mut block = vec![plain(LOAD, NUMBER), plain(AND, abi.mask)];
        let numbers = abi.ioctl.len();
        for (index, number) in abi.ioctl.iter().enumerate() {
            // Jump to `load request`, after the other numbers and one `allow`.
            block.push(equal(*number, numbers - index, 0));
        }
        block.push(plain(RETURN, ALLOW));
        block.push(plain(LOAD, REQUEST));
        for (index, request) in REQUESTS.iter().enumerate() {
            // Jump to `deny`, after the other requests and one `allow`.
            block.push(equal(*request, REQUESTS.len() - index, 0));
        }
        block.push(plain(RETURN, ALLOW));
        block.push(plain(RETURN, DENY));
        program.push(equal(abi.architecture, 0, block.len()));
        program.append(&mut block);
    }
    program.push(plain(RETURN, KILL));
    program
}
// ANCHOR_END: program

/// Whether this process has the filter. A clone copies both the filter and this
/// flag.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Install the filter in this process, permanently: children and executed programs
/// inherit it. A second call does nothing.
///
/// It requires CAP_SYS_ADMIN in the process's user namespace. The alternative is
/// no_new_privs, which would break setuid programs.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN, EINVAL from a kernel without CONFIG_SECCOMP_FILTER.
/// # Source
/// seccomp(2), "SECCOMP_SET_MODE_FILTER"
pub fn install() -> Result<()> {
    if INSTALLED.load(Ordering::Relaxed) {
        return Ok(());
    }
    sys::set_seccomp_filter(&program())
        .step(|| "seccomp(2) deny TIOCSTI, TIOCLINUX")
        .hint(|errno| {
            (errno == Errno::EINVAL).then(|| {
                "the kernel must have CONFIG_SECCOMP_FILTER: without it, a container \
                 could inject input into your terminal"
                    .to_owned()
            })
        })?;
    INSTALLED.store(true, Ordering::Relaxed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's verdict on this call.
    fn verdict(architecture: u32, number: u32, request: u64) -> u32 {
        let mut data = [0; 64];
        data[0..4].copy_from_slice(&number.to_le_bytes());
        data[4..8].copy_from_slice(&architecture.to_le_bytes());
        data[24..32].copy_from_slice(&request.to_le_bytes());
        let program = program();
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let Instruction { code, jump_true, jump_false, operand } = program[at];
            at += 1;
            match code {
                LOAD => {
                    let field = &data[operand as usize..][..4];
                    accumulator = u32::from_le_bytes(field.try_into().unwrap());
                }
                AND => accumulator &= operand,
                EQUAL if accumulator == operand => at += usize::from(jump_true),
                EQUAL => at += usize::from(jump_false),
                RETURN => return operand,
                code => panic!("an unknown instruction {code:#x}"),
            }
        }
    }

    /// Each ABI of the machine, with each number of ioctl as the kernel may see it.
    #[cfg(target_arch = "x86_64")]
    const IOCTL: [(u32, u32); 5] = [
        (0xc000_003e, 16),
        (0xc000_003e, 514),
        (0xc000_003e, 0x4000_0000 | 514),
        (0xc000_003e, 0x4000_0000 | 16),
        (0x4000_0003, 54),
    ];
    #[cfg(target_arch = "aarch64")]
    const IOCTL: [(u32, u32); 2] = [(0xc000_00b7, 29), (0x4000_0028, 54)];

    #[test]
    fn both_requests_are_denied_in_every_abi_with_any_upper_half() {
        for (architecture, number) in IOCTL {
            for request in [0x5412, 0x541c] {
                for upper in [0, 1, 0xffff_ffff, 0x8000_0000] {
                    let request = request | upper << 32;
                    let found = verdict(architecture, number, request);
                    assert_eq!(
                        found, DENY,
                        "{architecture:#x} {number} {request:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn other_requests_and_other_calls_are_allowed() {
        for (architecture, number) in IOCTL {
            // TCGETS, TIOCSCTTY, TIOCGWINSZ, and values with the denied requests in
            // the upper half.
            for request in [0, 0x5401, 0x540e, 0x5413, 0x5412 << 32, 0x1_541c << 16]
            {
                let found = verdict(architecture, number, request);
                assert_eq!(found, ALLOW, "{architecture:#x} {number} {request:#x}");
            }
            for other in (0..600).filter(|n| {
                !IOCTL.iter().any(|(a, m)| *a == architecture && m & 0xfff == *n)
            }) {
                let found = verdict(architecture, other, 0x5412);
                assert_eq!(found, ALLOW, "{architecture:#x} {other}");
            }
        }
    }

    #[test]
    fn an_unknown_architecture_is_killed() {
        for architecture in [0, 0xc000_0016, 0x4000_0008, 0xffff_ffff] {
            assert_eq!(verdict(architecture, 16, 0), KILL, "{architecture:#x}");
        }
    }

    #[test]
    fn every_jump_stays_in_the_program() {
        let program = program();
        for (at, it) in program.iter().enumerate() {
            let furthest = at + 1 + usize::from(it.jump_true.max(it.jump_false));
            assert!(it.code == RETURN || furthest < program.len(), "{at}: {it:?}");
        }
    }
}
