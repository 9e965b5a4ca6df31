//! Devices, which the kernel calls links: read and change their settings.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::step::{Hint, Step};
use nix::errno::Errno;

use crate::netlink::{Message, NLM_F_ACK, NLM_F_DUMP, attributes, number};
use crate::route::Route;

// From include/uapi/linux/rtnetlink.h, if_link.h, if.h and socket.h.
pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
pub(crate) const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
pub(crate) const IFLA_ADDRESS: u16 = 1;
pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
pub(crate) const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_OPERSTATE: u16 = 16;
pub(crate) const IFLA_LINKINFO: u16 = 18;
pub(crate) const IFLA_IFALIAS: u16 = 20;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_NETNS_IMMUTABLE: u16 = 67;
pub(crate) const IFLA_INFO_KIND: u16 = 1;
pub(crate) const IFLA_BRPORT_MODE: u16 = 4;
const NLA_F_NESTED: u16 = 1 << 15;
pub(crate) const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
const AF_BRIDGE: u8 = 7;

/// The longest name of a device in bytes: IFNAMSIZ without its NUL.
pub const MAX_NAME: usize = 15;

/// The longest alias of a device in bytes: IFALIASZ without its NUL.
const MAX_ALIAS: usize = 255;

/// [`Link::operstate`] of a device that sends and receives.
///
/// # Source
/// `IF_OPER_UP` in include/uapi/linux/if.h, RFC 2863
pub const OPERSTATE_UP: u8 = 6;

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace. lo has the number 1.
    pub index: u32,
    /// Its name in this namespace.
    pub name: String,
    /// Whether it was set up. It may still wait for its peer or its bridge.
    pub up: bool,
    /// Whether it is a loopback device, such as lo.
    pub loopback: bool,
    /// IFF_UP and the other flags of netdevice(7).
    pub flags: u32,
    /// Whether it can send and receive: [`OPERSTATE_UP`], or 2 for down. lo and
    /// tunnels always report 0, unknown.
    pub operstate: u8,
    /// The hardware address, if the device has one with six bytes.
    pub mac: Option<[u8; 6]>,
    /// The maximum size of a packet, in bytes.
    pub mtu: u32,
    /// The kind: "bridge" or "veth", for example. `None` for hardware and for lo.
    pub kind: Option<String>,
    /// The index of the bridge of which it is a port.
    pub master: Option<u32>,
    /// The index of the other end of a veth pair, in that end's own namespace.
    pub peer: Option<u32>,
    /// Whether the other end is in another namespace.
    pub peer_elsewhere: bool,
    /// The alias: a text of at most 255 bytes.
    pub alias: Option<String>,
    /// Whether the device must stay in its namespace. `None` before Linux 6.15,
    /// which does not report it.
    pub netns_local: Option<bool>,
}

impl Route {
    /// All devices of the namespace.
    ///
    /// # Errors
    /// sendto(2) or recv(2) fails, or the kernel answers with an error.
    pub fn links(&self) -> Result<Vec<Link>> {
        let request = Message::new(RTM_GETLINK, NLM_F_DUMP).plain(&ifinfomsg(0, 0));
        let answers = self.0.ask(request).untraced(|| "RTM_GETLINK, all")?;
        Ok(answers.iter().map(|answer| link(answer)).collect())
    }

    /// The device with this name.
    ///
    /// # Errors
    /// ENODEV if no device has this name.
    pub fn link(&self, name: &str) -> Result<Link> {
        let request = named(RTM_GETLINK, NLM_F_ACK, name)?;
        let what = || format!("RTM_GETLINK {name}");
        let answers = self.0.ask(request).untraced(what).hint(|e| why(e, name))?;
        answers.first().map(|answer| link(answer)).with_context(what)
    }

    // ANCHOR: set
    /// Set a device up, so that it sends and receives. When lo is set up, the kernel
    /// gives it the address 127.0.0.1.
    ///
    /// # Errors
    /// ENODEV if the device does not exist; EPERM if the caller lacks CAP_NET_ADMIN.
    pub fn set_up(&self, name: &str) -> Result<()> {
        self.set(name, IFF_UP, "up")
    }

    /// Set a device down. The kernel removes the routes through it.
    ///
    /// # Errors
    /// ENODEV if the device does not exist; EPERM if the caller lacks CAP_NET_ADMIN.
    pub fn set_down(&self, name: &str) -> Result<()> {
        self.set(name, 0, "down")
    }

