//! What a network namespace is asked and told: its devices and addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, Result, ensure};
use common::step::{Hint, Step};
use nix::errno::Errno;

use crate::netlink::{
    Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Socket, attributes,
    number,
};

/// From include/uapi/linux/rtnetlink.h, if_link.h, if_addr.h, if.h and veth.h.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;

/// The longest name of a device in bytes: IFNAMSIZ without its NUL.
const LONGEST_NAME: usize = 15;

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace, from 1, which is lo.
    pub index: u32,
    /// Its name in this namespace.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
}

/// An address of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The device's number.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// How many bits of it are the network's.
    pub prefix: u8,
}

/// Where a device can be moved.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// The network namespace of a process, by its number.
    Process(u32),
    /// The network namespace whose file this is: /proc/PID/ns/net.
    Namespace(BorrowedFd<'a>),
}

/// The line to the kernel's routing tables. It belongs for good to the network
/// namespace in which it was opened, wherever its process goes.
///
/// # Source
/// rtnetlink(7)
#[derive(Debug)]
pub struct Route(Socket);

impl Route {
    /// A line to the network namespace in which this process is.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn open() -> Result<Route> {
        Socket::open(None).map(Route).look(|| "socket(2) AF_NETLINK")
    }

    /// All devices of the namespace.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn links(&self) -> Result<Vec<Link>> {
        let request = Message::new(RTM_GETLINK, NLM_F_DUMP).plain(&ifinfomsg(0, 0));
        let answers = self.0.ask(request).look(|| "RTM_GETLINK, all")?;
        Ok(answers.iter().map(|answer| link(answer)).collect())
    }

    /// The device of this name.
    ///
    /// # Errors
    /// ENODEV when there is none.
    pub fn link(&self, name: &str) -> Result<Link> {
        let request = named(RTM_GETLINK, NLM_F_ACK, name)?;
        let what = || format!("RTM_GETLINK {name}");
        let answers = self.0.ask(request).look(what).hint(|e| why(e, name))?;
        answers.first().map(|answer| link(answer)).with_context(what)
    }

    /// All addresses of the namespace.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn addresses(&self) -> Result<Vec<Address>> {
        // struct ifaddrmsg, all zero: of every family and device.
        let request = Message::new(RTM_GETADDR, NLM_F_DUMP).plain(&[0; 8]);
        let answers = self.0.ask(request).look(|| "RTM_GETADDR, all")?;
        Ok(answers.iter().filter_map(|answer| address(answer)).collect())
    }

    // ANCHOR: set
    /// Set a device up, so that it sends and receives. The kernel gives lo its
    /// 127.0.0.1 then.
    ///
    /// # Errors
    /// ENODEV when there is none of the name; EPERM without CAP_NET_ADMIN.
    pub fn set_up(&self, name: &str) -> Result<()> {
        self.set(name, IFF_UP, "up")
    }

    /// Set a device down.
    ///
    /// # Errors
    /// As [`Route::set_up`].
    pub fn set_down(&self, name: &str) -> Result<()> {
        self.set(name, 0, "down")
    }

    fn set(&self, name: &str, flags: u32, word: &str) -> Result<()> {
        checked(name)?;
        // The second number says which of the flags are meant.
        let request = Message::new(RTM_NEWLINK, NLM_F_ACK)
            .plain(&ifinfomsg(flags, IFF_UP))
            .attribute(IFLA_IFNAME, &text(name));
        self.change(request, || format!("RTM_NEWLINK {name} {word}"))
            .hint(|errno| why(errno, name))
    }
    // ANCHOR_END: set

    /// Make a device of a kind that needs no more than a name, as `bridge` does.
    ///
    /// # Errors
    /// EEXIST when the name is taken; EOPNOTSUPP when the kernel lacks the kind;
    /// EPERM without CAP_NET_ADMIN.
    pub fn add(&self, kind: &str, name: &str) -> Result<()> {
        let request =
            named(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, name)?
                .nest(IFLA_LINKINFO, |info| {
                    info.attribute(IFLA_INFO_KIND, &text(kind))
                });
        self.change(request, || format!("RTM_NEWLINK {kind} {name}"))
            .hint(|errno| why_not_made(errno, kind, name))
    }

    /// Make two devices that are joined: what is sent into one comes out of the
    /// other, wherever that is moved.
    ///
    /// # Errors
    /// As [`Route::add`].
    /// # Source
    /// veth(4)
    pub fn add_veth(&self, name: &str, peer: &str) -> Result<()> {
        checked(peer)?;
        let request =
            named(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, name)?.nest(
                IFLA_LINKINFO,
                |info| {
                    info.attribute(IFLA_INFO_KIND, &text("veth")).nest(
                        IFLA_INFO_DATA,
                        // The peer is described as a device is: a struct, a name.
                        |data| {
                            data.nest(VETH_INFO_PEER, |other| {
                                other
                                    .plain(&ifinfomsg(0, 0))
                                    .attribute(IFLA_IFNAME, &text(peer))
                            })
                        },
                    )
                },
            );
        self.change(request, || format!("RTM_NEWLINK veth {name}, peer {peer}"))
            .hint(|errno| why_not_made(errno, "veth", &format!("{name} or {peer}")))
    }

    /// Give a device an address, of whose bits the first `prefix` are the network's.
    /// The kernel adds the route to that network when the device is up.
    ///
    /// # Errors
    /// EEXIST when it has the address; ENODEV; EPERM without CAP_NET_ADMIN.
    pub fn add_address(
        &self,
        name: &str,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<()> {
        let index = self.link(name)?.index;
        // struct ifaddrmsg: family, prefix, flags, scope, the device's number.
        let mut start = vec![AF_INET, prefix, 0, 0];
        start.extend(index.to_ne_bytes());
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        let request = Message::new(RTM_NEWADDR, flags)
            .plain(&start)
            .attribute(IFA_LOCAL, &address.octets())
            .attribute(IFA_ADDRESS, &address.octets());
        self.change(request, || format!("RTM_NEWADDR {address}/{prefix} to {name}"))
            .hint(|errno| match errno {
                Errno::EEXIST => Some(format!("{name} has this address already")),
                errno => why(errno, name),
            })
    }

    /// Move a device out of this namespace. It is set down, and loses its addresses.
    ///
    /// # Errors
    /// EINVAL for a device that can't be moved, ESRCH when there is no such process,
    /// EEXIST when the name is taken there, EPERM without CAP_NET_ADMIN in either
    /// namespace.
    pub fn move_to(&self, name: &str, place: Place) -> Result<()> {
        let request = named(RTM_NEWLINK, NLM_F_ACK, name)?;
        let (request, target) = match place {
            Place::Process(pid) => {
                let request = request.attribute(IFLA_NET_NS_PID, &pid.to_ne_bytes());
                (request, format!("the namespace of process {pid}"))
            }
            Place::Namespace(file) => {
                let fd = file.as_raw_fd();
                let request = request.attribute(IFLA_NET_NS_FD, &fd.to_ne_bytes());
                (request, format!("the namespace of descriptor {fd}"))
            }
        };
        self.change(request, || format!("RTM_NEWLINK {name} to {target}"))
            .hint(|errno| why_not_moved(errno, name, place))
    }

    /// Remove a device; of a veth pair the other goes with it.
    ///
    /// # Errors
    /// ENODEV when there is none of the name; EOPNOTSUPP for one that nobody made,
    /// such as lo; EPERM without CAP_NET_ADMIN.
    pub fn delete(&self, name: &str) -> Result<()> {
        let request = named(RTM_DELLINK, NLM_F_ACK, name)?;
        self.change(request, || format!("RTM_DELLINK {name}")).hint(|errno| {
            match errno {
                Errno::EOPNOTSUPP => Some(format!(
                    "{name} was not made by a request like this, and can't be \
                     removed by one: every namespace keeps its lo, and hardware \
                     goes with its driver"
                )),
                errno => why(errno, name),
            }
        })
    }

    fn change(&self, request: Message, what: impl FnOnce() -> String) -> Result<()> {
        self.0.ask(request).map(drop).step(what)
    }
}

