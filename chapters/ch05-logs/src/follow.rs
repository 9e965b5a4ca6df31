//! `-f`: wait for more, without asking again and again.

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

use crate::show::{Looks, Show};

/// A log that somebody may still be writing, and what was seen of it.
pub struct Follow {
    log: File,
    show: Show,
    news: OwnedFd,
    /// Who writes it, until its end was seen.
    host: Option<Process>,
}

// ANCHOR: follow
impl Follow {
    /// Wait for news of it, from before it is read.
    ///
    /// # Source
    /// inotify(7)
    pub(crate) fn new(home: &Home, log: File, show: Show) -> Result<Follow> {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let news = init(flags).look(|| "inotify_init1(2)")?;
        // The very file that is open, should its name be removed meanwhile.
        let path = format!("/proc/self/fd/{}", log.as_raw_fd());
        add_watch(&news, &path, WatchFlags::MODIFY)
            .look(|| format!("inotify_add_watch(2) {path}"))?;
        Ok(Follow { log, show, news, host: home.host()? })
    }

    /// Show what there is by now. False: there will be no more, or nobody looks.
    ///
    /// # Errors
    /// Those of read(2) and write(2).
    pub fn more(&mut self) -> Result<bool> {
        // Looked at before what was told is forgotten, the log would keep us waiting for
        // what came in between.
        forget(&self.news)?;
        // Read after the end was seen, it is all there will be.
        let looks = self.show.all(&mut self.log)?;
        if looks == Looks::On && self.host.is_none() {
            self.show.end()?;
        }
        Ok(looks == Looks::On && self.host.is_some())
    }

    /// Whether the end of who writes it was seen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.host.is_none()
    }

    /// What to wait for.
    #[must_use]
    pub fn wants(&self) -> [PollFd<'_>; 3] {
        let host = self.host.as_ref().map_or(self.news.as_fd(), |it| it.fd.as_fd());
        [
            PollFd::new(&self.news, PollFlags::IN),
            PollFd::from_borrowed_fd(host, PollFlags::IN),
            // Only that the reader went away.
            PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::empty()),
        ]
    }

    /// What came of it, in the same order. False: nobody looks.
    pub fn seen(&mut self, events: [PollFlags; 3]) -> bool {
        if !events[1].is_empty() {
            self.host = None;
        }
        events[2].is_empty()
    }

    /// Show what comes until the container's host side has ended: then all is written.
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
    /// From here on, in the middle of a line though it may be.
    ///
    /// # Errors
    /// Those of open(2) and inotify(7).
    pub fn from_now(home: &Home) -> Result<Follow> {
        let path = ch05_detach::path(home);
        let mut log =
            File::open(&path).look(|| format!("open(2) {}", path.display()))?;
        log.seek(SeekFrom::End(0))
            .look(|| format!("lseek(2) {}", path.display()))?;
        Follow::new(home, log, Show::amid_a_line())
    }
}

/// Read what was told: it is only that there is something.
fn forget(news: &impl AsFd) -> Result<()> {
    let mut events = [0; 4096];
    loop {
        match read(news, &mut events) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(()),
            Err(errno) => return Err(errno).look(|| "read(2) of inotify"),
        }
    }
}
