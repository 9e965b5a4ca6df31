//! Shell completions and manual pages, from the same list of options that `--help`
//! prints. `cargo xtask completions` and `cargo xtask man` ask each binary for its
//! own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::builder::Resettable;
use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::step::{Step, report};

/// The hidden first argument. The following arguments are the directory, the date of
/// the pages, and what to generate: `bash`, `zsh`, `fish` or `man`.
const VERB: &str = "generate";

/// The title of the manual to which the pages belong.
const MANUAL: &str = "Write your own Docker";

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
        "man" => pages(command, day)?,
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
    let name = command.get_name();
    Ok(match shell {
        Shell::Bash => {
            // clap_complete 4.6.11 loses the subcommands of a program with a dash in
            // its name.
            let plain = name.replace('-', "_");
            let script = script(shell, command.clone(), &plain)?;
            let registered = script.replace(
                &format!("-o default {plain}\n"),
                &format!("-o default {name}\n"),
            );
            (format!("{name}.bash"), one_dash_in_bash(&registered)?)
        }
        Shell::Zsh => {
            // clap_complete does not escape a colon in a value's name for zsh.
            let command = command.clone().mut_subcommands(|inner| {
                inner.mut_args(|arg| {
                    let names = arg.get_value_names().unwrap_or_default().iter();
                    let names: Vec<String> =
                        names.map(|name| name.replace(':', "\\:")).collect();
                    if names.is_empty() { arg } else { arg.value_names(names) }
                })
            });
            let script = script(shell, command.clone(), name)?;
            (format!("_{name}"), one_dash_in_zsh(&command, &script)?)
        }
        Shell::Fish => {
            let script = script(shell, command.clone(), name)?;
            (format!("{name}.fish"), one_dash_in_fish(name, &script))
        }
        other => bail!("unknown kind {other:?}: expected bash, zsh, fish or man"),
    })
}

/// The script as clap_complete generates it.
fn script(shell: Shell, mut command: Command, name: &str) -> Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8(script).context("the script is not UTF-8")
}

/// One dash is enough for a long name, as [`crate::cli::flags`] parses it: `-driver`
/// is completed by its values, and `-dri` by `--driver`.
fn one_dash_in_bash(script: &str) -> Result<String> {
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

fn one_dash_in_zsh(command: &Command, script: &str) -> Result<String> {
    let at = "    typeset -A opt_args\n";
    if !script.contains(at) {
        bail!("the scripts of clap_complete for zsh have changed");
    }
    let mut names: Vec<&str> = Vec::new();
    for command in std::iter::once(command).chain(command.get_subcommands()) {
        names.extend(command.get_arguments().filter_map(|arg| arg.get_long()));
    }
    names.sort_unstable();
    names.dedup();
    let longer = format!(
        "    local -a one_dash=({})
    local at
    for ((at = 2; at < CURRENT; at++)); do
        if (( ${{one_dash[(Ie)${{${{words[at]#-}}%%=*}}]}} )); then
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

/// fish calls long names with one dash "old style": `-o`.
fn one_dash_in_fish(name: &str, script: &str) -> String {
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
        all +=
            &format!("\ncomplete {when}; and {condition}\" -o {}", long.trim_end());
    }
    all + "\n"
}

/// A page for the program and a page for each command, with their file names.
fn pages(command: &Command, day: &str) -> Result<Vec<(String, String)>> {
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    let name = command.get_name().to_owned();
    let commands = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    let mut all: Vec<(String, Command)> = commands
        .map(|inner| (format!("{name}-{}", inner.get_name()), inner.clone()))
        .collect();
    all.insert(0, (name, command));
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    let page = |(own, command): &(String, Command)| {
        let others = names.iter().filter(|name| *name != own).copied().collect();
        Ok((format!("{own}.1"), page(own, command.clone(), others, day)?))
    };
    all.iter().map(page).collect()
}

fn page(
    own: &str,
    command: Command,
    others: Vec<&str>,
    day: &str,
) -> Result<String> {
    let after = command.get_after_help().map(ToString::to_string);
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let has_commands = command.has_subcommands();
    let plain = command
        .after_help(Resettable::Reset)
        .after_long_help(Resettable::Reset)
        .override_usage(usage)
        .subcommand_help_heading("COMMANDS");
    let man = Man::new(plain).title(own.to_uppercase()).date(day);
    let mut bytes = Vec::new();
    man.source("mydocker")
        .manual(MANUAL)
        .render(&mut bytes)
        .context("render a page")?;
    let page = String::from_utf8(bytes).context("a page is not UTF-8")?;
    // An empty line already breaks the line.
    let mut page = page.replace("\n.br\n\n.br\n", "\n\n");
    let mut roff = Roff::new();
    for block in after.unwrap_or_default().split("\n\n") {
        section(&mut roff, block);
    }
    if !has_commands {
        roff.control("SH", ["SEE ALSO"]);
        let mut words = Vec::new();
        for (number, name) in others.iter().enumerate() {
            let end = if number + 1 < others.len() { "(1), " } else { "(1)" };
            words.extend([bold(*name), roman(end)]);
        }
        roff.text(words);
    }
    page += &roff.to_roff();
    Ok(page)
}

/// A section of the text below the options of `--help`: a heading, and lines that
/// are printed unchanged.
fn section(roff: &mut Roff, block: &str) {
    let mut lines = block.lines();
    let heading = lines.next().unwrap_or_default().trim_end_matches(':');
    roff.control(
        "SH",
        [match heading {
            "Try" => "EXAMPLES".to_owned(),
            other => other.to_uppercase(),
        }
        .as_str()],
    );
    roff.control("nf", []);
    for line in lines {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
}
