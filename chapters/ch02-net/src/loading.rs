//! Repeat requests while the kernel loads a module.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Error, Result};
use nix::errno::Errno;

/// The maximum number of attempts, and the pause between two of them.
const ATTEMPTS: u32 = 25;
const PAUSE: Duration = Duration::from_millis(20);

/// Make a request that may need a module. The kernel loads modules on demand, but
/// the request of a second process may fail while the module is being loaded for the
/// first one. So a request that fails because something is missing is repeated for
/// half a second.
///
/// # Errors
/// The last error of the request.
/// # Source
/// `__rtnl_newlink` in net/core/rtnetlink.c, "request_module"; modprobe(8)
pub fn while_loading<T>(mut request: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..ATTEMPTS {
        match request() {
            Err(error) if is_unsupported(&error) => sleep(PAUSE),
            done => return done,
        }
    }
    request()
}

/// Whether something is missing: EOPNOTSUPP from rtnetlink(7) or nf_tables, or
/// ENOENT from nf_tables.
fn is_unsupported(error: &Error) -> bool {
    let errno = error.root_cause().downcast_ref::<Errno>();
    errno.is_some_and(|errno| [Errno::EOPNOTSUPP, Errno::ENOENT].contains(errno))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn only_a_missing_module_is_waited_for() {
        let mut left = 2;
        let made = while_loading(|| {
            left -= 1;
            match left {
                0 => Ok("made"),
                _ => Err(anyhow!(Errno::EOPNOTSUPP).context("RTM_NEWLINK")),
            }
        });
        assert_eq!((made.unwrap(), left), ("made", 0));
        let mut calls = 0;
        let failed: Result<()> = while_loading(|| {
            calls += 1;
            Err(anyhow!(Errno::EPERM))
        });
        assert!(failed.is_err());
        assert_eq!(calls, 1);
    }
}
