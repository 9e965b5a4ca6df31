//! The expressions of a rule, in the notation of nft(8) and in the format of the
//! kernel.
//!
//! For the kernel, a rule is a small program: one expression loads a value into
//! register 1, the next one compares the register, and a comparison that fails ends
//! the rule.

use std::fmt;
use std::net::Ipv4Addr;

use ch02_net::netlink::Message;
use common::state::Protocol;

use super::{NFTA_EXPR_DATA, NFTA_EXPR_NAME, text};

/// From include/uapi/linux/netfilter/nf_tables.h. All registers, sources and
/// destinations alike, have the attribute 1 except where a name is given.
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFT_REG_VERDICT: u32 = 0;
const NFT_REG_1: u32 = 1;
const NFT_REG_2: u32 = 2;
const NFT_META_IIFNAME: u32 = 6;
const NFT_META_OIFNAME: u32 = 7;
const NFT_META_L4PROTO: u32 = 16;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFTA_FIB_F_DADDR: u32 = 2;
const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
const NFT_CT_STATE: u32 = 0;
const NFT_CT_STATUS: u32 = 2;
const NFT_NAT_DNAT: u32 = 1;
const NFPROTO_IPV4: u32 = 2;
/// include/uapi/linux/rtnetlink.h: an address of this host.
const RTN_LOCAL: u32 = 2;
/// `NF_CT_STATE_BIT(IP_CT_NEW)` and `IPS_DST_NAT` of nf_conntrack_common.h.
const STATE_NEW: u32 = 8;
const STATUS_DNAT: u32 = 32;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
/// The length of a device's name in the kernel, with its NULs.
const IFNAMSIZ: usize = 16;

/// A comparison. The numbers are those of `enum nft_cmp_ops`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// Equal.
    Equal = 0,
    /// Not equal.
    Not = 1,
}

impl fmt::Display for Is {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Is::Equal => "",
            Is::Not => "!= ",
        })
    }
}

/// One statement of a rule. Matches come first, the action comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expression<'a> {
    /// The device on which the packet came in.
    InputDevice(Is, &'a str),
    /// The device on which the packet will leave.
    OutputDevice(Is, &'a str),
    /// The source is in this subnet: an address and its prefix length.
    Source(Ipv4Addr, u8),
    /// The destination is in this subnet.
    Destination(Ipv4Addr, u8),
    /// The destination is an address of this host, of any device.
    DestinationIsLocal,
    /// The protocol and the destination port.
    DestinationPort(Protocol, u16),
    /// This packet begins a connection.
    NewConnection,
    /// The connection's destination was changed by a rule ([`Is::Equal`]) or not.
    Translated(Is),
    /// Count packets and bytes.
    Counter,
    /// Change the connection's destination to this address and port.
    ChangeDestination(Ipv4Addr, u16),
    /// Change the connection's source to the address of the device on which it
    /// leaves.
    Masquerade,
    /// End this chain. The packet continues with the next chain.
    Accept,
    /// Drop the packet.
    Drop,
}

impl fmt::Display for Expression<'_> {
    /// The notation of nft(8).
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Expression::InputDevice(is, name) => write!(f, "iifname {is}{name:?}"),
            Expression::OutputDevice(is, name) => write!(f, "oifname {is}{name:?}"),
            Expression::Source(address, 32) => write!(f, "ip saddr {address}"),
            Expression::Source(address, prefix) => {
                write!(f, "ip saddr {address}/{prefix}")
            }
            Expression::Destination(address, 32) => write!(f, "ip daddr {address}"),
            Expression::Destination(address, prefix) => {
                write!(f, "ip daddr {address}/{prefix}")
            }
            Expression::DestinationIsLocal => f.write_str("fib daddr type local"),
            Expression::DestinationPort(protocol, port) => {
                write!(f, "{protocol} dport {port}")
            }
            Expression::NewConnection => f.write_str("ct state new"),
            Expression::Translated(Is::Equal) => f.write_str("ct status dnat"),
            Expression::Translated(Is::Not) => f.write_str("ct status ! dnat"),
            Expression::Counter => f.write_str("counter"),
            Expression::ChangeDestination(address, port) => {
                write!(f, "dnat to {address}:{port}")
            }
            Expression::Masquerade => f.write_str("masquerade"),
            Expression::Accept => f.write_str("accept"),
            Expression::Drop => f.write_str("drop"),
        }
    }
}