    fn set(&self, name: &str, flags: u32, word: &str) -> Result<()> {
        checked(name)?;
        // The second number is a mask of the flags to change.
        let request = Message::new(RTM_NEWLINK, NLM_F_ACK)
            .plain(&ifinfomsg(flags, IFF_UP))
            .attribute(IFLA_IFNAME, &text(name));
        self.change(request, || format!("RTM_NEWLINK {name} {word}"))
            .hint(|errno| why(errno, name))
    }
    // ANCHOR_END: set

    /// Make a device a port of a bridge.
    ///
    /// # Errors
    /// ENODEV if the device or the bridge does not exist; EOPNOTSUPP or EINVAL if
    /// `bridge` is not a bridge; ELOOP if the device is a bridge; EPERM if the
    /// caller lacks CAP_NET_ADMIN.
    pub fn set_master(&self, name: &str, bridge: &str) -> Result<()> {
        let master = self.link(bridge)?.index;
        let request = named(RTM_NEWLINK, NLM_F_ACK, name)?
            .attribute(IFLA_MASTER, &master.to_ne_bytes());
        self.change(request, || format!("RTM_NEWLINK {name} master {bridge}")).hint(
            |errno| match errno {
                Errno::EOPNOTSUPP | Errno::EINVAL => Some(format!(
                    "{bridge} must be a bridge, and {name} must not be one"
                )),
                Errno::ELOOP => {
                    Some("a bridge cannot be a port of a bridge".to_owned())
                }
                errno => why(errno, name),
            },
        )
    }

    /// Set the hairpin mode of a port of a bridge: whether the bridge may send a
    /// packet back through the port from which it came. The default is off. A
    /// container that connects to itself through a published port of the host needs
    /// this mode.
    ///
    /// # Errors
    /// ENODEV if the device does not exist; EOPNOTSUPP or EINVAL if it is not a port
    /// of a bridge; EPERM if the caller lacks CAP_NET_ADMIN.
    /// # Source
    /// include/uapi/linux/if_link.h, `IFLA_BRPORT_MODE`
    pub fn set_hairpin(&self, name: &str, hairpin: bool) -> Result<()> {
        // A message of the family AF_BRIDGE needs an index instead of a name.
        let mut start = ifinfomsg(0, 0);
        start[0] = AF_BRIDGE;
        start[4..8].copy_from_slice(&self.link(name)?.index.to_ne_bytes());
        let request = Message::new(RTM_SETLINK, NLM_F_ACK)
            .plain(&start)
            .nest(IFLA_PROTINFO | NLA_F_NESTED, |port| {
                port.attribute(IFLA_BRPORT_MODE, &[hairpin.into()])
            });
        let word = if hairpin { "on" } else { "off" };
        self.change(request, || format!("RTM_SETLINK {name} hairpin {word}")).hint(
            |errno| match errno {
                Errno::EOPNOTSUPP | Errno::EINVAL => {
                    Some(format!("{name} is not a port of a bridge"))
                }
                errno => why(errno, name),
            },
        )
    }

    /// Set the largest packet that a device sends, in bytes.
    ///
    /// # Errors
    /// ENODEV if the device does not exist; EINVAL if the device does not support
    /// this size; EPERM if the caller lacks CAP_NET_ADMIN.
    pub fn set_mtu(&self, name: &str, mtu: u32) -> Result<()> {
        let request = named(RTM_NEWLINK, NLM_F_ACK, name)?
            .attribute(IFLA_MTU, &mtu.to_ne_bytes());
        self.change(request, || format!("RTM_NEWLINK {name} mtu {mtu}"))
            .hint(|errno| why(errno, name))
    }

    /// Set the hardware address of a device.
    ///
    /// # Errors
    /// ENODEV if the device does not exist; EADDRNOTAVAIL if the address is zero or
    /// a multicast address (its first byte is odd); EPERM if the caller lacks
    /// CAP_NET_ADMIN.
    pub fn set_mac(&self, name: &str, mac: [u8; 6]) -> Result<()> {
        let request =
            named(RTM_NEWLINK, NLM_F_ACK, name)?.attribute(IFLA_ADDRESS, &mac);
        self.change(request, || {
            format!("RTM_NEWLINK {name} address {}", colons(mac))
        })
        .hint(|errno| match errno {
            Errno::EADDRNOTAVAIL => Some(
                "the first byte of a device's hardware address must be even, and \
                 the address must not be zero"
                    .to_owned(),
            ),
            errno => why(errno, name),
        })
    }

