//! A graded program while it runs.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ended::Ended;
use crate::outcome::{Outcome, Trouble};
use crate::room::{Room, wait_for, wait_within};

/// A run that takes longer counts as a hang.
const LIMIT: Duration = Duration::from_secs(60);

/// The time within which it must end after its processes were killed.
const STOPPING: Duration = Duration::from_secs(10);

/// The number of bytes of output that are checked.
const OUTPUT: u64 = 64 << 10;

/// A running program.
pub(crate) struct Running<'a> {
    room: &'a Room,
    child: Child,
    out: File,
    err: File,
}

impl<'a> Running<'a> {
    pub(crate) fn new(
        room: &'a Room,
        child: Child,
        out: File,
        err: File,
    ) -> Running<'a> {
        Running { room, child, out, err }
    }

    /// The PID of the graded program.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Wait for a process of this name in the container: its PID.
    pub(crate) fn has(&mut self, name: &str) -> Result<i32, Trouble> {
        let found = wait_for(|| {
            let is = |(_, it): &(i32, String)| it == name;
            let found = blackbox::living().into_iter().find(is).map(|(pid, _)| pid);
            let ended =
                found.is_none() && matches!(self.child.try_wait(), Ok(Some(_)));
            (ended || found.is_some()).then_some(found)
        });
        match found.flatten() {
            Some(pid) => Ok(pid),
            None => Err(self.trouble(format!("a process {name} in the container"))),
        }
    }

    /// The output of the program until now.
    pub(crate) fn stdout(&mut self) -> String {
        tail(&mut self.out)
    }

    /// Wait until it has printed this.
    pub(crate) fn prints(&mut self, text: &str) -> Outcome {
        let seen = wait_for(|| {
            // Check the end first and read the output then: so no output is missed.
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            let seen = self.stdout().contains(text);
            (seen || ended).then_some(seen)
        });
        if seen == Some(true) {
            return Ok(());
        }
        Err(self.trouble(format!("{text:?} on standard output")))
    }

    /// The error if something expected has not happened.
    fn trouble(&mut self, expected: String) -> Trouble {
        let (out, err) = (self.stdout(), tail(&mut self.err));
        note(self.room, &out, &err);
        let own = self.room.subject.adapter.own_error;
        // If the program has ended, its exit status is the reason.
        if let Ok(Some(status)) = self.child.try_wait() {
            let signal = status.signal();
            let code = status.code().or(signal.map(|n| 128 + n)).unwrap_or(-1);
            return Ended { code, signal, out, err, own }.trouble(expected);
        }
        let actual = format!("hang: it had not come when time was up, but {out:?}");
        Trouble::fail(expected, actual)
    }

    /// Kill the processes that it has started, so that it ends. Kill it too if it does
    /// not end then. Its result does not matter.
    pub(crate) fn stop(mut self) {
        let own = self.pid();
        let ended = wait_within(STOPPING, || {
            for pid in blackbox::living().into_keys().filter(|pid| *pid != own) {
                // A process that has ended meanwhile is no error.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            self.has_ended().then_some(())
        });
        if ended.is_none() {
            self.kill();
        }
    }

    /// Kill the program, but not the processes that it has started.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether the program has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Wait for its end.
    pub(crate) fn end(self) -> Result<Ended, Trouble> {
        self.end_within(LIMIT)
    }

    /// Wait for its end, but not longer than this.
    pub(crate) fn end_within(mut self, limit: Duration) -> Result<Ended, Trouble> {
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waitpid(2)") {
                break status;
            }
            if Instant::now() > end {
                let (out, err) = (tail(&mut self.out), tail(&mut self.err));
                note(self.room, &out, &err);
                let _ = self.child.kill();
                let _ = self.child.wait();
                let limit = limit.as_secs();
                return Err(Trouble::fail(
                    "an end",
                    format!("hang: timed out after {limit} s"),
                ));
            }
            sleep(Duration::from_millis(2));
        };
        let (out, err) = (tail(&mut self.out), tail(&mut self.err));
        note(self.room, &out, &err);
        let code = status.code().or(status.signal().map(|n| 128 + n)).unwrap_or(-1);
        let own = self.room.subject.adapter.own_error;
        Ok(Ended { code, signal: status.signal(), out, err, own })
    }
}

fn tail(file: &mut File) -> String {
    let length = file.metadata().map_or(0, |meta| meta.len());
    // The program shares this open file and its position, so another open file
    // reads.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(OUTPUT)));
        let _ = file.take(OUTPUT).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn note(room: &Room, out: &str, err: &str) {
    let mut output = room.output.borrow_mut();
    output.push_str(out);
    output.push_str(err);
    let excess = output.len().saturating_sub(2000);
    let start = (excess..=output.len()).find(|&at| output.is_char_boundary(at));
    output.drain(..start.unwrap_or(0));
}
