//! Go-style options: `-name x`, `-name=x` and `--name x` mean the same, and so do `-ti`,
//! `--ti` and `-t -i`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::{Arg, ArgAction, Command};

/// Rewrite a command line for clap, by means of clap's own list of options.
///
/// If a command ends with a program and its arguments, options end at the first
/// positional argument. The rest is passed on byte for byte.
#[must_use]
pub fn go_style(
    command: &Command,
    argv: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let mut command = command;
    let mut argv = argv.into_iter();
    let mut out: Vec<OsString> = argv.by_ref().take(1).collect();
    while let Some(arg) = argv.next() {
        if let Some(inner) = subcommand(command, &arg) {
            command = inner;
            out.push(arg);
            continue;
        }
        let (arg, value_follows) = match arg.as_bytes() {
            b"--" | b"-" => (arg, None),
            // clap adds --help to the list only when it parses the command line.
            b"-help" => ("--help".into(), Some(false)),
            [b'-', b'-', name @ ..] => match long(command, name) {
                Some((option, has_value)) => {
                    let follows = takes_value(option) && !has_value;
                    (arg, Some(follows))
                }
                // Go's package flag reads --m as -m.
                None if is_cluster(command, name) => {
                    let follows = cluster(command, name).is_some();
                    (OsStr::from_bytes(&arg.as_bytes()[1..]).into(), Some(follows))
                }
                None => (arg, Some(false)),
            },
            [b'-', name @ ..] => match long(command, name) {
                Some((option, has_value)) if name.len() > 1 => {
                    let follows = takes_value(option) && !has_value;
                    let mut longer = OsString::from("-");
                    longer.push(&arg);
                    (longer, Some(follows))
                }
                // clap would parse -hostnam as -h, and print the help.
                None if name.len() > 1 && is_help(command, name[0]) => {
                    let mut longer = OsString::from("-");
                    longer.push(&arg);
                    (longer, Some(false))
                }
                _ => {
                    let follows = cluster(command, name).is_some();
                    (arg, Some(follows))
                }
            },
            _ => (arg, None),
        };
        out.push(arg);
        match value_follows {
            Some(true) => value(&mut out, argv.next()),
            Some(false) => {}
            None if !out.ends_with(&["--".into()]) && !ends_with_words(command) => {}
            None => break,
        }
    }
    out.extend(argv);
    out
}

/// The command of this name or alias.
pub(super) fn subcommand<'a>(
    command: &'a Command,
    word: &OsStr,
) -> Option<&'a Command> {
    let mut commands = command.get_subcommands();
    commands.find(|c| {
        word == c.get_name() || c.get_all_aliases().any(|alias| word == alias)
    })
}

/// Add an option's value. A value that begins with a dash, such as `-m -1`, is attached to
/// its option: clap would take it for another option.
fn value(out: &mut Vec<OsString>, value: Option<OsString>) {
    let Some(value) = value else { return };
    match out.last_mut() {
        Some(option) if value.as_bytes().starts_with(b"-") => {
            option.push("=");
            option.push(value);
        }
        _ => out.push(value),
    }
}

/// Whether the command takes a program and its arguments.
pub(super) fn ends_with_words(command: &Command) -> bool {
    command.get_positionals().any(Arg::is_trailing_var_arg_set)
}

/// The long option of this name, and whether `=` attaches a value to it.
pub(super) fn long<'a>(
    command: &'a Command,
    name: &[u8],
) -> Option<(&'a Arg, bool)> {
    let (name, attached) = match name.iter().position(|&byte| byte == b'=') {
        Some(at) => (&name[..at], true),
        None => (name, false),
    };
    let matches = |arg: &&Arg| {
        let name = OsStr::from_bytes(name);
        arg.get_long().is_some_and(|long| name == long)
            || arg
                .get_visible_aliases()
                .is_some_and(|aliases| aliases.iter().any(|alias| name == *alias))
    };
    command.get_arguments().find(matches).map(|option| (option, attached))
}

/// The last option of a cluster of short options, such as `-tiv`, if its value is the
/// next argument.
pub(super) fn cluster<'a>(command: &'a Command, letters: &[u8]) -> Option<&'a Arg> {
    for (at, &letter) in letters.iter().enumerate() {
        let short = |arg: &&Arg| arg.get_short() == Some(letter.into());
        match command.get_arguments().find(short) {
            Some(option) if takes_value(option) => {
                return Some(option).filter(|_| at + 1 == letters.len());
            }
            Some(_) => {}
            None => return None,
        }
    }
    None
}

/// Whether each letter is a short option, the last of which may have a value: `ti`, `m`,
/// `m=100m`.
fn is_cluster(command: &Command, name: &[u8]) -> bool {
    let letters = name.split(|&byte| byte == b'=').next().unwrap_or_default();
    let known = |(at, &letter): (usize, &u8)| {
        let short = |arg: &&Arg| arg.get_short() == Some(letter.into());
        let option = command.get_arguments().find(short);
        option.is_some_and(|option| !takes_value(option) || at + 1 == letters.len())
    };
    !letters.is_empty() && letters.iter().enumerate().all(known)
}

