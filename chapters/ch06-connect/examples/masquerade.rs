//! The rule that the original course makes for a network, in a table without an owner:
//! `masquerade add ADDRESS/PREFIX BRIDGE`, `masquerade count`, `masquerade remove`.
//!
//! The page of chapter 6.1 uses this program to show how long such a rule stays. The rule
//! is that of `iptables -t nat -A POSTROUTING -s SUBNET ! -o BRIDGE -j MASQUERADE`.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Result, bail};
use ch02_net::while_loading;
use ch06_connect::nft::Expression::{Masquerade, OutputDevice, Source};
use ch06_connect::nft::{Batch, Family, Hook, HookPoint, Is, NftSocket, Table};
use ch06_network::Subnet;
use common::step;

const LEAVES: Hook = Hook {
    chain: "leaves",
    kind: "nat",
    place: HookPoint::Postrouting,
    priority: 100,
};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", step::report(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    let (family, name) = (Family::Ip, "original".to_owned());
    let table = Table { family, name, owned: false };
    let rules = NftSocket::open()?;
    match words {
        ["add", subnet, bridge] => {
            let subnet: Subnet = subnet.parse()?;
            while_loading(|| rules.commit(rule(&table, &subnet, bridge)))
        }
        ["count"] => {
            let count = rules.rules(&table, LEAVES.chain)?.len();
            Ok(writeln!(io::stdout(), "{count}")?)
        }
        ["remove"] => {
            let mut batch = Batch::new();
            batch.delete_table(&table);
            rules.commit(batch)
        }
        _ => bail!("usage: masquerade add ADDRESS/PREFIX BRIDGE | count | remove"),
    }
}

fn rule(table: &Table, subnet: &Subnet, bridge: &str) -> Batch {
    let from = Source(subnet.address, subnet.prefix);
    let mut batch = Batch::new();
    batch.add_table(table);
    batch.add_chain(table, LEAVES);
    let rule = [from, OutputDevice(Is::Not, bridge), Masquerade];
    batch.append(table, LEAVES.chain, &rule);
    batch
}
