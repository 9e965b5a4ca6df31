//! aufs, "another union file system", which Docker began with.

use std::ffi::OsString;
use std::iter;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use anyhow::{Result, bail};
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::mount::MsFlags;

use crate::short::{PAGE, short};
use crate::union::Union;

/// aufs cuts its options at `,`, its branches at `:`, and a branch at the first
/// `=`, after which it expects the permission. It knows no escape.
const SEPARATORS: [u8; 3] = *b":,=";

/// So many branches one call may name. aufs keeps what a call says in a page of 85
/// entries, and told more than that it crashes the kernel rather than refuse.
const AT_ONCE: usize = 64;

/// So many branches aufs takes, unless it was built for 511, 1,023 or 32,767.
const FEW: usize = 127;

pub(crate) fn check(union: &Union) -> Result<()> {
    for path in union.lower.iter().chain([&union.upper]) {
        let bytes = path.as_os_str().as_bytes();
        if let Some(&byte) = bytes.iter().find(|byte| SEPARATORS.contains(byte)) {
            bail!(
                "aufs separates its branches by \"{}\", and can't be told that the \
                 one in {} is none: rename the directory, or take --driver overlay",
                byte as char,
                path.display()
            );
        }
    }
    Ok(())
}

// ANCHOR: mount
pub(crate) fn mount(union: &Union, at: &Path) -> Result<()> {
    let fits = calls(union).iter().all(|options| options.len() < PAGE);
    let as_named = |named: &Union| {
        let flags =
            iter::once(MsFlags::empty()).chain(iter::repeat(MsFlags::MS_REMOUNT));
        calls(named).iter().zip(flags).try_for_each(|(options, flags)| {
            let (none, kind) = (Some("none"), Some("aufs"));
            nix::mount::mount(none, at, kind, flags, Some(options.as_os_str()))
                .step(|| {
                    format!(
                        "mount(2) aufs on {} {}",
                        at.display(),
                        options.display()
                    )
                })
                .hint(|errno| why(errno, union.lower.len() + 1))
        })
    };
    if fits { as_named(union) } else { short(union, at, as_named) }
}

/// What each call of mount(2) is told. The first takes the topmost branches, and those
/// that are too many for it are put below them by remounting. `ro+wh`: whiteouts count
/// in the branches that are only read too, as they do in overlayfs; each may once have
/// been written on.
///
/// # Source
/// aufs(5), "dirs=BRANCH[:BRANCH ...]", "append:BRANCH"
fn calls(union: &Union) -> Vec<OsString> {
    let upper = [union.upper.as_os_str().as_bytes(), b"=rw"].concat();
    let lower = union.lower.iter().map(|lower| {
        let lower = lower.as_os_str().as_bytes();
        [lower, b"=ro+wh"].concat()
    });
    let branches: Vec<Vec<u8>> = iter::once(upper).chain(lower).collect();
    let mut calls = branches.chunks(AT_ONCE);
    let first = calls.next().map(|some| [b"dirs=", &*some.join(&b':')].concat());
    let more =
        calls.map(|some| [b"append:", &*some.join(&b",append:"[..])].concat());
    first.into_iter().chain(more).map(OsString::from_vec).collect()
}
// ANCHOR_END: mount

/// What the kernel's errno means where there are so many branches.
fn why(errno: Errno, branches: usize) -> Option<String> {
    let text = match errno {
        Errno::ENODEV => {
            "this kernel has no aufs, which was never part of Linux itself; \
             overlay, which is, does the same: --driver overlay"
        }
        Errno::EPERM => {
            "only real root mounts aufs, in a user namespace the kernel takes file \
             systems that are known to be safe there; overlay is one of them: \
             --driver overlay"
        }
        Errno::ENOSPC if branches > FEW => {
            "aufs takes 127 branches, the write layer among them, unless the kernel was \
             built for more: take fewer layers, or --driver overlay, which takes 500"
        }
        Errno::EINVAL => {
            "aufs says what it wants in the kernel log alone: dmesg | tail; most \
             often that no branch lies inside another, is given twice, or is a union \
             itself"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn union(lower: &[&str]) -> Union {
        Union {
            lower: lower.iter().map(Into::into).collect(),
            upper: "/u".into(),
            work: "/w".into(),
            volatile: false,
            elsewhere: "",
        }
    }

    #[test]
    fn the_write_branch_comes_first() {
        assert_eq!(calls(&union(&["/a", "/b"])), ["dirs=/u=rw:/a=ro+wh:/b=ro+wh"]);
    }

    #[test]
    fn what_one_call_has_no_room_for_the_next_ones_append() {
        let lower: Vec<String> = (1..130).map(|n| format!("/{n}")).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        let calls = calls(&union(&lower));
        let calls: Vec<&str> =
            calls.iter().map(|call| call.to_str().unwrap()).collect();
        assert!(calls[0].ends_with(":/62=ro+wh:/63=ro+wh"), "{}", calls[0]);
        assert!(calls[1].starts_with("append:/64=ro+wh,append:/65=ro+wh,"));
        assert_eq!(calls[2..], ["append:/128=ro+wh,append:/129=ro+wh"]);
    }

    #[test]
    fn separators_in_paths_are_refused() {
        check(&union(&[r"/a\b", "/c d"])).unwrap();
        for path in ["/a:b", "/a,b", "/a=b"] {
            let error = check(&union(&["/fine", path])).unwrap_err().to_string();
            assert!(error.contains(&path[2..3]) && error.contains(path), "{error}");
        }
    }
}
