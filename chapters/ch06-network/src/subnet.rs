//! A subnet: a range of IPv4 addresses, written `192.168.10.0/24`.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

/// The prefix lengths that a network may have.
const PREFIXES: RangeInclusive<u8> = 8..=31;

/// A range of IPv4 addresses that begin with the same `prefix` bits.
///
/// # Source
/// RFC 4632, "Classless Inter-domain Routing (CIDR)"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The first address: all bits after the prefix are 0.
    pub address: Ipv4Addr,
    /// The number of leading bits that all addresses share.
    pub prefix: u8,
}

impl Subnet {
    /// The last address: all bits after the prefix are 1. Packets to it go to every
    /// member. A /31 has no such address.
    #[must_use]
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !mask(self.prefix))
    }

    /// Whether the subnet has this address.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.address.to_bits()
    }

    // ANCHOR: hosts
    /// The addresses that a gateway or a container may have, as numbers. The first
    /// address of a subnet names the subnet, and the last is for broadcasts: neither
    /// is given to a host. A /31 has only two addresses, and both are for hosts.
    ///
    /// # Source
    /// RFC 1122, 3.2.1.3; RFC 3021 for /31
    #[must_use]
    pub fn range(&self) -> RangeInclusive<u32> {
        let (first, last) = (self.address.to_bits(), self.broadcast().to_bits());
        if self.prefix == 31 { first..=last } else { first + 1..=last - 1 }
    }
    // ANCHOR_END: hosts

    /// The same addresses, in ascending order.
    pub fn hosts(&self) -> impl DoubleEndedIterator<Item = Ipv4Addr> + use<> {
        self.range().map(Ipv4Addr::from_bits)
    }

    /// Whether a gateway or a container may have this address.
    #[must_use]
    pub fn has_host(&self, address: Ipv4Addr) -> bool {
        self.range().contains(&address.to_bits())
    }

    /// Check that a gateway or a container may have this address. `flag` is the
    /// option for the error text.
    ///
    /// # Errors
    /// The address is outside the subnet, or is the first or last address of a
    /// subnet with a prefix up to /30.
    pub(crate) fn check_host(&self, address: Ipv4Addr, flag: &str) -> Result<()> {
        let range = self.range();
        let [first, last] =
            [range.start(), range.end()].map(|it| Ipv4Addr::from(*it));
        let why = if self.has_host(address) {
            return Ok(());
        } else if !self.contains(address) {
            "not in the subnet"
        } else if address == self.address {
            "the network address of the subnet"
        } else {
            "the broadcast address of the subnet"
        };
        bail!(
            "{flag} {address} is {why} {self}: choose an address from {first} to {last}"
        )
    }

    /// Whether the two subnets have an address in common. In this case, one contains
    /// the other.
    #[must_use]
    pub fn overlaps(&self, other: &Subnet) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

