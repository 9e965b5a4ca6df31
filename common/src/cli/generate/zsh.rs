//! Completions for zsh.

use anyhow::Result;
use clap::{Arg, Command};
use clap_complete::Shell;

use super::{change_arguments, insert_before, mark_names, script};
use crate::cli::names::{VERB, has_names};

/// The line before which the function of clap_complete has not yet split the words
/// of the command line.
const AT: &str = "    typeset -A opt_args\n";

/// The script, and its file name.
pub(super) fn completion(command: &Command) -> Result<(String, String)> {
    let command = change_arguments(command.clone(), &escape_value_names);
    let name = command.get_name();
    let script = script(Shell::Zsh, mark_names(command.clone()), name)?;
    let mut script = one_dash(&command, &script)?;
    if has_names(&command) {
        script = state_names(name, &script)?;
    }
    Ok((format!("_{name}"), script))
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
    insert_before(script, AT, &longer)
}

/// Complete the names of the state directory, which the program itself prints.
fn state_names(name: &str, script: &str) -> Result<String> {
    let script = script.replace(":_hosts'", &format!(":_{name}_names'"));
    let whole = "    local -a typed_words=(\"${(@Q)words[1,CURRENT]}\")\n";
    let script = insert_before(&script, "    local -a one_dash=", whole)?;
    let function = format!(
        "# Complete the word at the cursor by names of the state directory, or by files if
# the word is not such a name.
_{name}_names() {{
    local names
    if names=$(${{typed_words[1]/#\\~\\//$HOME/}} {VERB} \"${{(@)typed_words[2,-1]}}\" \
2>/dev/null </dev/null); then
        compadd \"$@\" -- ${{(f)names}}
    else
        _default \"$@\"
    fi
}}

"
    );
    insert_before(&script, &format!("_{name}() {{\n"), &function)
}
