//! Create, move and remove devices.

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
use crate::route::{Route, TargetNamespace};

// From include/uapi/linux/if_link.h and veth.h.
const IFLA_INFO_DATA: u16 = 2;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const VETH_INFO_PEER: u16 = 1;

/// The flags of a message that creates an object.
const NEW: u16 = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;

impl Route {
    /// Create a device of a kind that needs only a name, for example a `bridge`.
    ///
    /// # Errors
    /// EEXIST if the name is already in use; EOPNOTSUPP if the kernel does not have
    /// this kind; EPERM if the caller lacks CAP_NET_ADMIN.
    pub fn add(&self, kind: &str, name: &str) -> Result<()> {
        self.change(simple(kind, name)?, || format!("RTM_NEWLINK {kind} {name}"))
            .hint(|errno| why_not_made(errno, kind, name))
    }

    /// Create a bridge with this alias. Both messages are sent in one system call,
    /// so a SIGKILL cannot leave a bridge without its alias.
    ///
    /// # Errors
    /// The errors of [`Route::add`].
    pub fn add_bridge(&self, name: &str, alias: &str) -> Result<()> {
        let what = || format!("RTM_NEWLINK bridge {name}, alias {alias:?}");
        // Check first: after EEXIST, the kernel would continue with the second
        // message and change the alias of a device that is not ours.
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

    /// Create a veth pair: two devices that are connected. A packet that is sent
    /// through one device arrives at the other, even in another namespace.
    ///
    /// # Errors
    /// The errors of [`Route::add`].
    /// # Source
    /// veth(4)
    pub fn add_veth(&self, name: &str, peer: &str) -> Result<()> {
        let request = veth(name, peer, |other| other)?;
        self.change(request, || format!("RTM_NEWLINK veth {name}, peer {peer}"))
            .hint(|errno| why_not_made(errno, "veth", &format!("{name} or {peer}")))
    }

    /// Create a veth pair with one end here. The other end is created in another
    /// network namespace, with this hardware address, so its name need not be free
    /// here. Both ends are down.
    ///
    /// # Errors
    /// The errors of [`Route::add`] and [`Route::move_to`].
    pub fn add_veth_to(
        &self,
        name: &str,
        peer: &str,
        mac: [u8; 6],
        place: TargetNamespace,
    ) -> Result<()> {
        // IFF_UP would fail with ENOTCONN here, because the peer is not connected
        // yet.
        let request = veth(name, peer, |other| {
            place.attribute(other.attribute(IFLA_ADDRESS, &mac))
        })?;
        self.change(request, || {
            format!("RTM_NEWLINK veth {name}, peer {peer} in {place}")
        })
        .hint(|errno| why_no_pair(errno, name, peer, place))
    }

    /// Create a veth pair with one end as a port of a bridge here. This end is up.
    /// The other end is created in another network namespace, with this hardware
    /// address, and is down. Both ends have the MTU of the bridge.
    ///
    /// The port is in hairpin mode, see [`Route::set_hairpin`]. It has no IPv6
    /// address, because a port needs none, and the kernel searches the addresses of
    /// all ports each time one is added.
    ///
    /// This needs four requests. [`Route::add_veth_to`], [`Route::set_master`],
    /// [`Route::set_hairpin`] and [`Route::set_up`] together need six.
    ///
    /// # Errors
    /// The errors of [`Route::add_veth_to`] and [`Route::set_master`].
    /// # Source
    /// ip-link(8), "bridge_slave"
    pub fn add_port(
        &self,
        bridge: &str,
        name: &str,
        peer: &str,
        mac: [u8; 6],
        place: TargetNamespace,
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

    /// Move a device to another namespace. The kernel sets it down and removes its
    /// addresses.
    ///
    /// # Errors
    /// EINVAL if the device cannot be moved; ESRCH if the process does not exist;
    /// EEXIST if the name is already in use there; EPERM if the caller lacks
    /// CAP_NET_ADMIN in either namespace.
    pub fn move_to(&self, name: &str, place: TargetNamespace) -> Result<()> {
        let request = place.attribute(named(RTM_NEWLINK, NLM_F_ACK, name)?);
        self.change(request, || format!("RTM_NEWLINK {name} to {place}"))
            .hint(|errno| why_not_moved(errno, name, place))
    }

    /// Whether the kernel refuses to move a device. This function requests a move to
    /// the device's own namespace, which changes nothing. `own` is the namespace of
    /// this socket. Returns `None` if the answer is not known: the caller lacks
    /// CAP_NET_ADMIN, or the kernel (6.13 and later) confirms such a request before
    /// it checks the netns-local mark. This is detected with lo, which no kernel
    /// moves.
    ///
    /// # Errors
    /// ENODEV if the device does not exist.
    pub(crate) fn probe_netns_local(
        &self,
        name: &str,
        own: BorrowedFd,
    ) -> Result<Option<bool>> {
        let refused = |name| {
            let request = named(RTM_NEWLINK, NLM_F_ACK, name)?;
            let request = TargetNamespace::Namespace(own).attribute(request);
            match self.0.ask(request) {
                Ok(_) => Ok(Some(false)),
                Err(rustix::io::Errno::INVAL) => Ok(Some(true)),
                Err(rustix::io::Errno::PERM) => Ok(None),
                Err(errno) => Err(errno)
                    .untraced(|| format!("RTM_NEWLINK {name} to its own namespace")),
            }
        };
        if refused("lo")? != Some(true) {
            return Ok(None);
        }
        refused(name)
    }

    /// Remove a device. If it is an end of a veth pair, the other end is removed
    /// too.
    ///
    /// # Errors
    /// ENODEV if the device does not exist; EOPNOTSUPP if it was not created by a
    /// request, for example lo; EPERM if the caller lacks CAP_NET_ADMIN.
    pub fn delete(&self, name: &str) -> Result<()> {
        let request = named(RTM_DELLINK, NLM_F_ACK, name)?;
        self.change(request, || format!("RTM_DELLINK {name}")).hint(|errno| {
            match errno {
                Errno::EOPNOTSUPP => Some(format!(
                    "{name} cannot be removed by a request: every namespace keeps \
                     its lo, and a hardware device is removed with its driver"
                )),
                errno => why(errno, name),
            }
        })
    }
}

/// The message that creates a device of a kind that needs no data.
fn simple(kind: &str, name: &str) -> Result<Message> {
    Ok(named(RTM_NEWLINK, NEW, name)?
        .nest(IFLA_LINKINFO, |info| info.attribute(IFLA_INFO_KIND, &text(kind))))
}

/// The message that creates a veth pair. The peer is described like a device: a
/// struct, a name, and `more`.
fn veth(
    name: &str,
    peer: &str,
    more: impl FnOnce(Message) -> Message,
) -> Result<Message> {
    checked(peer)?;
    let pair = one_queue(named(RTM_NEWLINK, NEW, name)?);
    Ok(pair.nest(IFLA_LINKINFO, |info| {
        info.attribute(IFLA_INFO_KIND, &text("veth")).nest(IFLA_INFO_DATA, |data| {
            data.nest(VETH_INFO_PEER, |other| {
                let other = other.plain(&ifinfomsg(0, 0));
                more(one_queue(other.attribute(IFLA_IFNAME, &text(peer))))
            })
        })
    }))
}

/// Request one queue in each direction. This is also the default of a veth device,
/// but without this request the kernel first creates one queue for each processor.
/// Then it disables all but one, and waits for an RCU grace period at each end: up
/// to 4 ms on a busy machine.
///
/// # Source
/// `drivers/net/veth.c`, `veth_init_queues`
fn one_queue(device: Message) -> Message {
    let one = 1_u32.to_ne_bytes();
    device.attribute(IFLA_NUM_TX_QUEUES, &one).attribute(IFLA_NUM_RX_QUEUES, &one)
}

/// The hint for a pair with one end in another namespace.
fn why_no_pair(
    errno: Errno,
    name: &str,
    peer: &str,
    place: TargetNamespace,
) -> Option<String> {
    match errno {
        Errno::EEXIST => Some(format!(
            "the device {name} here or the device {peer} there already exists"
        )),
        Errno::EOPNOTSUPP => why_not_made(errno, "veth", name),
        errno => why_not_moved(errno, peer, place),
    }
}

fn why_not_made(errno: Errno, kind: &str, name: &str) -> Option<String> {
    match errno {
        Errno::EEXIST => Some(format!("the device {name} already exists")),
        Errno::EOPNOTSUPP => {
            Some(format!("this kernel does not have devices of the kind {kind}"))
        }
        errno => why(errno, name),
    }
}

// ANCHOR: why
fn why_not_moved(
    errno: Errno,
    name: &str,
    place: TargetNamespace,
) -> Option<String> {
    match (errno, place) {
        (Errno::EINVAL, _) => Some(format!(
            "{name} must stay in its namespace: the kernel marks lo, bridges and \
             some other devices as netns-local (NETIF_F_NETNS_LOCAL); create \
             another one there instead"
        )),
        (Errno::ESRCH, TargetNamespace::Process(pid)) => {
            Some(format!("there is no process {pid}"))
        }
        (Errno::EEXIST, _) => {
            Some(format!("that namespace already has a device {name}"))
        }
        (Errno::EPERM, _) => Some(
            "moving a device requires CAP_NET_ADMIN in both network namespaces: use \
             root, or move it inside `ch02-net run` to a namespace that was created \
             in it"
                .to_owned(),
        ),
        (errno, _) => why(errno, name),
    }
}
// ANCHOR_END: why
