//! Default values: those of Docker, or those of bocker.

use std::env;
use std::ffi::OsString;

use anyhow::{Context, Result, bail};
use clap::{Arg, Args, Command, ValueEnum};

/// Options before the command.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[group(skip)]
pub struct Options {
    /// Default values of options [default: docker]
    ///
    /// docker: `run` connects the container to the network mydocker0. bocker: `run`
    /// connects it to the network br1 (172.18.0.0/24), and limits it to 512 CPU shares
    /// and 512,000,000 bytes of memory; `ps` also lists the containers that have ended;
    /// `commit` does not replace an image. The environment variable MYDOCKER_DEFAULTS
    /// does the same. An option on the command line overrides its default value.
    #[arg(long, value_name = "docker|bocker")]
    defaults: Option<Set>,

    /// CPU shares of a container; requires bocker's defaults; BOCKER_CPU_SHARE does the same
    #[arg(long = "CPU_SHARE", value_name = "SHARES")]
    cpu_share: Option<u64>,

    /// Memory of a container in 1,000,000 bytes; requires bocker's defaults;
    /// BOCKER_MEM_LIMIT does the same
    #[arg(long = "MEM_LIMIT", value_name = "MEGABYTES")]
    memory: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Set {
    Docker,
    Bocker,
}

/// The default values of one command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defaults {
    /// The network mydocker0, and no limits.
    Docker,
    /// The network br1, and limits.
    Bocker {
        /// CPU shares.
        shares: u64,
        /// Memory, in 1,000,000 bytes.
        megabytes: u64,
    },
}

impl Defaults {
    /// The default values that the options before the command or the environment
    /// variables select.
    ///
    /// # Errors
    /// An environment variable has an invalid value; `--CPU_SHARE` or `--MEM_LIMIT` is
    /// given without bocker's defaults.
    pub fn of_this_process() -> Result<Defaults> {
        let (options, _) = leading(env::args_os());
        let variable = |name: &str| match env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(value)) => {
                bail!("{name}: invalid value {value:?}")
            }
        };
        Defaults::select(&options, variable)
    }

    // ANCHOR: select
    fn select(
        options: &Options,
        variable: impl Fn(&str) -> Result<Option<String>>,
    ) -> Result<Defaults> {
        let set = match (options.defaults, variable("MYDOCKER_DEFAULTS")?) {
            (Some(set), _) => set,
            (None, None) => Set::Docker,
            (None, Some(name)) => Set::from_str(&name, false).ok().with_context(|| {
                format!(
                    "MYDOCKER_DEFAULTS: invalid value {name:?}: expected docker or \
                     bocker"
                )
            })?,
        };
        if set == Set::Docker {
            for (given, option) in [
                (options.cpu_share.is_some(), "--CPU_SHARE"),
                (options.memory.is_some(), "--MEM_LIMIT"),
            ] {
                if given {
                    bail!("{option} needs bocker's defaults: add --defaults bocker");
                }
            }
            return Ok(Defaults::Docker);
        }
        let number = |given: Option<u64>, name: &str, default: u64| match given {
            Some(number) => Ok(number),
            None => match variable(name)? {
                None => Ok(default),
                Some(text) => text.parse().ok().with_context(|| {
                    format!("{name}: invalid value {text:?}: expected a number")
                }),
            },
        };
        Ok(Defaults::Bocker {
            shares: number(options.cpu_share, "BOCKER_CPU_SHARE", 512)?,
            megabytes: number(options.memory, "BOCKER_MEM_LIMIT", 512)?,
        })
    }
    // ANCHOR_END: select

    /// The network of a container, and its subnet if the subnet is fixed.
    #[must_use]
    pub fn network(self) -> (&'static str, Option<&'static str>) {
        match self {
            Defaults::Docker => ("mydocker0", None),
            Defaults::Bocker { .. } => ("br1", Some("172.18.0.0/24")),
        }
    }

    // ANCHOR: apply
    /// Set the default values in the description of a command line. `--help` shows them.
    #[must_use]
    pub fn apply(self, command: Command) -> Command {
        let run = |run: Command| {
            let run = run.mut_arg("network", |arg| network(arg, self.network().0));
            let Defaults::Bocker { shares, megabytes } = self else { return run };
            // clap keeps its description of the command line to the end of the process.
            let text = |number: u64| -> &'static str { number.to_string().leak() };
            let bytes = text(megabytes.saturating_mul(1_000_000));
            run.mut_arg("memory", |arg| arg.default_value(bytes))
                .mut_arg("cpushare", |arg| arg.default_value(text(shares)))
        };
        let on = |name: &'static str, of: &'static str| {
            move |command: Command| match self {
                Defaults::Docker => command,
                Defaults::Bocker { .. } => command.mut_subcommand(name, |inner| {
                    inner.mut_arg(of, |arg| arg.default_value("true"))
                }),
            }
        };
        let (ps, commit) = (on("ps", "all"), on("commit", "no_replace"));
        let command = commit(ps(command.mut_subcommand("run", run)));
        command.mut_subcommand("container", |group| {
            commit(on("ls", "all")(group.mut_subcommand("run", run)))
        })
    }
    // ANCHOR_END: apply
}

