//! `hold` and `release`: a namespace goes with its last process, unless somebody has
//! its file open, or mounted somewhere.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use common::hints;
use common::state::Name;
use common::state::State;
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::kind::Kind;
use crate::list::number;

/// Where a name's mount lies.
pub(crate) fn path(name: &Name) -> Result<PathBuf> {
    Ok(State::locate()?.root().join("namespaces").join(name.as_str()))
}

// ANCHOR: hold
/// Keep a process' namespace alive under a name, by a bind mount of its file. This
/// is the host's mount table, on purpose: the mount has to outlive this process.
///
/// # Errors
/// The name is taken, or a number; there is no such process; EPERM for an ordinary
/// user.
/// # Source
/// namespaces(7), "Namespace lifetime"
pub fn hold(name: &Name, pid: u32, kinds: &[Kind]) -> Result<()> {
    let [kind] = kinds else {
        bail!("a name holds one namespace: choose one kind, --uts for one");
    };
    if name.as_str().bytes().all(|byte| byte.is_ascii_digit()) {
        bail!("enter {name} would mean process {name}: put a letter into the name");
    }
    number(&pid.to_string(), *kind)?.context("this kernel has no such kind")?;
    let path = path(name)?;
    let state = State::locate()?;
    state.make(state.root().join("namespaces"))?;
    // A file is mounted on a file. That it is new says that the name is free.
    File::create_new(&path).step(|| format!("open(2) {}", path.display())).hint(
        |errno| match errno {
            Errno::EEXIST => {
                Some(format!("{name} is taken: release {name} frees it"))
            }
            errno => hints::state(errno),
        },
    )?;
    let source = format!("/proc/{pid}/ns/{}", kind.file);
    let none = None::<&str>;
    let mounted = mount(Some(source.as_str()), &path, none, MsFlags::MS_BIND, none)
        .step(|| format!("mount(2) bind {source} on {}", path.display()))
        .hint(|errno| why(errno, *kind));
    if mounted.is_err() {
        fs::remove_file(&path).step(|| format!("unlink(2) {}", path.display()))?;
    }
    mounted
}
// ANCHOR_END: hold

/// Let go of it; if nobody else holds it, the namespace goes.
///
/// # Errors
/// Nothing is held under the name.
pub fn release(name: &Name) -> Result<()> {
    let path = path(name)?;
    if !path.exists() {
        bail!("nothing is held under {name}");
    }
    match umount2(&path, MntFlags::MNT_DETACH) {
        // Not mounted: a reboot, or a kill in between, left the file alone.
        Err(Errno::EINVAL) => {}
        unmounted => {
            unmounted.step(|| format!("umount(2) {}", path.display()))?;
        }
    }
    fs::remove_file(&path).step(|| format!("unlink(2) {}", path.display()))
}

fn why(errno: Errno, kind: Kind) -> Option<String> {
    match errno {
        Errno::EPERM => Some("the host's mounts are root's: try as root".to_owned()),
        // It would keep itself alive for ever.
        Errno::EINVAL if kind.file == "mnt" => Some(
            "a mount namespace can't be mounted inside itself, nor in an older one \
             that shares its mounts with it: keep a process in it instead"
                .to_owned(),
        ),
        _ => None,
    }
}
