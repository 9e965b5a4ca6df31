//! `manifest`: print the manifest of an image in a registry.

use anyhow::Result;
use clap::Args;
use common::cli::{Context, Execute};
use common::images::{HUB, Reference};
use common::{Exit, output};
use oci::Platform;

use crate::client::{Access, Client};
use crate::logins::Logins;
use crate::manifest::fetch;
use crate::settings::Flags;

/// Print the manifest of an image in a registry
#[derive(Args, Debug)]
#[group(skip)]
pub struct ShowManifest {
    /// The platform, for example linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    #[command(flatten)]
    flags: Flags,

    /// The image: NAME[:TAG|@DIGEST]
    #[arg(value_name = "NAME")]
    image: Reference,
}

impl Execute for ShowManifest {
    fn execute(self, _: &Context) -> Result<Exit> {
        let settings = self.flags.settings()?;
        let image = self.image.with_default_tag();
        let (registry, path) = (image.registry(), image.path());
        let client = match settings.mirror.as_ref().filter(|_| registry == HUB) {
            Some(mirror) => Client::of_mirror(&settings, mirror, &path),
            None => {
                let login = Logins::find_or_warn(registry)?;
                Client::new(&settings, registry, &path, Access::Pull, login)?
            }
        };
        let platform = self.platform.unwrap_or_else(Platform::host);
        let found = fetch(&client, &image.to_string(), image.wanted(), &platform)?;
        output::write(&[&found.bytes[..], b"\n"].concat())?;
        Ok(Exit::Code(0))
    }
}