/// struct ifinfomsg: family and type of device, its number, flags, which of the
/// flags are meant. With the number 0 the device is told by its name.
fn ifinfomsg(flags: u32, meant: u32) -> Vec<u8> {
    [0, 0, flags, meant].map(u32::to_ne_bytes).concat()
}

/// A message about the device of this name.
fn named(kind: u16, flags: u16, name: &str) -> Result<Message> {
    checked(name)?;
    let message = Message::new(kind, flags).plain(&ifinfomsg(0, 0));
    Ok(message.attribute(IFLA_IFNAME, &text(name)))
}

/// The kernel's own rule. It would say ERANGE for a name that is too long, and
/// ENODEV, EINVAL or nothing for others.
///
/// # Source
/// `dev_valid_name` in net/core/dev.c
fn checked(name: &str) -> Result<()> {
    let taboo = |c: char| c.is_whitespace() || "/:\0".contains(c);
    ensure!(
        (1..=LONGEST_NAME).contains(&name.len())
            && ![".", ".."].contains(&name)
            && !name.contains(taboo),
        "{name:?} is no name of a device: that has 1 to {LONGEST_NAME} bytes, and \
         no space, '/' or ':' in it"
    );
    Ok(())
}

/// Text as the kernel wants it, with a NUL.
fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

