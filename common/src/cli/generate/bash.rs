//! Completions for bash.

use anyhow::Result;
use clap::Command;
use clap_complete::Shell;

use super::{insert_before, script};
use crate::cli::names::{VERB, has_names};

/// The line before which the scripts of clap_complete know the word at the cursor.
const AT: &str = "    case \"${cmd}\" in\n";

/// The script, and its file name.
pub(super) fn completion(command: &Command) -> Result<(String, String)> {
    // clap_complete 4.6.11 loses the subcommands of a program with a dash in its name.
    let name = command.get_name();
    let plain = name.replace('-', "_");
    let script = script(Shell::Bash, command.clone(), &plain)?;
    let registered = script
        .replace(&format!("-o default {plain}\n"), &format!("-o default {name}\n"));
    let mut script = one_dash(&registered)?;
    if has_names(command) {
        script = state_names(&plain, &script)?;
    }
    Ok((format!("{name}.bash"), script))
}

/// One dash is enough for a long name, as [`crate::cli::flags`] parses it: `-driver`
/// is completed by its values, and `-dri` by `--driver`.
fn one_dash(script: &str) -> Result<String> {
    let longer =
        "    if [[ ${cur} == -[!-]?* ]]; then\n        cur=\"-${cur}\"\n    fi\n";
    let script = insert_before(script, AT, longer)?;
    let line = |line: &str| {
        let name = line.trim_start().strip_prefix("--")?.strip_suffix(')')?;
        Some(line.replace("--", &format!("-{name}|--")))
    };
    let lines = script.lines().map(|text| line(text).unwrap_or(text.to_owned()));
    Ok(lines.map(|line| line + "\n").collect())
}

/// Complete the names of the state directory, which the program itself prints.
fn state_names(plain: &str, script: &str) -> Result<String> {
    let call = format!(
        "    if [[ ${{cur}} != -* ]] && _{plain}_names \"${{cur}}\"; then
        return 0
    fi
"
    );
    let script = insert_before(script, AT, &call)?;
    Ok(format!(
        r#"# Complete the word at the cursor by names of the state directory. Fails if the
# word is not such a name. $1 is the part of the word that bash replaces.
_{plain}_names() {{
    local line="${{COMP_LINE:0:COMP_POINT}}" words=() word names kept
    # bash also splits a word at a colon and at "=": busybox:1.36 is three words.
    for word in "${{COMP_WORDS[@]:0:COMP_CWORD}}"; do
        if [[ ${{#words[@]}} -eq 0 || ${{line}} == [[:space:]]* ]]; then
            words+=("")
        fi
        words[${{#words[@]}}-1]+="${{word}}"
        line="${{line#*"${{word}}"}}"
    done
    if [[ ${{line}} == [[:space:]]* ]]; then
        words+=("")
    fi
    words[${{#words[@]}}-1]+="${{line#"${{line%%[![:space:]]*}}"}}"
    if [[ ${{words[0]}} == "~/"* ]]; then
        words[0]="${{HOME}}${{words[0]:1}}"
    fi
    names="$("${{words[0]}}" {VERB} "${{words[@]:1}}" 2>/dev/null </dev/null)" || return
    word="${{words[${{#words[@]}}-1]}}"
    if [[ ${{word}} == -*=* ]]; then
        word="${{word#*=}}"
    fi
    kept="${{word%"$1"}}"
    while read -r names; do
        if [[ -n ${{names}} && ${{names}} == "${{word}}"* ]]; then
            COMPREPLY+=("${{names#"${{kept}}"}}")
        fi
    done <<< "${{names}}"
    # If no name fits, offer no files.
    compopt +o default +o bashdefault 2>/dev/null
    return 0
}}

{script}"#
    ))
}
