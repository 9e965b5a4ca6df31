//! A run in which one system call fails, or before which one process is killed.
//!
//! A seccomp filter stops the run only at the relevant calls, so it is hardly slower
//! than an untraced run.

use std::collections::BTreeMap;
use std::fs;
use std::io::IoSliceMut;
use std::process::Command;

use nix::errno::Errno;
use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::Side;

/// A system call of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The process that makes the call.
    pub side: Side,
    /// The number of the system call.
    pub number: i64,
    /// The count of calls with this side and number, including this one.
    pub nth: usize,
    /// The arguments.
    pub arguments: [u64; 6],
    /// The paths in the arguments, and the file of a descriptor in the first
    /// argument; the path of an open directory ends with a slash.
    pub what: String,
    /// The return addresses on the stack. They are equal for calls from the same
    /// place in the program through the same functions.
    pub place: Vec<u64>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Whether the run reached the call.
    pub reached: bool,
    /// Whether the program was executed.
    pub executed: bool,
    /// The exit status of the supervisor, or 128 + signal.
    pub code: i32,
}

/// A run that is stopped before its first system call.
pub struct Faulty {
    host: Pid,
    /// Whether the helper has executed the chapter's binary.
    begun: bool,
    executed: bool,
    /// The processes that are traced until they execute the program.
    followed: Vec<Pid>,
    made: BTreeMap<(Side, i64), usize>,
    code: Option<i32>,
}

impl Faulty {
    /// Start a command that stops itself, such as `probe filtered`.
    #[allow(clippy::zombie_processes, reason = "`on` waits for all children")]
    pub(crate) fn start(mut command: Command) -> Faulty {
        let child = command.spawn().expect("the probe");
        let host = Pid::from_raw(child.id().cast_signed());
        let stopped = waitpid(host, None).expect("waitpid(2)");
        assert_eq!(stopped, WaitStatus::Stopped(host, Signal::SIGSTOP));
        let options = Options::PTRACE_O_TRACESECCOMP
            | Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(host, options).expect("ptrace(2) PTRACE_SETOPTIONS");
        Faulty {
            host,
            begun: false,
            executed: false,
            followed: vec![host],
            made: BTreeMap::new(),
            code: None,
        }
    }

    /// Run to the end, and return all calls at which the filter stops.
    ///
    /// # Panics
    /// The run fails.
    #[must_use]
    pub fn calls(mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        resume(self.host, None);
        while let Some((pid, mut call)) = self.next() {
            call.place = return_addresses(pid);
            calls.push(call);
            resume(pid, None);
        }
        assert_eq!(self.code, Some(0), "a run without a fault");
        calls
    }

    /// Make one call fail.
    ///
    /// # Panics
    /// The kernel refuses it.
    #[must_use]
    pub fn fail(self, call: &Call, errno: Errno) -> Outcome {
        let closes = call.number == libc::SYS_close;
        self.at(
            call,
            |pid, _| {
                if closes { deny(pid, errno) } else { refuse(pid, errno) }
            },
        )
    }

    /// Kill one side before a call of this or of the other side.
    ///
    /// # Panics
    /// The kernel refuses it.
    #[must_use]
    pub fn killed(self, call: &Call, victim: Side) -> Outcome {
        let host = self.host;
        self.at(call, |pid, followed| {
            let other = || followed.iter().copied().find(|pid| *pid != host);
            let victim = match victim {
                Side::Host => Some(host),
                Side::Guest => Some(pid).filter(|pid| *pid != host).or_else(other),
            };
            if let Some(victim) = victim {
                // A process that has just ended is fine, too.
                let _ = kill(victim, Signal::SIGKILL);
            }
        })
    }

