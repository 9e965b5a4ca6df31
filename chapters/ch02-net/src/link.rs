//! Devices, which the kernel calls links: what they are, and how one is set.

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
pub const LONGEST_NAME: usize = 15;

/// The longest alias of a device in bytes: IFALIASZ without its NUL.
const LONGEST_ALIAS: usize = 255;

/// [`Link::operstate`] of a device that sends and receives.
///
/// # Source
/// `IF_OPER_UP` in include/uapi/linux/if.h, RFC 2863
pub const OPERSTATE_UP: u8 = 6;

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace, from 1, which is lo.
    pub index: u32,
    /// Its name in this namespace.
    pub name: String,
    /// Whether it was set up. It may still wait for its other end or its bridge.
    pub up: bool,
    /// Whether it is a loopback device, as lo is.
    pub loopback: bool,
    /// IFF_UP and the other flags of netdevice(7).
    pub flags: u32,
    /// Whether it can send and receive: [`OPERSTATE_UP`], 2 for down; 0, unknown, is
    /// what lo and tunnels report for ever.
    pub operstate: u8,
    /// The hardware address, if it has one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// The longest packet, in bytes.
    pub mtu: u32,
    /// What made it: "bridge", "veth"; None for hardware and for lo.
    pub kind: Option<String>,
    /// The index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// The index of the other end of a veth pair, in that end's own namespace.
    pub peer: Option<u32>,
    /// Whether the other end is in another namespace.
    pub peer_elsewhere: bool,
    /// A text of at most 255 bytes that somebody gave it.
    pub alias: Option<String>,
    /// Whether the device must stay in its namespace; None before Linux 6.15, which
    /// does not tell.
    pub netns_local: Option<bool>,
}

impl Route {
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
    /// ENODEV if no device has this name.
    pub fn link(&self, name: &str) -> Result<Link> {
        let request = named(RTM_GETLINK, NLM_F_ACK, name)?;
        let what = || format!("RTM_GETLINK {name}");
        let answers = self.0.ask(request).look(what).hint(|e| why(e, name))?;
        answers.first().map(|answer| link(answer)).with_context(what)
    }

    // ANCHOR: set
    /// Set a device up, so that it sends and receives. The kernel gives lo its
    /// 127.0.0.1 then.
    ///
    /// # Errors
    /// ENODEV if there is no device of the name; EPERM without CAP_NET_ADMIN.
    pub fn set_up(&self, name: &str) -> Result<()> {
        self.set(name, IFF_UP, "up")
    }

    /// Set a device down. It loses the routes through it.
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

    /// Make a device a port of a bridge.
    ///
    /// # Errors
    /// ENODEV if there is no device or no bridge of the name; EOPNOTSUPP or EINVAL if
    /// the second is no bridge; ELOOP for a bridge in a bridge; EPERM.
    pub fn set_master(&self, name: &str, bridge: &str) -> Result<()> {
        let master = self.link(bridge)?.index;
        let request = named(RTM_NEWLINK, NLM_F_ACK, name)?
            .attribute(IFLA_MASTER, &master.to_ne_bytes());
        self.change(request, || format!("RTM_NEWLINK {name} master {bridge}")).hint(
            |errno| match errno {
                Errno::EOPNOTSUPP | Errno::EINVAL => {
                    Some(format!("{bridge} must be a bridge, and {name} must not"))
                }
                Errno::ELOOP => {
                    Some("a bridge can't be a port of a bridge".to_owned())
                }
                errno => why(errno, name),
            },
        )
    }

