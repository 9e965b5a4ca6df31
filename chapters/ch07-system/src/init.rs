//! `init DIR`: bocker's form of `import DIR`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use common::cli::{Context, Execute};
use common::images::Reference;
use common::state::Id;
use common::{Exit, output};

/// Create an image from a directory, and print its name
#[derive(Args, Debug)]
pub struct Init {
    /// The directory that becomes the root filesystem
    #[arg(value_name = "DIR")]
    from: PathBuf,

    /// The name of the new image [default: img_ and a random ID]
    #[arg(value_parser = ch04_commit::name)]
    image: Option<Reference>,
}

impl Execute for Init {
    fn execute(self, context: &Context) -> Result<Exit> {
        ensure!(
            self.from.is_dir(),
            "{} is not a directory: use `import` to make an image of a tar archive",
            self.from.display()
        );
        let name = match self.image {
            Some(name) => name,
            None => ch04_commit::name(&format!("img_{}", Id::new()?))?,
        };
        ch04_tar::import(&context.state, &self.from, name.clone())?;
        output::print(&format!("{}\n", name.short()))
            .context("the image was created, but its name was not printed")?;
        Ok(Exit::Code(0))
    }
}
