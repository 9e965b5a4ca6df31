//! `run` of this chapter: on a default network, which the first use creates.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use ch06_network::Network;
use clap::Args;
use common::cli::step::{self, Step};
use common::cli::{Context, Execute};
use common::state::{Name, State};
use common::{Exit, null};

use crate::Defaults;

/// Run a program in a container of an image
#[derive(Args, Debug)]
#[group(skip)]
pub struct Run {
    #[command(flatten)]
    run: ch07_pull::Run,
}

impl Execute for Run {
    fn execute(self, context: &Context) -> Result<Exit> {
        let (name, subnet) = Defaults::of_this_process()?.network();
        if let Some(network) = self.run.network()
            && network.as_str() == name
        {
            ensure(&context.state, network, subnet)?;
        }
        self.run.execute(context)
    }
}

// ANCHOR: ensure
/// Create the default network unless it exists. `network create` does this in a
/// separate process: the process of an ordinary user enters the namespaces of the
/// user's networks for this, and cannot leave them again.
fn ensure(state: &State, name: &Name, subnet: Option<&str>) -> Result<()> {
    let exists = || Ok::<bool, anyhow::Error>(Network::read(state, name)?.is_some());
    if exists()? {
        return Ok(());
    }
    step::note(&format!("the default network {name} is created"));
    let mut command = Command::new("/proc/self/exe");
    command.args(["network", "create", "--any-bridge"]);
    command.args(subnet.iter().flat_map(|subnet| ["--subnet", subnet]));
    command.arg(name.as_str()).stdin(null()?).stderr(Stdio::piped());
    let created =
        command.output().step(|| "execve(2) /proc/self/exe network create")?;
    // Another process may have created the network at the same time.
    if created.status.success() || exists()? {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&created.stderr);
    let reason = reason.trim().trim_start_matches("error: ");
    bail!(
        "the default network {name} was not created: {reason}\n\
         hint: --network none runs the container without this network"
    )
}
// ANCHOR_END: ensure
