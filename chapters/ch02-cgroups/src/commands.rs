//! The commands of this chapter.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use ch02_setns::become_program;
use clap::Subcommand;
use common::cli::{Context, Execute};
use common::{Exit, output, step};

use crate::{ControllerNames, Group, GroupName, Layout, freeze, is_frozen, tables};

/// Create, change and remove cgroups
#[derive(Debug, Subcommand)]
pub enum Commands {
    /// List the controllers and their mount points
    List,
    /// Show the groups of a process [default: this one]
    Show {
        /// Process ID
        #[arg(value_name = "PID")]
        process: Option<u32>,
        /// Explain the columns
        #[arg(long)]
        explain: bool,
    },
    /// Create a group and print its directories
    Create {
        /// Name of the group; a/b is the group b inside the group a
        group: GroupName,
        /// Controllers of the group, separated by commas: cpu,memory
        ///
        /// v1: the group is created only in the hierarchies of these controllers.
        /// v2: only these controllers are enabled in the groups above. [default:
        /// those of blkio, cpu, cpuacct, cpuset, freezer, io, memory and pids that
        /// are mounted]
        #[arg(long, value_name = "LIST")]
        controllers: Option<ControllerNames>,
    },
    /// Write values into a group's files
    Set {
        /// Name of the group
        group: GroupName,
        /// Name of a file in the group, and the value to write, for example
        /// cpu.weight=50
        #[arg(value_name = "FILE=VALUE", required = true)]
        values: Vec<String>,
    },
    /// Move processes into a group
    Move {
        /// Name of the group
        group: GroupName,
        /// Process IDs
        #[arg(value_name = "PID", required = true)]
        processes: Vec<u32>,
    },
    /// Join a group and execute a program
    Exec {
        /// Name of the group
        group: GroupName,
        /// Program and its arguments [default: sh]
        #[arg(trailing_var_arg = true)]
        command: Vec<OsString>,
    },
    /// Show the resource usage of a group
    Stats {
        /// Name of the group
        group: GroupName,
    },
    /// Stop all processes of a group until thaw
    Freeze {
        /// Name of the group
        group: GroupName,
    },
    /// Continue all processes of a group
    Thaw {
        /// Name of the group
        group: GroupName,
    },
    /// Remove a group that has no processes
    Delete {
        /// Name of the group
        group: GroupName,
    },
}

/// The controllers of a new group. Those that are not mounted are left out.
const CONTROLLERS: [&str; 8] =
    ["blkio", "cpu", "cpuacct", "cpuset", "freezer", "io", "memory", "pids"];

impl Commands {
    /// Execute the command.
    ///
    /// # Errors
    /// A group or a process is not found; a value is invalid; an errno of mkdir(2),
    /// write(2) or rmdir(2).
    pub fn run(self) -> Result<Exit> {
        match self {
            Commands::List => print(&tables::list()?)?,
            Commands::Show { process, explain } => {
                print(&tables::show(process, explain)?)?;
            }
            Commands::Create { group, controllers } => {
                create(&group, controllers.as_ref())?;
            }
            Commands::Set { group, values } => set(&group, &values)?,
            Commands::Move { group, processes } => {
                let group = find(&group)?;
                processes.into_iter().try_for_each(|process| match process {
                    0 => bail!("there is no process 0"),
                    process => group.add(process),
                })?;
            }
            Commands::Exec { group, command } => {
                let found = find(&group)?;
                if found.places.iter().any(|place| is_frozen(&place.path)) {
                    step::note(&format!(
                        "group {group} is frozen: the program starts when it is thawed"
                    ));
                }
                found.add(0)?;
                return become_program(&command, false);
            }
            Commands::Stats { group } => print(&tables::stats(&find(&group)?)?)?,
            Commands::Freeze { group } => freeze(&find(&group)?, true)?,
            Commands::Thaw { group } => freeze(&find(&group)?, false)?,
            Commands::Delete { group } => {
                find(&group)?.delete(&group.to_string())?
            }
        }
        Ok(Exit::Code(0))
    }
}

impl Execute for Commands {
    fn execute(self, _context: &Context) -> Result<Exit> {
        self.run()
    }
}

fn find(name: &GroupName) -> Result<Group> {
    Group::find(&name.to_string())
}

fn create(name: &GroupName, wanted: Option<&ControllerNames>) -> Result<()> {
    let (layout, name) = (Layout::find()?, name.to_string());
    let group = match wanted {
        Some(wanted) => Group::with_controllers(layout, &name, wanted)?,
        None => {
            let mut group = Group::plan(layout, &name, &CONTROLLERS)?;
            if group.places.is_empty() {
                bail!("no controller is mounted: list shows the hierarchies");
            }
            // A group inside another one is in the hierarchies of that one.
            group
                .places
                .retain(|place| place.path.parent().is_some_and(Path::is_dir));
            if let (true, Some((above, _))) =
                (group.places.is_empty(), name.rsplit_once('/'))
            {
                bail!("group {above} not found: create it first");
            }
            group
        }
    };
    group.make()?;
    let paths = group.places.iter().map(|place| place.path.display().to_string());
    print(&(paths.collect::<Vec<_>>().join("\n") + "\n"))
}

fn set(name: &GroupName, values: &[String]) -> Result<()> {
    let group = find(name)?;
    for value in values {
        let (file, value) = value
            .split_once('=')
            .filter(|(file, _)| !file.is_empty())
            .with_context(|| format!("{value:?}: expected FILE=VALUE"))?;
        if ["cgroup.procs", "cgroup.threads", "tasks"].contains(&file) {
            bail!(
                "{file} lists the processes of the group: use move, which writes to \
                 every hierarchy"
            );
        }
        if file.contains('/') {
            bail!("{file:?} is a path: expected the name of a file in the group");
        }
        group.set(file, value)?;
    }
    Ok(())
}

fn print(text: &str) -> Result<()> {
    output::print(text)
}