fn network(arg: Arg, default: &'static str) -> Arg {
    arg.default_value(default).long_help(
        "Connect the container to a network\n\n\
         NETWORK is the name of a network (`network create`), \"none\" or \"host\". \
         \"none\" is a network namespace with only the loopback device. \"host\" is the \
         network namespace of the host. The first use of the default network creates it.",
    )
}

/// The command of this process, with its arguments.
pub(crate) fn command_of_this_process() -> Vec<String> {
    leading(env::args_os()).1
}

/// The options before the command, and the words from the command on. An invalid option
/// is ignored here, because clap reads all options later and reports it.
fn leading(argv: impl Iterator<Item = OsString>) -> (Options, Vec<String>) {
    let mut options = Options::default();
    let mut argv = argv.skip(1);
    while let Some(word) = argv.next().and_then(|word| word.into_string().ok()) {
        let Some(option) = word.strip_prefix("--").or(word.strip_prefix('-')) else {
            let words = argv.map_while(|word| word.into_string().ok());
            return (options, std::iter::once(word).chain(words).collect());
        };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        if !["defaults", "CPU_SHARE", "MEM_LIMIT"].contains(&name) {
            break;
        }
        let value = value.or_else(|| argv.next()?.into_string().ok());
        let Some(value) = value else { break };
        match name {
            "defaults" => options.defaults = Set::from_str(&value, false).ok(),
            "CPU_SHARE" => options.cpu_share = value.parse().ok(),
            _ => options.memory = value.parse().ok(),
        }
    }
    (options, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(line: &[&str], variables: &[(&str, &str)]) -> Result<Defaults> {
        let (options, _) = leading(line.iter().map(OsString::from));
        Defaults::select(&options, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            Ok(found.map(|(_, value)| (*value).to_owned()))
        })
    }

    #[test]
    fn the_command_line_has_precedence_over_the_environment() {
        let bocker = |shares, megabytes| Defaults::Bocker { shares, megabytes };
        for (line, variables, expected) in [
            (&["m", "run"][..], &[][..], Defaults::Docker),
            (&["m", "--defaults", "bocker", "run"], &[], bocker(512, 512)),
            (
                &["m", "-defaults=bocker"],
                &[("BOCKER_CPU_SHARE", "9")],
                bocker(9, 512),
            ),
            (
                &["m", "--CPU_SHARE=7", "--MEM_LIMIT", "5", "run"],
                &[("MYDOCKER_DEFAULTS", "bocker"), ("BOCKER_CPU_SHARE", "9")],
                bocker(7, 5),
            ),
            (
                &["m", "--defaults", "docker", "run"],
                &[("MYDOCKER_DEFAULTS", "bocker")],
                Defaults::Docker,
            ),
            // The words after the command belong to the command.
            (&["m", "run", "--defaults", "bocker"], &[], Defaults::Docker),
        ] {
            assert_eq!(selected(line, variables).unwrap(), expected, "{line:?}");
        }
    }

    #[test]
    fn an_invalid_setting_is_named() {
        for (line, variables, part) in [
            (&["m"][..], ("MYDOCKER_DEFAULTS", "podman"), "docker or bocker"),
            (&["m", "--MEM_LIMIT=5"], ("X", ""), "--defaults bocker"),
            (
                &["m", "--defaults", "bocker"],
                ("BOCKER_MEM_LIMIT", "512m"),
                "BOCKER_MEM_LIMIT",
            ),
        ] {
            let error = selected(line, &[variables]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
