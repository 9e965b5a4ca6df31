//! Text from a user or a file cannot control the terminal, whichever command prints it.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::ffi::OsString;
use std::fs;
use std::process::Stdio;

use blackbox::Lab;
use serial_test::file_serial;

const BIN: &str = "ch07-pull";

/// A colour sequence, a character that reverses the direction of text, and an escape
/// sequence in its 8-bit form.
const HOSTILE: &str = "x\u{1b}[31m\u{202e}\u{9b}2J";

/// Command lines; `@` stands for the hostile text.
const COMMANDS: [&str; 34] = [
    "@",
    "import @ a",
    "import /none/@ a",
    "rm @",
    "rmi @",
    "stop @",
    "kill -s @ a",
    "kill @",
    "exec @ true",
    "logs @",
    "logs --since @ a",
    "attach @",
    "port @",
    "commit @ a",
    "commit a @",
    "export -o /none/@ a",
    "save -o /none/@ busybox",
    "load -i /none/@",
    "tag busybox @",
    "pull @",
    "network create @",
    "network create --subnet @ a",
    "network rm @",
    "run @",
    "run busybox @",
    "run busybox /none/@",
    "run --name @ busybox",
    "run -w @ busybox true",
    "run -u @ busybox true",
    "run --env-file /none/@ busybox true",
    "run -v /none/@:y busybox true",
    "run -v /dev/null/@:/y busybox true",
    "run -m @ busybox true",
    "run --net @ busybox true",
];

/// Assert that the text contains no hostile characters.
fn assert_plain(what: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let hostile = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!text.contains(hostile), "{what}: {text:?}");
}

#[test]
#[file_serial(machine)]
fn errors_escape_arguments() {
    let lab = Lab::new();
    for words in COMMANDS {
        let words: Vec<OsString> =
            words.split(' ').map(|word| word.replace('@', HOSTILE).into()).collect();
        let mut command = lab.command(&[], BIN);
        let out = command.args(&words).stdin(Stdio::null()).output().unwrap();
        assert!(!out.status.success(), "{words:?}");
        assert_plain(&format!("{words:?}"), &out.stderr);
        assert!(!out.stderr.is_empty(), "{words:?}");
    }
}

#[test]
#[file_serial(machine)]
fn lists_and_traces_escape_names() {
    let lab = Lab::new();
    let directory = lab.dir().join(HOSTILE);
    fs::create_dir(&directory).unwrap();
    let script = format!("echo '{HOSTILE}' > /dev/null");
    let volume = format!("{}:/y", directory.display());
    let traced = ["run", "--trace", "--name", "one", "-v", &volume];
    let mut command = lab.chapter(BIN);
    command.args(traced).args(["busybox", "sh", "-c", &script]);
    let run = command.assert().success();
    assert_plain("trace", &run.get_output().stderr);
    assert!(String::from_utf8_lossy(&run.get_output().stderr).contains("mount(2)"));
    lab.chapter(BIN).args(["commit", "one", "a"]).assert().success();
    let mut import = lab.chapter(BIN);
    import.arg("import").arg(&directory).arg("b").assert().success();
    for words in ["ps -a", "ps -a --no-trunc", "history a", "images"] {
        let out = lab.chapter(BIN).args(words.split(' ')).assert().success();
        assert_plain(words, &out.get_output().stdout);
    }
    lab.chapter(BIN).args(["rm", "one"]).assert().success();
    lab.chapter(BIN).args(["rmi", "a", "b"]).assert().success();
}
