//! The environment in which a program starts. It is not the caller's environment.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;

use anyhow::Result;

use crate::cli::step::Step;

/// The PATH of every container.
pub const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A line with a hint, if the program that was not found is in a directory of the caller's
/// PATH. A container has its own PATH, but up to chapter 3 the files of the host.
#[must_use]
pub fn hint_of_callers_path(name: &OsStr) -> Option<String> {
    let path = env::var_os("PATH")?;
    let mut found = env::split_paths(&path).map(|dir| dir.join(name));
    let found = found.find(|path| path.is_absolute() && path.is_file())?;
    Some(format!(
        "\nhint: the program is {}, but a container has its own PATH: run it by its path",
        found.display()
    ))
}

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
