//! aufs ("another union file system"), the first storage driver of Docker.

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

/// aufs splits its options at `,` and its branches at `:`. In a branch it expects
/// the permission after the first `=`. There is no way to escape these characters.
const SEPARATORS: [u8; 3] = *b":,=";

/// The maximum number of branches in one call. aufs stores the options of a call in
/// a page of 85 entries. With more branches, it crashes the kernel instead of
/// returning an error.
const BRANCHES_PER_CALL: usize = 64;

/// The maximum number of branches of a union, unless aufs was built for 511, 1,023
/// or 32,767.
const DEFAULT_MAX_BRANCHES: usize = 127;

pub(crate) fn check(union: &Union) -> Result<()> {
    for path in union.lower.iter().chain([&union.upper]) {
        let bytes = path.as_os_str().as_bytes();
        if let Some(&byte) = bytes.iter().find(|byte| SEPARATORS.contains(byte)) {
            bail!(
                "aufs separates its branches by \"{}\" and cannot escape this \
                 character in {}: rename the directory, or use --driver overlay",
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

/// The options of each call of mount(2). The first call names the topmost branches.
/// Each further call remounts the union and appends branches below. `ro+wh` makes
/// aufs honour whiteouts in the read-only branches too, as overlayfs does: each of
/// these branches may once have been a write branch.
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
    let mut calls = branches.chunks(BRANCHES_PER_CALL);
    let first = calls.next().map(|some| [b"dirs=", &*some.join(&b':')].concat());
    let more =
        calls.map(|some| [b"append:", &*some.join(&b",append:"[..])].concat());
    first.into_iter().chain(more).map(OsString::from_vec).collect()
}
// ANCHOR_END: mount

/// The hint for an errno of mount(2), for a union with this number of branches.
fn why(errno: Errno, branches: usize) -> Option<String> {
    let text = match errno {
        Errno::ENODEV => {
            "this kernel has no aufs, which was never part of Linux: use --driver \
             overlay"
        }
        Errno::EPERM => {
            "only the host's root may mount aufs, because the kernel does not allow \
             it in a user namespace: use --driver overlay"
        }
        Errno::ENOSPC if branches > DEFAULT_MAX_BRANCHES => {
            "aufs accepts at most 127 branches, including the write layer, unless \
             it was built for more: use fewer layers, or --driver overlay, which \
             accepts 500"
        }
        Errno::EINVAL => {
            "aufs writes the reason only to the kernel log: dmesg | tail; usual \
             reasons are a branch inside another branch, a branch that is given \
             twice, and a branch that is a union"
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
    fn branches_that_exceed_one_call_are_appended_by_further_calls() {
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
