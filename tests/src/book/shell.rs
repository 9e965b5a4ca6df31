//! A shell on a terminal. It gets its commands through a file, because the
//! terminal's input is for the programs that it starts.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::block::PromptUser;
use super::screen;
use crate::{Terminal, probe, user};

/// The home of the ordinary user.
pub(crate) const HOME: &str = "/home/learner";

/// A function of each shell that replaces cargo: the VM has no cargo, and the
/// chapters are already built.
const CARGO: &str = "cargo() {
    while [ $# -gt 0 ]; do
        case $1 in
            run|-q) ;;
            -p|--example) program=$2; shift;;
            --) shift; break;;
            *) break;;
        esac
        shift
    done
    \"$program\" \"$@\"
}";

/// A shell.
pub(crate) struct Shell {
    terminal: Terminal,
    /// The bytes of the terminal that were not examined yet.
    bytes: Vec<u8>,
    /// The file that contains the next command.
    command: std::path::PathBuf,
    /// The pipe by which the shell is told to run the command.
    go: File,
    /// The mark after a command's output, with its exit status.
    mark: String,
}

impl Shell {
    /// Start a shell; its files are in `directory`, which is removed after the page.
    pub(crate) fn start(prompt_user: PromptUser, directory: &Path) -> Shell {
        fs::create_dir_all(directory).expect("mkdir(2)");
        let (command, go) = (directory.join("command"), directory.join("go"));
        mkfifo(&go, Mode::from_bits_truncate(0o644)).expect("mkfifo(3)");
        let mark = format!("\x1b]{:016x};", rand());
        let script = format!(
            "{CARGO}\nwhile read -r _ < {}; do\n. {}\nprintf '\\033{}%s\\007' \"$?\"\ndone",
            go.display(),
            command.display(),
            &mark[1..]
        );
        let (mut shell, home) = match prompt_user {
            PromptUser::Root => (Command::new("sh"), "/root"),
            PromptUser::User => {
                let mut probe = Command::new(probe());
                probe.args(["user", &user().to_string(), "sh"]);
                (probe, HOME)
            }
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        shell.args(["-c", &script]).env_clear().env("PATH", path);
        shell.env("HOME", home).env("LANG", "C.UTF-8").current_dir(home);
        let terminal = Terminal::run(shell);
        // Also for reading, so that open(2) does not wait for the other side.
        let go = File::options().read(true).write(true).open(go).expect("open(2)");
        Shell { terminal, bytes: Vec::new(), command, go, mark }
    }

    pub(crate) fn run(&mut self, command: &str) {
        fs::write(&self.command, format!("{command}\n")).expect("write(2)");
        self.go.write_all(b"\n").expect("write(2)");
    }

    pub(crate) fn type_line(&mut self, keys: &str) {
        self.terminal.type_keys(&format!("{keys}\n"));
    }

    /// Read new bytes of the terminal. Returns whether there were any.
    ///
    /// # Errors
    /// The shell has ended.
    pub(crate) fn look(&mut self) -> Result<bool, ()> {
        let new = self.terminal.look().ok_or(())?;
        self.bytes.extend(&new);
        Ok(!new.is_empty())
    }

    /// The screen's text since the last command.
    pub(crate) fn text(&self) -> String {
        screen::text(&self.bytes)
    }

    /// Drop this number of lines.
    pub(crate) fn forget(&mut self, lines: usize) {
        let text = self.text();
        let rest: Vec<&str> = text.split('\n').skip(lines).collect();
        self.bytes = rest.join("\n").into_bytes();
    }

    /// The text and the exit status of the command, after it has ended.
    pub(crate) fn ended(&mut self) -> Option<(String, i32)> {
        let bytes = &self.bytes;
        let at = bytes
            .windows(self.mark.len())
            .position(|w| w == self.mark.as_bytes())?;
        let after = &bytes[at + self.mark.len()..];
        let length = after.iter().position(|byte| *byte == 0x07)?;
        let status = String::from_utf8_lossy(&after[..length]).parse().ok()?;
        let text = screen::text(&bytes[..at]);
        self.bytes = after[length + 1..].to_vec();
        Some((text, status))
    }
}

fn rand() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Each RandomState has its own keys, from the system's random numbers.
    RandomState::new().build_hasher().finish()
}
