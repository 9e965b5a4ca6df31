//! Completions for bash.

use anyhow::{Result, bail};
use clap::Command;
use clap_complete::Shell;

use super::script;

/// The script, and its file name.
pub(super) fn completion(command: &Command) -> Result<(String, String)> {
    // clap_complete 4.6.11 loses the subcommands of a program with a dash in its name.
    let name = command.get_name();
    let plain = name.replace('-', "_");
    let script = script(Shell::Bash, command.clone(), &plain)?;
    let registered = script
        .replace(&format!("-o default {plain}\n"), &format!("-o default {name}\n"));
    Ok((format!("{name}.bash"), one_dash(&registered)?))
}

/// One dash is enough for a long name, as [`crate::cli::flags`] parses it: `-driver`
/// is completed by its values, and `-dri` by `--driver`.
fn one_dash(script: &str) -> Result<String> {
    let at = "    case \"${cmd}\" in\n";
    let longer =
        "    if [[ ${cur} == -[!-]?* ]]; then\n        cur=\"-${cur}\"\n    fi\n";
    if !script.contains(at) {
        bail!("the scripts of clap_complete for bash have changed");
    }
    let script = script.replacen(at, &format!("{longer}{at}"), 1);
    let line = |line: &str| {
        let name = line.trim_start().strip_prefix("--")?.strip_suffix(')')?;
        Some(line.replace("--", &format!("-{name}|--")))
    };
    let lines = script.lines().map(|text| line(text).unwrap_or(text.to_owned()));
    Ok(lines.map(|line| line + "\n").collect())
}
