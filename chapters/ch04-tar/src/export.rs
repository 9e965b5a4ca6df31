//! `export`: write a container's merged tree to a tar archive.

use std::path::Path;

use anyhow::Result;
use ch02_union::Driver;
use ch04_commit::{LockedContainer, become_root};
use ch04_image::layer::Reader;
use common::state::State;

use crate::compression::{self, Compression};
use crate::merged::Level;
use crate::pack::pack;

/// Write a container's merged tree to a tar archive. `-` means standard output. The
/// extension of the name selects the compression.
///
/// # Errors
/// The container is not found; `to` is a terminal, or has the extension of a
/// compression that is not supported; the disk is full; a system call fails.
pub fn export(state: &State, container: &str, to: &Path) -> Result<()> {
    let method = Compression::by_extension(to)?;
    let user_namespace = become_root()?;
    let locked = LockedContainer::new(state, container)?;
    let record = &locked.record;
    let reader = |aufs| Reader { aufs, user_namespace };
    let driver = Driver::named(&record.driver)?;
    let aufs = driver == Driver::Aufs;
    let mut levels: Vec<Level> = vec![(locked.upper(), reader(aufs))];
    if driver != Driver::Copy {
        let below = record.layers.iter().map(|layer| state.layers().join(layer));
        levels.extend(below.map(|layer| (layer, reader(false))));
    }
    compression::file(to, |out| {
        let _frozen = locked.freeze()?;
        let packed = compression::compress(method, out, |out| pack(&levels, out));
        locked.check_complete(packed)
    })
}
