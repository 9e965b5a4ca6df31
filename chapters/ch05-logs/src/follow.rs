//! `-f`: wait for more, without asking again and again.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::Result;
use common::Home;
use common::step::Step;
use nix::errno::Errno;
use nix::unistd::read;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

use crate::show::{Looks, Show};

// ANCHOR: follow
/// Show what there is and what comes, until the container's host side has ended: then
/// all is written.
///
/// # Source
/// inotify(7)
pub(crate) fn follow(home: &Home, mut log: &File, show: &mut Show) -> Result<Looks> {
    let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
    let news = init(flags).look(|| "inotify_init1(2)")?;
    // The very file that is open, should its name be removed meanwhile.
    let path = format!("/proc/self/fd/{}", log.as_raw_fd());
    add_watch(&news, &path, WatchFlags::MODIFY)
        .look(|| format!("inotify_add_watch(2) {path}"))?;
    let host = home.host()?;
    let mut ended = host.is_none();
    loop {
        // Looked at before what was told is forgotten, the log would keep us waiting for
        // what came in between.
        forget(&news)?;
        // Read after the end was seen, it is all there will be.
        if show.all(&mut log)? == Looks::Away {
            return Ok(Looks::Away);
        }
        let Some(host) = host.as_ref().filter(|_| !ended) else {
            return Ok(Looks::On);
        };
        let stdout = rustix::stdio::stdout();
        let mut polled = [
            PollFd::new(&news, PollFlags::IN),
            PollFd::new(&host.fd, PollFlags::IN),
            // Only that the reader went away.
            PollFd::from_borrowed_fd(stdout, PollFlags::empty()),
        ];
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled.look(|| "poll(2)")?,
        };
        ended = !polled[1].revents().is_empty();
        if !polled[2].revents().is_empty() {
            return Ok(Looks::Away);
        }
    }
}
// ANCHOR_END: follow

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
