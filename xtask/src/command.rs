//! Running commands that must succeed, especially cargo.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::checkout::root;

/// The cargo that runs this program, in the checkout.
pub(crate) fn cargo() -> Command {
    let mut cargo =
        Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Run a command with this program's standard streams.
///
/// # Errors
/// The command cannot be started, or its exit status is not 0.
pub(crate) fn must(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| name.clone())?;
    if !status.success() {
        let args: Vec<_> =
            command.get_args().map(|arg| arg.to_string_lossy()).collect();
        bail!("{name} {}: {status}", args.join(" "));
    }
    Ok(())
}
