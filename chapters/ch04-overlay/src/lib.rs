//! A union mount: the image below, read-only, and a layer to write on above.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ch04_pivot_root::adopt;
use clap::Args;
use common::home::{Home, remove_tree};
use common::id::Name;
use common::step::{Hint, Step};
use common::{Part, Plan, Running, Up, hints};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{NFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, statfs};

/// Flags of this part.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub struct Flags {
    /// A name for the container [default: its id]
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,

    /// Print where the layers lie, and how to look at the merged tree from outside
    #[arg(long)]
    pub show_layers: bool,
}

/// The image's layers and one write layer, merged by overlayfs. What the container
/// writes lands in the write layer, which goes when the container goes.
///
/// # Source
/// Documentation/filesystems/overlayfs.rst
#[derive(Debug)]
pub struct Overlay {
    lower: Vec<PathBuf>,
    show: bool,
}

/// A container's directories: the write layer, overlayfs's own working place, and
/// where the merged tree is mounted.
const OWN: [&str; 3] = ["upper", "work", "merged"];

impl Overlay {
    /// Over these layers, the topmost first.
    #[must_use]
    pub fn new(lower: Vec<PathBuf>, flags: &Flags) -> Overlay {
        Overlay { lower, show: flags.show_layers }
    }

    /// The mount options.
    fn options(&self, plan: &Plan) -> OsString {
        let [upper, work, _] = OWN.map(|name| plan.home.dir().join(name));
        let lower: Vec<_> = self.lower.iter().map(|layer| escaped(layer)).collect();
        let mut options = b"lowerdir=".to_vec();
        options.extend(lower.join(&b':'));
        options.extend([b",upperdir=", &escaped(&upper)[..]].concat());
        options.extend([b",workdir=", &escaped(&work)[..]].concat());
        // Said, since a distribution may build the kernel with other defaults, and
        // each would leave things in the write layer that only this kernel reads.
        options.extend(b",index=off");
        // Only real root writes "trusted." attributes. "user." ones are taken
        // with redirects and metacopy off alone, as the kernel knows.
        options.extend(if plan.user_namespace {
            &b",userxattr"[..]
        } else {
            b",redirect_dir=off,metacopy=off"
        });
        OsString::from_vec(options)
    }
}

// ANCHOR: part
impl Part for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        let own = OWN.map(|name| plan.home.dir().join(name));
        for directory in &own {
            fs::create_dir(directory)
                .step(|| format!("mkdir(2) {}", directory.display()))
                .hint(hints::state)?;
        }
        // The write layer's own mode is that of the container's `/`, whatever the
        // caller's umask.
        let upper = &own[0];
        fs::set_permissions(upper, fs::Permissions::from_mode(0o755))
            .look(|| format!("chmod(2) {}", upper.display()))?;
        let [_, _, merged] = own;
        adopt(plan, merged);
        Ok(())
    }

    fn enter(&self, plan: &Plan, _up: &Up) -> Result<()> {
        let root = plan.root.as_deref().context("no place for the merged tree")?;
        let options = self.options(plan);
        let kind = Some("overlay");
        mount(kind, root, kind, MsFlags::empty(), Some(options.as_os_str()))
            .step(|| {
                let options = options.display();
                format!("mount(2) overlay on {} {options}", root.display())
            })
            .hint(|errno| why(errno, &plan.home))
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        if self.show {
            let mut lines = String::new();
            for layer in &self.lower {
                lines += &format!("image   {}\n", layer.display());
            }
            let upper = running.home().dir().join("upper");
            lines += &format!("write   {}\n", upper.display());
            lines += &format!("merged  /proc/{}/root/\n", running.pid());
            // Somebody who asked for it and then closed stderr loses nothing.
            let _ = std::io::stderr().write_all(lines.as_bytes());
        }
        Ok(())
    }

    fn removed(&self, home: &Home) -> Result<()> {
        OWN.iter().try_for_each(|name| remove_tree(&home.dir().join(name)))
    }
}
// ANCHOR_END: part

/// A path as overlayfs reads it: `:` separates layers, `,` options.
fn escaped(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        if b"\\:,".contains(&byte) {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

/// What the kernel's errno means here; its own reason is in the kernel log.
fn why(errno: Errno, home: &Home) -> Option<String> {
    let state = home.state.root().display();
    match errno {
        Errno::EINVAL => {
            let on = match statfs(&home.dir()).map(|at| at.filesystem_type()) {
                Ok(OVERLAYFS_SUPER_MAGIC) => "overlayfs",
                Ok(NFS_SUPER_MAGIC) => "NFS",
                _ => "a file system",
            };
            Some(format!(
                "the state directory {state} lies on {on}, where overlayfs takes no \
                 write layer (nor on ramfs or FAT); it does on ext4, xfs, btrfs and \
                 tmpfs: MYDOCKER_ROOT=/dev/shm/mydocker"
            ))
        }
        Errno::ENODEV => {
            Some("this kernel has no overlayfs: modprobe overlay".to_owned())
        }
        Errno::EPERM => Some(
            "this kernel lets only root mount overlayfs (Linux 5.11 and later let \
             everybody in a user namespace)"
                .to_owned(),
        ),
        _ => hints::state(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_paths_are_escaped() {
        assert_eq!(escaped(Path::new(r"/a:b,c\d")), br"/a\:b\,c\\d");
    }
}
