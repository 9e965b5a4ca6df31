//! Tracing a chapter's binary and its container: they stop before each system call,
//! so that a test can kill them at any stage, or make any call fail.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, gettid};

/// The side of the clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The process that the test started.
    Host,
    /// Its child, until it executes the program.
    Guest,
}

/// A run and its progress.
pub struct Traced {
    host: Pid,
    /// The traced processes, and whether each is inside a call.
    inside: BTreeMap<Pid, bool>,
    /// The stopped process, and the call that it is about to make.
    held: Option<(Pid, i64)>,
    executes: bool,
    code: Option<i32>,
    /// Whether the test has other children.
    beside: bool,
}

impl Traced {
    /// Start a command that stops itself, such as `probe traced`.
    #[allow(clippy::zombie_processes, reason = "`end` waits for all children")]
    pub(crate) fn start(mut command: Command) -> Traced {
        let child = command.spawn().expect("the probe");
        let host = Pid::from_raw(child.id() as i32);
        let stopped = waitpid(host, None).expect("waitpid(2)");
        assert_eq!(stopped, WaitStatus::Stopped(host, Signal::SIGTRAP));
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(host, options).expect("ptrace(2) PTRACE_SETOPTIONS");
        Traced {
            host,
            inside: BTreeMap::from([(host, false)]),
            held: Some((host, 0)),
            executes: false,
            code: None,
            beside: false,
        }
    }

