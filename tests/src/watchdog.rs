//! A hang is a failure: what hangs is killed, so that who waits for it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::descendants;

/// It bites all descendants of this process when it was not fed for a while.
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

    /// A new command is a sign of life.
    pub(crate) fn feed(&self) {
        if let Some(food) = &self.food {
            food.send(()).expect("the watchdog lives");
        }
    }

    /// Whether something had to be killed, since it was asked last.
    pub(crate) fn bitten(&self) -> bool {
        self.bitten.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Without a sender it goes.
        drop(self.food.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
