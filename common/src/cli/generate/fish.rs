//! Completions for fish.

use anyhow::Result;
use clap::Command;
use clap_complete::Shell;

use super::script;

/// The script, and its file name.
pub(super) fn completion(command: &Command) -> Result<(String, String)> {
    let name = command.get_name();
    let script = script(Shell::Fish, command.clone(), name)?;
    Ok((format!("{name}.fish"), one_dash(name, &script)))
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
