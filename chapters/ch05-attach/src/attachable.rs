//! The supervisor's side of `attach`: a detached container to which clients may
//! attach.

use std::env;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use ch03_run::own_terminal;
use ch05_detach::{Log, Stream};
use common::step::Step;
use common::{
    ByteCopy, Exit, Home, ParentLink, Part, Plan, ReadResult, Running, Session,
    StreamSource, Watch,
};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use nix::unistd::{dup2_stdin, pipe2};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept_with, bind, connect, listen, recvmsg, sendmsg,
    socket_with,
};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

/// The part for a detached program that can receive input. The program gets a
/// terminal or a pipe. Clients get the other end of it through a socket.
///
/// # Source
/// unix(7), "SCM_RIGHTS"
pub struct Attachable {
    log: Log,
    wanted: bool,
    tty: bool,
    stdin: bool,
    size: Option<Winsize>,
    socket: Option<OwnedFd>,
    pipe: Option<(OwnedFd, OwnedFd)>,
}

impl Attachable {
    /// Create the part. It is active if the flags request a detached container. The
    /// output of a terminal goes to this log.
    #[must_use]
    pub fn new(log: Log, flags: &ch05_detach::Flags) -> Attachable {
        Attachable {
            log,
            wanted: flags.detach,
            tty: flags.detach && flags.terminal.tty,
            stdin: flags.detach && flags.terminal.interactive,
            size: None,
            socket: None,
            pipe: None,
        }
    }
}

// ANCHOR: part
impl Part for Attachable {
    fn name(&self) -> &'static str {
        "attach"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        if !self.wanted {
            return Ok(());
        }
        plan.home.note(NOTE, SOCKET.as_bytes())?;
        self.socket = Some(listening_socket(&plan.home)?);
        if self.tty {
            let term = env::var_os("TERM").unwrap_or_else(|| "xterm".into());
            plan.environment.insert("TERM".into(), term);
            plan.session = Session::Own;
            // Until a client attaches, the terminal has the size of the caller's
            // terminal.
            self.size = tcgetwinsize(io::stdin()).ok();
        } else if self.stdin {
            self.pipe = Some(pipe2(OFlag::O_CLOEXEC).step(|| "pipe2(2)")?);
        }
        Ok(())
    }

    fn enter(&self, plan: &Plan, link: &ParentLink) -> Result<()> {
        if self.tty {
            let configure = |theirs: &OwnedFd| match self.size {
                Some(size) => {
                    tcsetwinsize(theirs, size).step(|| "ioctl(2) TIOCSWINSZ")
                }
                None => Ok(()),
            };
            link.seal().streams = [StreamSource::Made; 3];
            return link.send(own_terminal(plan, configure)?);
        }
        match &self.pipe {
            Some((theirs, _)) => {
                link.seal().streams[0] = StreamSource::Made;
                dup2_stdin(theirs).step(|| "dup2(2) to 0")
            }
            None => Ok(()),
        }
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        let Some(socket) = self.socket.take() else { return Ok(()) };
        let terminal = match self.tty {
            true => Some(Terminal::new(running.take(self.name())?)?),
            false => None,
        };
        let pipe = self.pipe.take().map(|(_, ours)| ours);
        if let Some(pipe) = &pipe {
            // Clients receive this pipe. With O_NONBLOCK, a program that does not
            // read cannot block them.
            nonblocking(pipe, OFlag::O_WRONLY)?;
        }
        let (log, stdin) = (self.log.clone(), self.stdin);
        running.watch(AttachServer { socket, terminal, pipe, stdin, log });
        Ok(())
    }

    fn ended(&self, home: &Home, _how: Exit) -> Result<()> {
        remove_socket(home)
    }
}
// ANCHOR_END: part

/// The kind of the note for the socket.
pub(crate) const NOTE: &str = "socket";
/// The name of the socket in the container's directory.
const SOCKET: &str = "attach";

fn path(home: &Home) -> PathBuf {
    home.dir().join(SOCKET)
}

/// The address of the socket. An address has room for 108 bytes, but a path may be
/// longer. So the address uses the file descriptor of the directory, which must stay
/// open while the address is used.
///
/// # Source
/// unix(7), "sun_path"
fn address(home: &Home) -> Result<(OwnedFd, SocketAddrUnix)> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let path = home.dir();
    let dir = open(&path, flags, Mode::empty())
        .untraced(|| format!("open(2) {}", path.display()))?;
    let short = format!("/proc/self/fd/{}/attach", dir.as_raw_fd());
    let address = SocketAddrUnix::new(&short).untraced(|| "an address")?;
    Ok((dir, address))
}

fn socket(flags: SocketFlags) -> Result<OwnedFd> {
    // SEQPACKET preserves the boundaries of messages.
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    socket_with(family, kind, flags | SocketFlags::CLOEXEC, None)
        .untraced(|| "socket(2)")
}

/// Create the listening socket. Only the owner may use it, as with the container's
/// directory.
fn listening_socket(home: &Home) -> Result<OwnedFd> {
    let path = path(home);
    let socket = socket(SocketFlags::NONBLOCK)?;
    let (_dir, address) = address(home)?;
    bind(&socket, &address).step(|| format!("bind(2) {}", path.display()))?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))
        .untraced(|| format!("chmod(2) {}", path.display()))?;
    listen(&socket, 16).untraced(|| "listen(2)")?;
    Ok(socket)
}