impl Expression<'_> {
    /// Append the kernel's expressions to the list of a rule.
    pub(super) fn write(self, list: Message) -> Message {
        use Is::Equal;
        match self {
            Expression::InputDevice(is, name) => compare(
                load("meta", list, &[(2, NFT_META_IIFNAME)]),
                is,
                &device(name),
            ),
            Expression::OutputDevice(is, name) => compare(
                load("meta", list, &[(2, NFT_META_OIFNAME)]),
                is,
                &device(name),
            ),
            // 12 and 16 are the offsets of the two addresses in struct iphdr.
            Expression::Source(address, prefix) => subnet(list, 12, address, prefix),
            Expression::Destination(address, prefix) => {
                subnet(list, 16, address, prefix)
            }
            Expression::DestinationIsLocal => {
                let what = [(2, NFT_FIB_RESULT_ADDRTYPE), (3, NFTA_FIB_F_DADDR)];
                // This number is in native byte order.
                compare(load("fib", list, &what), Equal, &RTN_LOCAL.to_ne_bytes())
            }
            Expression::DestinationPort(protocol, port) => {
                let list = load("meta", list, &[(2, NFT_META_L4PROTO)]);
                let list = compare(list, Equal, &[protocol.number()]);
                // Both headers have the destination port in their bytes 2 and 3.
                let list = payload(list, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
                compare(list, Equal, &port.to_be_bytes())
            }
            Expression::NewConnection => {
                let list = load("ct", list, &[(2, NFT_CT_STATE)]);
                has_bit(list, STATE_NEW, Equal)
            }
            Expression::Translated(is) => {
                let list = load("ct", list, &[(2, NFT_CT_STATUS)]);
                has_bit(list, STATUS_DNAT, is)
            }
            Expression::Counter => element(list, "counter", |data| data),
            Expression::ChangeDestination(address, port) => {
                let list = immediate(list, NFT_REG_1, &address.octets());
                let list = immediate(list, NFT_REG_2, &port.to_be_bytes());
                element(list, "nat", |data| {
                    // Type, family, the registers of the first address and port.
                    let data =
                        number(number(data, 1, NFT_NAT_DNAT), 2, NFPROTO_IPV4);
                    number(number(data, 3, NFT_REG_1), 5, NFT_REG_2)
                })
            }
            Expression::Masquerade => element(list, "masq", |data| data),
            Expression::Accept => verdict(list, NF_ACCEPT),
            Expression::Drop => verdict(list, NF_DROP),
        }
    }
}

/// One expression of the kernel: a name, and attributes.
fn element(
    list: Message,
    name: &str,
    data: impl FnOnce(Message) -> Message,
) -> Message {
    list.nest(NFTA_LIST_ELEM, |element| {
        element.attribute(NFTA_EXPR_NAME, &text(name)).nest(NFTA_EXPR_DATA, data)
    })
}

fn number(data: Message, kind: u16, value: u32) -> Message {
    data.attribute(kind, &value.to_be_bytes())
}

/// Load a value into register 1. The numbers with their attributes select the value.
fn load(name: &str, list: Message, numbers: &[(u16, u32)]) -> Message {
    element(list, name, |data| {
        let data = number(data, 1, NFT_REG_1);
        numbers.iter().fold(data, |data, (kind, value)| number(data, *kind, *value))
    })
}

/// Load bytes of the packet: which header, the offset and the length in bytes.
fn payload(list: Message, base: u32, offset: u32, length: u32) -> Message {
    load("payload", list, &[(2, base), (3, offset), (4, length)])
}

/// End the rule unless the comparison of register 1 with this value is true.
fn compare(list: Message, is: Is, value: &[u8]) -> Message {
    element(list, "cmp", |data| {
        let data = number(number(data, 1, NFT_REG_1), 2, is as u32);
        data.nest(3, |inside| inside.attribute(NFTA_DATA_VALUE, value))
    })
}

/// Combine register 1 with the mask by a bitwise AND.
fn mask(list: Message, mask: [u8; 4]) -> Message {
    element(list, "bitwise", |data| {
        let data = number(number(data, 1, NFT_REG_1), 2, NFT_REG_1);
        let data = number(data, 3, mask.len() as u32);
        data.nest(4, |inside| inside.attribute(NFTA_DATA_VALUE, &mask))
            .nest(5, |inside| inside.attribute(NFTA_DATA_VALUE, &[0; 4]))
    })
}

fn has_bit(list: Message, bit: u32, is: Is) -> Message {
    // The bit is set if the result differs from zero.
    let differs = if is == Is::Equal { Is::Not } else { Is::Equal };
    compare(mask(list, bit.to_ne_bytes()), differs, &[0; 4])
}

fn subnet(list: Message, offset: u32, address: Ipv4Addr, prefix: u8) -> Message {
    let list = payload(list, NFT_PAYLOAD_NETWORK_HEADER, offset, 4);
    let bits = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    let list = if prefix < 32 { mask(list, bits.to_be_bytes()) } else { list };
    compare(list, Is::Equal, &(address.to_bits() & bits).to_be_bytes())
}

fn immediate(list: Message, register: u32, value: &[u8]) -> Message {
    element(list, "immediate", |data| {
        number(data, 1, register)
            .nest(2, |inside| inside.attribute(NFTA_DATA_VALUE, value))
    })
}

fn verdict(list: Message, code: u32) -> Message {
    element(list, "immediate", |data| {
        number(data, 1, NFT_REG_VERDICT).nest(2, |inside| {
            inside.nest(NFTA_DATA_VERDICT, |inside| {
                number(inside, NFTA_VERDICT_CODE, code)
            })
        })
    })
}

/// A device's complete name with its NULs, so that `br0` does not match `br01`.
fn device(name: &str) -> [u8; IFNAMSIZ] {
    let mut bytes = [0; IFNAMSIZ];
    // The last byte stays NUL.
    for (byte, letter) in bytes[..IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *byte = letter;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_printed_as_nft_prints_it() {
        let rule = [
            Expression::Source(Ipv4Addr::new(127, 0, 0, 0), 8),
            Expression::OutputDevice(Is::Not, "br0"),
            Expression::Translated(Is::Not),
            Expression::DestinationPort(Protocol::Udp, 53),
            Expression::Masquerade,
        ];
        let text: Vec<String> = rule.iter().map(ToString::to_string).collect();
        assert_eq!(
            text.join(" "),
            "ip saddr 127.0.0.0/8 oifname != \"br0\" ct status ! dnat udp dport 53 \
             masquerade"
        );
    }

    #[test]
    fn a_device_name_is_padded_with_zeros() {
        assert_eq!(device("br0"), *b"br0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(device("a2345678901234567"), *b"a23456789012345\0");
    }
}
