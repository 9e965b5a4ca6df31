//! `version`: the versions of this program and of the kernel.

use anyhow::Result;
use clap::Args;
use common::cli::step::Step;
use common::cli::{Context, Execute};
use common::{Exit, output};
use nix::sys::utsname::uname;
use serde_json::json;

/// Print the version of this program and of the kernel
#[derive(Args, Debug)]
pub struct Version {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Execute for Version {
    fn execute(self, _context: &Context) -> Result<Exit> {
        let kernel = uname().step(|| "uname(2)")?;
        let [kernel, machine] = [kernel.release(), kernel.machine()]
            .map(|word| word.to_string_lossy().into_owned());
        let version = env!("CARGO_PKG_VERSION");
        let text = match self.json {
            true => format!(
                "{}\n",
                json!({ "version": version, "kernel": kernel, "machine": machine })
            ),
            false => format!("mydocker {version}\nLinux {kernel} {machine}\n"),
        };
        output::report(&text, Vec::new())
    }
}