    /// Continue to the next system call of any process; `None` at the end.
    pub fn step(&mut self) -> Option<Side> {
        if let Some((pid, call)) = self.held.take() {
            let exec = [libc::SYS_execve, libc::SYS_execveat].contains(&call);
            self.executes |= exec && pid != self.host;
            resume(pid, None);
        }
        while let Some(status) = wait() {
            let Some(pid) = status.pid() else { continue };
            match status {
                WaitStatus::PtraceSyscall(_) => {
                    let inside = self.inside.entry(pid).or_default();
                    *inside = !*inside;
                    if *inside {
                        self.held = Some((pid, call_of(pid)));
                        return Some(self.side(pid));
                    }
                    resume(pid, None);
                }
                // The supervisor executes itself again.
                WaitStatus::PtraceEvent(.., e)
                    if e == Event::PTRACE_EVENT_EXEC as i32 && pid == self.host =>
                {
                    resume(pid, None);
                }
                // The program runs, and is no longer traced.
                WaitStatus::PtraceEvent(.., e)
                    if e == Event::PTRACE_EVENT_EXEC as i32 =>
                {
                    self.inside.remove(&pid);
                    self.continue_untraced(pid);
                }
                WaitStatus::Stopped(_, signal) if self.inside.contains_key(&pid) => {
                    resume(pid, Some(signal));
                }
                // A new child starts in a stopped state.
                WaitStatus::Stopped(_, Signal::SIGSTOP) if !self.executes => {
                    self.inside.insert(pid, false);
                    resume(pid, None);
                }
                WaitStatus::Stopped(_, signal) => {
                    let _ = ptrace::cont(pid, signal);
                }
                other => {
                    self.note(other);
                    resume(pid, None);
                    // Other children of the test may continue to run.
                    if self.beside && self.over() {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Continue until `side` is about to make its `number`th call, counted from 0.
    /// Returns false if it makes fewer calls.
    pub fn to(&mut self, side: Side, number: usize) -> bool {
        let mut made = 0;
        while let Some(found) = self.step() {
            if found == side {
                if made == number {
                    return true;
                }
                made += 1;
            }
        }
        false
    }

    /// The name of the call that is about to be made, if tests need it.
    #[must_use]
    pub fn call(&self) -> Option<&'static str> {
        match self.held?.1 {
            libc::SYS_chroot => Some("chroot"),
            libc::SYS_mount => Some("mount"),
            libc::SYS_mount_setattr => Some("mount_setattr"),
            libc::SYS_pivot_root => Some("pivot_root"),
            libc::SYS_umount2 => Some("umount2"),
            _ => None,
        }
    }

    /// Whether the call that is about to be made is fcntl(2).
    #[must_use]
    pub fn is_fcntl(&self) -> bool {
        self.held.is_some_and(|(_, number)| number == libc::SYS_fcntl)
    }

    /// Whether the child has executed the program.
    #[must_use]
    pub fn executes(&self) -> bool {
        self.executes
    }

    /// Send a signal to one side. After SIGKILL this side is dead, and the other
    /// side is still stopped before its call.
    ///
    /// # Panics
    /// There is no such side.
    pub fn signal(&mut self, side: Side, signal: Signal) {
        let held = self.held.map(|(pid, _)| pid);
        let mut pids = held.into_iter().chain(self.inside.keys().copied());
        let pid = pids.find(|pid| self.side(*pid) == side).expect("a side");
        kill(pid, signal).expect("kill(2)");
        if signal != Signal::SIGKILL {
            return;
        }
        self.held.take_if(|(held, _)| *held == pid);
        loop {
            let status =
                waitpid(pid, Some(WaitPidFlag::__WALL)).expect("waitpid(2)");
            self.note(status);
            if matches!(status, WaitStatus::Signaled(..) | WaitStatus::Exited(..)) {
                return;
            }
            // Its next stop had already been reported.
            resume(pid, None);
        }
    }

    /// Make the call that is about to be made fail.
    ///
    /// # Panics
    /// No process is stopped, or the kernel refuses it.
    #[cfg(target_arch = "x86_64")]
    pub fn fail(&mut self, errno: Errno) {
        let (pid, _) = self.held.expect("a process is stopped");
        let mut registers = ptrace::getregs(pid).expect("ptrace(2) PTRACE_GETREGS");
        // No system call has this number, so nothing happens.
        registers.orig_rax = u64::MAX;
        ptrace::setregs(pid, registers).expect("ptrace(2) PTRACE_SETREGS");
        resume(pid, None);
        let returns = waitpid(pid, Some(WaitPidFlag::__WALL)).expect("waitpid(2)");
        assert_eq!(returns, WaitStatus::PtraceSyscall(pid));
        registers.rax = -i64::from(errno as i32) as u64;
        ptrace::setregs(pid, registers).expect("ptrace(2) PTRACE_SETREGS");
        self.inside.insert(pid, false);
    }

    /// Let all processes run until they end. Returns the exit status of the
    /// supervisor, or 128 + signal. None of its descendants exists afterwards.
    pub fn end(mut self) -> i32 {
        if let Some((pid, _)) = self.held.take() {
            let _ = ptrace::cont(pid, None);
        }
        while let Some(status) = wait() {
            let Some(pid) = status.pid() else { continue };
            let signal = match status {
                WaitStatus::Stopped(_, Signal::SIGSTOP) => None,
                WaitStatus::Stopped(_, signal) => Some(signal),
                other => {
                    self.note(other);
                    None
                }
            };
            let _ = ptrace::cont(pid, signal);
        }
        self.code.expect("the supervisor ended")
    }

    /// Allow other children of the test, which may outlive the run.
    #[must_use]
    pub fn beside_others(mut self) -> Traced {
        self.beside = true;
        self
    }

    /// Whether the supervisor has ended, and all traced processes have ended or
    /// executed the program.
    fn over(&self) -> bool {
        self.code.is_some() && !has_tracees()
    }

    /// Handle an executed program: it continues untraced, if that is allowed.
    fn continue_untraced(&self, pid: Pid) {
        let _ = if self.beside {
            ptrace::detach(pid, None)
        } else {
            ptrace::cont(pid, None)
        };
    }

    /// [`Traced::end`] for a run beside other children.
    pub fn end_beside_others(mut self) -> i32 {
        if let Some((pid, _)) = self.held.take() {
            let _ = ptrace::cont(pid, None);
        }
        while !self.over() {
            let Some(status) = wait() else { break };
            let Some(pid) = status.pid() else { continue };
            match status {
                WaitStatus::PtraceEvent(.., e)
                    if e == Event::PTRACE_EVENT_EXEC as i32 && pid != self.host =>
                {
                    self.continue_untraced(pid);
                }
                WaitStatus::Stopped(_, signal) if signal != Signal::SIGSTOP => {
                    let _ = ptrace::cont(pid, signal);
                }
                other => {
                    self.note(other);
                    let _ = ptrace::cont(pid, None);
                }
            }
        }
        self.code.expect("the supervisor ended")
    }

    /// Handle the end of a process.
    fn note(&mut self, status: WaitStatus) {
        let (pid, code) = match status {
            WaitStatus::Exited(pid, code) => (pid, code),
            WaitStatus::Signaled(pid, signal, _) => (pid, 128 + signal as i32),
            _ => return,
        };
        self.inside.remove(&pid);
        if pid == self.host {
            self.code = Some(code);
        }
    }

    fn side(&self, pid: Pid) -> Side {
        if pid == self.host { Side::Host } else { Side::Guest }
    }
}

/// Whether this thread traces a process. A new child counts even before an event
/// reports it: its parent may have been killed before the event.
///
/// # Source
/// proc_pid_status(5), "TracerPid": a thread ID
fn has_tracees() -> bool {
    let own = format!("TracerPid:\t{}\n", gettid());
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes.into_iter().any(|process| {
        let status = fs::read_to_string(process.path().join("status"));
        status.is_ok_and(|status| status.contains(&own))
    })
}

/// The next event of any child or tracee; `None` if no process is left.
fn wait() -> Option<WaitStatus> {
    match waitpid(None, Some(WaitPidFlag::__WALL)) {
        Err(Errno::ECHILD) => None,
        status => Some(status.expect("waitpid(2)")),
    }
}

/// Continue to the next entry or exit of a call. If the process was killed
/// meanwhile, the next wait reports it.
fn resume(pid: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(pid, signal);
}

/// # Source
/// proc_pid_syscall(5)
fn call_of(pid: Pid) -> i64 {
    let text =
        fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(-1)
}
