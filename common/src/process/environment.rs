//! The environment that a program starts with: not the caller's.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;

/// Where programs are looked for, in every container.
pub const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// PATH, and the caller's HOME: as long as the container has the host's root, home
/// is where it was. A part with a root of its own sets another, a terminal adds
/// TERM, a host name HOSTNAME. Nothing else of the caller's gets in.
pub(crate) fn clean() -> BTreeMap<OsString, OsString> {
    let home = env::var_os("HOME").unwrap_or_else(|| "/".into());
    BTreeMap::from([("PATH".into(), PATH.into()), ("HOME".into(), home)])
}