    /// Call `act` before this call, then let all processes run until they end.
    fn at(mut self, call: &Call, act: impl FnOnce(Pid, &[Pid])) -> Outcome {
        let mut act = Some(act);
        resume(self.host, None);
        while let Some((pid, found)) = self.next() {
            let same = (found.side, found.number, found.nth)
                == (call.side, call.number, call.nth);
            if let Some(act) = act.take_if(|_| same) {
                act(pid, &self.followed);
            }
            resume(pid, None);
        }
        Outcome {
            reached: act.is_none(),
            executed: self.executed,
            code: self.code.expect("the supervisor ended"),
        }
    }

    /// The next call before which one of the two sides is stopped.
    fn next(&mut self) -> Option<(Pid, Call)> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(Errno::ECHILD) => return None,
                status => status.expect("waitpid(2)"),
            };
            let Some(pid) = status.pid() else { continue };
            match status {
                WaitStatus::PtraceEvent(.., event)
                    if event == Event::PTRACE_EVENT_SECCOMP as i32 =>
                {
                    if self.begun
                        && self.followed.contains(&pid)
                        && let Ok(registers) = ptrace::getregs(pid)
                    {
                        let call = self.call(pid, &registers);
                        return Some((pid, call));
                    }
                    resume(pid, None);
                }
                WaitStatus::PtraceEvent(.., event)
                    if event == Event::PTRACE_EVENT_EXEC as i32 =>
                {
                    if pid == self.host {
                        self.begun = true;
                    } else {
                        self.executed = true;
                        self.followed.retain(|followed| *followed != pid);
                    }
                    resume(pid, None);
                }
                WaitStatus::PtraceEvent(..) => resume(pid, None),
                // A new child starts in a stopped state.
                WaitStatus::Stopped(_, Signal::SIGSTOP) => {
                    if !self.executed && !self.followed.contains(&pid) {
                        self.followed.push(pid);
                    }
                    resume(pid, None);
                }
                WaitStatus::Stopped(_, signal) => resume(pid, Some(signal)),
                WaitStatus::Exited(_, code) => self.note(pid, code),
                WaitStatus::Signaled(_, signal, _) => {
                    self.note(pid, 128 + signal as i32);
                }
                _ => resume(pid, None),
            }
        }
    }

    fn note(&mut self, pid: Pid, code: i32) {
        self.followed.retain(|followed| *followed != pid);
        if pid == self.host {
            self.code = Some(code);
        }
    }

    fn call(&mut self, pid: Pid, registers: &user_regs_struct) -> Call {
        let side = if pid == self.host { Side::Host } else { Side::Guest };
        let number = registers.orig_rax.cast_signed();
        let nth = self.made.entry((side, number)).or_default();
        *nth += 1;
        let r = registers;
        let arguments = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9];
        Call {
            side,
            number,
            nth: *nth,
            arguments,
            what: what(pid, number, arguments),
            place: Vec::new(),
        }
    }
}

/// Continue to the next stop. If the process was killed meanwhile, the next wait
/// reports it.
fn resume(pid: Pid, signal: Option<Signal>) {
    let _ = ptrace::cont(pid, signal);
}

// ANCHOR: refuse
/// Make a call fail: at a seccomp stop, a call with the number -1 is skipped, and
/// its result is the value in the register.
///
/// # Source
/// seccomp(2), "SECCOMP_RET_TRACE"
fn refuse(pid: Pid, errno: Errno) {
    let mut registers = ptrace::getregs(pid).expect("ptrace(2) PTRACE_GETREGS");
    registers.orig_rax = u64::MAX;
    registers.rax = (-i64::from(errno as i32)).cast_unsigned();
    ptrace::setregs(pid, registers).expect("ptrace(2) PTRACE_SETREGS");
}
// ANCHOR_END: refuse

/// Execute a call, and replace its result by an error: close(2) closes a descriptor
/// even if it fails.
///
/// # Source
/// close(2), "Dealing with error returns from close()"
fn deny(pid: Pid, errno: Errno) {
    ptrace::syscall(pid, None).expect("ptrace(2) PTRACE_SYSCALL");
    let stopped = waitpid(pid, Some(WaitPidFlag::__WALL)).expect("waitpid(2)");
    assert_eq!(stopped, WaitStatus::PtraceSyscall(pid));
    let mut registers = ptrace::getregs(pid).expect("ptrace(2) PTRACE_GETREGS");
    registers.rax = (-i64::from(errno as i32)).cast_unsigned();
    ptrace::setregs(pid, registers).expect("ptrace(2) PTRACE_SETREGS");
}

