//! Whether this process may make containers by itself.

use std::fs;

/// Bit of CAP_SYS_ADMIN in a capability set.
///
/// # Source
/// capabilities(7), include/uapi/linux/capability.h
const CAP_SYS_ADMIN: u32 = 21;

/// Whether this process holds CAP_SYS_ADMIN in its effective set: what clone(2)
/// asks for every namespace but the user namespace.
///
/// Being uid 0 is not enough: inside another container root usually lacks it.
///
/// # Source
/// proc_pid_status(5), "CapEff"
#[must_use]
pub fn privileged() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective(&status).is_some_and(|set| set >> CAP_SYS_ADMIN & 1 == 1)
}

fn effective(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_set_is_read_from_status() {
        assert_eq!(
            effective("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            Some(0x1ff_ffff_ffff)
        );
        assert_eq!(effective("CapEff:\tnonsense\n"), None);
    }
}
