//! Processes outside a container that were stopped (Ctrl-Z), and keep it from ending.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::{NotedProcess, continue_stopped_parents};

/// The time between two looks at the processes of the host. A container that ends as usual
/// has ended before the first look.
const PAUSE: Duration = Duration::from_millis(200);

/// While this lives, stopped processes that wait for a process of the container are
/// continued: the container ends, and they end with it.
#[derive(Debug)]
pub struct Continuing {
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Continuing {
    /// For the containers with these first processes.
    #[must_use]
    pub fn parents_of(first: Vec<NotedProcess>) -> Continuing {
        if first.is_empty() {
            return Continuing { over: None, thread: None };
        }
        let (over, is_over) = channel();
        let looks = move || {
            while is_over.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                first.iter().copied().for_each(continue_stopped_parents);
            }
        };
        Continuing { over: Some(over), thread: Some(thread::spawn(looks)) }
    }
}

impl Drop for Continuing {
    fn drop(&mut self) {
        self.over = None;
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and if it did there is nothing to undo.
            let _ = thread.join();
        }
    }
}
