//! Making, moving and removing devices.

use std::os::fd::BorrowedFd;

use anyhow::Result;
use common::step::{Hint, Step};
use nix::errno::Errno;

use crate::link::{
    IFF_UP, IFLA_ADDRESS, IFLA_BRPORT_MODE, IFLA_IFNAME, IFLA_INFO_KIND,
    IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK,
    aliased, checked, ifinfomsg, named, text, why,
};
use crate::netlink::{Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use crate::route::{Place, Route};

// From include/uapi/linux/if_link.h and veth.h.
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const VETH_INFO_PEER: u16 = 1;

/// The flags of a message that makes something new.
const NEW: u16 = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;

impl Route {
    /// Make a device of a kind that needs no more than a name, as `bridge` does.
    ///
    /// # Errors
    /// EEXIST if the name is taken; EOPNOTSUPP if the kernel lacks the kind; EPERM
    /// without CAP_NET_ADMIN.
    pub fn add(&self, kind: &str, name: &str) -> Result<()> {
        self.change(simple(kind, name)?, || format!("RTM_NEWLINK {kind} {name}"))
            .hint(|errno| why_not_made(errno, kind, name))
    }

    /// Make a bridge that has this alias from its first moment: both messages are
    /// sent in one system call, so no SIGKILL leaves a bridge without its alias.
    ///
    /// # Errors
    /// As [`Route::add`].
    pub fn add_bridge(&self, name: &str, alias: &str) -> Result<()> {
        let what = || format!("RTM_NEWLINK bridge {name}, alias {alias:?}");
        // After an EEXIST the kernel would go on to the second message, and change
        // the alias of a device that is not ours.
        let exists = self.0.ask(named(RTM_GETLINK, NLM_F_ACK, name)?);
        let made = match exists {
            Ok(_) => Err(rustix::io::Errno::EXIST),
            Err(rustix::io::Errno::NODEV) => {
                let alias = aliased(named(RTM_NEWLINK, NLM_F_ACK, name)?, alias)?;
                let requests = [simple("bridge", name)?, alias];
                self.0.ask_batch(&requests).map_err(|(_, errno)| errno)
            }
            Err(errno) => Err(errno),
        };
        made.step(what).hint(|errno| why_not_made(errno, "bridge", name))
    }

    /// Make two devices that are joined: what is sent into one comes out of the
    /// other, wherever that is moved.
    ///
    /// # Errors
    /// As [`Route::add`].
    /// # Source
    /// veth(4)
    pub fn add_veth(&self, name: &str, peer: &str) -> Result<()> {
        let request = veth(name, peer, |other| other)?;
        self.change(request, || format!("RTM_NEWLINK veth {name}, peer {peer}"))
            .hint(|errno| why_not_made(errno, "veth", &format!("{name} or {peer}")))
    }

    /// Make two devices that are joined, one here, and the other, with this hardware
    /// address, in another network namespace from its first moment: its name is never
    /// taken here. Both are down.
    ///
    /// # Errors
    /// As [`Route::add`] and [`Route::move_to`].
    pub fn add_veth_to(
        &self,
        name: &str,
        peer: &str,
        mac: [u8; 6],
        place: Place,
    ) -> Result<()> {
        // Not with IFF_UP: it fails with ENOTCONN, for the peer has no peer yet.
        let request = veth(name, peer, |other| {
            place.attribute(other.attribute(IFLA_ADDRESS, &mac))
        })?;
        self.change(request, || {
            format!("RTM_NEWLINK veth {name}, peer {peer} in {place}")
        })
        .hint(|errno| why_no_pair(errno, name, peer, place))
    }

    /// Make two devices that are joined. One is a port of a bridge here, and up. The
    /// other, with this hardware address, is in another network namespace from its first
    /// moment, and down. Both have the MTU of the bridge.
    ///
    /// The port sends packets back through itself too, see [`Route::set_hairpin`]. It has
    /// no IPv6 address, which a port does not need: the kernel looks through the
    /// addresses of all ports whenever one is added.
    ///
    /// These are four system calls with their answers, where [`Route::add_veth_to`],
    /// [`Route::set_master`], [`Route::set_hairpin`] and [`Route::set_up`] need six.
    ///
    /// # Errors
    /// As [`Route::add_veth_to`] and [`Route::set_master`].
    /// # Source
    /// ip-link(8), "bridge_slave"
    pub fn add_port(
        &self,
        bridge: &str,
        name: &str,
        peer: &str,
        mac: [u8; 6],
        place: Place,
    ) -> Result<()> {
        let master = self.link(bridge)?;
        let mtu = master.mtu.to_ne_bytes();
        let pair = veth(name, peer, |other| {
            let other = other.attribute(IFLA_MTU, &mtu);
            place.attribute(other.attribute(IFLA_ADDRESS, &mac))
        })?;
        let pair = pair.attribute(IFLA_MTU, &mtu);
        let pair = pair.attribute(IFLA_MASTER, &master.index.to_ne_bytes());
        self.change(pair, || {
            format!(
                "RTM_NEWLINK veth {name}, port of {bridge}, peer {peer} in {place}"
            )
        })
        .hint(|errno| why_no_pair(errno, name, peer, place))?;
        self.set_without_ipv6(name)?;
        let port = Message::new(RTM_NEWLINK, NLM_F_ACK)
            .plain(&ifinfomsg(IFF_UP, IFF_UP))
            .attribute(IFLA_IFNAME, &text(name))
            .nest(IFLA_LINKINFO, |info| {
                info.attribute(IFLA_INFO_SLAVE_KIND, &text("bridge"))
                    .nest(IFLA_INFO_SLAVE_DATA, |data| {
                        data.attribute(IFLA_BRPORT_MODE, &[1])
                    })
            });
        self.change(port, || format!("RTM_NEWLINK {name} hairpin on, up"))
            .hint(|errno| why(errno, name))
    }

    /// Move a device out of this namespace. It is set down, and loses its addresses.
    ///
    /// # Errors
    /// EINVAL for a device that can't be moved, ESRCH if there is no such process,
    /// EEXIST if the name is taken there, EPERM without CAP_NET_ADMIN in either
    /// namespace.
    pub fn move_to(&self, name: &str, place: Place) -> Result<()> {
        let request = place.attribute(named(RTM_NEWLINK, NLM_F_ACK, name)?);
        self.change(request, || format!("RTM_NEWLINK {name} to {place}"))
            .hint(|errno| why_not_moved(errno, name, place))
    }

    /// Whether the kernel refuses to move a device, found by asking it to move the
    /// device to where it is: that changes nothing. `own` is the namespace of this
    /// socket. None if it is not known: without CAP_NET_ADMIN, or where the kernel
    /// (6.13 and later) has nothing to do before it looks at the mark. It confirms
    /// such a request for lo too, which no kernel moves.
    ///
    /// # Errors
    /// ENODEV.
    pub(crate) fn probe_netns_local(
        &self,
        name: &str,
        own: BorrowedFd,
    ) -> Result<Option<bool>> {
        let refused = |name| {
            let request = named(RTM_NEWLINK, NLM_F_ACK, name)?;
            let request = Place::Namespace(own).attribute(request);
            match self.0.ask(request) {
                Ok(_) => Ok(Some(false)),
                Err(rustix::io::Errno::INVAL) => Ok(Some(true)),
                Err(rustix::io::Errno::PERM) => Ok(None),
                Err(errno) => Err(errno)
                    .look(|| format!("RTM_NEWLINK {name} to its own namespace")),
            }
        };
        if refused("lo")? != Some(true) {
            return Ok(None);
        }
        refused(name)
    }

    /// Remove a device; of a veth pair the other goes with it.
    ///
    /// # Errors
    /// ENODEV if there is none of the name; EOPNOTSUPP for one that nobody made, such
    /// as lo; EPERM without CAP_NET_ADMIN.
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
}

/// The message that makes a device of a kind that needs no data.
fn simple(kind: &str, name: &str) -> Result<Message> {
    Ok(named(RTM_NEWLINK, NEW, name)?
        .nest(IFLA_LINKINFO, |info| info.attribute(IFLA_INFO_KIND, &text(kind))))
}

/// The message that makes a veth pair. The peer is described as a device is: a
/// struct, a name, and `more`.
fn veth(
    name: &str,
    peer: &str,
    more: impl FnOnce(Message) -> Message,
) -> Result<Message> {
    checked(peer)?;
    Ok(named(RTM_NEWLINK, NEW, name)?.nest(IFLA_LINKINFO, |info| {
        info.attribute(IFLA_INFO_KIND, &text("veth")).nest(IFLA_INFO_DATA, |data| {
            data.nest(VETH_INFO_PEER, |other| {
                let other = other.plain(&ifinfomsg(0, 0));
                more(other.attribute(IFLA_IFNAME, &text(peer)))
            })
        })
    }))
}

/// The hint for a pair of which one end is elsewhere.
fn why_no_pair(
    errno: Errno,
    name: &str,
    peer: &str,
    place: Place,
) -> Option<String> {
    match errno {
        Errno::EEXIST => Some(format!(
            "there is a device {name} here, or a device {peer} there, already"
        )),
        Errno::EOPNOTSUPP => why_not_made(errno, "veth", name),
        errno => why_not_moved(errno, peer, place),
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
