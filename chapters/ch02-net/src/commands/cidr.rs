//! An address with a prefix length, in the usual notation: 192.168.10.2/24.

use std::net::Ipv4Addr;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use crate::routes::network_of;

/// An IPv4 address and the prefix length of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address.
    pub address: Ipv4Addr,
    /// The prefix length, 0 to 32.
    pub prefix: u8,
}

impl FromStr for Cidr {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Cidr> {
        let Some((address, prefix)) = text.split_once('/') else {
            let address = ipv4(text)?;
            bail!(
                "the prefix length is missing: expected ADDRESS/PREFIX, such as \
                 {address}/24"
            )
        };
        let address = ipv4(address)?;
        // parse() would also accept "+24".
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|prefix| digits && *prefix <= 32);
        let prefix =
            prefix.context("the prefix length must be a number from 0 to 32")?;
        Ok(Cidr { address, prefix })
    }
}

/// The destination of a route: `default`, a network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination(pub Cidr);

impl FromStr for Destination {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Destination> {
        let cidr = match text {
            "default" => Cidr { address: Ipv4Addr::UNSPECIFIED, prefix: 0 },
            network if network.contains('/') => network.parse()?,
            host => Cidr { address: ipv4(host)?, prefix: 32 },
        };
        let (address, first) = (cidr.address, network_of(cidr.address, cidr.prefix));
        ensure!(
            address == first,
            "{address} is not the first address of its network: use {first}/{}, or \
             {address}/32 for this address alone",
            cidr.prefix
        );
        Ok(Destination(cidr))
    }
}

/// Parse an IPv4 address.
///
/// # Errors
/// The text is not an IPv4 address. IPv6 addresses get their own error, since this
/// course does not support them.
pub(crate) fn ipv4(text: &str) -> Result<Ipv4Addr> {
    if text.contains(':') {
        bail!("{text:?} is an IPv6 address: this command takes IPv4 addresses only");
    }
    text.parse().ok().with_context(|| {
        format!(
            "{text:?} is not an IPv4 address: expected four numbers from 0 to 255"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_a_prefix_length() {
        let cidr = Cidr { address: Ipv4Addr::new(10, 0, 0, 1), prefix: 24 };
        assert_eq!("10.0.0.1/24".parse::<Cidr>().ok(), Some(cidr));
        for (text, error) in [
            ("10.0.0.1", "such as 10.0.0.1/24"),
            ("10.0.0.1/", "from 0 to 32"),
            ("10.0.0.1/33", "from 0 to 32"),
            ("10.0.0.1/+4", "from 0 to 32"),
            ("10.0.0.1/300", "from 0 to 32"),
            ("10.0.0/24", "four numbers"),
            ("10.0.0.256/24", "four numbers"),
            ("fe80::1/64", "IPv4 addresses only"),
            ("", "four numbers"),
        ] {
            let found = text.parse::<Cidr>().map_err(|error| error.to_string());
            assert!(found.as_ref().is_err_and(|e| e.contains(error)), "{found:?}");
        }
    }

    #[test]
    fn a_destination_is_the_default_a_network_or_one_address() {
        let read = |text: &str| {
            let Destination(cidr) = text.parse().ok()?;
            Some((cidr.address.octets(), cidr.prefix))
        };
        assert_eq!(read("default"), Some(([0; 4], 0)));
        assert_eq!(read("0.0.0.0/0"), Some(([0; 4], 0)));
        assert_eq!(read("10.0.0.0/8"), Some(([10, 0, 0, 0], 8)));
        assert_eq!(read("10.0.0.1"), Some(([10, 0, 0, 1], 32)));
        let host_bits = "10.1.0.1/8".parse::<Destination>();
        let error = host_bits.map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.contains("use 10.0.0.0/8")));
    }
}