/// The arguments of a call, as text.
fn what(pid: Pid, number: i64, arguments: [u64; 6]) -> String {
    let path = |index: usize| text_at(pid, arguments[index]);
    let open = |index: usize| {
        let fd = arguments[index] as i32;
        let path = format!("/proc/{pid}/fd/{fd}");
        let link = fs::read_link(&path).unwrap_or_default();
        let slash = fs::metadata(&path).is_ok_and(|about| about.is_dir());
        format!("{}{}", link.display(), if slash { "/" } else { "" })
    };
    match number {
        libc::SYS_mount => format!("{} on {}", path(0), path(1)),
        libc::SYS_rename | libc::SYS_symlink | libc::SYS_pivot_root => {
            format!("{} {}", path(0), path(1))
        }
        libc::SYS_execve
        | libc::SYS_mkdir
        | libc::SYS_rmdir
        | libc::SYS_unlink
        | libc::SYS_chdir
        | libc::SYS_chroot
        | libc::SYS_readlink
        | libc::SYS_stat
        | libc::SYS_lstat
        | libc::SYS_statfs
        | libc::SYS_umount2 => path(0),
        libc::SYS_openat
        | libc::SYS_openat2
        | libc::SYS_newfstatat
        | libc::SYS_statx
        | libc::SYS_mkdirat
        | libc::SYS_unlinkat
        | libc::SYS_readlinkat => path(1),
        libc::SYS_symlinkat => format!("{} {}", path(0), path(2)),
        libc::SYS_read
        | libc::SYS_write
        | libc::SYS_writev
        | libc::SYS_close
        | libc::SYS_fstat
        | libc::SYS_getdents64
        | libc::SYS_flock
        | libc::SYS_lseek => open(0),
        _ => String::new(),
    }
}

fn text_at(pid: Pid, address: u64) -> String {
    let mut bytes = vec![0; 4096];
    let mut length = 0;
    // Read up to the end of a page at a time: the next page may not be mapped.
    while length < bytes.len() {
        let at = address as usize + length;
        let count = (4096 - at % 4096).min(bytes.len() - length);
        let read = read_memory(pid, at, &mut bytes[length..length + count]);
        let chunk = &bytes[length..length + read];
        if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
            length += end;
            break;
        }
        length += read;
        if read < count {
            break;
        }
    }
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// The values on the stack that may be return addresses, because they point into the
/// program's text. Without frame pointers, leftovers of earlier calls are among
/// them. Therefore one place may look like two places, but two places never look
/// like one.
fn return_addresses(pid: Pid) -> Vec<u64> {
    let text = text_of(pid);
    let Ok(registers) = ptrace::getregs(pid) else { return Vec::new() };
    let mut stack = vec![0; 4096];
    let read = read_memory(pid, registers.rsp as usize, &mut stack);
    let words = stack[..read].chunks_exact(8);
    let words = words.map(|word| u64::from_ne_bytes(word.try_into().expect("8")));
    words.filter(|word| text.contains(word)).collect()
}

/// The address range of the program's text.
///
/// # Source
/// proc_pid_maps(5)
fn text_of(pid: Pid) -> std::ops::Range<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    let range = maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        rest.starts_with("r-x").then_some(number(from)?..number(to)?)
    });
    range.unwrap_or_default()
}

fn read_memory(pid: Pid, at: usize, into: &mut [u8]) -> usize {
    let from = RemoteIoVec { base: at, len: into.len() };
    process_vm_readv(pid, &mut [IoSliceMut::new(into)], &[from]).unwrap_or(0)
}
