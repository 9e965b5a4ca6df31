//! Running commands that must succeed, especially cargo.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::checkout::root;

/// The cargo that runs this program, in the checkout.
pub fn cargo() -> Command {
    let mut cargo =
        Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Run a command with this program's standard streams.
///
/// # Errors
/// The command cannot be started, or its exit status is not 0.
pub fn must(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| name.clone())?;
    if !status.success() {
        let args: Vec<_> =
            command.get_args().map(|arg| arg.to_string_lossy()).collect();
        bail!("{name} {}: {status}", args.join(" "));
    }
    Ok(())
}

/// Build the program `chapter-tasks`, and execute one of its tasks. It depends on all
/// chapters, and this program on none.
///
/// # Errors
/// cargo cannot be started.
pub(crate) fn chapter_tasks(task: &str, words: &[OsString]) -> Result<ExitCode> {
    let mut run = cargo();
    // Relative paths among the arguments begin at the user's directory.
    run.current_dir(std::env::current_dir().context("getcwd(2)")?);
    run.arg("run").arg("--manifest-path").arg(root().join("Cargo.toml"));
    run.args(["--package", "chapter-tasks", "--", task]).args(words);
    let status = run.status().context("execve(2) cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
