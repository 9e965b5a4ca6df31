//! An instruction of a classic BPF program.

/// One instruction.
///
/// `jump_true` and `jump_false` are counts of instructions to skip. Only the comparison
/// uses them.
///
/// # Source
/// include/uapi/linux/filter.h, `struct sock_filter`
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) jump_true: u8,
    pub(crate) jump_false: u8,
    pub(crate) operand: u32,
}
