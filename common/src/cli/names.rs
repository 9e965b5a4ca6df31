//! The names in the state directory that a shell offers for an argument.
//!
//! The completion scripts call the program with a hidden first argument, followed by
//! the words of the command line up to the cursor. The value's name in `--help`
//! says what an argument is: CONTAINER, IMAGE or NETWORK.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Arg, Command};

use crate::cli::{argument, output};
use crate::images::Layout;
use crate::state::fields::is_newer;
use crate::state::{Id, State, Summary};

/// The hidden first argument.
pub(super) const VERB: &str = "names";

/// What an argument names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    Network,
}

/// If the command line asks for it, print the names that its last word can be
/// completed to, one per line.
///
/// The exit status is 1 if the word is not a name of the state directory; the shell
/// then offers something else. If the state directory is missing or cannot be read,
/// nothing is printed: a message would appear in the middle of the command line that
/// the user is typing.
pub(super) fn run_if_requested(command: &Command) -> Option<ExitCode> {
    let mut words: Vec<OsString> = env::args_os().collect();
    if words.get(1)? != VERB {
        return None;
    }
    words.remove(1);
    let kinds = kinds_of_last(command, words);
    if kinds.is_empty() {
        return Some(ExitCode::FAILURE);
    }
    if let Ok(state) = State::locate() {
        let names: Vec<String> = names(&state, &kinds).into_iter().collect();
        // There is nobody to whom an error could be reported.
        let _ = output::print(&output::lines(&names));
    }
    Some(ExitCode::SUCCESS)
}

/// Whether a value of this argument is a name of the state directory.
pub(super) fn is_name(arg: &Arg) -> bool {
    !kinds(arg, 0).is_empty()
}

/// Whether the program, or one of its commands, has such an argument.
pub(super) fn has_names(command: &Command) -> bool {
    command.get_arguments().any(is_name) || command.get_subcommands().any(has_names)
}

/// What the last word names: nothing if it is not a name.
fn kinds_of_last(command: &Command, words: Vec<OsString>) -> Vec<Kind> {
    let last = argument::last(command, words);
    last.map_or(Vec::new(), |(arg, values)| kinds(arg, values))
}

/// What the next value of an argument names, if it has so many values already. The
/// name of the value is a list, such as `CONTAINER|IMAGE`; or only the first value is
/// a name, as in `IMAGE [COMMAND]`.
fn kinds(arg: &Arg, values: usize) -> Vec<Kind> {
    let value_name = arg.get_value_names().and_then(|names| names.first());
    let (list, is_only_first) = match value_name.map(|name| name.split_once(' ')) {
        Some(Some((list, _))) => (list, true),
        _ => (value_name.map_or("", |name| name.as_str()), false),
    };
    if is_only_first && values > 0 {
        return Vec::new();
    }
    let kind = |name| match name {
        "CONTAINER" => Some(Kind::Container),
        "IMAGE" => Some(Kind::Image),
        "NETWORK" => Some(Kind::Network),
        _ => None,
    };
    list.split('|').filter_map(kind).collect()
}

/// The names of these kinds. What cannot be read is left out.
fn names(state: &State, kinds: &[Kind]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for kind in kinds {
        match kind {
            Kind::Container => {
                let ids = state.kept_ids().unwrap_or_default();
                names.extend(ids.iter().filter_map(|id| container(state, id)));
            }
            Kind::Image => {
                let found = Layout::of(state).all_names().unwrap_or_default();
                names.extend(found.keys().map(|reference| reference.short()));
            }
            Kind::Network => {
                let found = state.network_names().unwrap_or_default();
                names.extend(found.iter().map(ToString::to_string));
            }
        }
    }
    names
}

/// The name of a container, or its ID; `None` if no command accepts it.
fn container(state: &State, id: &Id) -> Option<String> {
    match Summary::read(state, id) {
        Ok(summary) => summary.map(|summary| summary.display_name().to_owned()),
        Err(error) if is_newer(&error) => None,
        // `rm` also removes a container whose record is damaged.
        Err(_) => {
            let name = state.name_of(id).ok().flatten();
            Some(name.map_or_else(|| id.to_string(), |name| name.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_name_of_the_value_says_what_an_argument_names() {
        let first = |name: &str, values| {
            kinds(&Arg::new("x").value_name(name.to_owned()), values)
        };
        assert_eq!(first("CONTAINER", 0), [Kind::Container]);
        assert_eq!(first("CONTAINER", 1), [Kind::Container]);
        assert_eq!(first("CONTAINER|IMAGE", 1), [Kind::Container, Kind::Image]);
        assert_eq!(first("IMAGE [COMMAND]", 0), [Kind::Image]);
        assert_eq!(first("IMAGE [COMMAND]", 1), []);
        for other in ["NAME", "COMMAND", "FILE|DIR|-", "via GATEWAY, dev DEVICE"] {
            assert_eq!(first(other, 0), [], "{other}");
        }
        assert_eq!(kinds(&Arg::new("x"), 0), []);
    }

    #[test]
    fn the_names_are_those_that_the_commands_accept() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        let write = |path: &str, text: &str| {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), text).unwrap();
        };
        let record = |name: &str| {
            format!("format 1\n{name}image a\ncommand sh\ncreated 5\nend\n")
        };
        write("containers/00000000000a/record", &record("name web\n"));
        write("containers/00000000000b/record", &record(""));
        // Damaged, of a newer version, and without a record.
        write("containers/00000000000c/record", "x");
        write("containers/00000000000d/record", "format 9\nend\n");
        write("containers/00000000000e/other", "");
        write("containers/\u{1b}[2J/record", &record(""));
        fs::create_dir(at("names")).unwrap();
        symlink("00000000000c", at("names/broken")).unwrap();
        for name in ["busybox:latest", "busybox:1", "h:1+a:x", "\u{1b}[2J:1"] {
            fs::create_dir_all(at("images/names")).unwrap();
            let record = format!("../records/{}", "1".repeat(64));
            symlink(record, at("images/names").join(name)).unwrap();
        }
        write("networks/lan/record", "");
        write("networks/.ip_forward", "");
        let state = State::at(directory.path());
        let names = |kinds: &[Kind]| {
            names(&state, kinds).into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&[Kind::Container]), "00000000000b broken web");
        assert_eq!(names(&[Kind::Image]), "busybox busybox:1 h:1/a:x");
        assert_eq!(names(&[Kind::Network]), "lan");
        let both = names(&[Kind::Network, Kind::Image]);
        assert_eq!(both, "busybox busybox:1 h:1/a:x lan");
    }

    #[test]
    fn a_missing_state_directory_has_no_names_and_stays_missing() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::at(directory.path().join("none"));
        let all = [Kind::Container, Kind::Image, Kind::Network];
        assert!(names(&state, &all).is_empty());
        assert!(!state.root().exists());
    }
}
