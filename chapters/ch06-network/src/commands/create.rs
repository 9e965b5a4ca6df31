//! `network create`: a record and a bridge.

use std::net::Ipv4Addr;

use anyhow::Result;
use ch02_net::Route;
use clap::Args;
use common::Exit;
use common::cli::{Act, Context};
use common::state::Name;

use super::{may_change_devices, tell};
use crate::{Driver, Networks, Request, Subnet, shared};

/// Create a network
///
/// Prints its name.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The kind of device that joins the containers
    #[arg(long, default_value_t)]
    driver: Driver,

    /// The addresses of the network, as ADDRESS/PREFIX [default: a free one]
    ///
    /// For example 192.168.10.0/24, for 253 containers. The prefix length is between 8
    /// and 31. The default is the first of Docker's pools (172.17.0.0/16 to
    /// 172.31.0.0/16, then /20 of 192.168.0.0/16) that overlaps no route, no address
    /// and no other network.
    #[arg(long)]
    subnet: Option<Subnet>,

    /// The address of the bridge [default: the first of the subnet]
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Ipv4Addr>,

    /// The name of the network: the same rules as for containers
    ///
    /// The bridge has the same name, if it has at most 15 bytes.
    name: Name,
}

impl Act for Create {
    fn act(self, context: &Context) -> Result<Exit> {
        let (here, _shared) = shared::enter_if_there(&context.state)?;
        let Create { driver, subnet, gateway, name } = self;
        let networks = Networks::lock(&context.state)?;
        let request = Request { name, driver, subnet, gateway };
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
