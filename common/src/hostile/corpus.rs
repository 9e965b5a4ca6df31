//! Property tests that start from records of real state directories and from command
//! lines that users type, in `common/corpus`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use clap::parser::ValueSource;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{VALUES, command, config};
use crate::cli::flags::go_style;
use crate::state::fields::Fields;

const RECORDS: [&[u8]; 2] = [
    include_bytes!("../../corpus/records/container"),
    include_bytes!("../../corpus/records/network"),
];

/// What a user typed, and its meaning.
fn lines() -> Vec<(Vec<String>, String)> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/options/lines.txt");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let split = |line: &str| {
        let (typed, meaning) = line.split_once(" => ").unwrap();
        let words = typed.split(' ').map(str::to_owned).collect();
        (words, meaning.trim().to_owned())
    };
    lines.map(split).collect()
}

/// The options and the command that clap finds, as in the corpus.
fn meaning(words: &[OsString]) -> Result<String, clap::Error> {
    let mut command = command();
    command.build();
    let words = [&["mydocker".into()], words].concat();
    let matches = command.clone().try_get_matches_from(go_style(&command, words))?;
    let Some((_, run)) = matches.subcommand() else { return Ok(String::new()) };
    let given =
        |name: &&str| run.value_source(name) == Some(ValueSource::CommandLine);
    let mut found: Vec<String> = ["tty", "interactive"]
        .into_iter()
        .filter(given)
        .map(str::to_owned)
        .collect();
    for name in VALUES {
        for value in run.get_many::<OsString>(name).into_iter().flatten() {
            found.push(format!("{name}={}", value.display()));
        }
    }
    found.push("|".to_owned());
    let words = run.get_many::<OsString>("command").into_iter().flatten();
    found.extend(words.map(|word| word.display().to_string()));
    Ok(found.join(" "))
}

#[test]
fn what_users_type_has_the_expected_meaning() {
    let lines = lines();
    assert!(lines.len() >= 20, "{}", lines.len());
    for (words, expected) in lines {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        assert_eq!(meaning(&words).unwrap(), expected, "{words:?}");
    }
}

#[test]
fn records_of_real_containers_are_read_and_written_unchanged() {
    for record in RECORDS {
        assert_eq!(Fields::read(record).unwrap().text(), record);
    }
    let fields = Fields::read(RECORDS[0]).unwrap();
    let environment: Vec<OsString> = fields.all("environment").collect();
    // The value has a backslash and an n; the other one has a line feed.
    assert_eq!(environment[0], r"A=b\nc");
    assert_eq!(environment[3], "TWO=1\n2");
}

proptest! {
    #![proptest_config(config(2000))]

    /// A damaged record is refused, or it is read as what it says: written again, it
    /// is the same text.
    #[test]
    fn a_damaged_record_is_refused_or_read_as_it_is(
        which in any::<Index>(),
        damage in vec((any::<Index>(), prop_oneof![
            prop::sample::select(&b"\\\n \0nend1"[..]), any::<u8>(),
        ], 0..3_usize), 1..6),
    ) {
        let mut text = RECORDS[which.index(RECORDS.len())].to_vec();
        for (at, byte, how) in damage {
            let at = at.index(text.len());
            match how {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => drop(text.remove(at)),
            }
        }
        let has_format = text.starts_with(b"format 1\n");
        if let Ok(fields) = Fields::read(&text) {
            for name in ["name", "command", "created"] {
                let _ = (fields.word(name), fields.words(name), fields.number(name));
            }
            prop_assert!(!has_format || fields.text() == text);
        }
    }

    /// A changed command line has a meaning or is refused; no word is invented, and
    /// the words after the first one that is no option stay as they are.
    #[test]
    fn a_changed_command_line_invents_no_word(
        which in any::<Index>(),
        changes in vec((any::<Index>(), any::<Index>(), 0..4_usize, any::<u8>()), 1..4),
    ) {
        let lines = lines();
        let mut words: Vec<OsString> =
            lines[which.index(lines.len())].0.iter().map(OsString::from).collect();
        for (at, other, how, byte) in changes {
            let at = at.index(words.len());
            let line = &lines[other.index(lines.len())].0;
            let word = OsString::from(&line[other.index(line.len())]);
            match how {
                0 => words.insert(at, word),
                1 => words[at] = word,
                2 if words.len() > 1 => drop(words.remove(at)),
                _ => {
                    let mut bytes = std::mem::take(&mut words[at]).into_vec();
                    bytes.insert(usize::from(byte) % (bytes.len() + 1), byte.max(1));
                    words[at] = OsString::from_vec(bytes);
                }
            }
        }
        let typed = words.iter().map(|word| word.display().to_string());
        let typed: Vec<String> = typed.collect();
        if let Ok(found) = meaning(&words) {
            let Some((_, rest)) = found.split_once("| ") else { return Ok(()) };
            // The command's words are the last ones that were typed.
            prop_assert!(typed.join(" ").ends_with(rest), "{:?}: {}", typed, found);
        }
    }
}