/// Whether this short option prints the help.
fn is_help(command: &Command, letter: u8) -> bool {
    let short = |arg: &&Arg| arg.get_short() == Some(letter.into());
    let option = command.get_arguments().find(short);
    option.is_some_and(|option| matches!(option.get_action(), ArgAction::Help))
}

pub(super) fn takes_value(option: &Arg) -> bool {
    option.get_action().takes_values()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &[&str]) -> Vec<String> {
        let flag = |name, letter| {
            Arg::new(name).long(name).short(letter).action(ArgAction::SetTrue)
        };
        let run = Command::new("run")
            .arg(flag("tty", 't'))
            .arg(flag("interactive", 'i'))
            .arg(Arg::new("name").long("name"))
            .arg(Arg::new("cpuset").long("cpuset"))
            .arg(Arg::new("volume").long("volume").short('v'))
            .arg(Arg::new("memory").long("memory").short('m'))
            .arg(Arg::new("command").num_args(0..).trailing_var_arg(true));
        let create = Command::new("create")
            .visible_alias("new")
            .arg(Arg::new("group"))
            .arg(Arg::new("cpuset").long("cpuset"));
        let mut command = Command::new("mydocker").subcommands([run, create]);
        command.build();
        let argv = line.iter().map(OsString::from);
        let out = go_style(&command, argv).into_iter();
        out.map(|arg| arg.into_string().unwrap()).collect()
    }

    #[test]
    fn one_dash_is_enough_for_a_long_name() {
        assert_eq!(
            rewritten(&[
                "x",
                "run",
                "-ti",
                "-name",
                "a",
                "-cpuset=0-1",
                "sh",
                "-name"
            ]),
            ["x", "run", "-ti", "--name", "a", "--cpuset=0-1", "sh", "-name"]
        );
    }

    #[test]
    fn a_value_is_never_parsed_as_a_flag() {
        let line =
            ["x", "run", "-m", "-name", "-v", "-cpuset", "sh", "-cpuset", "0"];
        let attached = ["x", "run", "-m=-name", "-v=-cpuset", "sh", "-cpuset", "0"];
        assert_eq!(rewritten(&line), attached);
        let line = ["x", "run", "-tiv", "-name", "--", "-name", "x"];
        let attached = ["x", "run", "-tiv=-name", "--", "-name", "x"];
        assert_eq!(rewritten(&line), attached);
        let line = ["x", "run", "-memory", "-1", "--cpuset", "-", "sh"];
        let attached = ["x", "run", "--memory=-1", "--cpuset=-", "sh"];
        assert_eq!(rewritten(&line), attached);
        let line = ["x", "run", "--name", "run", "-it", "-v/a:/b", "run", "-name"];
        assert_eq!(rewritten(&line), line);
    }

    #[test]
    fn two_dashes_before_short_options_become_one() {
        assert_eq!(
            rewritten(&[
                "x",
                "run",
                "--ti",
                "--m",
                "--ti",
                "--v=/a:/b",
                "sh",
                "--m"
            ]),
            ["x", "run", "-ti", "-m=--ti", "-v=/a:/b", "sh", "--m"]
        );
        // An unknown letter, a letter with an attached value, and a plain `--`.
        for line in [["x", "run", "--tx"], ["x", "run", "--mt"], ["x", "run", "--"]]
        {
            assert_eq!(rewritten(&line), line);
        }
    }

    #[test]
    fn options_may_follow_a_name_if_the_command_takes_no_program() {
        assert_eq!(
            rewritten(&["x", "create", "box", "-cpuset", "0"]),
            ["x", "create", "box", "--cpuset", "0"]
        );
        assert_eq!(
            rewritten(&["x", "new", "-cpuset", "0", "box"]),
            ["x", "new", "--cpuset", "0", "box"]
        );
        let line = ["x", "create", "--", "box", "-cpuset", "0"];
        assert_eq!(rewritten(&line), line);
    }

    #[test]
    fn help_with_one_dash_is_accepted() {
        assert_eq!(rewritten(&["x", "run", "-help"]), ["x", "run", "--help"]);
        let line = ["x", "run", "-m", "-help", "sh", "-help"];
        assert_eq!(rewritten(&line), ["x", "run", "-m=-help", "sh", "-help"]);
    }

    #[test]
    fn unknown_flags_are_left_for_clap_to_refuse() {
        let line = ["x", "run", "-memroy", "100m", "sh"];
        assert_eq!(rewritten(&line), line);
    }

    #[test]
    fn a_misspelt_option_that_begins_with_h_does_not_print_the_help() {
        assert_eq!(
            rewritten(&["x", "run", "-hostnam", "box", "sh"]),
            ["x", "run", "--hostnam", "box", "sh"]
        );
        for line in [["x", "run", "-h"], ["x", "create", "-h"]] {
            assert_eq!(rewritten(&line), line);
        }
    }
}
