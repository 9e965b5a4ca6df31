//! Waiting for what comes by itself.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// What takes longer is a hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// Wait until it is so.
///
/// # Panics
/// After half a minute in which it was not.
#[track_caller]
pub fn until(mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "it never came");
        sleep(Duration::from_millis(10));
    }
}
