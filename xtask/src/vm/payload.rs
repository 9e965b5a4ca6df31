//! The files of the VM, packed into an initramfs and a disk.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::images::{Image, Layout};
use common::state::State;
use common::step::Step;
use provision::busybox;
use vm_init::place;

use super::kernel::Kernel;
use super::tree::{Node, Tree};
use super::{cpio, ext4, modules};

/// The files to pack.
pub(crate) struct Payload<'a> {
    pub(crate) kernel: &'a Kernel,
    /// The program of PID 1.
    pub(crate) init: &'a Path,
    /// Programs for [`place::CHAPTERS`].
    pub(crate) chapters: &'a [PathBuf],
    /// Test programs, each with its name in [`place::TESTS`].
    pub(crate) tests: &'a [(String, PathBuf)],
    /// A state directory with busybox: the VM's userland, and the tests' image.
    pub(crate) state: &'a State,
    pub(crate) busybox: &'a Image,
    /// Files and directories that tests read, each with its name in
    /// [`place::SOURCE`].
    pub(crate) sources: &'a [(String, PathBuf)],
    /// Further files.
    pub(crate) more: Tree,
}

/// The media from which a VM boots.
#[derive(Debug)]
pub struct Medium {
    /// The initramfs, which the kernel unpacks.
    pub initramfs: PathBuf,
    /// The disk for /usr, if /usr is not in the initramfs.
    pub disk: Option<PathBuf>,
}

/// The buses of a disk: that of the microvm machine, and that of the usual machine.
pub(crate) const BUSES: [&str; 2] = ["mmio", "pci"];

/// The size of a disk is a multiple of this; most of it is a hole.
const DISK_STEP: u64 = 256 << 20;

/// The VM's users. The ordinary user may map a range of IDs.
const ACCOUNTS: [(&str, u32, &str); 5] = [
    (
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\nlearner:x:1500:1500::/home/learner:/bin/sh\n\
         nobody:x:65534:65534:nobody:/home:/bin/false\n",
    ),
    ("etc/shadow", 0o600, "root:*:0:0:99999:7:::\n"),
    ("etc/group", 0o644, "root:x:0:\ntty:x:5:\nlearner:x:1500:\nnogroup:x:65534:\n"),
    ("etc/subuid", 0o644, "learner:100000:65536\n"),
    ("etc/subgid", 0o644, "learner:100000:65536\n"),
];

impl Payload<'_> {
    /// Write the initramfs, and the disk for /usr if the kernel can read one: files
    /// on the disk need not be unpacked at boot.
    ///
    /// # Errors
    /// A file cannot be read; the disk is full.
    pub(crate) fn write(mut self, directory: &Path) -> Result<Medium> {
        let mut tree = self.tree()?;
        let mut disk = None;
        if let Some(modules) = &self.kernel.modules
            && let Some(drivers) = modules::drivers(modules)?
        {
            for (bus, files) in BUSES.iter().zip(drivers) {
                let mut names = String::new();
                for file in files {
                    let name = file.file_name().unwrap_or_default();
                    let name = name.to_string_lossy();
                    names += &format!("{name}\n");
                    tree.program(&format!("{}/{name}", place::DRIVERS), &file)?;
                }
                let list = format!("{}/{bus}", place::DRIVERS);
                tree.add(&list, Node::File(0o644, names.into_bytes()));
            }
            if self.kernel.any_module {
                tree.trim_modules();
            }
            let path = directory.join("disk");
            let below = tree.take(place::DISK);
            written(&path, |out| ext4::write(&below, out))?;
            // A VM in a snapshot relies on the size of its disk.
            let step = || format!("truncate(2) {}", path.display());
            let file = File::options().write(true).open(&path).step(step)?;
            let length = file.metadata().step(step)?.len();
            file.set_len(length.next_multiple_of(DISK_STEP)).step(step)?;
            disk = Some(path);
        }
        let initramfs = directory.join("initramfs");
        written(&initramfs, |out| cpio::write(&tree, out))?;
        Ok(Medium { initramfs, disk })
    }

    fn tree(&mut self) -> Result<Tree> {
        let mut tree = Tree::default();
        let layers = self.busybox.directories(self.state);
        for layer in layers.iter().rev() {
            tree.copy("", layer)?;
        }
        for (name, mode, text) in ACCOUNTS {
            tree.add(name, Node::File(mode, text.into()));
        }
        // The kernel opens it for PID 1 before devtmpfs is mounted.
        tree.add("dev/console", Node::CharacterDevice(0o600, (5, 1)));
        tree.program("init", self.init)?;
        for chapter in self.chapters {
            let name = chapter.file_name().unwrap_or_default().to_string_lossy();
            tree.program(&format!("{}/{name}", place::CHAPTERS), chapter)?;
        }
        for (name, path) in self.tests {
            tree.program(&format!("{}/{name}", place::TESTS), path)?;
        }
        // Only the image busybox: the state directory may contain more.
        let image = self.busybox;
        let layout = Layout::of(self.state);
        let blobs = [&image.id, &image.manifest].into_iter().chain(&image.blobs);
        let blobs = blobs.map(|blob| layout.blob(blob));
        let images = self.state.images();
        let marks = ["index.json", "lease", "oci-layout"];
        let files = marks.map(|name| images.join(name)).into_iter();
        for path in blobs.chain(files).chain([layout.record(&image.id)]) {
            let text =
                fs::read(&path).step(|| format!("read(2) {}", path.display()))?;
            let name = path.strip_prefix(self.state.root())?.display();
            tree.add(&format!("{}/{name}", place::STATE), Node::File(0o644, text));
        }
        for name in ["blobs", "downloads"] {
            let path = format!("{}/images/{name}", place::STATE);
            tree.add(&path, Node::Directory(0o700));
        }
        let name = busybox::reference()?.file_name();
        let target = format!("../records/{}", image.id.hex());
        tree.add(
            &format!("{}/images/names/{name}", place::STATE),
            Node::Symlink(target.into()),
        );
        for (name, layer) in self.busybox.layers.iter().zip(&layers) {
            tree.copy(&format!("{}/layers/{name}", place::STATE), layer)?;
        }
        for (name, from) in self.sources {
            let at = format!("{}/{name}", place::SOURCE);
            if from.is_dir() {
                tree.copy(&at, from)?;
            } else {
                let step = || format!("read(2) {}", from.display());
                tree.add(&at, Node::File(0o644, fs::read(from).step(step)?));
            }
        }
        if let Some(modules) = &self.kernel.modules {
            let at = format!("{}/{}", place::MODULES, self.kernel.release);
            tree.copy(&at, modules)?;
            tree.add("lib/modules", Node::Symlink(place::MODULES.into()));
        }
        // Without modprobe: the kernel would run it at boot. PID 1 creates it later.
        tree.0.remove(place::MODPROBE.trim_start_matches('/').as_bytes());
        for (path, node) in std::mem::take(&mut self.more).0 {
            tree.add(&String::from_utf8_lossy(&path), node);
        }
        Ok(tree)
    }
}

fn written(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    let step = || format!("write(2) {}", path.display());
    let file = File::create(path).step(step)?;
    write(&mut BufWriter::with_capacity(1 << 20, file)).step(step)
}
