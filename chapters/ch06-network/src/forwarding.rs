//! IP forwarding: the host forwards packets between its devices. Containers need it
//! to reach other hosts.
//!
//! ```text
//! networks/.ip_forward   the host did not forward before: forwarding ends with the last
//!                        network
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Result;
use common::state::State;
use common::step::{self, Hint, Step};
use common::{hints, rights};

use crate::sysctl;

fn note(state: &State) -> PathBuf {
    // No network has a name that begins with a dot.
    state.networks().join(".ip_forward")
}

/// Turn on forwarding, and print a warning if it was off. The note is written first.
///
/// # Errors
/// EACCES, EPERM or EROFS if the setting cannot be changed.
pub fn switch_on(state: &State) -> Result<()> {
    if sysctl::forwards()? {
        return Ok(());
    }
    if rights::is_host_root()? {
        let note = note(state);
        fs::write(&note, "")
            .untraced(|| format!("write(2) {}", note.display()))
            .hint(hints::state)?;
        step::warn(
            "net.ipv4.ip_forward was 0 and is 1 now, because containers need it to \
             reach other hosts: this host now forwards packets between all its \
             networks, like a router. `network remove` of the last network sets it \
             to 0 again",
        );
    }
    sysctl::forward().map(drop)
}

/// Turn forwarding off if this program turned it on and no network is left.
///
/// # Errors
/// The errors of [`switch_on`].
pub(crate) fn restore(state: &State) -> Result<()> {
    let note = note(state);
    let noted =
        note.try_exists().untraced(|| format!("stat(2) {}", note.display()))?;
    if !noted || !state.network_names()?.is_empty() {
        return Ok(());
    }
    sysctl::stop_forwarding()?;
    match fs::remove_file(&note) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.untraced(|| format!("unlink(2) {}", note.display())),
    }
}