    /// Let a port of a bridge send packets back through itself, or forbid it, which
    /// is the default. A container that reaches itself through the host's published
    /// port needs this.
    ///
    /// # Errors
    /// ENODEV; EOPNOTSUPP or EINVAL if the device is no port of a bridge; EPERM.
    /// # Source
    /// include/uapi/linux/if_link.h, `IFLA_BRPORT_MODE`
    pub fn set_hairpin(&self, name: &str, hairpin: bool) -> Result<()> {
        // A message of the bridges' family takes an index and no name.
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
    /// ENODEV if there is no device of the name; EINVAL for a number that the device does
    /// not take; EPERM without CAP_NET_ADMIN.
    pub fn set_mtu(&self, name: &str, mtu: u32) -> Result<()> {
        let request = named(RTM_NEWLINK, NLM_F_ACK, name)?
            .attribute(IFLA_MTU, &mtu.to_ne_bytes());
        self.change(request, || format!("RTM_NEWLINK {name} mtu {mtu}"))
            .hint(|errno| why(errno, name))
    }

    /// Give a device another hardware address.
    ///
    /// # Errors
    /// ENODEV; EADDRNOTAVAIL for a multicast address (the first byte is odd) or zero;
    /// EPERM.
    pub fn set_mac(&self, name: &str, mac: [u8; 6]) -> Result<()> {
        let request =
            named(RTM_NEWLINK, NLM_F_ACK, name)?.attribute(IFLA_ADDRESS, &mac);
        self.change(request, || {
            format!("RTM_NEWLINK {name} address {}", colons(mac))
        })
        .hint(|errno| match errno {
            Errno::EADDRNOTAVAIL => Some(
                "the first byte of a device's hardware address must be even, \
                     and the address not zero"
                    .to_owned(),
            ),
            errno => why(errno, name),
        })
    }

    /// Give a device another name. Before Linux 6.2 it must be down.
    ///
    /// # Errors
    /// ENODEV; EEXIST if the name is taken; EBUSY if it is up; EPERM.
    pub fn rename(&self, name: &str, new: &str) -> Result<()> {
        checked(new)?;
        let request = Message::new(RTM_NEWLINK, NLM_F_ACK)
            .plain(&about(self.link(name)?.index))
            .attribute(IFLA_IFNAME, &text(new));
        self.change(request, || format!("RTM_NEWLINK {name} name {new}")).hint(
            |errno| match errno {
                Errno::EEXIST => Some(format!("there is a device {new} already")),
                Errno::EBUSY => Some(format!(
                    "{name} is up: this kernel renames it only when down"
                )),
                errno => why(errno, name),
            },
        )
    }

    /// Give a device a text for people and programs to know it by, at most 255 bytes;
    /// an empty one removes it.
    ///
    /// # Errors
    /// ENODEV; EPERM; the text is too long.
    pub fn set_alias(&self, name: &str, alias: &str) -> Result<()> {
        let request = aliased(named(RTM_NEWLINK, NLM_F_ACK, name)?, alias)?;
        self.change(request, || format!("RTM_NEWLINK {name} alias {alias:?}"))
            .hint(|errno| why(errno, name))
    }

    /// Wait until a device's operational state is up: a bridge port forwards from
    /// then on, and the first packet is not lost. False means that the time is over.
    ///
    /// # Errors
    /// ENODEV.
    /// # Source
    /// Documentation/networking/operstates.rst
    pub fn wait_until_up(&self, name: &str, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            if self.link(name)?.operstate == OPERSTATE_UP {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            // It takes some 50 µs, as long as by a second socket that is told of
            // changes (RTNLGRP_LINK): that one has to be opened first.
            sleep(Duration::from_micros(100));
        }
    }
}

/// struct ifinfomsg: family and type of device, its index, flags, which of the flags
/// are meant. With the index 0 the device is told by its name.
pub(crate) fn ifinfomsg(flags: u32, meant: u32) -> Vec<u8> {
    [0, 0, flags, meant].map(u32::to_ne_bytes).concat()
}

/// struct ifinfomsg of the device of this index.
fn about(index: u32) -> Vec<u8> {
    [0, index, 0, 0].map(u32::to_ne_bytes).concat()
}

/// A message about the device of this name.
pub(crate) fn named(kind: u16, flags: u16, name: &str) -> Result<Message> {
    checked(name)?;
    let message = Message::new(kind, flags).plain(&ifinfomsg(0, 0));
    Ok(message.attribute(IFLA_IFNAME, &text(name)))
}

/// The message with an alias, which has no NUL.
pub(crate) fn aliased(message: Message, alias: &str) -> Result<Message> {
    ensure!(
        alias.len() <= LONGEST_ALIAS,
        "the alias {alias:?} is too long: it must have at most {LONGEST_ALIAS} bytes"
    );
    Ok(message.attribute(IFLA_IFALIAS, alias.as_bytes()))
}

/// The kernel's own rule. It would say ERANGE for a name that is too long, and
/// ENODEV, EINVAL or nothing for others.
///
/// # Source
/// `dev_valid_name` in net/core/dev.c
pub(crate) fn checked(name: &str) -> Result<()> {
    ensure!(
        is_device_name(name),
        "{name:?} is no name of a device: that has 1 to {LONGEST_NAME} bytes, and \
         no space, '/' or ':' in it"
    );
    Ok(())
}

/// Whether a device can have this name.
#[must_use]
pub fn is_device_name(name: &str) -> bool {
    let taboo = |c: char| c.is_whitespace() || "/:\0".contains(c);
    (1..=LONGEST_NAME).contains(&name.len())
        && ![".", ".."].contains(&name)
        && !name.contains(taboo)
}

/// Text as the kernel wants it, with a NUL.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

/// A hardware address as people write it: 02:42:c0:a8:0a:02.
#[must_use]
pub fn colons(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Read struct ifinfomsg and the attributes that follow.
fn link(answer: &[u8]) -> Link {
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
    // For other kinds, such as vlan, this is the device below, and no peer.
    link.peer = lower.filter(|_| link.kind.as_deref() == Some("veth"));
    link
}

fn string(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

/// A hint for the errnos that every message about a device can get.
pub(crate) fn why(errno: Errno, name: &str) -> Option<String> {
    match errno {
        Errno::ENODEV => Some(format!(
            "there is no device {name} in this network namespace: list shows those \
             that are"
        )),
        Errno::EPERM => Some(
            "changing devices, addresses and routes takes CAP_NET_ADMIN in the user \
             namespace that the network namespace belongs to: inside `ch02-net run` \
             you have it, outside try as root"
                .to_owned(),
        ),
        _ => None,
    }
}

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
    fn a_device_below_is_no_peer_and_a_long_hardware_address_is_none() {
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
