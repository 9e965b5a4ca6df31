//! poll(2), with the handling of EINTR that every wait of this program needs.

use std::time::Duration;

use anyhow::Result;
use rustix::event::PollFd;
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::cli::step::Step;

/// Wait until a descriptor is ready or the timeout expires; `None` waits without a
/// limit.
///
/// A signal may end the wait early. Then no descriptor is ready, and the caller must
/// check its signals and its clock, and wait again.
///
/// # Errors
/// ENOMEM; EINVAL if there are more descriptors than RLIMIT_NOFILE.
///
/// # Source
/// poll(2)
pub fn poll(fds: &mut [PollFd], timeout: Option<Duration>) -> Result<()> {
    let timeout = timeout.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    match rustix::event::poll(fds, timeout.as_ref()) {
        Err(Errno::INTR) => {
            fds.iter_mut().for_each(PollFd::clear_revents);
            Ok(())
        }
        polled => polled.untraced(|| "poll(2)").map(drop),
    }
}
