//! `ch02-cgroups`: groups by hand.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use ch02_cgroups::{
    CONTROLLERS, Flags, Group, GroupName, Layout, Limited, freeze, is_frozen, list,
    show, stats,
};
use ch02_setns::become_program;
use clap::{Args, Parser, Subcommand};
use common::{Container, Exit, cli};

/// Chapter 2, cgroups: what a group of processes may use, and what it has used.
#[derive(Parser)]
#[command(name = "ch02-cgroups", after_help = common::after_help!("\
Try:
  ch02-cgroups list; ch02-cgroups show --explain
  ch02-cgroups create demo; ch02-cgroups exec demo sh
  ch02-cgroups stats demo; ch02-cgroups freeze demo     from another terminal
  ch02-cgroups run -m 20m sh -c 'tail /dev/zero'        killed: 137
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the controllers, and where each is mounted
    List,
    /// Show the groups of a process [default: this one]
    Show {
        /// The process
        #[arg(value_name = "PID")]
        process: Option<u32>,
        /// Say what the columns mean
        #[arg(long)]
        explain: bool,
    },
    /// Make a group, and print its directories
    Create {
        /// Its name; a/b is a group inside a
        group: GroupName,
        #[command(flatten)]
        limits: Flags,
    },
    /// Write values into a group's files
    Set {
        /// The group
        group: GroupName,
        /// The kernel's name of the file, and what to write
        #[arg(value_name = "FILE=VALUE", required = true)]
        values: Vec<String>,
    },
    /// Move processes into a group
    Move {
        /// The group
        group: GroupName,
        /// The processes
        #[arg(value_name = "PID", required = true)]
        processes: Vec<u32>,
    },
    /// Join a group, and become a program
    Exec {
        /// The group
        group: GroupName,
        /// The program and its arguments [default: sh]
        #[arg(trailing_var_arg = true)]
        command: Vec<OsString>,
    },
    /// Show what a group uses and has used
    Stats {
        /// The group
        group: GroupName,
    },
    /// Stop all processes of a group
    Freeze {
        /// The group
        group: GroupName,
    },
    /// Let them go on
    Thaw {
        /// The group
        group: GroupName,
    },
    /// Remove a group that has no processes
    Delete {
        /// The group
        group: GroupName,
    },
    /// Run a program in a group of its own, which goes with it
    Run(Run),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    limits: Flags,

    #[command(flatten)]
    run: cli::Run,
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| {
        match action {
            Action::List => print(&list()?)?,
            Action::Show { process, explain } => print(&show(process, explain)?)?,
            Action::Create { group, limits } => create(&group, &limits)?,
            Action::Set { group, values } => set(&group, &values)?,
            Action::Move { group, processes } => {
                let group = find(&group)?;
                processes.into_iter().try_for_each(|process| match process {
                    0 => bail!("there is no process 0"),
                    process => group.add(process),
                })?;
            }
            Action::Exec { group, command } => {
                let found = find(&group)?;
                if found.places.iter().any(|place| is_frozen(&place.path)) {
                    let line = format!(
                        "group {group} is frozen: the program starts when it is thawed\n"
                    );
                    let _ = io::stderr().write_all(line.as_bytes());
                }
                found.add(0)?;
                return become_program(&command, false);
            }
            Action::Stats { group } => print(&stats(&find(&group)?)?)?,
            Action::Freeze { group } => freeze(&find(&group)?, true)?,
            Action::Thaw { group } => freeze(&find(&group)?, false)?,
            Action::Delete { group } => find(&group)?.delete(&group.to_string())?,
            Action::Run(flags) => {
                return Container::new(flags.run.plan()?)
                    .keep(None, &[ch02_cgroups::UNDO])
                    .part(Limited::new(flags.limits))
                    .run();
            } // ANCHOR_END: parts
        }
        Ok(Exit::Code(0))
    })
}

fn find(name: &GroupName) -> Result<Group> {
    Group::find(&name.to_string())
}

fn create(name: &GroupName, limits: &Flags) -> Result<()> {
    // What the limits need is an error when it's missing, all else is not.
    limits.plan(&name.to_string())?;
    let group = Group::plan(Layout::find()?, &name.to_string(), &CONTROLLERS)?;
    if group.places.is_empty() {
        bail!("no hierarchy that is mounted here has a controller: list shows them");
    }
    group.make()?;
    if let Err(error) = limits.set(&group) {
        group.delete(&name.to_string())?;
        return Err(error);
    }
    let paths = group.places.iter().map(|place| place.path.display().to_string());
    print(&(paths.collect::<Vec<_>>().join("\n") + "\n"))
}

fn set(name: &GroupName, values: &[String]) -> Result<()> {
    let group = find(name)?;
    for value in values {
        let (file, value) = value
            .split_once('=')
            .filter(|(file, _)| !file.is_empty())
            .with_context(|| format!("{value:?}: give FILE=VALUE"))?;
        if ["cgroup.procs", "cgroup.threads", "tasks"].contains(&file) {
            bail!(
                "{file} is who is in the group: move does that, in every hierarchy"
            );
        }
        if file.contains('/') {
            bail!("{file:?} is a path: give the file's name");
        }
        group.set(file, value)?;
    }
    Ok(())
}

fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("write(2) to stdout")
}
