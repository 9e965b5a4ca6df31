//! Find a running container and its network namespace.

use std::fs::File;

use anyhow::{Context as _, Result, bail};
use common::cli::Context;
use common::state::Record;
use common::step::{Hint, Step};
use common::{Home, Process};
use nix::errno::Errno;

/// Find the container and its first process.
///
/// # Errors
/// The container is not found, or is not running.
pub(super) fn running(context: &Context, word: &str) -> Result<(Home, Process)> {
    let record = Record::find(&context.state, word)?;
    let home = record.home(&context.state);
    let process = home.program()?;
    let process = process.with_context(|| not_running(word))?;
    Ok((home, process))
}

/// The error for an ordinary user's container that was started without a network.
pub(super) fn too_late(word: &str) -> String {
    format!(
        "container {word} has a user namespace of its own. An ordinary user can connect \
         only containers that have a network from their start: run the container with \
         --network NETWORK"
    )
}

/// The error for a container that is not running.
pub(super) fn not_running(word: &str) -> String {
    format!("container {word} is not running: only a running container has networks")
}

/// The network namespace of the container, unless it is the host's.
///
/// # Errors
/// The container uses the host's network, or has ended.
pub(super) fn own_namespace(process: &Process, word: &str) -> Result<File> {
    match namespace(process, word) {
        // A process that has ended has no namespaces in /proc.
        Err(_) if process.has_ended() => bail!(not_running(word)),
        found => found,
    }
}

fn namespace(process: &Process, word: &str) -> Result<File> {
    let path = format!("/proc/{}/ns/net", process.pid);
    let namespace = File::open(&path).untraced(|| format!("open(2) {path}"));
    let namespace =
        namespace.hint(|errno| (errno == Errno::EACCES).then(|| too_late(word)))?;
    let of = |path: &str| {
        std::fs::read_link(path).untraced(|| format!("readlink(2) {path}"))
    };
    if of(&path)? == of("/proc/self/ns/net")? {
        bail!(
            "container {word} has the host's network (--network host): it cannot be \
             connected to another one"
        );
    }
    Ok(namespace)
}
