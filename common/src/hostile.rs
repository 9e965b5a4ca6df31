//! Property tests: no input causes a panic, accepted input keeps its meaning, and no
//! path leads out of its directory.

mod corpus;
mod paths;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use clap::{Arg, ArgAction, Command};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cli::flags::go_style;
use crate::state::fields::Fields;
use crate::state::{Id, Name};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, ..ProptestConfig::default() }
}

/// A command with the kinds of options that the chapters have.
fn command() -> Command {
    let switch = |name, letter| {
        Arg::new(name).long(name).short(letter).action(ArgAction::SetTrue)
    };
    let value = |name| {
        let words = clap::value_parser!(OsString);
        Arg::new(name).long(name).value_parser(words).action(ArgAction::Append)
    };
    let run = Command::new("run")
        .arg(switch("tty", 't'))
        .arg(switch("interactive", 'i'))
        .arg(value("name").allow_hyphen_values(true))
        .arg(value("cpuset").allow_hyphen_values(true))
        .arg(value("volume").short('v').allow_hyphen_values(true))
        .arg(
            Arg::new("command")
                .num_args(0..)
                .trailing_var_arg(true)
                .value_parser(clap::value_parser!(OsString)),
        );
    Command::new("mydocker").subcommand(run)
}

/// An option with its value, and the number of its spelling.
fn flag() -> impl Strategy<Value = (usize, OsString, usize)> {
    let value = prop_oneof![
        "[a-z0-9/:,.-]{1,8}".prop_map(OsString::from),
        prop::sample::select(vec![
            "-name", "run", "-ti", "--", "-", "--name=x", "-v"
        ])
        .prop_map(OsString::from),
    ];
    (0..3_usize, value, 0..4_usize)
}

const VALUES: [&str; 3] = ["name", "cpuset", "volume"];

fn spelled(which: usize, value: &OsString, how: usize) -> Vec<OsString> {
    let name = VALUES[which];
    let dashes = if how.is_multiple_of(2) { "-" } else { "--" };
    let mut word = OsString::from(format!("{dashes}{name}"));
    if how < 2 {
        return vec![word, value.clone()];
    }
    word.push("=");
    word.push(value);
    vec![word]
}

fn word() -> impl Strategy<Value = OsString> {
    let special = prop::sample::select(&b"-=runamev "[..]);
    let bytes = vec(prop_oneof![3 => special, 1 => 1..=255_u8], 0..9);
    let flags = prop::sample::select(vec!["-name", "-cpuset=0", "--", "-v", "run"]);
    prop_oneof![bytes.prop_map(OsString::from_vec), flags.prop_map(OsString::from)]
}

proptest! {
    #![proptest_config(config(20_000))]

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_truncated_one_is_refused(
        values in vec(vec(prop_oneof![Just(b'\\'), Just(b'\n'), Just(b'n'), any::<u8>()], 0..12), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let values: Vec<OsString> = values.into_iter().map(OsString::from_vec).collect();
        let text = Fields::default().with_all("word", &values).with("last", "end").text();
        let read = Fields::read(&text).unwrap();
        prop_assert_eq!(read.all("word").collect::<Vec<_>>(), values);
        prop_assert_eq!(read.word("last").unwrap(), "end");
        prop_assert!(Fields::read(&text[..cut.index(text.len())]).is_err());
    }

    #[test]
    fn bytes_that_are_accepted_as_a_record_are_written_back_unchanged(
        mut bytes in vec(prop_oneof![Just(b'\\'), Just(b'\n'), Just(b' '), any::<u8>()], 0..40),
        whole in any::<bool>(),
    ) {
        bytes.extend(if whole { &b"\nend\n"[..] } else { b"" });
        let text = [&b"format 1\n"[..], &bytes].concat();
        if let Ok(fields) = Fields::read(&text) {
            prop_assert_eq!(fields.text(), text);
        }
    }
}

proptest! {
    #![proptest_config(config(300))]

    /// All spellings mean the same, and the program's arguments arrive byte for
    /// byte.
    #[test]
    fn options_in_all_spellings_have_their_values(
        flags in vec(flag(), 0..5),
        switches in prop::sample::select(vec![vec![], vec!["-ti"], vec!["-t", "--interactive"], vec!["-tty"]]),
        program in "[a-z]{1,5}",
        words in vec(word(), 0..5),
    ) {
        let mut argv: Vec<OsString> = vec!["mydocker".into(), "run".into()];
        argv.extend(switches.iter().map(OsString::from));
        for (which, value, how) in &flags {
            argv.extend(spelled(*which, value, *how));
        }
        argv.push(program.clone().into());
        argv.extend(words.clone());
        let mut command = command();
        command.build();
        let rewritten = go_style(&command, argv.clone());
        let matches = command.try_get_matches_from_mut(rewritten).unwrap();
        let (_, run) = matches.subcommand().unwrap();
        for (which, name) in VALUES.iter().enumerate() {
            let own = flags.iter().filter(|(other, ..)| *other == which);
            let own: Vec<&OsString> = own.map(|(_, value, _)| value).collect();
            let found: Vec<_> = run.get_many::<OsString>(name).into_iter().flatten().collect();
            prop_assert_eq!(found, own, "{} of {:?}", name, argv);
        }
        prop_assert_eq!(run.get_flag("tty"), !switches.is_empty());
        let found = run.get_many::<OsString>("command").into_iter().flatten();
        let all: Vec<&OsString> = found.collect();
        prop_assert_eq!(all[0], program.as_str());
        prop_assert_eq!(all[1..].to_vec(), words.iter().collect::<Vec<_>>());
    }

    /// A word gets at most one more dash, a value that begins with a dash is attached to its
    /// option, and no word is lost or moved.
    #[test]
    fn no_argument_is_lost_or_moved(words in vec(word(), 0..9)) {
        let mut command = command();
        command.build();
        let out = go_style(&command, words.clone());
        let mut words = words.iter().map(|word| word.as_bytes());
        for after in &out {
            let after = after.as_bytes();
            let before = words.next().unwrap();
            let longer = after.strip_prefix(b"-").unwrap_or(after);
            if after == before || longer == before {
                continue;
            }
            let value = words.next().unwrap();
            prop_assert!(value.starts_with(b"-"));
            let attached = [before, b"=", value].concat();
            prop_assert!(after == attached || longer == attached);
        }
        prop_assert_eq!(words.next(), None);
    }

    #[test]
    fn a_name_is_one_file_name_and_not_an_option(text in "[a-zA-Z0-9_./ -]{0,70}|.{0,20}") {
        if let Ok(name) = text.parse::<Name>() {
            prop_assert_eq!(name.as_str(), &text);
            prop_assert_eq!(name.to_string().parse::<Name>().unwrap(), name.clone());
            assert_one_component(name.as_str());
            prop_assert!(!text.starts_with('-') && text.len() <= Name::MAX_LENGTH);
        }
    }

    #[test]
    fn an_id_is_one_file_name(text in "[0-9a-f]{11,13}|.{0,14}") {
        if let Ok(id) = text.parse::<Id>() {
            prop_assert_eq!(id.as_str(), &text);
            assert_one_component(id.as_str());
        }
    }
}

fn assert_one_component(name: &str) {
    let path = Path::new("/containers").join(name);
    let mut components = path.components().skip(2);
    assert!(matches!(components.next(), Some(Component::Normal(_))), "{name:?}");
    assert!(components.next().is_none(), "{name:?}");
    assert_eq!(path.parent(), Some(Path::new("/containers")), "{name:?}");
}
