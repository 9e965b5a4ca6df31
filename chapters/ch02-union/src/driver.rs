//! The drivers: three ways to one tree.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use common::{Plan, Users};

use crate::union::Union;
use crate::{aufs, copy, directory, overlay};

// ANCHOR: driver
/// Who merges the trees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// The kernel's own, since 3.18
    #[default]
    Overlay,
    /// What Docker began with; few kernels have it
    Aufs,
    /// No union at all: everything is copied, by reflinks where the file system can
    Copy,
}

impl Driver {
    /// Its name, as a record keeps it.
    #[must_use]
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.as_ref().map_or("", |value| value.get_name()).to_owned()
    }

    /// The driver of this name.
    ///
    /// # Errors
    /// This program does not know it.
    pub fn named(name: &str) -> Result<Driver> {
        let known = Driver::from_str(name, false).ok();
        known.with_context(|| format!("unknown union driver {name:?}"))
    }

    /// Look, on the host, whether this union can be mounted: the kernel says EINVAL
    /// to most that is wrong with it, and why in its log at best.
    ///
    /// # Errors
    /// What is missing, too much, or not written as the driver needs it.
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
            "the upper directory {} and the work directory {} lie on different file \
             systems, and rename(2) does not go across: make them side by side",
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
    /// Those of mount(2), with what they usually mean.
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
