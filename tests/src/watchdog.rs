//! A watchdog: a hung process is killed, so that the test that waits for it can
//! fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::descendants;

/// A thread that kills all descendants of this process if it is not fed for some
/// time.
pub(crate) struct Watchdog {
    food: Option<Sender<()>>,
    bitten: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(crate) fn new(patience: Duration) -> Watchdog {
        let (food, bowl) = channel();
        let bitten = Arc::new(AtomicBool::new(false));
        let bites = Arc::clone(&bitten);
        let watch = move || {
            loop {
                match bowl.recv_timeout(patience) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => {
                        bites.store(true, Ordering::SeqCst);
                        descendants::kill_all();
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = Some(thread::spawn(watch));
        Watchdog { food: Some(food), bitten, thread }
    }

    /// Restart the time limit, because a new command starts.
    pub(crate) fn feed(&self) {
        if let Some(food) = &self.food {
            food.send(()).expect("the watchdog runs");
        }
    }

    /// Whether processes were killed since the last call of this.
    pub(crate) fn bitten(&self) -> bool {
        self.bitten.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Without a sender, the thread ends.
        drop(self.food.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