/// A number whose first `prefix` bits are 1.
pub(crate) fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Subnet> {
        let expected = || {
            format!(
                "invalid subnet {text:?}: expected ADDRESS/PREFIX, for example \
                 192.168.10.0/24"
            )
        };
        let (address, prefix) = text.split_once('/').with_context(expected)?;
        let address: Ipv4Addr = address.parse().ok().with_context(expected)?;
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = prefix.parse().ok().with_context(expected)?;
        ensure!(digits, expected());
        ensure!(
            PREFIXES.contains(&prefix),
            "invalid subnet {text:?}: the prefix length must be between /{} and /{}",
            PREFIXES.start(),
            PREFIXES.end(),
        );
        let first = Ipv4Addr::from_bits(address.to_bits() & mask(prefix));
        ensure!(
            first == address,
            "invalid subnet {text:?}: {address} has bits after the first {prefix}: \
             use --subnet {first}/{prefix}, and --gateway {address} if this is the \
             gateway's address"
        );
        let [high, ..] = address.octets();
        let use_of = match high {
            0 => "\"this host\"",
            127 => "loopback",
            224..=239 => "multicast",
            240.. => "future use",
            _ => return Ok(Subnet { address, prefix }),
        };
        bail!(
            "invalid subnet {text:?}: these addresses are reserved for {use_of}: \
             choose one from 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
        )
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn a_subnet_reads_back_and_knows_its_addresses() {
        for (text, first, last, broadcast, count) in [
            ("10.0.0.0/8", "10.0.0.1", "10.255.255.254", "10.255.255.255", 16777214),
            (
                "192.168.8.0/21",
                "192.168.8.1",
                "192.168.15.254",
                "192.168.15.255",
                2046,
            ),
            (
                "192.168.10.0/24",
                "192.168.10.1",
                "192.168.10.254",
                "192.168.10.255",
                254,
            ),
            ("192.168.10.8/29", "192.168.10.9", "192.168.10.14", "192.168.10.15", 6),
            ("192.168.10.4/30", "192.168.10.5", "192.168.10.6", "192.168.10.7", 2),
            ("192.168.10.6/31", "192.168.10.6", "192.168.10.7", "192.168.10.7", 2),
        ] {
            let subnet = subnet(text);
            assert_eq!(subnet.to_string(), text);
            assert_eq!(subnet.hosts().next().unwrap().to_string(), first);
            assert_eq!(subnet.hosts().next_back().unwrap().to_string(), last);
            assert_eq!(subnet.broadcast().to_string(), broadcast);
            assert_eq!(subnet.range().count(), count);
            assert!(subnet.hosts().take(300).all(|host| subnet.contains(host)));
        }
    }

    #[test]
    fn a_subnet_contains_exactly_the_addresses_of_its_prefix() {
        let subnet = subnet("192.168.8.0/21");
        for inside in ["192.168.8.0", "192.168.15.255"] {
            assert!(subnet.contains(inside.parse().unwrap()), "{inside}");
            assert!(!subnet.has_host(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["192.168.7.255", "192.168.16.0", "0.0.0.0"] {
            assert!(!subnet.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn subnets_overlap_if_one_contains_the_other() {
        for (one, other, expected) in [
            ("10.0.0.0/8", "10.200.0.0/16", true),
            ("192.168.10.0/24", "192.168.10.0/24", true),
            ("192.168.10.0/24", "192.168.11.0/24", false),
            ("192.168.10.0/31", "192.168.10.2/31", false),
        ] {
            let (one, other) = (subnet(one), subnet(other));
            assert_eq!(one.overlaps(&other), expected);
            assert_eq!(other.overlaps(&one), expected);
        }
    }

    #[test]
    fn an_invalid_subnet_is_refused_with_the_remedy() {
        for (text, reason) in [
            ("", "expected ADDRESS/PREFIX"),
            ("192.168.10.0", "expected ADDRESS/PREFIX"),
            ("192.168.10/24", "expected ADDRESS/PREFIX"),
            ("192.168.10.0/", "expected ADDRESS/PREFIX"),
            ("192.168.10.0/+24", "expected ADDRESS/PREFIX"),
            ("192.168.10.0/256", "expected ADDRESS/PREFIX"),
            ("192.168.010.0/24", "expected ADDRESS/PREFIX"),
            ("fd00::/64", "expected ADDRESS/PREFIX"),
            ("0.0.0.0/0", "between /8 and /31"),
            ("10.0.0.0/7", "between /8 and /31"),
            ("192.168.10.1/32", "between /8 and /31"),
            ("192.168.10.0/33", "between /8 and /31"),
            (
                "192.168.10.5/24",
                "use --subnet 192.168.10.0/24, and --gateway 192.168.10.5",
            ),
            ("0.0.0.0/8", "this host"),
            ("127.0.0.0/8", "loopback"),
            ("224.0.0.0/8", "multicast"),
            ("250.1.0.0/16", "future use"),
        ] {
            let error = text.parse::<Subnet>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
