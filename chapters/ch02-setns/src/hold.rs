//! `hold` and `release`: the kernel removes a namespace with its last process,
//! unless the namespace's file is open or bind-mounted.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use common::hints;
use common::state::Name;
use common::state::State;
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::unshare;

use crate::kind::Kind;
use crate::list::number;

/// The file on which the namespace with this name is mounted.
pub(crate) fn path(name: &Name) -> Result<PathBuf> {
    Ok(State::locate()?.root().join("namespaces").join(name.as_str()))
}

// ANCHOR: hold
/// Keep a namespace of a process under a name, by a bind mount of the namespace's
/// file. This mount is in the host's mount table, because it must outlive this
/// process. Without a process, this process moves to a new namespace first.
///
/// # Errors
/// The name is already in use or is a number; not exactly one kind is given; the
/// process does not exist; EPERM if the caller is not root.
/// # Source
/// namespaces(7), "Namespace lifetime"
pub fn hold(name: &Name, pid: Option<u32>, kinds: &[Kind]) -> Result<()> {
    let [kind] = kinds else {
        bail!(
            "a name holds one namespace: select exactly one kind, for example --uts"
        );
    };
    if name.as_str().bytes().all(|byte| byte.is_ascii_digit()) {
        bail!(
            "the name must contain a letter: enter {name} would mean process {name}"
        );
    }
    let pid = match pid {
        Some(pid) => pid.to_string(),
        None => new_namespace(*kind)?,
    };
    number(&pid, *kind)?
        .context("this kernel does not have this kind of namespace")?;
    let path = path(name)?;
    let state = State::locate()?;
    state.make(state.root().join("namespaces"))?;
    // The mount point of a file must be a file. Creating it exclusively also checks
    // that the name is free.
    File::create_new(&path).step(|| format!("open(2) {}", path.display())).hint(
        |errno| match errno {
            Errno::EEXIST => Some(format!(
                "the name {name} is already in use: use release {name}"
            )),
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

/// Move this process to a new namespace. Returns `self`.
fn new_namespace(kind: Kind) -> Result<String> {
    // The others need a process: a PID namespace its PID 1, a mount namespace cannot
    // be mounted inside itself, and in a user namespace this process loses its rights
    // on the host's mounts.
    if !["uts", "ipc", "net", "cgroup"].contains(&kind.file) {
        bail!(
            "a new namespace of the kind {} cannot be held without a process: give \
             the PID of a process in it",
            kind.file
        );
    }
    unshare(kind.flag)
        .step(|| format!("unshare(2) {}", kind.flag_name))
        .hint(|errno| hints::clone(errno, kind.flag))?;
    Ok("self".to_owned())
}

/// The table of the held namespaces: the name, the kind, and the number.
///
/// # Errors
/// An errno of readdir(3) or read(2).
/// # Source
/// proc_pid_mountinfo(5): the root of a mount of nsfs has the form `uts:[4026532177]`.
pub(crate) fn held() -> Result<String> {
    let directory = State::locate()?.root().join("namespaces");
    let table = fs::read_to_string("/proc/self/mountinfo")
        .step(|| "read(2) /proc/self/mountinfo")?;
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        entries => entries
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .step(|| format!("readdir(3) {}", directory.display()))?,
    };
    let mut rows = Vec::new();
    for entry in entries {
        let path = entry.path();
        let mount = table.lines().rev().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [_, _, _, root, place, ..] = words[..] else { return None };
            (Path::new(place) == path).then(|| root.trim_end_matches(']'))
        });
        // Without a mount: the machine was rebooted.
        let (kind, number) =
            mount.and_then(|root| root.split_once(":[")).unwrap_or(("-", "-"));
        let name = entry.file_name();
        rows.push(format!("{:<16}{kind:<8}{number}\n", name.to_string_lossy()));
    }
    rows.sort();
    Ok(format!("{:<16}{:<8}NUMBER\n{}", "NAME", "KIND", rows.concat()))
}

/// Remove the mount and its file. The kernel then removes the namespace, unless a
/// process or a file descriptor still uses it.
///
/// # Errors
/// No namespace is held under the name; EPERM if the caller is not root.
pub fn release(name: &Name) -> Result<()> {
    let path = path(name)?;
    if !path.exists() {
        bail!("no namespace is held under {name}");
    }
    match umount2(&path, MntFlags::MNT_DETACH) {
        // The file is not mounted: the machine was rebooted, or `hold` was killed
        // before mount(2).
        Err(Errno::EINVAL) => {}
        unmounted => {
            unmounted.step(|| format!("umount(2) {}", path.display()))?;
        }
    }
    fs::remove_file(&path).step(|| format!("unlink(2) {}", path.display()))
}

fn why(errno: Errno, kind: Kind) -> Option<String> {
    match errno {
        Errno::EPERM => Some("only root may change the host's mounts: use \
                              root".to_owned()),
        // A mount namespace that contains its own file would never be removed.
        Errno::EINVAL if kind.file == "mnt" => Some(
            "a mount namespace cannot be mounted inside itself or in an older mount \
             namespace that shares its mounts: keep a process in it instead"
                .to_owned(),
        ),
        _ => None,
    }
}