    /// Rename a device. Before Linux 6.2 it must be down.
    ///
    /// # Errors
    /// ENODEV if the device does not exist; EEXIST if the new name is already in
    /// use; EBUSY if the device is up; EPERM if the caller lacks CAP_NET_ADMIN.
    pub fn rename(&self, name: &str, new: &str) -> Result<()> {
        checked(new)?;
        let request = Message::new(RTM_NEWLINK, NLM_F_ACK)
            .plain(&ifinfomsg_of(self.link(name)?.index))
            .attribute(IFLA_IFNAME, &text(new));
        self.change(request, || format!("RTM_NEWLINK {name} name {new}")).hint(
            |errno| match errno {
                Errno::EEXIST => Some(format!("the device {new} already exists")),
                Errno::EBUSY => Some(format!(
                    "{name} is up: this kernel renames a device only if it is down"
                )),
                errno => why(errno, name),
            },
        )
    }

    /// Set the alias of a device: a text of at most 255 bytes, with which people and
    /// programs can recognize the device. An empty text removes the alias.
    ///
    /// # Errors
    /// ENODEV if the device does not exist; EPERM if the caller lacks CAP_NET_ADMIN;
    /// the text is too long.
    pub fn set_alias(&self, name: &str, alias: &str) -> Result<()> {
        let request = aliased(named(RTM_NEWLINK, NLM_F_ACK, name)?, alias)?;
        self.change(request, || format!("RTM_NEWLINK {name} alias {alias:?}"))
            .hint(|errno| why(errno, name))
    }

    /// Wait until the operational state of a device is up. From then on a bridge
    /// port forwards packets, so the first packet is not lost. Returns false if this
    /// takes longer than `timeout`.
    ///
    /// # Errors
    /// ENODEV if the device does not exist.
    /// # Source
    /// Documentation/networking/operstates.rst
    pub fn wait_until_up(&self, name: &str, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            if self.link(name)?.operstate == OPERSTATE_UP {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            // The wait takes about 50 µs. A second socket that receives
            // notifications (RTNLGRP_LINK) would take as long, because it must be
            // opened first.
            sleep(Duration::from_micros(100));
        }
    }
}

/// struct ifinfomsg: family and device type, index, flags, and the mask of the flags
/// to change. The index is 0: an attribute of the message names the device.
pub(crate) fn ifinfomsg(flags: u32, mask: u32) -> Vec<u8> {
    [0, 0, flags, mask].map(u32::to_ne_bytes).concat()
}

/// struct ifinfomsg for the device with this index.
fn ifinfomsg_of(index: u32) -> Vec<u8> {
    [0, index, 0, 0].map(u32::to_ne_bytes).concat()
}

/// A message about the device with this name.
pub(crate) fn named(kind: u16, flags: u16, name: &str) -> Result<Message> {
    checked(name)?;
    let message = Message::new(kind, flags).plain(&ifinfomsg(0, 0));
    Ok(message.attribute(IFLA_IFNAME, &text(name)))
}

/// Add an alias to the message. Unlike other texts, an alias has no NUL at the end.
pub(crate) fn aliased(message: Message, alias: &str) -> Result<Message> {
    ensure!(
        alias.len() <= MAX_ALIAS,
        "the alias {alias:?} is too long: it must have at most {MAX_ALIAS} bytes"
    );
    Ok(message.attribute(IFLA_IFALIAS, alias.as_bytes()))
}

/// Check the name by the kernel's own rule. The kernel's answers would be less
/// clear: ERANGE for a name that is too long, and ENODEV, EINVAL or no error for
/// other names.
///
/// # Source
/// `dev_valid_name` in net/core/dev.c
pub(crate) fn checked(name: &str) -> Result<()> {
    ensure!(
        is_device_name(name),
        "invalid device name {name:?}: expected 1 to {MAX_NAME} bytes without \
         spaces, '/' and ':'"
    );
    Ok(())
}

/// Whether a device can have this name.
#[must_use]
pub fn is_device_name(name: &str) -> bool {
    let forbidden = |c: char| c.is_whitespace() || "/:\0".contains(c);
    (1..=MAX_NAME).contains(&name.len())
        && ![".", ".."].contains(&name)
        && !name.contains(forbidden)
}

/// The text with a NUL at the end, as the kernel expects it.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

