//! Shell completions and manual pages, from the same list of options that `--help`
//! prints. `cargo xtask completions` and `cargo xtask man` ask each binary for its
//! own.

mod bash;
mod fish;
mod man;
mod zsh;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Arg, Command, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::cli::names;
use crate::cli::step::{Step, report};

/// The hidden first argument. The following arguments are the directory, the date of
/// the pages, and what to generate: `bash`, `zsh`, `fish` or `man`.
const VERB: &str = "generate";

/// Generate the files if the command line asks for it, and print their names.
pub(crate) fn run_if_requested(command: &Command) -> Option<ExitCode> {
    let mut words = env::args_os().skip(1);
    if words.next()? != VERB {
        return None;
    }
    let directory = PathBuf::from(words.next().unwrap_or_default());
    let day = words.next().unwrap_or_default();
    let written = words.try_for_each(|what| {
        write(command, &what.to_string_lossy(), &day.to_string_lossy(), &directory)
    });
    Some(match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", report(&error));
            ExitCode::FAILURE
        }
    })
}

fn write(command: &Command, what: &str, day: &str, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)
        .step(|| format!("mkdir(2) {}", directory.display()))?;
    for (name, text) in match what {
        "man" => man::pages(command, day)?,
        _ => vec![completion(command, what)?],
    } {
        let file = directory.join(name);
        fs::write(&file, text).step(|| format!("write(2) {}", file.display()))?;
    }
    Ok(())
}

/// The completion script for this shell, and its file name.
fn completion(command: &Command, shell: &str) -> Result<(String, String)> {
    let Ok(shell) = Shell::from_str(shell, false) else {
        bail!("unknown kind {shell:?}: expected bash, zsh, fish or man");
    };
    match shell {
        Shell::Bash => bash::completion(command),
        Shell::Zsh => zsh::completion(command),
        Shell::Fish => fish::completion(command),
        other => bail!("unknown kind {other:?}: expected bash, zsh, fish or man"),
    }
}

/// Insert `more` before this text of a script of clap_complete.
///
/// # Errors
/// The script does not contain the text.
fn insert_before(script: &str, at: &str, more: &str) -> Result<String> {
    if !script.contains(at) {
        bail!("the scripts of clap_complete have changed: {at:?} is missing");
    }
    Ok(script.replacen(at, &format!("{more}{at}"), 1))
}

/// The script as clap_complete generates it.
fn script(shell: Shell, mut command: Command, name: &str) -> Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8(script).context("the script is not UTF-8")
}

/// The same command with each argument changed, also those of its commands.
fn change_arguments(command: Command, change: &dyn Fn(Arg) -> Arg) -> Command {
    let command = command.mut_args(change);
    command.mut_subcommands(|inner| change_arguments(inner, change))
}

/// Mark the arguments that are names of the state directory. clap_complete has no
/// value hint for them, so this uses one that no argument of this project has: the
/// scripts then complete the names of hosts, which each shell replaces.
fn mark_names(command: Command) -> Command {
    change_arguments(command, &|arg| match names::is_name(&arg) {
        true => arg.value_hint(ValueHint::Hostname),
        false => arg,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_with_such_an_argument_prints_names() {
        let program = |value_name: &'static str| {
            let remove =
                Command::new("remove").arg(Arg::new("x").value_name(value_name));
            let create = Command::new("create").arg(Arg::new("x").long("x"));
            let group = Command::new("network").subcommands([create, remove]);
            Command::new("ch-new").subcommand(group)
        };
        for (shell, call) in [
            ("bash", "\" names \""),
            ("zsh", "} names \""),
            ("fish", "$program names $words"),
        ] {
            let text =
                |value_name| completion(&program(value_name), shell).unwrap().1;
            assert!(text("NETWORK").contains(call), "{shell}");
            assert!(!text("NAME").contains("names"), "{shell}");
        }
    }
}
