//! `list`: show the namespaces of a process.

use std::fs::read_link;
use std::io;

use anyhow::{Context, Result, bail};
use common::rights;
use common::step::{Hint, Step};
use nix::errno::Errno;

use crate::kind::{KINDS, Kind};

// ANCHOR: number
/// The number of a process's namespace of this kind: an inode number of the filesystem
/// nsfs. Two processes with the same number share the namespace. Returns
/// `None` if the kernel does not have this kind. `pid` is a process ID or `self`.
///
/// # Errors
/// The process does not exist; EACCES if it belongs to another user.
/// # Source
/// namespaces(7), "The /proc/pid/ns/ directory"
pub(crate) fn number(pid: &str, kind: Kind) -> Result<Option<u64>> {
    let path = format!("/proc/{pid}/ns/{}", kind.file);
    let text = match read_link(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return missing(pid),
        link => link.step(|| format!("readlink(2) {path}")).hint(|errno| {
            (errno == Errno::EACCES).then(|| match rights::privileged() {
                true => format!("even root has no access to process {pid} here"),
                false => format!("process {pid} belongs to another user: use root"),
            })
        })?,
    };
    // uts:[4026531838]
    let text = text.to_string_lossy();
    let number = text.rsplit_once('[').and_then(|(_, rest)| rest.strip_suffix(']'));
    let number = number.and_then(|number| number.parse().ok());
    Ok(Some(number.with_context(|| format!("{path}: {text}"))?))
}
// ANCHOR_END: number

fn missing(pid: &str) -> Result<Option<u64>> {
    if !std::path::Path::new("/proc").join(pid).join("ns").exists() {
        bail!("there is no process {pid}");
    }
    Ok(None)
}

/// The table of namespaces: of this process, or of the process `pid` compared with
/// this one.
///
/// # Errors
/// The process does not exist; EACCES if it belongs to another user.
pub fn list(pid: Option<u32>) -> Result<String> {
    let mut table =
        format!("{:<8}{:<12}{:<17}{:<8}", "KIND", "NUMBER", "FLAG", "LINUX");
    table += if pid.is_some() { "YOURS   ISOLATES\n" } else { "ISOLATES\n" };
    let shown = pid.map_or("self".to_owned(), |pid| pid.to_string());
    for kind in KINDS {
        let Some(number) = number(&shown, kind)? else { continue };
        let Kind { file, flag_name, since, isolates, .. } = kind;
        table += &format!("{file:<8}{number:<12}{flag_name:<17}{since:<8}");
        if pid.is_some() {
            let same = self::number("self", kind)? == Some(number);
            table += if same { "yes     " } else { "no      " };
        }
        table += &format!("{isolates}\n");
    }
    Ok(table)
}