/// A hardware address in the usual notation: 02:42:c0:a8:0a:02.
#[must_use]
pub fn colons(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Read struct ifinfomsg and the attributes that follow.
pub(crate) fn link(answer: &[u8]) -> Link {
    let flags = number(answer, 8);
    let mut link = Link {
        index: number(answer, 4),
        up: flags & IFF_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        flags,
        ..Link::default()
    };
    let mut lower = None;
    for (kind, value) in attributes(answer.get(16..).unwrap_or_default()) {
        match kind {
            IFLA_ADDRESS => link.mac = value.try_into().ok(),
            IFLA_IFNAME => link.name = string(value),
            IFLA_MTU => link.mtu = number(value, 0),
            IFLA_LINK => lower = Some(number(value, 0)).filter(|it| *it != 0),
            IFLA_MASTER => link.master = Some(number(value, 0)),
            IFLA_OPERSTATE => link.operstate = value.first().copied().unwrap_or(0),
            IFLA_IFALIAS => link.alias = Some(string(value)),
            IFLA_LINK_NETNSID => link.peer_elsewhere = true,
            IFLA_NETNS_IMMUTABLE => link.netns_local = Some(value != [0]),
            IFLA_LINKINFO => {
                let mut info = attributes(value).into_iter();
                let kind = info.find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = kind.map(|(_, value)| string(value));
            }
            _ => {}
        }
    }
    // For other kinds, such as vlan, IFLA_LINK is the lower device, not a peer.
    link.peer = lower.filter(|_| link.kind.as_deref() == Some("veth"));
    link
}

fn string(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

/// The hint for errnos that any message about a device can return.
pub(crate) fn why(errno: Errno, name: &str) -> Option<String> {
    match errno {
        Errno::ENODEV => Some(format!(
            "this network namespace has no device {name}: list shows all devices"
        )),
        Errno::EPERM => Some(
            "changing devices, addresses and routes requires CAP_NET_ADMIN in the \
             user namespace that owns the network namespace: use `ch02-net run`, or \
             root"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_the_kernel_accepts_are_valid() {
        for name in ["lo", "eth0.5", "a23456789012345", "..."] {
            assert!(checked(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "a:b", "a234567890123456"] {
            assert!(checked(name).is_err(), "{name}");
        }
    }

    fn body(flags: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let start = [0, 7, flags, 0].map(u32::to_ne_bytes).concat();
        let pad = |mut bytes: Vec<u8>| {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let parts = attributes.iter().map(|(kind, value)| {
            let length = (value.len() + 4) as u16;
            pad([&length.to_ne_bytes(), &kind.to_ne_bytes(), *value].concat())
        });
        [vec![start], parts.collect()].concat().concat()
    }

    #[test]
    fn lo_is_read_from_an_answer() {
        let read = link(&body(
            0x49,
            &[
                (IFLA_IFNAME, b"lo\0"),
                (IFLA_OPERSTATE, &[0]),
                (IFLA_NETNS_IMMUTABLE, &[1]),
            ],
        ));
        let lo = Link {
            index: 7,
            name: "lo".to_owned(),
            up: true,
            loopback: true,
            flags: 0x49,
            netns_local: Some(true),
            ..Link::default()
        };
        assert_eq!(read, lo);
    }

    #[test]
    fn a_veth_is_read_with_its_peer_its_bridge_and_its_alias() {
        let four = |number: u32| number.to_ne_bytes();
        let kind = [&[9, 0, 1, 0][..], b"veth\0", &[0; 3]].concat();
        let mac = [2, 0x42, 10, 0, 0, 1];
        let read = link(&body(
            0x1002,
            &[
                (IFLA_IFNAME, b"v0\0"),
                (IFLA_ADDRESS, &mac),
                (IFLA_MTU, &four(1500)),
                (IFLA_LINK, &four(3)),
                (IFLA_LINK_NETNSID, &four(0)),
                (IFLA_MASTER, &four(5)),
                (IFLA_OPERSTATE, &[2]),
                (IFLA_IFALIAS, b"for a test"),
                (IFLA_LINKINFO, &kind),
                (IFLA_NETNS_IMMUTABLE, &[0]),
            ],
        ));
        let veth = Link {
            index: 7,
            name: "v0".to_owned(),
            flags: 0x1002,
            operstate: 2,
            mac: Some(mac),
            mtu: 1500,
            kind: Some("veth".to_owned()),
            master: Some(5),
            peer: Some(3),
            peer_elsewhere: true,
            alias: Some("for a test".to_owned()),
            netns_local: Some(false),
            ..Link::default()
        };
        assert_eq!(read, veth);
        assert_eq!(colons(mac), "02:42:0a:00:00:01");
    }

    #[test]
    fn a_lower_device_and_a_long_hardware_address_are_ignored() {
        let kind = [&[9, 0, 1, 0][..], b"vlan\0", &[0; 3]].concat();
        let lower = 3_u32.to_ne_bytes();
        let read = link(&body(
            0,
            &[(IFLA_LINK, &lower), (IFLA_LINKINFO, &kind), (IFLA_ADDRESS, &[1; 20])],
        ));
        assert_eq!((read.peer, read.mac), (None, None));
        assert_eq!(link(&[]), Link::default());
    }
}
