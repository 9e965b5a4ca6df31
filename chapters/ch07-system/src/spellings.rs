//! Further names of commands and options: those of Docker and of the earlier systems.

use clap::Command;

// ANCHOR: spellings
/// Commands that have a further name, and where the name comes from.
const COMMANDS: [(&str, &str); 3] = [
    // The earlier system called mydocker.
    ("ps", "list"),
    ("logs", "log"),
    ("rm", "remove"),
];

/// Options of `run` that Docker writes in another way. `logs -n` and `stop --timeout` are
/// Docker's, too.
const OPTIONS: [(&str, &str); 3] =
    [("cpushare", "cpu-shares"), ("cpuset", "cpuset-cpus"), ("pids", "pids-limit")];

/// Add the further names to the description of a command line. `--help` shows them.
#[must_use]
pub fn spellings(command: Command) -> Command {
    let run = |run: Command| {
        OPTIONS.iter().fold(run, |run, (name, further)| {
            run.mut_arg(*name, |arg| arg.visible_alias(*further))
        })
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
    };
    all(command).mut_subcommand("container", all)
}
// ANCHOR_END: spellings
