//! `-f`: wait for new log entries without polling the file.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::Result;
use common::step::Step;
use common::{Home, Process, poll};
use nix::errno::Errno;
use nix::unistd::read;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

use crate::show::{OutputState, Show};

/// A log to which a supervisor may still write, and the position in it.
pub struct Follow {
    log: File,
    show: Show,
    news: OwnedFd,
    /// The process that writes the log. `None` after its end was seen.
    supervisor: Option<Process>,
}

// ANCHOR: follow
impl Follow {
    /// Watch the log. The watch exists before the log is read, so no change is
    /// missed.
    ///
    /// # Source
    /// inotify(7)
    pub(crate) fn new(home: &Home, log: File, show: Show) -> Result<Follow> {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let news = init(flags).untraced(|| "inotify_init1(2)")?;
        // Watch the open file, not its name, which may be removed in the meantime.
        let path = format!("/proc/self/fd/{}", log.as_raw_fd());
        add_watch(&news, &path, WatchFlags::MODIFY)
            .untraced(|| format!("inotify_add_watch(2) {path}"))?;
        Ok(Follow { log, show, news, supervisor: home.supervisor()? })
    }

    /// Show all new entries. Returns false if there will be no more, or if the
    /// reader of the output is gone.
    ///
    /// # Errors
    /// An errno of read(2) or write(2).
    pub fn more(&mut self) -> Result<bool> {
        // Discard the events first, then read the log. In the other order, an entry
        // that is written between the two steps would be shown only after the next
        // event.
        forget(&self.news)?;
        // If the end of the writer was seen before this read, the log is now
        // complete.
        let output = self.show.all(&mut self.log)?;
        if output == OutputState::Open && self.supervisor.is_none() {
            self.show.end()?;
        }
        Ok(output == OutputState::Open && self.supervisor.is_some())
    }

    /// Whether the end of the writing process was seen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.supervisor.is_none()
    }

    /// The file descriptors to poll.
    #[must_use]
    pub fn wants(&self) -> [PollFd<'_>; 3] {
        let news = self.news.as_fd();
        let supervisor = self.supervisor.as_ref().map_or(news, |it| it.fd.as_fd());
        [
            PollFd::new(&self.news, PollFlags::IN),
            PollFd::from_borrowed_fd(supervisor, PollFlags::IN),
            // Without events, poll(2) reports only that the reader closed the
            // output.
            PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::empty()),
        ]
    }

    /// Handle the events of these file descriptors, in the same order. Returns false
    /// if the reader of the output is gone.
    pub fn seen(&mut self, events: [PollFlags; 3]) -> bool {
        if !events[1].is_empty() {
            self.supervisor = None;
        }
        events[2].is_empty()
    }

    /// Show new entries until the container's supervisor has ended. Then the log is
    /// complete.
    pub(crate) fn until_the_end(&mut self) -> Result<()> {
        while self.more()? {
            let mut polled = self.wants();
            poll(&mut polled, None)?;
            let events = polled.map(|fd| fd.revents());
            if !self.seen(events) {
                break;
            }
        }
        Ok(())
    }
}
// ANCHOR_END: follow

impl Follow {
    /// Follow the log from its current end, which may be in the middle of a line.
    ///
    /// # Errors
    /// An errno of open(2), lseek(2) or inotify(7).
    pub fn from_now(home: &Home) -> Result<Follow> {
        let path = ch05_detach::path(home);
        let mut log =
            File::open(&path).untraced(|| format!("open(2) {}", path.display()))?;
        log.seek(SeekFrom::End(0))
            .untraced(|| format!("lseek(2) {}", path.display()))?;
        Follow::new(home, log, Show::amid_a_line())
    }
}

/// Read and discard all events. They say only that the log has changed.
fn forget(news: &impl AsFd) -> Result<()> {
    let mut events = [0; 4096];
    loop {
        match read(news, &mut events) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(()),
            Err(errno) => return Err(errno).untraced(|| "read(2) of inotify"),
        }
    }
}
