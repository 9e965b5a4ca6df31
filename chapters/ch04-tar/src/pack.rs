//! Write the merged tree to a tar archive.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use common::archive::Packer;
use common::step::Step;

use crate::merged::{Level, walk};

/// Write the merged tree of these layers.
pub(crate) fn pack(levels: &[Level], out: impl Write) -> Result<()> {
    let mut packer = Packer::new(out);
    let (root, _) = levels.first().context("no layers")?;
    let about = fs::symlink_metadata(root)
        .untraced(|| format!("lstat(2) {}", root.display()))?;
    packer.file(Path::new("./"), root, &about)?;
    walk(levels, Path::new(""), &mut |path, file, about| {
        packer.file(path, file, about)
    })?;
    packer.finish()
}
