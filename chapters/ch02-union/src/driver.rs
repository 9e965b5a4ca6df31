//! The drivers: three ways to merge directory trees.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use common::{Plan, Users};

use crate::union::Union;
use crate::{aufs, copy, directory, overlay};

// ANCHOR: driver
/// A way to merge the trees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// overlayfs, part of Linux since 3.18
    #[default]
    Overlay,
    /// Docker's first driver; few kernels have it
    Aufs,
    /// No union mount: all files are copied, by reflinks if the filesystem supports
    /// them
    Copy,
}

impl Driver {
    /// The driver's name, as it is stored in a record.
    #[must_use]
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.as_ref().map_or("", |value| value.get_name()).to_owned()
    }

    /// The driver with this name.
    ///
    /// # Errors
    /// This program has no driver with this name.
    pub fn named(name: &str) -> Result<Driver> {
        let known = Driver::from_str(name, false).ok();
        known.with_context(|| format!("unknown union driver {name:?}"))
    }

    /// Check, in the parent, whether this union can be mounted. For most faults the
    /// kernel returns only EINVAL and writes the reason to its log, if at all.
    ///
    /// # Errors
    /// A directory does not exist or is not a directory; there are too many layers;
    /// a path contains a character that the driver cannot represent; the upper and
    /// the work directory are on different filesystems.
    pub fn check(self, union: &Union) -> Result<()> {
        for lower in &union.lower {
            directory(lower, "lower directory")?;
        }
        let upper = directory(&union.upper, "upper directory")?;
        if self == Driver::Aufs {
            return aufs::check(union);
        }
        let work = directory(&union.work, "work directory")?;
        ensure!(
            upper.dev() == work.dev(),
            "the upper directory {} and the work directory {} are on different filesystems, \
             and rename(2) cannot move files between them: create both on \
             one filesystem",
            union.upper.display(),
            union.work.display()
        );
        match self {
            Driver::Overlay => overlay::check(union),
            _ => Ok(()),
        }
    }

    /// Mount the merged tree, in the child's own mount namespace.
    ///
    /// # Errors
    /// An errno of mount(2), with a hint about its usual meaning.
    pub fn mount(self, union: &Union, at: &Path, plan: &Plan) -> Result<()> {
        let nested = plan.users == Users::Nested;
        match self {
            Driver::Overlay => overlay::mount(union, at, nested),
            Driver::Aufs => aufs::mount(union, at),
            Driver::Copy => copy::mount(union, at, nested),
        }
    }
}
// ANCHOR_END: driver
