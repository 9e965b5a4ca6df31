//! The disconnections of a network: containers that lost their address while they ran.
//!
//! ```text
//! networks/NAME/disconnections   one byte for each disconnection
//! ```
//!
//! A container that starts reads the addresses of its network under the lock, releases the
//! lock, and takes it again later. If the size of this file is still the same then, no
//! running container has lost its address, and the addresses need not be read again.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::Result;
use common::hints;
use common::state::{Name, State};
use common::step::{Hint, Step};

use crate::network::directory;

fn path(state: &State, name: &Name) -> PathBuf {
    directory(state, name).join("disconnections")
}

/// The number of disconnections so far. Compare it only with a later value that is
/// read under the lock.
///
/// # Errors
/// stat(2) fails.
pub(crate) fn number(state: &State, name: &Name) -> Result<u64> {
    let path = path(state, name);
    match fs::metadata(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(0),
        found => Ok(found.untraced(|| format!("stat(2) {}", path.display()))?.len()),
    }
}

/// Record a disconnection.
///
/// # Errors
/// write(2) fails.
pub(crate) fn add(state: &State, name: &Name) -> Result<()> {
    let path = path(state, name);
    let mut options = File::options();
    let file = options.create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(b"."))
        .untraced(|| format!("write(2) {}", path.display()))
        .hint(hints::state)
}
