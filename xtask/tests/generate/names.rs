//! Tests of the names that a shell offers from the state directory: containers,
//! images and networks. Each shell completes a line that is typed, in a directory
//! with one file.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{is_there, set, written};

const CHAPTER: &str = "ch06-connect";

/// The line after the program, and what its last word can be completed to.
const ASKED: [(&str, &[&str]); 26] = [
    ("stop ", &["00000000000b", "db", "web"]),
    ("stop w", &["web"]),
    ("stop -t 5 d", &["db"]),
    // A repeated argument.
    ("rm -f db ", &["00000000000b", "db", "web"]),
    ("exec ", &["00000000000b", "db", "web"]),
    ("exec -ti -e A=b:c d", &["db"]),
    // The words of the program that `exec` runs.
    ("exec db w", &[]),
    ("logs -f 0", &["00000000000b"]),
    ("attach d", &["db"]),
    ("commit d", &["db"]),
    ("commit db a", &["alpine:3"]),
    ("images b", &["busybox"]),
    ("rmi ", &["alpine:3", "busybox"]),
    ("run --rm b", &["busybox"]),
    // bash splits this word into three.
    ("run alpine:", &["alpine:3"]),
    ("run busybox w", &[]),
    ("run --network ", &["lan", "wan"]),
    ("run -net l", &["lan"]),
    ("run --net=w", &["--net=wan"]),
    ("network rm ", &["lan", "wan"]),
    ("network connect l", &["lan"]),
    ("network connect lan w", &["web"]),
    // Options, files, and no files in the place of a name.
    ("stop --he", &["--help"]),
    ("run busybox fi", &["file.tar"]),
    ("stop fi", &[]),
    ("commit db fi", &[]),
];

/// A state directory, a working directory and the scripts for a shell.
struct Place {
    directory: TempDir,
    scripts: TempDir,
}

impl Place {
    fn new(shell: &str) -> Place {
        let scripts = written(&["completions", CHAPTER, "--shell", shell]);
        let place = Place { directory: tempfile::tempdir().unwrap(), scripts };
        let write = |path: &str, text: &str| {
            let path = place.at(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (id, name) in [("a", "name web\n"), ("b", ""), ("c", "name db\n")] {
            let record = format!(
                "format 1\n{name}image busybox\ncommand sh\ncreated 5\nend\n"
            );
            write(&format!("state/containers/00000000000{id}/record"), &record);
        }
        fs::create_dir_all(place.at("state/images/names")).unwrap();
        for name in ["busybox:latest", "alpine:3"] {
            let link = place.at("state/images/names").join(name);
            symlink(format!("../records/{}", "1".repeat(64)), link).unwrap();
        }
        for name in ["lan", "wan"] {
            write(&format!("state/networks/{name}/record"), "");
        }
        write("work/file.tar", "");
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// The script for the shell.
    fn script(&self, name: &str) -> String {
        self.scripts.path().join(name).to_str().unwrap().to_owned()
    }

    /// This program, with the state directory and the working directory.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.at("work"));
        command.env("MYDOCKER_ROOT", self.at("state")).env("INPUTRC", "/dev/null");
        command
    }

    /// The line after the shell has inserted all completions of the last word; the
    /// shell writes it to the file `line`.
    fn line(&self) -> String {
        let path = self.at("line");
        let line = fs::read_to_string(&path).unwrap();
        fs::remove_file(path).unwrap();
        line
    }
}

/// The program, which is not in the PATH.
fn program() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name(CHAPTER);
    program.to_str().unwrap().to_owned()
}

/// The words that a shell has inserted for the last word of a line; none if it has
/// left the line unchanged.
fn inserted(typed: &str, line: &str) -> BTreeSet<String> {
    let (before, _) = typed.rsplit_once(' ').unwrap();
    let after = line.strip_prefix(before).unwrap_or_else(|| panic!("{line:?}"));
    match line.trim_end() == typed.trim_end() {
        true => BTreeSet::new(),
        false => after.split_whitespace().map(str::to_owned).collect(),
    }
}

#[test]
fn bash_offers_the_names_of_the_state_directory() {
    let place = Place::new("bash");
    for (words, offered) in ASKED {
        let typed = format!("{} {words}", program());
        // M-* inserts all completions. The line is never executed: C-t ends the
        // shell, and if it did not, C-u would clear the line.
        let script = format!(
            ". {}
            finish() {{ printf %s \"$READLINE_LINE\" > ../line; exit; }}
            bind -x '\"\\C-t\": finish'
            {typed}\x1b*\x14\x15",
            place.script("ch06-connect.bash")
        );
        let mut bash = place.command("bash");
        bash.args(["--norc", "--noprofile", "-i"]).stdin(Stdio::piped());
        bash.stdout(Stdio::null()).stderr(Stdio::null());
        let mut bash = bash.spawn().unwrap();
        bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        bash.wait().unwrap();
        let got = inserted(&typed, place.line().trim_start());
        assert_eq!(got, set(offered), "{words:?}");
    }
}

#[test]
fn fish_offers_the_names_of_the_state_directory() {
    if !is_there("fish") {
        return;
    }
    let place = Place::new("fish");
    for (words, offered) in ASKED {
        let mut fish = place.command("fish");
        fish.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"]);
        fish.arg(place.script("ch06-connect.fish"));
        let output = fish.arg(format!("{} {words}", program())).output().unwrap();
        assert!(output.stderr.is_empty(), "{words:?}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        // A tab and the help text follow an option.
        let got = text.lines().map(|line| line.split('\t').next().unwrap());
        let got: BTreeSet<String> = got.map(str::to_owned).collect();
        assert_eq!(got, set(offered), "{words:?}");
    }
}

#[test]
fn zsh_offers_the_names_of_the_state_directory() {
    if !is_there("zsh") {
        return;
    }
    let place = Place::new("zsh");
    // zsh completes only at a terminal. The widget inserts all completions.
    let script = r#"
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell "fpath=($1 \$fpath); autoload -Uz compinit; compinit -D -u
            all() { _main_complete; compstate[insert]=all compstate[list]= }
            zle -C all complete-word all; bindkey '^I' all
            show() { print -rn -- \"\$BUFFER\" >| ../new; mv ../new ../line; exit }
            zle -N show; bindkey '^X' show; print re''ady"
        zpty -r -m shell said '*ready*'
        zpty -w -n shell "$2"$'\t\x18'
        for n in {1..300}; do [[ -e ../line ]] && break; sleep 0.1; done
        zpty -d shell"#;
    for (words, offered) in ASKED {
        let typed = format!("{} {words}", program());
        let mut zsh = place.command("zsh");
        zsh.args([
            "-f",
            "-c",
            script,
            "zsh",
            place.scripts.path().to_str().unwrap(),
        ]);
        let output = zsh.arg(&typed).output().unwrap();
        assert!(output.stderr.is_empty(), "{words:?}: {output:?}");
        let got = inserted(&typed, &place.line());
        assert_eq!(got, set(offered), "{words:?}");
    }
}

#[test]
fn a_missing_state_directory_has_no_names_and_is_not_created() {
    let place = Place::new("bash");
    let missing = place.at("missing");
    for (root, words, code) in [
        (missing.to_str().unwrap(), &["stop", ""][..], 0),
        // Other commands refuse a relative path.
        ("missing", &["stop", ""], 0),
        (missing.to_str().unwrap(), &["ps", ""], 1),
    ] {
        let mut names = place.command(program());
        names.env("MYDOCKER_ROOT", root).arg("names").args(words);
        let output = names.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
    assert!(!missing.exists() && !place.at("work/missing").exists());
}
