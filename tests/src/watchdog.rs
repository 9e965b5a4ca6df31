//! A watchdog: a hung process is killed, so that the test that waits for it can
//! fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::descendants;

/// A thread that kills all descendants of this process if it is not restarted for some
/// time.
pub(crate) struct Watchdog {
    restarts: Option<Sender<()>>,
    has_killed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(crate) fn new(patience: Duration) -> Watchdog {
        let (restarts, received) = channel();
        let has_killed = Arc::new(AtomicBool::new(false));
        let kills = Arc::clone(&has_killed);
        let watch = move || {
            loop {
                match received.recv_timeout(patience) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => {
                        kills.store(true, Ordering::SeqCst);
                        descendants::kill_all();
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = Some(thread::spawn(watch));
        Watchdog { restarts: Some(restarts), has_killed, thread }
    }

    /// Restart the time limit, because a new command starts.
    pub(crate) fn restart(&self) {
        if let Some(restarts) = &self.restarts {
            restarts.send(()).expect("the watchdog runs");
        }
    }

    /// Whether processes were killed since the last call of this function.
    pub(crate) fn has_killed(&self) -> bool {
        self.has_killed.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Without a sender, the thread ends.
        drop(self.restarts.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
