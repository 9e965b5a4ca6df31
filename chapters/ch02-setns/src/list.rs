//! `list`: in which namespaces a process is.

use std::fs::read_link;
use std::io;

use anyhow::{Context, Result, bail};
use common::rights;
use common::step::{Hint, Step};
use nix::errno::Errno;

use crate::kind::{KINDS, Kind};

// ANCHOR: number
/// The number of a process' namespace of this kind: an inode number of the file
/// system nsfs. Two processes with equal numbers share the namespace. None where the
/// kernel doesn't know the kind.
///
/// # Errors
/// ENOENT without such a process; EACCES for another user's.
/// # Source
/// namespaces(7), "The /proc/pid/ns/ directory"
pub(crate) fn number(pid: &str, kind: Kind) -> Result<Option<u64>> {
    let path = format!("/proc/{pid}/ns/{}", kind.file);
    let text = match read_link(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return missing(pid),
        link => link.step(|| format!("readlink(2) {path}")).hint(|errno| {
            (errno == Errno::EACCES).then(|| match rights::privileged() {
                true => format!("process {pid} is closed even to root here"),
                false => format!("process {pid} is somebody else's: try as root"),
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

/// The table: of this process, or of another beside it.
///
/// # Errors
/// Those of reading /proc/PID/ns.
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
