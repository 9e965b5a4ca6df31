//! Other programs that pull: podman, and skopeo with tar.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use common::PATH;
use common::state::remove_tree;
use common::step::Step;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use serde_json::Value;

use crate::command::must;
use crate::install::on_path;

/// podman, with a storage of its own.
pub(super) struct Podman {
    program: PathBuf,
    directory: PathBuf,
}

impl Podman {
    /// It, if it is installed.
    pub(super) fn find(directory: &Path) -> Result<Option<Podman>> {
        let Some(program) = on_path("podman") else {
            println!("podman: not installed");
            return Ok(None);
        };
        let podman = Podman { program, directory: directory.to_owned() };
        // What a bench that was killed has left.
        podman.forget()?;
        Ok(Some(podman))
    }

    pub(super) fn pull(&self, name: &str) -> Command {
        let path = |name: &str| self.directory.join(name);
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(path("root")).arg("--runroot").arg(path("run"));
        command
            .arg("--tmpdir")
            .arg(path("tmp"))
            .args(["--storage-driver", "overlay"]);
        command.args(["pull", "--quiet", "--tls-verify=false", name]);
        command.env_clear().env("PATH", PATH).env("CONTAINERS_CONF", path("conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Remove all that it has. Its storage is a mount, so that nothing else unmounts it.
    pub(super) fn forget(&self) -> Result<()> {
        let storage = self.directory.join("root/overlay");
        match umount2(&storage, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            failed => failed.step(|| format!("umount(2) {}", storage.display()))?,
        }
        remove_tree(&self.directory)?;
        let step = || format!("write(2) in {}", self.directory.display());
        fs::create_dir_all(&self.directory).step(step)?;
        // Locks in shared memory would stay there.
        let settings = "[engine]\nlock_type = \"file\"\nevents_logger = \"none\"\n";
        fs::write(self.directory.join("conf"), settings).step(step)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // The next bench does what this cannot.
        let _ = self.forget();
    }
}

/// skopeo, which copies blobs, and tar, which unpacks them.
pub(super) struct Skopeo {
    program: PathBuf,
    directory: PathBuf,
}

impl Skopeo {
    /// It, if it is installed.
    pub(super) fn find(directory: &Path) -> Option<Skopeo> {
        let Some(program) = on_path("skopeo") else {
            println!("skopeo: not installed");
            return None;
        };
        Some(Skopeo { program, directory: directory.to_owned() })
    }

    /// Copy an image to a directory, and unpack its layers one above the other.
    ///
    /// # Errors
    /// A command fails.
    pub(super) fn copy_and_unpack(&self, name: &str) -> Result<()> {
        let [copy, root] = ["copy", "root"].map(|name| self.directory.join(name));
        fs::create_dir_all(&root).step(|| format!("mkdir(2) {}", root.display()))?;
        let mut command = Command::new(&self.program);
        command.args(["--insecure-policy", "copy", "--quiet"]);
        command.args(["--src-tls-verify=false", &format!("docker://{name}")]);
        command.arg(format!("dir:{}", copy.display()));
        must(command.env_clear().env("PATH", PATH).stdout(Stdio::null()))?;
        let text = fs::read(copy.join("manifest.json")).context("the manifest")?;
        let manifest: Value = serde_json::from_slice(&text)?;
        let layers = manifest["layers"].as_array().context("no layers")?;
        for layer in layers {
            let digest = layer["digest"].as_str().context("no digest")?;
            let hex = digest.strip_prefix("sha256:").context("another digest")?;
            must(
                Command::new("tar")
                    .arg("-xzf")
                    .arg(copy.join(hex))
                    .arg("-C")
                    .arg(&root),
            )?;
        }
        Ok(())
    }

    pub(super) fn forget(&self) -> Result<()> {
        remove_tree(&self.directory)
    }
}
