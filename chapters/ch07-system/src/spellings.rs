//! Additional names of commands and options: the names in Docker and in the earlier
//! systems.

use clap::{Arg, ArgAction, Command};

// ANCHOR: spellings
/// Commands with an additional name.
const COMMANDS: [(&str, &str); 3] = [
    // These names come from the earlier system that was also called mydocker.
    ("ps", "list"),
    ("logs", "log"),
    ("rm", "remove"),
];

/// Options of `run` that have another name in Docker. `logs -n` and `stop --timeout`
/// are Docker's, too.
const OPTIONS: [(&str, &str); 3] =
    [("cpushare", "cpu-shares"), ("cpuset", "cpuset-cpus"), ("pids", "pids-limit")];

/// Add the additional names to the description of a command line. `--help` shows them.
#[must_use]
pub fn spellings(command: Command) -> Command {
    let run = |run: Command| {
        let run = OPTIONS.iter().fold(run, |run, (name, further)| {
            run.mut_arg(*name, |arg| arg.visible_alias(*further))
        });
        // Docker's -h is the hostname.
        let help = Arg::new("help").long("help").help("Print help");
        run.disable_help_flag(true)
            .arg(help.action(ArgAction::HelpLong))
            .mut_arg("hostname", |arg| arg.short('h'))
    };
    let prune = |prune: Command| {
        let force = Arg::new("force").short('f').long("force");
        prune.arg(force.action(ArgAction::SetTrue).help(
            "For scripts that are written for Docker; this command never asks for confirmation",
        ))
    };
    let logs = |logs: Command| logs.mut_arg("tail", |arg| arg.short('n'));
    let stop =
        |stop: Command| stop.mut_arg("time", |arg| arg.visible_alias("timeout"));
    let command = COMMANDS.iter().fold(command, |command, (name, further)| {
        command.mut_subcommand(name, |inner| inner.visible_alias(*further))
    });
    let all = |group: Command| {
        group
            .mut_subcommand("run", run)
            .mut_subcommand("logs", logs)
            .mut_subcommand("stop", stop)
            .mut_subcommand("prune", prune)
    };
    all(command)
        .mut_subcommand("container", all)
        .mut_subcommand("image", |group| group.mut_subcommand("prune", prune))
        .mut_subcommand("network", |group| {
            let create =
                |create: Command| create.mut_arg("driver", |arg| arg.short('d'));
            group.mut_subcommand("prune", prune).mut_subcommand("create", create)
        })
}
// ANCHOR_END: spellings
