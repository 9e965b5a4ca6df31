//! The environment in which a program starts. It is not the caller's environment.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::File;

use anyhow::Result;

use crate::cli::step::Step;

/// The PATH of every container.
pub const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Open the host's /dev/null, for a program that is started with an empty stream.
/// `Stdio::null` also opens it, but its ENOENT looks as if the program were missing.
///
/// # Errors
/// open(2) fails.
pub fn null() -> Result<File> {
    let null = File::options().read(true).write(true).open("/dev/null");
    null.untraced(|| "open(2) /dev/null")
}

/// PATH and the caller's HOME: as long as the container uses the host's root, the
/// home directory stays the same. A part with its own root changes HOME, a terminal
/// adds TERM, and a hostname adds HOSTNAME. No other variable of the caller is
/// passed on.
pub(crate) fn clean() -> BTreeMap<OsString, OsString> {
    let home = env::var_os("HOME").unwrap_or_else(|| "/".into());
    BTreeMap::from([("PATH".into(), PATH.into()), ("HOME".into(), home)])
}
