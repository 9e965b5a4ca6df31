//! A union mount: several directory trees, merged into one.

#![forbid(unsafe_code)]

mod attributes;
mod aufs;
mod copy;
mod driver;
mod overlay;
mod short;
mod tree;
mod union;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use common::step::{Hint, Step};
use common::{ParentLink, Part, Plan, hints};

pub use attributes::copy_attributes;
pub use copy::is_whiteout;
pub use driver::Driver;
pub use tree::{CopyRules, EntryAction, TreeCopy, copy_file, make_directory};
pub use union::Union;

/// Flags of this part.
#[derive(Args, Debug)]
#[group(skip)]
pub struct Flags {
    /// Read-only tree; repeat the option for more trees, topmost first
    #[arg(long, value_name = "DIR", required = true)]
    pub lower: Vec<PathBuf>,

    /// Tree that receives all writes
    #[arg(long, value_name = "DIR")]
    pub upper: PathBuf,

    /// Empty directory on the filesystem of the upper tree, for files that overlay
    /// and copy prepare and then rename; aufs does not use it
    #[arg(long, value_name = "DIR")]
    pub work: PathBuf,

    /// Mount point of the merged tree [default: a new directory in the state
    /// directory]
    #[arg(long, value_name = "DIR")]
    pub merged: Option<PathBuf>,

    /// Way to merge the trees
    #[arg(long, value_enum, default_value_t)]
    pub driver: Driver,
}

/// The part that mounts the merged tree and makes it the program's working
/// directory.
#[derive(Debug)]
pub struct Merged {
    driver: Driver,
    union: Union,
    at: Option<PathBuf>,
}

impl Merged {
    /// Create the part from the flags.
    ///
    /// # Errors
    /// ENOENT if a path is relative and the current directory was removed.
    pub fn new(flags: Flags) -> Result<Merged> {
        let absolute = |path: PathBuf| {
            std::path::absolute(&path)
                .untraced(|| format!("find {}", path.display()))
        };
        let lower: Result<_> = flags.lower.into_iter().map(absolute).collect();
        let union = Union {
            lower: lower?,
            upper: absolute(flags.upper)?,
            work: absolute(flags.work)?,
            volatile: false,
            elsewhere: "choose --upper and --work there",
        };
        let at = flags.merged.map(absolute).transpose()?;
        Ok(Merged { driver: flags.driver, union, at })
    }
}

impl Part for Merged {
    fn name(&self) -> &'static str {
        "merged"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        self.driver.check(&self.union)?;
        if let Some(at) = &self.at {
            directory(at, "place for the merged tree")?;
        } else {
            // This directory is removed together with the container's other files.
            let at = plan.home.dir().join("merged");
            fs::create_dir(&at)
                .step(|| format!("mkdir(2) {}", at.display()))
                .hint(hints::state)?;
            self.at = Some(at);
        }
        plan.directory.clone_from(self.at.as_ref().context("no merged tree")?);
        Ok(())
    }

    fn enter(&self, plan: &Plan, _link: &ParentLink) -> Result<()> {
        let at = self.at.as_deref().context("no place for the merged tree")?;
        self.driver.mount(&self.union, at, plan)
    }
}

/// Check that this is a directory: the error of mount(2) would be less precise.
fn directory(path: &Path, what: &str) -> Result<fs::Metadata> {
    let about = fs::metadata(path)
        .untraced(|| format!("stat(2) {} as the {what}", path.display()))?;
    anyhow::ensure!(
        about.is_dir(),
        "the {what} {} is not a directory",
        path.display()
    );
    Ok(about)
}
