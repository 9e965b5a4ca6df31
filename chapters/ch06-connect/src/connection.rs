//! `-net`: the part that connects a container to a network.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;

use anyhow::Result;
use ch02_net::Route;
use ch06_network::{
    Member, Network, Networks, forwarding, release_addresses, sysctl,
};
use common::state::{Name, State, Table};
use common::step::Step;
use common::{Birth, Exit, Home, Part, Plan, Running, Up};
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use crate::flags::Flags;
use crate::passage::Firewall;
use crate::rules::Rules;
use crate::undo::{self, CONNECTION};
use crate::wire::Wire;
use crate::{Mac, Mode, Publication, hosts, own_files, resolv_conf};

/// The connection of a container to a network, and its files in `/etc`. It comes after
/// the part that makes the network namespace.
#[derive(Debug)]
pub struct Connection {
    flags: Flags,
    table: Table,
    joined: Option<(Network, Member)>,
    rules: Rules,
}

impl Connection {
    /// By these flags, with these published ports. The owner of a wanted address that is
    /// dead is swept by the table.
    #[must_use]
    pub fn new(flags: Flags, publication: Publication, table: Table) -> Connection {
        let rules = Rules::new(publication);
        Connection { flags, table, joined: None, rules }
    }

    fn mac(&self, address: Ipv4Addr) -> Mac {
        self.flags.mac.unwrap_or_else(|| Mac::of(address))
    }
}

// ANCHOR: part
impl Part for Connection {
    fn name(&self) -> &'static str {
        "network"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        let flags = self.flags.clone();
        flags.check()?;
        match &flags.network {
            // `network connect` may connect the container later.
            None | Some(Mode::Loopback) => {
                let own = own_files::lines(&flags.hosts, None)?;
                let hosts = hosts::LOOPBACK.to_owned() + &own;
                let servers =
                    resolv_conf::for_network(&flags.dns, &flags.dns_search)?;
                own_files::write(plan, &hosts, &servers)
            }
            Some(Mode::Host) => {
                let host = IpAddr::from(Ipv4Addr::LOCALHOST);
                let own = own_files::lines(&flags.hosts, Some(host))?;
                let own = own_files::hosts_of_host()? + &own;
                let servers = resolv_conf::for_host(&flags.dns, &flags.dns_search)?;
                own_files::write(plan, &own, &servers)
            }
            Some(Mode::Network(name)) => self.join(plan, name),
        }
    }

    fn birth(&self, birth: &mut Birth) {
        if self.flags.network == Some(Mode::Host) {
            birth.namespaces.remove(CloneFlags::CLONE_NEWNET);
        }
    }

    fn attach(&mut self, plan: &Plan, child: Pid) -> Result<()> {
        let Some((network, member)) = &self.joined else { return Ok(()) };
        let path = format!("/proc/{child}/ns/net");
        let namespace = File::open(&path).look(|| format!("open(2) {path}"))?;
        let container = &plan.home.id;
        let (address, mac) = (member.address, self.mac(member.address));
        let wire = Wire { network, container, address, mac };
        wire.lay(namespace.as_fd())?;
        self.rules.open(container, network, address)?;
        wire.wait()?;
        let (state, namespace) = (&plan.home.state, namespace.as_fd());
        let firewall = Firewall::unless(self.flags.no_firewall);
        self.rules.open_passage(state, network, namespace, address, firewall)
    }

    fn enter(&self, _plan: &Plan, _up: &Up) -> Result<()> {
        match self.flags.network {
            None | Some(Mode::Host) => Ok(()),
            Some(_) => Route::open()?.set_up("lo"),
        }
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        self.rules.watch(running);
        Ok(())
    }

    fn ended(&self, home: &Home, _how: Exit) -> Result<()> {
        self.rules.close()?;
        release_addresses(home)?;
        undo::end(home)
    }
}
// ANCHOR_END: part

/// A network whose bridge is there. After a reboot it is made again.
///
/// # Errors
/// There is no network of the name; the bridge cannot be made.
pub(crate) fn used(state: &State, name: &Name) -> Result<Network> {
    let network = Network::find(state, name)?;
    network.ensure_bridge(&Route::open()?)?;
    sysctl::route_localnet(&network.bridge)?;
    forwarding::switch_on(state)?;
    Ok(network)
}

impl Connection {
    // ANCHOR: join
    /// Claim an address, write the container's files, and tell the others its name.
    fn join(&mut self, plan: &mut Plan, name: &Name) -> Result<()> {
        let state = plan.home.state.clone();
        let flags = &self.flags;
        let servers = resolv_conf::for_network(&flags.dns, &flags.dns_search)?;
        resolv_conf::warn_without_server(&servers)?;
        let networks = Networks::lock(&state)?;
        let network = used(&state, name)?;
        let address =
            networks.claim(&network, &plan.home, flags.address, self.table)?;
        let (id, name) = (plan.home.id.clone(), plan.home.name.clone());
        let me = Member { address, id, name };
        plan.home.note(CONNECTION, network.name.as_str().as_bytes())?;
        let mut text = hosts::LOOPBACK.to_owned();
        let hostname = own_files::hostname(plan)?;
        text += &hosts::own_line(address, &hostname, &plan.home);
        text += &own_files::lines(&flags.hosts, Some(network.gateway.into()))?;
        let others =
            network.members(&state)?.into_iter().filter(|it| it.id != me.id);
        text.extend(others.map(|it| hosts::line(&it)));
        own_files::write(plan, &text, &servers)?;
        hosts::publish(&networks, &network, &state, &me)?;
        self.rules.lead_to(address);
        self.joined = Some((network, me));
        Ok(())
    }
    // ANCHOR_END: join
}