/// Read struct ifinfomsg and what follows.
fn link(answer: &[u8]) -> Link {
    let rest = answer.get(16..).unwrap_or_default();
    let name = attributes(rest).into_iter().find(|(kind, _)| *kind == IFLA_IFNAME);
    let name = name.map_or_else(String::new, |(_, value)| {
        String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
    });
    Link { index: number(answer, 4), name, up: number(answer, 8) & IFF_UP != 0 }
}

/// Read struct ifaddrmsg and what follows.
fn address(answer: &[u8]) -> Option<Address> {
    let values = attributes(answer.get(8..)?);
    let find = |kind| values.iter().find(|(it, _)| *it == kind).map(|(_, it)| *it);
    // Of a line from point to point, IFA_ADDRESS is the other end's. IPv6 has no
    // IFA_LOCAL otherwise.
    let value = find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?;
    let address = match value.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(value).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(value).ok()?),
    };
    Some(Address { index: number(answer, 4), address, prefix: answer[1] })
}

fn why(errno: Errno, name: &str) -> Option<String> {
    match errno {
        Errno::ENODEV => Some(format!(
            "there is no device {name} in this network namespace: list shows those \
             that are"
        )),
        Errno::EPERM => Some(
            "changing devices takes CAP_NET_ADMIN in the user namespace that the \
             network namespace belongs to: inside `ch02-net run` you have it, \
             outside try as root"
                .to_owned(),
        ),
        _ => None,
    }
}

fn why_not_made(errno: Errno, kind: &str, name: &str) -> Option<String> {
    match errno {
        Errno::EEXIST => Some(format!("there is a device {name} already")),
        Errno::EOPNOTSUPP => {
            Some(format!("this kernel has no devices of the kind {kind}"))
        }
        errno => why(errno, name),
    }
}

// ANCHOR: why
fn why_not_moved(errno: Errno, name: &str, place: Place) -> Option<String> {
    match (errno, place) {
        (Errno::EINVAL, _) => Some(format!(
            "{name} belongs to its namespace for good: the kernel marks lo, bridges \
             and some more as netns-local (NETIF_F_NETNS_LOCAL); make another one \
             there instead"
        )),
        (Errno::ESRCH, Place::Process(pid)) => {
            Some(format!("there is no process {pid}"))
        }
        (Errno::EEXIST, _) => Some(format!("a device {name} is there already")),
        (Errno::EPERM, _) => Some(
            "moving takes CAP_NET_ADMIN here and there: try as root, or from \
             inside `ch02-net run`, into a namespace made in it"
                .to_owned(),
        ),
        (errno, _) => why(errno, name),
    }
}
// ANCHOR_END: why

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_kernel_takes() {
        for name in ["lo", "eth0.5", "a23456789012345", "..."] {
            assert!(checked(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "a:b", "a234567890123456"] {
            assert!(checked(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_link_and_an_address_are_read_from_an_answer() {
        let mut answer = [0, 7, 0x1043, 0].map(u32::to_ne_bytes).concat();
        answer.extend([7, 0, 3, 0, b'l', b'o', 0, 0]);
        let lo = Link { index: 7, name: "lo".to_owned(), up: true };
        assert_eq!(link(&answer), lo);
        let mut answer = vec![AF_INET, 24, 0, 0];
        answer.extend(7_u32.to_ne_bytes());
        answer.extend([8, 0, 1, 0, 10, 0, 0, 2, 8, 0, 2, 0, 10, 0, 0, 1]);
        let local = IpAddr::from([10, 0, 0, 1]);
        let read = Address { index: 7, address: local, prefix: 24 };
        assert_eq!(address(&answer), Some(read));
        assert_eq!(address(&[]), None);
    }
}
