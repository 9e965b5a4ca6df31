//! `-net`: the part that connects a container to a network.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;

use anyhow::Result;
use ch02_net::Route;
use ch06_network::{
    Claim, Network, Networks, forwarding, release_addresses, sysctl,
};
use common::state::{Name, State, Table};
use common::step::Step;
use common::{CloneArgs, Exit, Home, ParentLink, Part, Plan, Running};
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use crate::flags::Flags;
use crate::host_firewall::Firewall;
use crate::hosts_update::HostsUpdate;
use crate::rules::ConnectionFirewall;
use crate::undo::{self, CONNECTION};
use crate::veth::Veth;
use crate::{Mac, Mode, Publication, hosts, own_files, resolv_conf};

/// The part that connects a container to a network and writes its files in `/etc`.
/// It comes after the part that creates the network namespace.
#[derive(Debug)]
pub struct Connection {
    flags: Flags,
    table: Table,
    joined: Option<(Network, Claim)>,
    namespace: Option<File>,
    rules: ConnectionFirewall,
    published: bool,
}

impl Connection {
    /// Create the part with these flags and published ports. If a requested address
    /// belongs to a dead container, this container is swept with the table.
    #[must_use]
    pub fn new(flags: Flags, publication: Publication, table: Table) -> Connection {
        let rules = ConnectionFirewall::new(publication);
        let (joined, namespace, published) = (None, None, false);
        Connection { flags, table, joined, namespace, rules, published }
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

    fn clone_args(&self, args: &mut CloneArgs) {
        if self.flags.network == Some(Mode::Host) {
            args.namespaces.remove(CloneFlags::CLONE_NEWNET);
        }
    }

    fn attach(&mut self, _plan: &Plan, child: Pid) -> Result<()> {
        if self.joined.is_some() {
            // Here, because the child may drop the privileges that this needs.
            let path = format!("/proc/{child}/ns/net");
            let file = File::open(&path).untraced(|| format!("open(2) {path}"))?;
            self.namespace = Some(file);
        }
        Ok(())
    }

    fn meanwhile(&mut self, plan: &Plan, _child: Pid) -> Result<()> {
        let Some((network, claim)) = &self.joined else { return Ok(()) };
        let Some(namespace) = self.namespace.take() else { return Ok(()) };
        let container = &plan.home.id;
        let (address, mac) = (claim.me.address, self.mac(claim.me.address));
        let veth = Veth { network, container, address, mac };
        let state = &plan.home.state;
        let namespace = namespace.as_fd();
        veth.create(namespace)?;
        self.rules.open(container, network, address)?;
        veth.wait()?;
        let firewall = Firewall::unless(self.flags.no_firewall);
        self.rules
            .open_host_firewall(state, network, namespace, address, firewall)?;
        if plan.detached && !claim.others.is_empty() {
            publish(state, network, claim)?;
            self.published = true;
        }
        Ok(())
    }

    fn enter(&self, _plan: &Plan, _link: &ParentLink) -> Result<()> {
        match self.flags.network {
            None | Some(Mode::Host) => Ok(()),
            Some(_) => Route::open()?.set_up("lo"),
        }
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        if let Some((network, claim)) = self.joined.clone()
            && !self.published
            && !claim.others.is_empty()
        {
            // The caller is waiting for the program's output, and two hundred files
            // take 3 ms.
            let state = running.home().state.clone();
            running.watch(HostsUpdate::new(state, network, claim)?);
        }
        self.rules.watch(running)
    }

    fn ended(&self, home: &Home, _how: Exit) -> Result<()> {
        self.rules.close()?;
        release_addresses(home)?;
        undo::end(home)
    }
}
// ANCHOR_END: part

/// Find a network, and create its bridge if it does not exist, for example after a
/// reboot.
///
/// # Errors
/// The network is not found; the bridge cannot be created.
pub(crate) fn used(state: &State, name: &Name) -> Result<Network> {
    let network = Network::find(state, name)?;
    network.ensure_bridge(&Route::open()?)?;
    sysctl::route_localnet(&network.bridge)?;
    forwarding::switch_on(state)?;
    Ok(network)
}

impl Connection {
    // ANCHOR: join
    /// Claim an address, and write the container's files.
    fn join(&mut self, plan: &mut Plan, name: &Name) -> Result<()> {
        let state = plan.home.state.clone();
        let flags = &self.flags;
        let servers = resolv_conf::for_network(&flags.dns, &flags.dns_search)?;
        resolv_conf::warn_without_server(&servers)?;
        let networks = Networks::lock(&state)?;
        let network = used(&state, name)?;
        let claim =
            networks.claim(&network, &plan.home, flags.address, self.table)?;
        plan.home.note(CONNECTION, network.name.as_str().as_bytes())?;
        let mut text = hosts::LOOPBACK.to_owned();
        let hostname = own_files::hostname(plan)?;
        text += &hosts::own_line(claim.me.address, &hostname, &plan.home);
        text += &own_files::lines(&flags.hosts, Some(network.gateway.into()))?;
        text.extend(claim.others.iter().map(hosts::line));
        own_files::write(plan, &text, &servers)?;
        self.rules.set_address(claim.me.address);
        self.joined = Some((network, claim));
        Ok(())
    }
    // ANCHOR_END: join
}

/// Add the container's name to the files of the other containers.
fn publish(state: &State, network: &Network, claim: &Claim) -> Result<()> {
    let networks = Networks::lock(state)?;
    hosts::publish(&networks, network, state, claim, &claim.others)
}
