//! `system`: disk usage, and removing everything that is not in use.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Result, bail};
use ch04_commit::become_root;
use ch04_image::Store;
use clap::Args;
use common::cli::step::Step;
use common::cli::table::size;
use common::cli::{Context, Execute};
use common::{Exit, output};
use serde_json::{Value, json};

use crate::Info;
use crate::usage::{Usage, containers, downloads, images};

common::commands! {
    /// Show disk usage and settings, and remove unused data
    #[derive(Debug)]
    pub enum SystemCommands {
        /// Show how much disk space images and containers use
        Df(Df),
        /// Show the containers, images and settings of this host
        Info(Info),
        /// Remove everything that is not in use
        Prune(Prune),
    }
}

/// Show how much disk space images and containers use
///
/// SIZE is the space on the disk; data that several images share counts once.
/// RECLAIMABLE is the part that `system prune --all` would free.
#[derive(Args, Debug)]
pub struct Df {
    /// Print JSON, for programs; sizes are in bytes
    #[arg(long)]
    json: bool,
}

impl Execute for Df {
    fn execute(self, context: &Context) -> Result<Exit> {
        // Files of containers may belong to other users of the user namespace.
        become_root()?;
        let store = Store::open(&context.state)?;
        let all = [
            ("Images", images(&store)?),
            ("Containers", containers(&context.state)?),
            ("Downloads", downloads(&store)?),
        ];
        let text = match self.json {
            true => serde_json::to_string_pretty(&all.map(object))? + "\n",
            false => table(&all),
        };
        output::report(&text, Vec::new())
    }
}

fn object((kind, usage): (&str, Usage)) -> Value {
    json!({
        "type": kind,
        "total": usage.total,
        "active": usage.active,
        "size": usage.size,
        "reclaimable": usage.reclaimable,
    })
}

fn table(all: &[(&str, Usage)]) -> String {
    let line = |cells: [String; 5]| {
        let [kind, total, active, size, free] = cells;
        format!("{kind:<10}  {total:<5}  {active:<6}  {size:<8}  {free}\n")
    };
    let titles = ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"];
    let bytes = |number: u64| if number == 0 { "0 B".into() } else { size(number) };
    let rows = all.iter().map(|(kind, usage)| {
        let Usage { total, active, size, reclaimable } = *usage;
        let percent = (reclaimable * 100).checked_div(size).unwrap_or(0);
        let free = format!("{} ({percent}%)", bytes(reclaimable));
        line([
            (*kind).to_owned(),
            total.to_string(),
            active.to_string(),
            bytes(size),
            free,
        ])
    });
    line(titles.map(str::to_owned)) + &rows.collect::<String>()
}

/// Remove everything that is not in use
///
/// Removes the containers that have ended, the networks that no container uses, the
/// images without a tag, and interrupted downloads.
#[derive(Args, Debug)]
pub struct Prune {
    /// Do not ask for confirmation
    #[arg(short, long)]
    force: bool,

    /// Remove every image that no container uses
    #[arg(short, long)]
    all: bool,
}

impl Execute for Prune {
    fn execute(self, context: &Context) -> Result<Exit> {
        if !self.force && !confirmed(self.all)? {
            return Ok(Exit::Code(1));
        }
        let state = &context.state;
        let (containers, mut errors) = ch05_rm::prune(context)?;
        let mut text = heading("containers", &containers);
        let store = Store::open(state)?;
        match ch04_save::prune(&store, self.all) {
            Ok(images) => text += &heading("images", &images),
            Err(error) => errors.push(error),
        }
        match ch06_network::prune(context) {
            Ok((networks, more)) => {
                text += &heading("networks", &networks);
                errors.extend(more);
            }
            Err(error) => errors.push(error),
        }
        output::report(&text, errors)
    }
}

fn heading(kind: &str, names: &[impl std::fmt::Display]) -> String {
    match names {
        [] => String::new(),
        names => format!("removed {kind}:\n{}", output::lines(names)),
    }
}

/// Ask the user for confirmation.
///
/// # Errors
/// Standard input is not a terminal.
fn confirmed(all: bool) -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("system prune asks for confirmation: use a terminal, or add --force");
    }
    let images = if all { "all unused images" } else { "images without a tag" };
    eprint!(
        "This removes all containers that have ended, all unused networks, {images} and \
         interrupted downloads. Continue? [y/N] "
    );
    io::stderr().flush().step(|| "write(2) to stderr")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).step(|| "read(2) from stdin")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
