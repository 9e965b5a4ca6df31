//! Tests of completions in shells, and of manual pages in man(1). They build the
//! chapters, so they are a separate lane: `cargo test -p xtask --test
//! generate`. They do not need root. They require bash; other missing programs are
//! reported.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

#[path = "generate/names.rs"]
mod names;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const CHAPTER: &str = "ch05-env";

/// The typed words, and the completions that are offered for the last one.
const ASKED: [(&[&str], &[&str]); 7] = [
    (&["r"], &["rm", "rmi", "run"]),
    (&["run", "--cpus"], &["--cpus", "--cpuset", "--cpushare"]),
    (&["run", "--driver", ""], &["overlay", "aufs", "copy"]),
    (&["logs", "--t"], &["--tail", "--timestamps"]),
    // One dash is enough for a long name.
    (&["run", "-driver", ""], &["overlay", "aufs", "copy"]),
    (&["run", "-name", "x", "-driver", "a"], &["aufs"]),
    (&["run", "-ti", "-dri"], &["--driver"]),
];

/// A directory with the files that `xtask` writes with these arguments.
fn written(words: &[&str]) -> TempDir {
    let at = tempfile::tempdir().unwrap();
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let output = xtask.args(words).arg("--out").arg(at.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    at
}

fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        let reason = format!("{program} is not installed");
        if let Some(path) = std::env::var_os("MYDOCKER_SKIP_FILE") {
            let file = fs::File::options().append(true).create(true).open(path);
            writeln!(file.unwrap(), "{reason}").unwrap();
        }
        eprintln!("skipped: {reason}");
    }
    there
}

/// The lines that a shell prints for this script with these arguments.
fn lines(shell: &[&str], script: &str, words: &[&str]) -> BTreeSet<String> {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg("-c").arg(script).args(words);
    let output = command.output().unwrap();
    assert!(output.stderr.is_empty(), "{words:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn bash_offers_what_the_help_shows() {
    let at = written(&["completions", CHAPTER, "--shell", "bash"]);
    // bash(1) calls the function with the command, the word, and the previous word.
    let script = "
        . $0
        function=$(complete -p ch05-env | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        COMP_WORDS=(ch05-env \"$@\"); COMP_CWORD=$#
        last=${COMP_WORDS[COMP_CWORD]}
        $function ch05-env \"$last\" \"${COMP_WORDS[COMP_CWORD-1]}\"
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let file = at.path().join("ch05-env.bash");
    for (typed, offered) in ASKED {
        let words = [&[file.to_str().unwrap()], typed].concat();
        let got = lines(&["bash", "--norc"], script, &words);
        assert_eq!(got, set(offered), "{typed:?}");
    }
    assert_eq!(fs::read_dir(at.path()).unwrap().count(), 1);
}

#[test]
fn fish_offers_what_the_help_shows() {
    if !is_there("fish") {
        return;
    }
    let at = written(&["completions", CHAPTER, "--shell", "fish"]);
    let script = "source $argv[1]; complete -C $argv[2]";
    let file = at.path().join("ch05-env.fish");
    for (typed, offered) in ASKED {
        let line = format!("{CHAPTER} {}", typed.join(" "));
        let words = [file.to_str().unwrap(), &line];
        let got = lines(&["fish", "--no-config"], script, &words);
        // fish adds a tab and the help text, and keeps the single dash of a name.
        let names = got.iter().map(|line| line.split('\t').next().unwrap());
        let mut names: BTreeSet<String> = names.map(str::to_owned).collect();
        if names.remove("-driver") {
            names.insert("--driver".to_owned());
        }
        assert_eq!(names, set(offered), "{typed:?}");
    }
}

#[test]
fn zsh_completes_what_the_help_shows() {
    if !is_there("zsh") {
        return;
    }
    let at = written(&["completions", CHAPTER, "--shell", "zsh"]);
    // zsh completes only at a terminal; the line is written to a file.
    let script = r#"
        zmodload zsh/zpty
        out=$1/line
        zpty shell zsh -f -i
        zpty -w shell "fpath=($1 \$fpath); autoload -Uz compinit; compinit -D -u
            show() { print -r -- \"\$BUFFER\" >| $out.new; mv $out.new $out; exit }
            zle -N show; bindkey '^X' show; bindkey '^I' complete-word; print re''ady"
        zpty -r -m shell said '*ready*'
        zpty -w -n shell "$2"$'\t\x18'
        for n in {1..300}; do [[ -e $out ]] && break; sleep 0.1; done
        print -r -- "$(<$out)"; rm $out; zpty -d shell"#;
    let directory = at.path().to_str().unwrap();
    for (typed, line) in [
        ("ch05-env imp", "ch05-env import"),
        ("ch05-env run --driv", "ch05-env run --driver="),
        ("ch05-env run --driver a", "ch05-env run --driver aufs"),
        ("ch05-env run -name x -driver a", "ch05-env run -name x -driver aufs"),
        ("ch05-env run -ti -driver=a", "ch05-env run -ti --driver=aufs"),
        ("ch05-env run -v /etc/pass", "ch05-env run -v /etc/passwd"),
    ] {
        let got = lines(&["zsh", "-f"], script, &["zsh", directory, typed]);
        assert_eq!(got, set(&[line]), "{typed:?}");
    }
}

#[test]
fn each_command_has_a_complete_and_valid_manual_page() {
    let at = written(&["man", CHAPTER]);
    let page = |name: &str| {
        let path = at.path().join("man1").join(format!("{name}.1"));
        fs::read_to_string(&path).unwrap_or_else(|_| panic!("no page {name}"))
    };
    let root = page("ch05-env");
    for command in ["run", "exec", "ps", "logs", "stop", "commit", "rm", "prune"] {
        assert!(root.contains(&format!(r"ch05\-env\-{command}(1)")), "{command}");
        let page = page(&format!("ch05-env-{command}"));
        assert!(page.contains(&format!(r"\fBch05\-env {command}\fR")), "{page}");
        assert!(page.contains(".SH \"EXIT STATUS\"\n.nf\n"), "{page}");
        assert!(
            page.contains("\n.SH \"SEE ALSO\"\n\\fBch05\\-env\\fR(1), "),
            "{page}"
        );
        // Words that must not appear on a page.
        assert!(!page.contains("EXTRA"), "{page}");
    }
    assert!(
        page("ch05-env-run").contains(r"ch05\-env run \-\-rm \-u nobody busybox")
    );
    lint(&at.path().join("man1"));
}

/// mandoc(1) and man(1) report no fault of the pages.
fn lint(directory: &Path) {
    for checker in
        [&["mandoc", "-Tlint", "-Wwarning"][..], &["man", "--warnings", "-l"]]
    {
        // mandoc(1) has no option --version.
        if Command::new(checker[0]).arg("-h").output().is_err() {
            eprintln!("skipped: {} is not installed", checker[0]);
            continue;
        }
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let mut command = Command::new(checker[0]);
            let output = command.args(&checker[1..]).arg(path).output().unwrap();
            let lint = checker[0] == "mandoc";
            assert!(output.stderr.is_empty(), "{output:?}");
            assert!(!lint || output.stdout.is_empty(), "{output:?}");
        }
    }
}
