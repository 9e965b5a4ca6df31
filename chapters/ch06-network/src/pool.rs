//! The choice of a subnet for a network that was created without `--subnet`.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use crate::overlap::InUse;
use crate::subnet::Subnet;

// ANCHOR: pool
/// The subnets that are tried, in this order: the same as those of Docker.
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

/// The first subnet that has no address in use.
///
/// # Errors
/// All have one.
pub(crate) fn choose(in_use: &[InUse]) -> Result<Subnet> {
    let free = |subnet: &Subnet| !in_use.iter().any(|it| it.overlaps(subnet));
    candidates().find(free).context(
        "no free subnet is left: each of 172.17.0.0/16 to 172.31.0.0/16 and each /20 \
         of 192.168.0.0/16 overlaps a route, an address or another network: give \
         --subnet, or remove networks that nothing uses (`network prune`)",
    )
}
// ANCHOR_END: pool
