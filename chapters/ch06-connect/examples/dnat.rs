//! One DNAT rule in one hook, for as long as a command runs:
//! `dnat prerouting|output PORT ADDRESS:PORT[,ADDRESS:PORT…] COMMAND…`. Several
//! destinations are several rules, from top to bottom.
//!
//! A rule has the same conditions as the only rule of the original course: the
//! protocol and the port, and no destination address. The page of chapter 6.3 uses
//! this program to show what such a rule does not do.

use std::env;
use std::net::SocketAddrV4;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use ch02_net::while_loading;
use ch06_connect::nft::Expression::{ChangeDestination, DestinationPort};
use ch06_connect::nft::{Batch, Hook, HookPoint, NftSocket, Table};
use common::state::Protocol;
use common::step;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    run(&words).unwrap_or_else(|error| {
        eprintln!("error: {}", step::report(&error));
        ExitCode::FAILURE
    })
}

fn run(words: &[String]) -> Result<ExitCode> {
    let [hook, port, to, command, arguments @ ..] = words else {
        bail!(
            "usage: dnat prerouting|output PORT ADDRESS:PORT[,ADDRESS:PORT…] COMMAND \
             [ARGUMENT…]"
        );
    };
    let place = match hook.as_str() {
        "prerouting" => HookPoint::Prerouting,
        "output" => HookPoint::Output,
        _ => bail!("unknown hook {hook:?}: use prerouting or output"),
    };
    let port = port.parse().with_context(|| format!("invalid port {port:?}"))?;
    let to: Result<Vec<SocketAddrV4>, _> = to.split(',').map(str::parse).collect();
    let to = to.with_context(|| {
        format!("invalid destination in {words:?}: expected ADDRESS:PORT")
    })?;
    let hook = Hook { chain: "only", kind: "nat", place, priority: -100 };
    let table = Table::owned_ip(format!("dnat-{}", std::process::id()));
    let batch = || {
        let mut batch = Batch::new();
        batch.add_table(&table);
        batch.add_chain(&table, hook);
        for to in &to {
            let to = ChangeDestination(*to.ip(), to.port());
            let rule = [DestinationPort(Protocol::Tcp, port), to];
            batch.append(&table, hook.chain, &rule);
        }
        batch
    };
    // The kernel removes the table when this socket is closed.
    let rules = NftSocket::open()?;
    while_loading(|| rules.commit(batch()))?;
    let status = Command::new(command).args(arguments).status();
    let status = status.with_context(|| format!("cannot run {command}"))?;
    let code = u8::try_from(status.code().unwrap_or(1)).unwrap_or(1);
    Ok(ExitCode::from(code))
}
