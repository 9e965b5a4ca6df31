//! `network create`: create a record and a bridge.

use std::net::Ipv4Addr;

use anyhow::Result;
use ch02_net::Route;
use clap::Args;
use common::Exit;
use common::cli::{Context, Execute};
use common::state::Name;

use super::{may_change_devices, tell};
use crate::{Driver, Networks, Request, Subnet, shared};

/// Create a network
///
/// Prints its name.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Kind of the network; the only kind is "bridge"
    #[arg(long, default_value_t)]
    driver: Driver,

    /// Addresses of the network, for example 192.168.10.0/24 [default: a free
    /// subnet]
    ///
    /// The prefix length is from 8 to 31. A /24 has addresses for 253 containers.
    /// The default is the first subnet of Docker's pools (172.17.0.0/16 to
    /// 172.31.0.0/16, then 192.168.0.0/20 to 192.168.240.0/20) that overlaps no
    /// route, no address and no other network.
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    subnet: Option<Subnet>,

    /// Address of the bridge [default: the first address of the subnet]
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Ipv4Addr>,

    /// If a device already has the network's name, name the bridge "br-" and the ID
    ///
    /// For a default network, whose name the user did not choose: the default
    /// network of another state directory has the same name.
    #[arg(long, hide = true)]
    any_bridge: bool,

    /// Name of the network: letters, digits, '_', '.' and '-'
    ///
    /// If the name has at most 15 bytes, the bridge has the same name. Otherwise,
    /// the name of the bridge is "br-" and the ID of the network.
    name: Name,
}

impl Execute for Create {
    fn execute(self, context: &Context) -> Result<Exit> {
        let (here, _shared) = shared::enter_if_there(&context.state)?;
        let Create { driver, subnet, gateway, any_bridge, name } = self;
        let networks = Networks::lock(&context.state)?;
        let request = Request { name, driver, subnet, gateway, any_bridge };
        let route = Route::open()?;
        let network = if here {
            may_change_devices("network create")?;
            networks.create(&route, &request)?
        } else {
            networks.create_record(&route, &request)?
        };
        tell(&[network.name], Vec::new())
    }
}
