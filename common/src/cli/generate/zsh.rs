//! Completions for zsh.

use anyhow::{Result, bail};
use clap::{Arg, Command};
use clap_complete::Shell;

use super::{change_arguments, script};

/// The script, and its file name.
pub(super) fn completion(command: &Command) -> Result<(String, String)> {
    let command = change_arguments(command.clone(), &escape_value_names);
    let name = command.get_name();
    let script = script(Shell::Zsh, command.clone(), name)?;
    Ok((format!("_{name}"), one_dash(&command, &script)?))
}

/// clap_complete does not escape a colon in a value's name for zsh.
fn escape_value_names(arg: Arg) -> Arg {
    let names = arg.get_value_names().unwrap_or_default().iter();
    let names: Vec<String> = names.map(|name| name.replace(':', "\\:")).collect();
    if names.is_empty() { arg } else { arg.value_names(names) }
}

/// The long options of a command and of its commands, with their aliases.
fn long_options(command: &Command) -> Vec<&str> {
    let options =
        command.get_arguments().filter_map(Arg::get_long_and_visible_aliases);
    let inner = command.get_subcommands().flat_map(long_options);
    options.flatten().chain(inner).collect()
}

/// One dash is enough for a long name.
fn one_dash(command: &Command, script: &str) -> Result<String> {
    let at = "    typeset -A opt_args\n";
    if !script.contains(at) {
        bail!("the scripts of clap_complete for zsh have changed");
    }
    let mut names = long_options(command);
    names.sort_unstable();
    names.dedup();
    let longer = format!(
        "    local -a one_dash=({})
    local at
    for ((at = 2; at < CURRENT; at++)); do
        if [[ $words[at] == -[^-]* ]] &&
            (( ${{one_dash[(Ie)${{${{words[at]#-}}%%=*}}]}} )); then
            words[at]=-${{words[at]}}
        fi
    done
    if [[ $PREFIX == -[^-]?* && -n ${{(M)one_dash:#${{${{PREFIX#-}}%%=*}}*}} ]]; then
        PREFIX=-$PREFIX words[CURRENT]=-${{words[CURRENT]}}
    fi
",
        names.join(" ")
    );
    Ok(script.replacen(at, &format!("{longer}{at}"), 1))
}