/// Remove the socket. It is not an error if the socket does not exist.
///
/// # Errors
/// An errno of unlink(2), for example EROFS.
pub fn remove_socket(home: &Home) -> Result<()> {
    let path = path(home);
    match fs::remove_file(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.step(|| format!("unlink(2) {}", path.display())),
    }
}

fn nonblocking(fd: &OwnedFd, mode: OFlag) -> Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(mode | OFlag::O_NONBLOCK))
        .untraced(|| "fcntl(2) O_NONBLOCK")
        .map(drop)
}

/// The host's end of the program's terminal.
struct Terminal {
    ours: Rc<OwnedFd>,
    printed: ByteCopy,
    /// The program's end of the terminal. It is opened here after all processes have
    /// closed it. Otherwise poll(2) would report POLLHUP continuously.
    _theirs: Option<OwnedFd>,
}

impl Terminal {
    fn new(ours: OwnedFd) -> Result<Terminal> {
        nonblocking(&ours, OFlag::O_RDWR)?;
        let ours = Rc::new(ours);
        let printed = ByteCopy::new(ours.clone(), None);
        Ok(Terminal { ours, printed, _theirs: None })
    }

    /// Read output into the log. Returns false if there is no more output at the
    /// moment.
    fn read(&mut self, log: &Log) -> bool {
        let got = self.printed.read(|bytes| log.write(Stream::Out, bytes));
        // No process has the terminal open, or the program called vhangup(2). A
        // process may open it again.
        if let ReadResult::End | ReadResult::Failed(Errno::EIO) = got {
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
            let flags = flags | OpenptFlags::CLOEXEC;
            self._theirs = ioctl_tiocgptpeer(&*self.ours, flags).ok();
        }
        got == ReadResult::Bytes
    }
}

/// Gives clients the other end of the program's terminal or pipe. It keeps no state
/// for a client, so no client can block it.
struct AttachServer {
    socket: OwnedFd,
    terminal: Option<Terminal>,
    pipe: Option<OwnedFd>,
    stdin: bool,
    log: Log,
}

// ANCHOR: server
impl AttachServer {
    /// Send the file descriptor and the two flags to one client in one message, then
    /// close the connection.
    fn serve(&self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // The client may have closed the connection already.
        let Ok(client) = accept_with(&self.socket, flags) else { return };
        let terminal = self.terminal.as_ref().map(|terminal| terminal.ours.as_fd());
        let fds: Vec<BorrowedFd> = terminal
            .into_iter()
            .chain(self.pipe.as_ref().map(AsFd::as_fd))
            .collect();
        let head = [u8::from(terminal.is_some()), u8::from(self.stdin)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let head = [IoSlice::new(&head)];
        let _ = sendmsg(&client, &head, &mut ancillary, SendFlags::NOSIGNAL);
    }
}
// ANCHOR_END: server

impl Watch for AttachServer {
    fn wants<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.push(PollFd::new(&self.socket, PollFlags::IN));
        if let Some(terminal) = &self.terminal {
            fds.push(PollFd::new(&terminal.ours, PollFlags::IN));
        }
    }

    fn ready(&mut self, events: &[PollFlags]) -> Result<()> {
        if !events[0].is_empty() {
            self.serve();
        }
        if let Some(terminal) = &mut self.terminal
            && !events[1].is_empty()
        {
            terminal.read(&self.log);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(terminal) = &mut self.terminal {
            while terminal.read(&self.log) {}
        }
        Ok(())
    }
}

/// The data that an attached client receives.
pub(crate) struct Attachment {
    /// Whether `program` is a terminal.
    pub(crate) tty: bool,
    /// Whether the program's standard input was kept open.
    pub(crate) stdin: bool,
    /// The other end of the terminal, or of standard input.
    pub(crate) program: Option<OwnedFd>,
}

impl Attachment {
    /// Request the data from the supervisor. Returns `None` if the supervisor has
    /// ended.
    ///
    /// # Errors
    /// The container is in the foreground; EACCES if it belongs to another user;
    /// EPROTO if the answer is incomplete.
    pub(crate) fn of(home: &Home, called: &str) -> Result<Option<Attachment>> {
        let socket = socket(SocketFlags::empty())?;
        let (_dir, address) = address(home)?;
        match connect(&socket, &address) {
            Err(rustix::io::Errno::NOENT) => bail!(
                "container {called} runs in the foreground, or was started by a \
                 program of an earlier chapter: attach requires a container that \
                 was started with -d"
            ),
            Err(rustix::io::Errno::CONNREFUSED) => return Ok(None),
            connected => {
                connected
                    .untraced(|| format!("connect(2) {}", path(home).display()))?;
            }
        }
        let mut head = [0; 2];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let mut parts = [IoSliceMut::new(&mut head)];
        let count = match recvmsg(&socket, &mut parts, &mut ancillary, flags) {
            Err(rustix::io::Errno::CONNRESET) => 0,
            got => got.untraced(|| "recvmsg(2) from the supervisor")?.bytes,
        };
        if count < head.len() {
            return Ok(None);
        }
        let program = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let [tty, stdin] = head.map(|byte| byte != 0);
        let attachment = Attachment { tty, stdin, program };
        if attachment.tty && attachment.program.is_none() {
            return Err(Errno::EPROTO).context("the supervisor sent no terminal");
        }
        Ok(Some(attachment))
    }
}
