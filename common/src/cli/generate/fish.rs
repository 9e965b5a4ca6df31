//! Completions for fish.

use anyhow::Result;
use clap::Command;
use clap_complete::Shell;

use super::{mark_names, script};
use crate::cli::names::{VERB, has_names};

/// The script, and its file name.
pub(super) fn completion(command: &Command) -> Result<(String, String)> {
    let name = command.get_name();
    let script = script(Shell::Fish, mark_names(command.clone()), name)?;
    let mut script = one_dash(name, &script);
    if has_names(command) {
        script = state_names(name, &script);
    }
    Ok((format!("{name}.fish"), script))
}

/// One dash is enough for a long name, which fish calls "old style": `-o`.
fn one_dash(name: &str, script: &str) -> String {
    let condition = format!("__fish_{}_one_dash", name.replace('-', "_"));
    let mut all = format!(
        "# Whether a long option was given with one dash, or is being typed.
function {condition}
    string match -qr -- '^-[^-].' (commandline -ct) (commandline -opc)[-1]
end

"
    );
    // The list of values may contain newlines.
    let mut parts = script.split("\ncomplete ");
    all += parts.next().unwrap_or_default();
    for part in parts {
        all += &format!("\ncomplete {}", part.trim_end());
        // The line has the form `-c NAME -n "WHEN" -s d -l detach -d 'TEXT'`, with
        // or without `-s d`.
        let Some((when, option)) = part.split_once("\" -") else { continue };
        let long = match option.as_bytes() {
            [b'l', b' ', ..] => &option[2..],
            [b's', b' ', _, b' ', b'-', b'l', b' ', ..] => &option[7..],
            _ => continue,
        };
        // `network -l net -d 'TEXT'`: an alias follows the name.
        let (names, rest) = long.split_at(long.find(" -d '").unwrap_or_default());
        let (names, rest) = (names.replace(" -l ", " -o "), rest.trim_end());
        all += &format!("\ncomplete {when}; and {condition}\" -o {names}{rest}");
    }
    all + "\n"
}

/// Complete the names of the state directory, which the program itself prints.
fn state_names(name: &str, script: &str) -> String {
    let function = format!("__fish_{}_names", name.replace('-', "_"));
    let script =
        script.replace("(__fish_print_hostnames)", &format!("({function})"));
    format!(
        "# Print the names of the state directory for the word at the cursor. Fails if the
# word is not such a name.
function {function}
    set -l words (commandline -opc)
    set -l last (commandline -ct)
    set -l program (string replace -r '^~/' \"$HOME/\" -- $words[1])
    set -e words[1]
    # fish reports an unknown command in spite of the redirection.
    command -q $program
    and command $program {VERB} $words \"$last\" 2>/dev/null </dev/null
end

{script}complete -c {name} -n \"{function} >/dev/null\" -f -a \"({function})\"
"
    )
}
