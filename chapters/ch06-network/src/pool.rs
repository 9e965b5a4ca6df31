//! Choose a subnet for a network that is created without `--subnet`.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use crate::overlap::{InUse, user};
use crate::subnet::Subnet;

/// The subnets to try, in this order. They are the same as Docker's.
///
/// # Source
/// `localScopeDefaultNetworks` in libnetwork/ipamutils/utils.go of moby
fn candidates() -> impl Iterator<Item = Subnet> {
    let large = (17..=31).map(|second| Subnet {
        address: Ipv4Addr::new(172, second, 0, 0),
        prefix: 16,
    });
    let small = (0..=240).step_by(16).map(|third| Subnet {
        address: Ipv4Addr::new(192, 168, third, 0),
        prefix: 20,
    });
    large.chain(small)
}

/// The first subnet with no address in use.
///
/// # Errors
/// Every subnet has an address in use.
pub(crate) fn choose(in_use: &[InUse]) -> Result<Subnet> {
    let free = |subnet: &Subnet| user(subnet, in_use).is_none();
    candidates().find(free).context(
        "no free subnet is left: each of 172.17.0.0/16 to 172.31.0.0/16 and each /20 \
         of 192.168.0.0/16 overlaps a route, an address or another network: give \
         --subnet, or remove networks that nothing uses (`network prune`)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_subnet_without_an_address_in_use_is_chosen() {
        let mut in_use = Vec::new();
        assert_eq!(choose(&in_use).unwrap(), subnet("172.17.0.0/16"));
        in_use.push(InUse::range("172.17.3.0/24", "route"));
        assert_eq!(choose(&in_use).unwrap(), subnet("172.18.0.0/16"));
        in_use.push(InUse::range("172.16.0.0/12", "route"));
        assert_eq!(choose(&in_use).unwrap(), subnet("192.168.0.0/20"));
        in_use.push(InUse::range("192.168.1.4/31", "address"));
        assert_eq!(choose(&in_use).unwrap(), subnet("192.168.16.0/20"));
        in_use.push(InUse::range("192.168.0.0/17", "route"));
        assert_eq!(choose(&in_use).unwrap(), subnet("192.168.128.0/20"));
        in_use.push(InUse::range("192.168.0.0/16", "route"));
        let error = choose(&in_use).unwrap_err().to_string();
        assert!(error.starts_with("no free subnet is left"), "{error}");
    }

    #[test]
    fn no_two_of_the_subnets_overlap() {
        let all: Vec<Subnet> = candidates().collect();
        assert_eq!(all.len(), 15 + 16);
        for (at, one) in all.iter().enumerate() {
            assert_eq!(one.to_string().parse::<Subnet>().unwrap(), *one);
            assert!(!all[..at].iter().any(|other| other.overlaps(one)), "{one}");
        }
    }
}
