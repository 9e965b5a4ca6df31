//! Manual pages.

use anyhow::{Context, Result};
use clap::Command;
use clap::builder::Resettable;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The title of the manual to which the pages belong.
const MANUAL: &str = "Write your own Docker";

/// A page for the program and a page for each command, with their file names.
pub(super) fn pages(command: &Command, day: &str) -> Result<Vec<(String, String)>> {
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
