//! The firewall of somebody else: ufw, Docker, an administrator's own rules.
//!
//! A packet passes only if every chain of a place accepts it. So our own rules cannot
//! help where another chain drops what is forwarded. Two plain rules at the top of
//! each such chain can. They hold only what every version of iptables(8) can show:
//! after a rule with `ct`, `iptables -S FORWARD` fails.

mod probe;

use std::fs;

use anyhow::{Result, bail};
use nix::errno::Errno;

use crate::nft::Expression::{Accept, InputDevice, OutputDevice};
use crate::nft::Is::Equal;
use crate::nft::{Batch, Chain, Family, Place, Rule, Rules, Table};

pub use probe::{Probe, probe};

/// The comments of our rules in the chains of others begin with this.
const COMMENT: &str = "mydocker ";

/// The priority of chains that mark or change packets, by convention. To accept there
/// would skip the rules below, and those drop nothing.
const MANGLE: i32 = -150;

/// firewalld has one table, of this name. It answers for what is in it.
const FIREWALLD: &str = "firewalld";

/// How often a change is tried again because other processes changed rules meanwhile.
const TRIES: u32 = 100;

/// The chains of others that can drop forwarded packets of IPv4. `tables` are all tables
/// of the kernel.
///
/// Chains of firewalld, and of tables that a process owns, are not among them: rules
/// that are added there fail or do not last. Our own tables have owners too. The chains
/// are listed only if another table is there: each of our containers has three or five.
///
/// # Errors
/// As [`Rules::generation`].
pub fn forward_chains(rules: &Rules, tables: &[Table]) -> Result<Vec<Chain>> {
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
        chain.place == Place::Forward as u32
            && chain.kind == "filter"
            && chain.priority != MANGLE
    });
    Ok(chains)
}

/// Let each chain of others accept what comes from a bridge and what goes to it.
///
/// The rules are at the top: rules of other bridges may be above them, nothing else.
/// Where they are already, nothing changes. Returns the chains that were changed.
///
/// # Errors
/// As [`Rules::commit`].
pub fn accept(rules: &Rules, bridge: &str) -> Result<Vec<Chain>> {
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

/// Remove the rules of [`accept`] again. Returns the chains that were changed.
///
/// # Errors
/// As [`Rules::commit`].
pub fn remove(rules: &Rules, bridge: &str) -> Result<Vec<Chain>> {
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

/// Whether both our rules are above all rules of others.
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

/// Read the rules, plan a change, and commit it if the rules are still those that
/// were read. So two processes cannot both add what was missing.
fn change<T>(
    rules: &Rules,
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
    bail!("another process changes the firewall rules all the time: try again later")
}

/// The commands that the user must type to open firewalls in which rules of ours
/// cannot help: firewalld, and iptables-legacy, which is not part of nf_tables.
/// None: there is no such firewall. `tables` are all tables of the kernel.
#[must_use]
pub fn commands(tables: &[Table], bridge: &str) -> Vec<String> {
    let mut commands = Vec::new();
    if tables.iter().any(|table| table.name == FIREWALLD) {
        commands
            .push(format!("firewall-cmd --zone=trusted --add-interface={bridge}"));
    }
    // Without this file, or without the right to read it, there are no such tables.
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
