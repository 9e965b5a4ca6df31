//! The netlink socket of a network namespace: how it is opened, here or elsewhere.
//! link.rs, device.rs, address.rs and routes.rs hold what it asks and changes.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use crate::netlink::{Message, Socket};

/// The address family of every message about IPv4.
pub(crate) const AF_INET: u8 = 2;

/// The network namespace into which a device is moved, or in which it is made.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// The network namespace of a process, by its PID.
    Process(u32),
    /// The network namespace whose file this is: /proc/PID/ns/net.
    Namespace(BorrowedFd<'a>),
}

const IFLA_NET_NS_PID: u16 = 19;
const IFLA_NET_NS_FD: u16 = 28;

impl Place<'_> {
    /// The attribute that names this namespace.
    pub(crate) fn attribute(self, message: Message) -> Message {
        match self {
            Place::Process(pid) => {
                message.attribute(IFLA_NET_NS_PID, &pid.to_ne_bytes())
            }
            Place::Namespace(file) => {
                message.attribute(IFLA_NET_NS_FD, &file.as_raw_fd().to_ne_bytes())
            }
        }
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Place::Process(pid) => write!(f, "the namespace of process {pid}"),
            Place::Namespace(file) => {
                write!(f, "the namespace of descriptor {}", file.as_raw_fd())
            }
        }
    }
}

/// A socket for the devices, addresses and routes of one network namespace. It
/// belongs for good to the namespace in which it was opened, wherever its process
/// goes.
///
/// # Source
/// rtnetlink(7)
#[derive(Debug)]
pub struct Route(pub(crate) Socket);

impl Route {
    /// A socket of the network namespace in which this thread is.
    ///
    /// # Errors
    /// Those of socket(2): EMFILE, ENFILE.
    pub fn open() -> Result<Route> {
        Socket::open(None).map(Route).look(|| "socket(2) AF_NETLINK")
    }

    /// A socket of another network namespace, whose file this is. Only this thread
    /// enters that namespace, and it comes back.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN here and in the user namespace that owns the other
    /// network namespace; EINVAL if the file is no network namespace. If the thread
    /// can't come back, the error says so: the caller must end the process, because
    /// all that it does about networks would then happen in the wrong namespace.
    /// # Source
    /// setns(2)
    pub fn open_in(namespace: BorrowedFd) -> Result<Route> {
        // Not /proc/self: that is the main thread, which may be elsewhere.
        let path = "/proc/thread-self/ns/net";
        let own = File::open(path).look(|| format!("open(2) {path}"))?;
        setns(namespace, CloneFlags::CLONE_NEWNET)
            .look(|| "setns(2) into the other network namespace")
            .hint(why_not_entered)?;
        let opened = Route::open();
        setns(own, CloneFlags::CLONE_NEWNET)
            .look(|| "setns(2) back into the own network namespace")
            .context(
                "this process is now in a network namespace that is not its own",
            )?;
        opened
    }

    /// Send a request that changes something: one step of the trace.
    pub(crate) fn change(
        &self,
        request: Message,
        what: impl FnOnce() -> String,
    ) -> Result<()> {
        self.0.ask(request).map(drop).step(what)
    }
}

fn why_not_entered(errno: Errno) -> Option<String> {
    match errno {
        Errno::EPERM => Some(
            "entering a network namespace takes CAP_SYS_ADMIN in the own user \
             namespace and in the one that the network namespace belongs to"
                .to_owned(),
        ),
        Errno::EINVAL => Some("the file is not a network namespace".to_owned()),
        _ => None,
    }
}
