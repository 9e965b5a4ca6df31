//! Foreign firewalls: ufw, Docker, or an administrator's own rules.
//!
//! A packet passes only if every chain of a hook accepts it. So rules in our own
//! chains have no effect if another chain drops forwarded packets. Two simple rules
//! at the top of each such chain solve this. They contain only expressions that
//! every version of iptables(8) can show: with a `ct` expression, `iptables -S
//! FORWARD` would fail.

mod probe;

use std::fs;

use anyhow::{Result, bail};
use nix::errno::Errno;

use crate::nft::Expression::{Accept, InputDevice, OutputDevice};
use crate::nft::Is::Equal;
use crate::nft::{Batch, Chain, Family, HookPoint, NftSocket, Rule, Table};

pub use probe::{Probe, probe};

/// The prefix of the comments of our rules in foreign chains.
const COMMENT: &str = "mydocker ";

/// By convention, the priority of chains that mark or change packets. These chains
/// drop nothing, and an accept rule at the top would skip their rules.
const MANGLE: i32 = -150;

/// The name of firewalld's table. Only firewalld may change it.
const FIREWALLD: &str = "firewalld";

/// The maximum number of attempts if other processes change rules at the same time.
const TRIES: u32 = 100;

/// The foreign chains that can drop forwarded IPv4 packets. `tables` are all tables
/// of the kernel.
///
/// Chains of firewalld, and of tables that a process owns, are left out: rules that
/// are added there fail or do not last. Our own tables have owners too. The chains
/// are listed only if there is a foreign table, because each of our containers has
/// three or five chains.
///
/// # Errors
/// The errors of [`NftSocket::generation`].
pub fn forward_chains(rules: &NftSocket, tables: &[Table]) -> Result<Vec<Chain>> {
    let can_drop = |table: &&Table| {
        [Family::Ip, Family::Inet].contains(&table.family)
            && !table.owned
            && table.name != FIREWALLD
    };
    let tables: Vec<Table> = tables.iter().filter(can_drop).cloned().collect();
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let mut chains = rules.chains(&tables)?;
    chains.retain(|chain| {
        chain.place == HookPoint::Forward as u32
            && chain.kind == "filter"
            && chain.priority != MANGLE
    });
    Ok(chains)
}

/// Make each foreign chain accept packets from a bridge and to a bridge.
///
/// The rules are inserted at the top. Only our rules for other bridges may be above
/// them. A chain that already has the rules does not change. Returns the chains that
/// were changed.
///
/// # Errors
/// EPERM if the caller lacks CAP_NET_ADMIN, or if another process owns the table.
pub fn accept(rules: &NftSocket, bridge: &str) -> Result<Vec<Chain>> {
    let comment = format!("{COMMENT}{bridge}");
    change(rules, |batch| {
        let mut changed = Vec::new();
        for chain in forward_chains(rules, &rules.tables()?)? {
            let found = rules.rules(&chain.table, &chain.name)?;
            if at_top(&found, &comment) {
                continue;
            }
            delete(batch, &chain, &found, &comment);
            batch.insert(&chain, &[OutputDevice(Equal, bridge), Accept], &comment);
            batch.insert(&chain, &[InputDevice(Equal, bridge), Accept], &comment);
            changed.push(chain);
        }
        Ok(changed)
    })
}

/// Remove the rules of [`accept`]. Returns the chains that were changed.
///
/// # Errors
/// EPERM if the caller lacks CAP_NET_ADMIN, or if another process owns the table.
pub fn remove(rules: &NftSocket, bridge: &str) -> Result<Vec<Chain>> {
    let comment = format!("{COMMENT}{bridge}");
    change(rules, |batch| {
        let mut changed = Vec::new();
        for chain in forward_chains(rules, &rules.tables()?)? {
            let found = rules.rules(&chain.table, &chain.name)?;
            if delete(batch, &chain, &found, &comment) {
                changed.push(chain);
            }
        }
        Ok(changed)
    })
}

/// Whether both our rules are above all foreign rules.
fn at_top(rules: &[Rule], comment: &str) -> bool {
    let comments = rules.iter().map_while(|rule| rule.comment.as_deref());
    let ours = comments.take_while(|it| it.starts_with(COMMENT));
    ours.filter(|it| *it == comment).count() == 2
}

/// Delete the rules with this comment. Returns whether there are any.
fn delete(batch: &mut Batch, chain: &Chain, rules: &[Rule], comment: &str) -> bool {
    let ours = rules.iter().filter(|rule| rule.comment.as_deref() == Some(comment));
    let handles: Vec<u64> = ours.map(|rule| rule.handle).collect();
    handles.iter().for_each(|handle| batch.delete_rule(chain, *handle));
    !handles.is_empty()
}

/// Read the rules, plan a change, and commit it if the rules have not changed since
/// they were read. So two processes cannot both add the same rules.
fn change<T>(
    rules: &NftSocket,
    mut plan: impl FnMut(&mut Batch) -> Result<T>,
) -> Result<T> {
    for _ in 0..TRIES {
        let mut batch = Batch::of_generation(rules.generation()?);
        let planned = plan(&mut batch)?;
        match rules.commit(batch) {
            Err(error)
                if error.root_cause().downcast_ref() == Some(&Errno::ERESTART) => {}
            outcome => return outcome.map(|()| planned),
        }
    }
    bail!("another process keeps changing the firewall rules: try again later")
}

/// The commands with which the user can open firewalls that this program cannot
/// change: firewalld, and iptables-legacy, which is not part of nf_tables. The list
/// is empty if there is no such firewall. `tables` are all tables of the kernel.
#[must_use]
pub fn commands(tables: &[Table], bridge: &str) -> Vec<String> {
    let mut commands = Vec::new();
    if tables.iter().any(|table| table.name == FIREWALLD) {
        commands
            .push(format!("firewall-cmd --zone=trusted --add-interface={bridge}"));
    }
    // If this file does not exist or cannot be read, assume that there are no such
    // tables.
    let names = "/proc/thread-self/net/ip_tables_names";
    let names = fs::read_to_string(names).unwrap_or_default();
    if names.lines().any(|name| name == "filter") {
        commands.extend(["-o", "-i"].map(|direction| {
            format!(
                "iptables-legacy -I FORWARD {direction} {bridge} -m comment \
                 --comment \"{COMMENT}{bridge}\" -j ACCEPT"
            )
        }));
    }
    commands
}

/// The commands that add the rules of [`accept`] to chains of nf_tables.
#[must_use]
pub fn nft_commands(chains: &[Chain], bridge: &str) -> Vec<String> {
    let both = ["oifname", "iifname"];
    let commands = chains.iter().flat_map(|chain| {
        both.map(|direction| {
            format!(
                "nft insert rule {} {} {direction} \"{bridge}\" accept comment \
                 '\"{COMMENT}{bridge}\"'",
                chain.table, chain.name
            )
        })
    });
    commands.collect()
}
