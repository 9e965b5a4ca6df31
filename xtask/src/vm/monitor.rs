//! QEMU's monitor: commands to the emulator, as JSON, over two named pipes.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use common::poll;
use common::step::Step;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rustix::event::{PollFd, PollFlags};
use serde_json::{Value, json};

/// The time limit of an answer. QEMU usually answers at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// The monitor of one QEMU.
///
/// # Source
/// QEMU's "QEMU Machine Protocol Specification"
pub(super) struct Monitor {
    pipes: [PathBuf; 2],
    orders: File,
    answers: File,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Create the pipes in `directory`, and add them to QEMU's command line.
    ///
    /// # Errors
    /// mkfifo(3) or open(2) fails.
    pub(super) fn new(directory: &Path, qemu: &mut Command) -> Result<Monitor> {
        let path = directory.join(format!("monitor-{}", common::state::Id::new()?));
        let pipes = ["in", "out"].map(|end| path.with_extension(end));
        for pipe in &pipes {
            mkfifo(pipe, Mode::S_IRUSR | Mode::S_IWUSR)
                .step(|| format!("mkfifo(3) {}", pipe.display()))?;
        }
        let [orders, answers] = &pipes;
        // Open them without waiting for QEMU, which is not started yet.
        let orders = File::options().read(true).write(true).open(orders);
        let answers = File::options()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(answers);
        let [orders, answers] = [orders, answers]
            .map(|file| file.step(|| format!("open(2) {}", path.display())));
        let pipe = path.to_string_lossy().replace(',', ",,");
        qemu.args(["-chardev", &format!("pipe,id=monitor,path={pipe}")]);
        qemu.args(["-mon", "chardev=monitor,mode=control"]);
        let buffer = Vec::new();
        Ok(Monitor { pipes, orders: orders?, answers: answers?, buffer })
    }

    /// Start the protocol, for a VM whose memory is a separate file.
    ///
    /// # Errors
    /// QEMU refuses, or has ended.
    pub(super) fn greet(&mut self) -> Result<()> {
        self.ask("qmp_capabilities", json!({}))?;
        let ignore = json!({ "capability": "x-ignore-shared", "state": true });
        self.ask("migrate-set-capabilities", json!({ "capabilities": [ignore] }))?;
        Ok(())
    }

    /// Stop the VM and save everything except its memory.
    ///
    /// # Errors
    /// QEMU reports an error.
    pub(super) fn save(&mut self, state: &Path) -> Result<()> {
        self.ask("stop", json!({}))?;
        let uri = format!("exec:cat > {}", quoted(state));
        self.ask("migrate", json!({ "uri": uri }))?;
        self.wait_for("query-migrate", "completed")
    }

    /// Query until the status is this one.
    fn wait_for(&mut self, what: &str, status: &str) -> Result<()> {
        let end = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let about = self.ask(what, json!({}))?;
            match about["status"].as_str() {
                Some(now) if now == status => return Ok(()),
                Some("failed" | "cancelled") => bail!("{what}: {about}"),
                _ if Instant::now() > end => bail!("{what}: still {about}"),
                _ => sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Load what [`Monitor::save`] wrote, and let the VM run.
    ///
    /// # Errors
    /// QEMU reports an error, or has ended.
    pub(super) fn restore(&mut self, state: &Path) -> Result<()> {
        let uri = format!("exec:cat {}", quoted(state));
        self.ask("migrate-incoming", json!({ "uri": uri }))?;
        // It was saved in the state "stopped".
        self.wait_for("query-status", "paused")?;
        self.ask("cont", json!({})).map(drop)
    }

    /// End QEMU.
    pub(super) fn quit(&mut self) {
        // QEMU may end before it answers.
        let _ = self.ask("quit", json!({}));
    }

    fn ask(&mut self, what: &str, arguments: Value) -> Result<Value> {
        let order = json!({ "execute": what, "arguments": arguments });
        self.orders.write_all(format!("{order}\n").as_bytes()).context("monitor")?;
        let end = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let mut answer = self.next(end).context(what.to_owned())?;
            if !answer["return"].is_null() {
                return Ok(answer["return"].take());
            }
            if !answer["error"].is_null() {
                bail!("{what}: {}", answer["error"]["desc"]);
            }
        }
    }

    /// The next line: an answer, or an event.
    fn next(&mut self, end: Instant) -> Result<Value> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=at).collect();
                return serde_json::from_slice(&line)
                    .context("the answer is not JSON");
            }
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&self.answers, PollFlags::IN)];
            poll(&mut fds, Some(left))?;
            if fds[0].revents().is_empty() {
                if left.is_zero() {
                    bail!("QEMU does not answer");
                }
                continue;
            }
            let mut bytes = [0; 4096];
            match self.answers.read(&mut bytes).context("read(2)")? {
                0 => bail!("QEMU has ended"),
                count => self.buffer.extend(&bytes[..count]),
            }
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        for pipe in &self.pipes {
            let _ = fs::remove_file(pipe);
        }
    }
}

/// A path, quoted for the shell that QEMU runs.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_as_one_word() {
        assert_eq!(quoted(Path::new("/a b'c")), r"'/a b'\''c'");
    }
}
