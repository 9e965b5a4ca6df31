//! The argument to which the last word of an incomplete command line belongs.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::{Arg, ArgAction, Command};

use crate::cli::flags::{
    cluster, ends_with_words, go_style, long, subcommand, takes_value,
};

/// Return the argument, and the number of values that it already has. The words
/// begin with the program; the last word may be empty.
///
/// A word that begins with a dash belongs to no argument, unless a value is attached
/// to it: `--network=a`.
pub(super) fn last(
    command: &Command,
    mut words: Vec<OsString>,
) -> Option<(&Arg, usize)> {
    let last = words.pop()?;
    let mut command = command;
    let mut options = true;
    let mut values = 0;
    let mut before = go_style(command, words).into_iter().skip(1);
    while let Some(word) = before.next() {
        let option = match word.as_bytes() {
            b"--" if options => {
                options = false;
                continue;
            }
            [b'-', b'-', name @ ..] if options => next_value(command, name),
            [b'-', letters @ ..] if options && !letters.is_empty() => {
                cluster(command, letters)
            }
            _ => {
                match subcommand(command, &word).filter(|_| values == 0 && options) {
                    Some(inner) => command = inner,
                    None => values += 1,
                }
                options &= values == 0 || !ends_with_words(command);
                continue;
            }
        };
        // The next word is the option's value. If no word follows, the user is typing
        // the value now: it is the last word.
        if option.is_some() && before.next().is_none() {
            return option.map(|option| (option, 0));
        }
    }
    match last.as_bytes() {
        [b'-', name @ ..] if options => {
            let attached = long(command, name.strip_prefix(b"-").unwrap_or(name));
            attached.filter(|(_, has_value)| *has_value).map(|(arg, _)| (arg, 0))
        }
        _ => positional(command, values),
    }
}

/// The long option of this name, if its value is the next word.
fn next_value<'a>(command: &'a Command, name: &[u8]) -> Option<&'a Arg> {
    let (option, has_value) = long(command, name)?;
    let next = takes_value(option) && !option.is_require_equals_set();
    Some(option).filter(|_| next && !has_value)
}

/// The positional argument after so many values, and how many of them it has.
fn positional(command: &Command, values: usize) -> Option<(&Arg, usize)> {
    command.get_positionals().enumerate().find_map(|(at, arg)| {
        let is_repeated = matches!(arg.get_action(), ArgAction::Append);
        (at == values || is_repeated).then(|| (arg, values.saturating_sub(at)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ID of the argument, and the number of its values.
    fn found(line: &str) -> Option<(String, usize)> {
        let flag = |name, letter| {
            Arg::new(name).long(name).short(letter).action(ArgAction::SetTrue)
        };
        let words = || Arg::new("words").action(ArgAction::Append);
        let run = Command::new("run")
            .arg(flag("tty", 't'))
            .arg(Arg::new("network").long("network").visible_alias("net"))
            .arg(Arg::new("user").long("user").short('u'))
            .arg(words().trailing_var_arg(true));
        let exec = Command::new("exec")
            .arg(flag("tty", 't'))
            .arg(Arg::new("env").long("env").short('e').action(ArgAction::Append))
            .arg(Arg::new("container"))
            .arg(words().trailing_var_arg(true));
        let attach = Command::new("attach")
            .arg(Arg::new("proxy").long("proxy").require_equals(true).num_args(0..2))
            .arg(Arg::new("container"));
        let stop = Command::new("stop")
            .arg(Arg::new("time").long("time").short('t'))
            .arg(Arg::new("containers").action(ArgAction::Append));
        let connect =
            Command::new("connect").args([Arg::new("to"), Arg::new("container")]);
        let network = Command::new("network").alias("net").subcommand(connect);
        let command = Command::new("x")
            .arg(Arg::new("defaults").long("defaults"))
            .subcommands([run, exec, attach, stop, network]);
        let words = format!("x {line}");
        let (arg, values) =
            last(&command, words.split(' ').map(OsString::from).collect())?;
        Some((arg.get_id().to_string(), values))
    }

    #[test]
    fn a_word_belongs_to_the_positional_argument_of_its_place() {
        for (line, arg, values) in [
            ("stop ", "containers", 0),
            ("stop we", "containers", 0),
            ("stop a b ", "containers", 2),
            ("stop stop ", "containers", 1),
            ("exec ", "container", 0),
            ("exec a ", "words", 0),
            ("exec a sh ", "words", 1),
            ("exec a -t ", "words", 1),
            ("exec a sh -c -", "words", 2),
            ("run a sh ", "words", 2),
            ("network connect ", "to", 0),
            ("net connect a ", "container", 0),
            ("stop -- -a -", "containers", 1),
            ("stop - ", "containers", 1),
        ] {
            assert_eq!(found(line), Some((arg.to_owned(), values)), "{line:?}");
        }
        for line in
            ["", "s", "no ", "network ", "network connect a b ", "help stop "]
        {
            assert_eq!(found(line), None, "{line:?}");
        }
    }

    #[test]
    fn options_and_their_values_are_no_positional_arguments() {
        for (line, arg) in [
            ("stop -t 5 ", "containers"),
            ("stop -t5 ", "containers"),
            ("stop --time=5 ", "containers"),
            ("stop -time 5 ", "containers"),
            ("--defaults stop exec -e a=b -t ", "container"),
            ("exec -te a ", "container"),
            ("exec -e -t ", "container"),
            ("attach --proxy ", "container"),
            ("run -t -net a -u b ", "words"),
        ] {
            assert_eq!(found(line), Some((arg.to_owned(), 0)), "{line:?}");
        }
    }

    #[test]
    fn a_word_after_an_option_is_its_value() {
        for (line, arg) in [
            ("run --network ", "network"),
            ("run -net ", "network"),
            ("run --net=", "network"),
            ("run -network=a", "network"),
            ("run -tu a", "user"),
            ("stop a -t ", "time"),
        ] {
            assert_eq!(found(line), Some((arg.to_owned(), 0)), "{line:?}");
        }
        for line in ["run -", "run --net", "run -net", "stop a -", "stop --"] {
            assert_eq!(found(line), None, "{line:?}");
        }
    }
}
