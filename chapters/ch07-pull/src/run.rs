//! `run` of this chapter: it pulls an image that is missing.

use std::process::Command;

use anyhow::{Result, bail};
use ch04_image::{Store, program_hint};
use ch07_registry::Flags;
use clap::{Args, ValueEnum};
use common::cli::{Context, Execute};
use common::images::{Image, Reference};
use common::state::{Name, State};
use common::step::{Step, with_hint};
use common::{Exit, null};
use oci::Platform;

/// When `run` pulls its image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    /// Always, to get the newest version
    Always,
    /// Only if the image is missing
    #[default]
    Missing,
    /// Never
    Never,
}

/// Run a program in a container of an image
#[derive(Args, Debug)]
#[group(skip)]
pub struct Run {
    /// When the image is pulled
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pull: PullPolicy,

    /// The platform of an image that is pulled, for example linux/arm64 [default: this
    /// machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    #[command(flatten)]
    flags: Flags,

    #[command(flatten)]
    run: ch06_ports::Run,
}

impl Execute for Run {
    fn execute(self, context: &Context) -> Result<Exit> {
        let image = self.run.image()?.to_owned();
        let pulls = match self.pull {
            PullPolicy::Always => true,
            PullPolicy::Missing => is_missing(&context.state, &image)?,
            PullPolicy::Never => false,
        };
        if pulls {
            let platform = self.platform.as_ref();
            let pulled = pull(&image, platform, &self.flags, self.pull);
            pulled.map_err(|error| {
                with_hint(error, program_hint(&context.state, &image))
            })?;
        }
        self.run.execute(context)
    }
}

impl Run {
    /// The network of this program that the container is connected to, if any.
    #[must_use]
    pub fn network(&self) -> Option<&Name> {
        self.run.network()
    }
}

/// Whether this is the name of an image that is missing. An ID is not a name, and the
/// store itself downloads busybox.
fn is_missing(state: &State, image: &str) -> Result<bool> {
    let Ok(name) = image.parse::<Reference>() else { return Ok(false) };
    let store = Store::open(state)?;
    let found = Image::find(state, &name.with_default_tag())?;
    Ok(found.is_none() && store.resolve(image).is_err())
}

// ANCHOR: pull
/// Pull the image in a separate process. The supervisor of the container therefore keeps
/// nothing of the registry client: no threads, no TLS state, no memory. The output of
/// the separate process goes to stderr, because stdout is for the output of the
/// container.
fn pull(
    image: &str,
    platform: Option<&Platform>,
    flags: &Flags,
    when: PullPolicy,
) -> Result<()> {
    if when == PullPolicy::Missing {
        common::step::note(&format!("Unable to find image '{image}' locally"));
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg("pull").args(flags.words());
    if let Some(platform) = platform {
        command.arg("--platform").arg(platform.to_string());
    }
    let stderr = std::io::stderr();
    let stderr = std::os::fd::AsFd::as_fd(&stderr);
    let out = stderr.try_clone_to_owned().step(|| "dup(2)")?;
    command.arg(image).stdin(null()?).stdout(out);
    let status = command.status().step(|| "execve(2) /proc/self/exe pull")?;
    if !status.success() {
        bail!("the image {image} was not pulled");
    }
    Ok(())
}
// ANCHOR_END: pull
