//! Questions to the user on the terminal, and a password that is not shown.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

use anyhow::{Context, Result, ensure};
use common::step::Step;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The longest line that is read.
const MAX_LINE: u64 = 64 << 10;

/// The terminal of this process.
pub(crate) struct Prompt {
    terminal: File,
    lines: BufReader<File>,
}

impl Prompt {
    /// Open the terminal.
    ///
    /// # Errors
    /// The process has no terminal.
    pub(crate) fn open() -> Result<Prompt> {
        let mut options = File::options();
        let terminal = options.read(true).write(true).open("/dev/tty");
        let terminal = terminal.ok().context(
            "there is no terminal to ask for the user name and the password: give \
             --username and --password-stdin",
        )?;
        let lines = BufReader::new(terminal.try_clone().step(|| "dup(2)")?);
        Ok(Prompt { terminal, lines })
    }

    /// Ask, and read one line.
    ///
    /// # Errors
    /// The answer is empty; read(2) fails.
    pub(crate) fn ask(&mut self, question: &str) -> Result<String> {
        let step = || "write(2) /dev/tty";
        write!(self.terminal, "{question}: ").untraced(step)?;
        let mut line = String::new();
        let mut reader = (&mut self.lines).take(MAX_LINE);
        reader.read_line(&mut line).untraced(|| "read(2) /dev/tty")?;
        let line = line.trim_end_matches(['\r', '\n']).to_owned();
        ensure!(!line.is_empty(), "{} must not be empty", question.to_lowercase());
        Ok(line)
    }

    // ANCHOR: secret
    /// Ask, and read one line that the terminal does not show.
    ///
    /// # Errors
    /// The answer is empty; read(2) or tcsetattr(3) fails.
    pub(crate) fn ask_secret(&mut self, question: &str) -> Result<String> {
        let modes = tcgetattr(&self.terminal).step(|| "tcgetattr(3)")?;
        let mut silent = modes.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        let _restored = Restored { terminal: &self.terminal.try_clone()?, modes };
        // Discard the characters that were typed before the question: they are not the
        // password.
        tcsetattr(&self.terminal, OptionalActions::Flush, &silent)
            .step(|| "tcsetattr(3)")?;
        self.ask(question)
    }
    // ANCHOR_END: secret
}

/// When this value is dropped, the terminal shows typed characters again.
struct Restored<'a> {
    terminal: &'a File,
    modes: Termios,
}

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        // An error is ignored, because there is no remedy for it here.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.modes);
    }
}

/// The password on standard input, without the line break at its end.
///
/// # Errors
/// The password is empty or too long; read(2) fails.
pub(crate) fn password_of_stdin() -> Result<String> {
    let mut text = String::new();
    let mut input = io::stdin().lock().take(MAX_LINE + 1);
    input.read_to_string(&mut text).untraced(|| "read(2) standard input")?;
    ensure!(
        text.len() as u64 <= MAX_LINE,
        "the password on standard input is too long"
    );
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    ensure!(!text.is_empty(), "the password on standard input is empty");
    Ok(text.to_owned())
}
