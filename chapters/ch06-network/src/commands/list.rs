//! `network list`: the networks, for people and for programs.

use anyhow::Result;
use clap::Args;
use common::cli::{Context, Execute};
use common::{Exit, output};
use serde_json::Value;

use super::inspect::object;
use crate::{Member, Network, Networks};

/// List the networks
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Print only the names
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,

    /// Print JSON, in the same format as `network inspect`
    #[arg(long)]
    json: bool,
}

impl Execute for List {
    fn execute(self, context: &Context) -> Result<Exit> {
        let state = &context.state;
        let networks = Networks::lock(state)?;
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for network in Network::all(state)? {
            let with_members = |network: Network| -> Result<(Network, Vec<Member>)> {
                networks.sweep_members(&network.name, context.undo)?;
                let members = network.members(state)?;
                Ok((network, members))
            };
            match network.and_then(with_members) {
                Ok(one) => found.push(one),
                Err(error) => errors.push(error),
            }
        }
        output::print_and_warn(&self.text(&found)?, &errors)
    }
}

impl List {
    fn text(&self, all: &[(Network, Vec<Member>)]) -> Result<String> {
        if self.quiet {
            return Ok(all.iter().map(|(it, _)| format!("{}\n", it.name)).collect());
        }
        if self.json {
            let all: Vec<Value> =
                all.iter().map(|(it, of)| object(it, of)).collect();
            return Ok(serde_json::to_string_pretty(&all)? + "\n");
        }
        Ok(table(all))
    }
}

const TITLES: [&str; 6] =
    ["NAME", "DRIVER", "SUBNET", "GATEWAY", "BRIDGE", "CONTAINERS"];

/// Format the table. Each column is as wide as its longest value.
fn table(all: &[(Network, Vec<Member>)]) -> String {
    let mut rows = vec![TITLES.map(str::to_owned)];
    rows.extend(all.iter().map(|(it, members)| {
        [
            it.name.to_string(),
            it.driver.to_string(),
            it.subnet.to_string(),
            it.gateway.to_string(),
            it.bridge.clone(),
            members.len().to_string(),
        ]
    }));
    let width = |column: usize| {
        rows.iter().map(|row| row[column].len()).max().unwrap_or_default()
    };
    let widths: [usize; TITLES.len()] = std::array::from_fn(width);
    let line = |row: &[String; TITLES.len()]| {
        let cells = row.iter().zip(widths);
        let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Driver;

    #[test]
    fn columns_are_as_wide_as_their_content() {
        let network = Network {
            name: "web".parse().unwrap(),
            id: "0123456789ab".parse().unwrap(),
            driver: Driver::Bridge,
            bridge: "web".to_owned(),
            subnet: "192.168.10.0/24".parse().unwrap(),
            gateway: "192.168.10.1".parse().unwrap(),
            created: 1,
        };
        let member = Member {
            address: "192.168.10.2".parse().unwrap(),
            id: "ab0123456789".parse().unwrap(),
            name: None,
        };
        assert_eq!(
            table(&[(network, vec![member])]),
            "NAME  DRIVER  SUBNET           GATEWAY       BRIDGE  CONTAINERS\n\
             web   bridge  192.168.10.0/24  192.168.10.1  web     1\n"
        );
    }
}
