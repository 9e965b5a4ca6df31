//! Other programs that pull images: podman, and skopeo with tar.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use common::PATH;
use common::step::Step;
use nix::mount::{MntFlags, umount2};
use serde_json::Value;

use xtask::command::must;
use xtask::install::on_path;

/// podman.
pub(super) struct Podman(PathBuf);

/// The directory in which podman stores images. podman creates a mount in it, which
/// is unmounted when this value is dropped.
pub(super) struct Storage(PathBuf);

impl Podman {
    /// Find podman, if it is installed.
    pub(super) fn find() -> Option<Podman> {
        let program = on_path("podman");
        if program.is_none() {
            println!("podman: not installed");
        }
        program.map(Podman)
    }

    /// The command that pulls an image into this storage.
    pub(super) fn pull(&self, name: &str, storage: &Storage) -> Command {
        let path = |name: &str| storage.0.join(name);
        let mut command = Command::new(&self.0);
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
}

impl Storage {
    /// Create an empty storage directory.
    ///
    /// # Errors
    /// mkdir(2) or write(2) fails.
    pub(super) fn new(directory: PathBuf) -> Result<Storage> {
        let step = || format!("write(2) in {}", directory.display());
        fs::create_dir_all(&directory).step(step)?;
        // By default, podman keeps locks in shared memory, and they would remain
        // there.
        let settings = "[engine]\nlock_type = \"file\"\nevents_logger = \"none\"\n";
        fs::write(directory.join("conf"), settings).step(step)?;
        Ok(Storage(directory))
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // The mount does not exist if podman failed earlier.
        let _ = umount2(&self.0.join("root/overlay"), MntFlags::MNT_DETACH);
    }
}

/// skopeo, which copies blobs, and tar, which unpacks them.
pub(super) struct Skopeo(PathBuf);

impl Skopeo {
    /// Find skopeo, if it is installed.
    pub(super) fn find() -> Option<Skopeo> {
        let program = on_path("skopeo");
        if program.is_none() {
            println!("skopeo: not installed");
        }
        program.map(Skopeo)
    }

    /// Copy an image to a directory, and unpack all its layers into one directory.
    ///
    /// # Errors
    /// A command fails.
    pub(super) fn copy_and_unpack(
        &self,
        name: &str,
        directory: &Path,
    ) -> Result<()> {
        let [copy, root] = ["copy", "root"].map(|name| directory.join(name));
        fs::create_dir_all(&root).step(|| format!("mkdir(2) {}", root.display()))?;
        let mut command = Command::new(&self.0);
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
}
