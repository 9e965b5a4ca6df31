//! Run one test, and find the processes and mounts that it left behind.

use std::fs::{self, File, read_to_string};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use common::poll;
use common::step::Step;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{PidfdFlags, pidfd_open};
use vm_init::wire::{Stream, send_bytes};
use vm_init::{Event, How, Test, place};

use crate::command;

/// The maximum size of a test's output; of longer output only the end is kept.
const OUTPUT: u64 = 256 << 10;

/// The maximum time for killed processes to disappear.
const SETTLING: Duration = Duration::from_millis(500);

const OUT: &str = "/run/output";
const SKIPS: &str = "/run/skips";

/// Run a test, and send its output to the host as bytes.
pub(crate) fn run(test: &Test, line: &mut File) -> Result<Event> {
    let mounts = mount_table()?;
    let _ = fs::remove_file(SKIPS);
    let _ = fs::remove_file(OUT);
    let mut out = File::options()
        .create_new(true)
        .read(true)
        .append(true)
        .open(OUT)
        .step(|| format!("open(2) {OUT}"))?;
    let program = Path::new(place::TESTS).join(&test.program);
    let begun = Instant::now();
    let child = command(program.as_os_str())
        // The program runs one test in one thread, so that the name identifies the
        // test. It has its own process group, so that the whole group can be killed.
        .process_group(0)
        .args(["--exact", &test.name, "--test-threads", "1"])
        .env("MYDOCKER_BIN_DIR", place::CHAPTERS)
        .env("MYDOCKER_PROBE", format!("{}/probe", place::CHAPTERS))
        .env("MYDOCKER_TEST_STATE", place::STATE)
        .env("MYDOCKER_TEST_UID", place::USER.to_string())
        .env("MYDOCKER_TEST_SECONDS", test.seconds.to_string())
        .env("MYDOCKER_SKIP_FILE", SKIPS)
        .env("MYDOCKER_GRADE", format!("{}/subject.json", place::GRADE))
        .env("MYDOCKER_SOURCE", place::SOURCE)
        .env("INSTA_WORKSPACE_ROOT", place::SOURCE)
        .env("INSTA_UPDATE", "no")
        .envs(test.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out.try_clone()?)
        .spawn()
        .step(|| format!("execve(2) {}", program.display()))?;
    let how = Running::new(&child)?.wait(test.seconds, test.keep)?;
    let milliseconds = begun.elapsed().as_millis() as u64;
    let left = leftovers(&mounts, test.keep)?;

    let length = out.metadata()?.len();
    out.seek(SeekFrom::Start(length.saturating_sub(OUTPUT)))?;
    let mut chunk = vec![0; 64 << 10];
    loop {
        match out.read(&mut chunk).context(OUT)? {
            0 => break,
            count => send_bytes(line, Stream::Output, &chunk[..count])?,
        }
    }
    let skips = match read_to_string(SKIPS) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        text => text.context(SKIPS)?.lines().map(str::to_owned).collect(),
    };
    Ok(Event::Ended { ticket: test.ticket, how, milliseconds, skips, left })
}

/// A child; its pidfd distinguishes it from a later process with the same PID.
pub(crate) struct Running {
    pid: Pid,
    pidfd: OwnedFd,
}

/// The interval at which orphans are reaped. This process is PID 1, so orphans
/// become its children.
const ROUND: Duration = Duration::from_millis(50);

impl Running {
    pub(crate) fn new(child: &Child) -> Result<Running> {
        let pidfd =
            pidfd_open(rustix::process::Pid::from_child(child), PidfdFlags::empty())
                .step(|| "pidfd_open(2)")?;
        Ok(Running { pid: Pid::from_raw(child.id().cast_signed()), pidfd })
    }

    /// Wait for the child until its time limit. Then kill it, or keep it if `keep`
    /// is set.
    fn wait(&self, seconds: u64, keep: bool) -> Result<How> {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(how) = self.ended()? {
                return Ok(how);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() && keep {
                return Ok(How::TimedOut);
            }
            if left.is_zero() {
                let _ = killpg(self.pid, Signal::SIGKILL);
                while self.ended()?.is_none() {
                    sleep(Duration::from_millis(1));
                }
                return Ok(How::TimedOut);
            }
            self.poll(Vec::new(), left)?;
        }
    }

    /// Wait until the child has ended, a descriptor is ready, or it is time to reap
    /// orphans. Returns the descriptors with their events.
    pub(crate) fn poll<'a>(
        &'a self,
        mut fds: Vec<PollFd<'a>>,
        limit: Duration,
    ) -> Result<Vec<PollFd<'a>>> {
        fds.push(PollFd::new(&self.pidfd, PollFlags::IN));
        poll(&mut fds, Some(limit.min(ROUND)))?;
        Ok(fds)
    }

    /// Reap all ended children, and return how this child ended if it is among them.
    pub(crate) fn ended(&self) -> Result<Option<How>> {
        reap(self.pid).map(|(how, _)| how)
    }
}

/// Reap all ended children. Returns how this child ended if it is among them, and
/// whether no child is left.
fn reap(child: Pid) -> Result<(Option<How>, bool)> {
    let mut how = None;
    loop {
        let flags = Some(WaitPidFlag::WNOHANG);
        match waitpid(None::<Pid>, flags) {
            Ok(WaitStatus::StillAlive) => return Ok((how, false)),
            Err(Errno::ECHILD) => return Ok((how, true)),
            Ok(WaitStatus::Exited(pid, code)) if pid == child => {
                how = Some(How::Code(code));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                how = Some(How::Signal(signal as i32));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e).step(|| "waitpid(2)"),
        }
    }
}

/// The processes and mounts that did not exist before the test. The processes are
/// killed, so that the VM can be shut down, unless `keep` is set.
fn leftovers(mounts: &str, keep: bool) -> Result<Vec<String>> {
    let end = Instant::now() + SETTLING;
    let mut left = loop {
        let (_, alone) = reap(Pid::from_raw(1))?;
        // All processes except kernel threads are descendants of this process.
        let left = if alone { Vec::new() } else { processes()? };
        if left.is_empty() || Instant::now() > end {
            break left;
        }
        sleep(Duration::from_millis(5));
    };
    if !left.is_empty() && !keep {
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    }
    let now = mount_table()?;
    if now != mounts {
        let gone = mounts.lines().filter(|line| !now.lines().any(|l| l == *line));
        left.extend(gone.map(|line| format!("removed mount: {line}")));
        let new = now.lines().filter(|line| !mounts.lines().any(|l| l == *line));
        left.extend(new.map(|line| format!("mount: {line}")));
    }
    Ok(left)
}

fn mount_table() -> Result<String> {
    let path = "/proc/self/mountinfo";
    read_to_string(path).step(|| format!("read(2) {path}"))
}

/// All processes except this process and the kernel threads.
fn processes() -> Result<Vec<String>> {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").step(|| "readdir(3) /proc")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // A process that has just ended has no stat file.
        let Ok(stat) = read_to_string(entry.path().join("stat")) else { continue };
        // The name is in brackets, and may itself contain brackets.
        let Some((start, rest)) = stat.rsplit_once(')') else { continue };
        let flags = rest.split_whitespace().nth(6).and_then(|f| f.parse().ok());
        let flags: u64 = flags.unwrap_or(0);
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && name != "1" && flags & PF_KTHREAD == 0 {
            let command = start.split_once('(').map_or("?", |(_, name)| name);
            found.push(format!("process {name}: {command}"));
        }
    }
    Ok(found)
}
