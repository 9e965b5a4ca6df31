//! The command lines of `pull` and `push`.

use anyhow::{Result, ensure};
use ch07_registry::{ConnectionFlags, Flags};
use clap::Args;
use common::cli::{Context, Execute};
use common::images::Reference;
use common::{Exit, output};
use oci::Platform;

use crate::progress::{Progress, Stream};

/// Download an image from a registry
#[derive(Args, Debug)]
#[group(skip)]
pub struct Pull {
    /// Print only the name of the image
    #[arg(short, long)]
    quiet: bool,

    /// The platform, for example linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    #[command(flatten)]
    flags: Flags,

    /// The image: NAME[:TAG|@DIGEST]
    #[arg(value_name = "NAME")]
    image: String,

    /// The tag, if the name has none [default: latest]
    tag: Option<String>,
}

impl Execute for Pull {
    fn execute(self, context: &Context) -> Result<Exit> {
        let reference = reference(&self.image, self.tag.as_deref())?;
        let progress = match self.quiet {
            true => Progress::quiet(),
            false => Progress::new(Stream::Stdout),
        };
        if self.tag.is_none() && reference.tag.as_deref() == Some("latest") {
            progress.default_tag(&self.image);
        }
        let settings = self.flags.settings()?;
        let name = whole(&reference);
        let pull = crate::Pulling { reference, platform: self.platform, settings };
        crate::pull(&context.state, &pull, &progress)?;
        progress.finish()?;
        output::report(&format!("{name}\n"), Vec::new())
    }
}

/// Upload an image to a registry
#[derive(Args, Debug)]
#[group(skip)]
pub struct Push {
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    connection: ConnectionFlags,

    /// The image; its name here is also its name in the registry:
    /// HOST[:PORT]/NAME[:TAG]
    #[arg(value_name = "IMAGE")]
    image: Reference,
}

impl Execute for Push {
    fn execute(self, context: &Context) -> Result<Exit> {
        ensure!(
            self.image.digest.is_none(),
            "{}: an image is pushed by its tag, not by its digest",
            self.image
        );
        let progress = match self.quiet {
            true => Progress::quiet(),
            false => Progress::new(Stream::Stdout),
        };
        let (reference, settings) =
            (self.image.with_default_tag(), self.connection.settings());
        crate::push(&context.state, &reference, &settings, &progress)?;
        progress.finish()?;
        Ok(Exit::Code(0))
    }
}

/// The name with its tag, which may be a separate argument.
fn reference(name: &str, tag: Option<&str>) -> Result<Reference> {
    let read: Reference = name.parse()?;
    match tag {
        Some(tag) => read.with_tag(tag),
        None => Ok(read.with_default_tag()),
    }
}

/// The name with its registry, as Docker prints it.
fn whole(reference: &Reference) -> String {
    let name = format!("{}/{}", reference.registry(), reference.path());
    let separator = if reference.digest.is_some() { '@' } else { ':' };
    format!("{name}{separator}{}", reference.wanted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_may_be_a_separate_argument() {
        let name = |name, tag| reference(name, tag).map(|it| whole(&it));
        assert_eq!(name("a", None).unwrap(), "docker.io/library/a:latest");
        assert_eq!(name("a", Some("b")).unwrap(), "docker.io/library/a:b");
        assert_eq!(name("h:5000/a", Some("b")).unwrap(), "h:5000/a:b");
        let error = name("a:b", Some("c")).unwrap_err().to_string();
        assert!(error.contains("two tags"), "{error}");
        assert!(name("a", Some("/")).is_err());
    }
}
