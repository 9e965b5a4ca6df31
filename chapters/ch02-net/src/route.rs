//! Open a netlink socket, in this network namespace or in another one. link.rs,
//! device.rs, address.rs and routes.rs contain its requests.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use crate::netlink::{Message, Socket};

/// The address family of every message about IPv4.
pub(crate) const AF_INET: u8 = 2;

/// The network namespace to which a device is moved, or in which it is created.
#[derive(Clone, Copy, Debug)]
pub enum TargetNamespace<'a> {
    /// The network namespace of a process, by its PID.
    Process(u32),
    /// The network namespace of this open file: /proc/PID/ns/net.
    Namespace(BorrowedFd<'a>),
}

const IFLA_NET_NS_PID: u16 = 19;
const IFLA_NET_NS_FD: u16 = 28;

impl TargetNamespace<'_> {
    /// The attribute that names this namespace.
    pub(crate) fn attribute(self, message: Message) -> Message {
        match self {
            TargetNamespace::Process(pid) => {
                message.attribute(IFLA_NET_NS_PID, &pid.to_ne_bytes())
            }
            TargetNamespace::Namespace(file) => {
                message.attribute(IFLA_NET_NS_FD, &file.as_raw_fd().to_ne_bytes())
            }
        }
    }
}

impl std::fmt::Display for TargetNamespace<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            TargetNamespace::Process(pid) => {
                write!(f, "the namespace of process {pid}")
            }
            TargetNamespace::Namespace(file) => {
                write!(f, "the namespace of descriptor {}", file.as_raw_fd())
            }
        }
    }
}

/// A socket for the devices, addresses and routes of one network namespace. It
/// always belongs to the namespace in which it was opened, even if its process
/// enters another namespace.
///
/// # Source
/// rtnetlink(7)
#[derive(Debug)]
pub struct Route(pub(crate) Socket);

impl Route {
    /// Open a socket in the network namespace of this thread.
    ///
    /// # Errors
    /// EMFILE or ENFILE if there are too many open files.
    pub fn open() -> Result<Route> {
        Socket::open(None).map(Route).untraced(|| "socket(2) AF_NETLINK")
    }

    /// Open a socket in another network namespace, given by its open file. Only this
    /// thread enters that namespace, and it returns afterwards.
    ///
    /// # Errors
    /// EPERM if the caller lacks CAP_SYS_ADMIN here or in the user namespace that
    /// owns the other network namespace; EINVAL if the file is not a network
    /// namespace. If the thread cannot return, the error text reports it. The caller
    /// must then end the process, because all its network operations would affect
    /// the wrong namespace.
    /// # Source
    /// setns(2)
    pub fn open_in(namespace: BorrowedFd) -> Result<Route> {
        // /proc/self would be the main thread, which may be in another namespace.
        let path = "/proc/thread-self/ns/net";
        let own = File::open(path).untraced(|| format!("open(2) {path}"))?;
        setns(namespace, CloneFlags::CLONE_NEWNET)
            .untraced(|| "setns(2) into the other network namespace")
            .hint(why_not_entered)?;
        let opened = Route::open();
        setns(own, CloneFlags::CLONE_NEWNET)
            .untraced(|| "setns(2) back into its own network namespace")
            .context(
                "this process is now in a network namespace that is not its own",
            )?;
        opened
    }

    /// Send a request that makes a change. It is one step of the trace.
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
            "entering a network namespace requires CAP_SYS_ADMIN in your user \
             namespace and in the one that owns the network namespace"
                .to_owned(),
        ),
        Errno::EINVAL => Some("the file is not a network namespace".to_owned()),
        _ => None,
    }
}
