//! What is in the VM: packed into the initramfs that it boots from.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::image::Image;
use common::state::State;
use common::step::Step;
use vm_init::place;

use super::cpio::Archive;
use super::kernel::Kernel;

/// What goes in.
pub(crate) struct Payload<'a> {
    pub(crate) kernel: &'a Kernel,
    /// Process 1.
    pub(crate) init: &'a Path,
    /// Programs for [`place::CHAPTERS`].
    pub(crate) chapters: &'a [PathBuf],
    /// Test programs, each with its name there.
    pub(crate) tests: &'a [(String, PathBuf)],
    /// A state directory with busybox: the VM's userland, and the tests' image.
    pub(crate) state: &'a State,
    pub(crate) busybox: &'a Image,
    /// Directories of the checkout that tests read, relative to its root.
    pub(crate) sources: &'a [PathBuf],
}

/// The VM's accounts. The ordinary user may map a range of ids.
const ACCOUNTS: [(&str, &str); 4] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nlearner:x:1500:1500::/home/learner:/bin/sh\n\
         nobody:x:65534:65534:nobody:/home:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\ntty:x:5:\nlearner:x:1500:\nnogroup:x:65534:\n"),
    ("etc/subuid", "learner:100000:65536\n"),
    ("etc/subgid", "learner:100000:65536\n"),
];

type Initramfs = Archive<BufWriter<File>>;

impl Payload<'_> {
    /// Write the initramfs.
    ///
    /// # Errors
    /// A file that can't be read; a full disk.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let step = || format!("write(2) {}", path.display());
        let file = File::create(path).step(step)?;
        let mut archive = Archive::new(BufWriter::with_capacity(1 << 20, file));
        // Errors of files that are read have been put in words; what is left is
        // the archive's.
        self.fill(&mut archive).or_else(|error| match error.downcast() {
            Ok(error) => Err::<(), io::Error>(error).step(step),
            Err(error) => Err(error),
        })?;
        archive.finish().and_then(|mut file| file.flush()).step(step)
    }

    fn fill(&self, archive: &mut Initramfs) -> Result<()> {
        let layers = self.busybox.directories(self.state);
        for layer in layers.iter().rev() {
            tree(archive, layer, "")?;
        }
        for (name, text) in ACCOUNTS {
            archive.file(name, 0o644, text.as_bytes())?;
        }
        // The kernel opens it for process 1 before there is a devtmpfs.
        archive.character_device("dev/console", 0o600, (5, 1))?;
        program(archive, "init", self.init)?;
        directories(archive, place::CHAPTERS)?;
        for chapter in self.chapters {
            let name = chapter.file_name().unwrap_or_default().to_string_lossy();
            program(archive, &inside(place::CHAPTERS, &name), chapter)?;
        }
        directories(archive, place::TESTS)?;
        for (name, path) in self.tests {
            program(archive, &inside(place::TESTS, name), path)?;
        }
        directories(archive, place::STATE)?;
        // The record, and the layers it names: the state may hold more.
        directories(archive, &format!("{}/images", place::STATE))?;
        let record = format!("images/{}.json", self.busybox.name);
        let text =
            fs::read(self.state.root().join(&record)).step(|| record.clone())?;
        archive.file(&inside(place::STATE, &record), 0o644, &text)?;
        for (name, layer) in self.busybox.layers.iter().zip(&layers) {
            let at = format!("{}/layers/{name}", place::STATE);
            directories(archive, &at)?;
            tree(archive, layer, &at[1..])?;
        }
        for source in self.sources {
            let at = Path::new(place::SOURCE).join(source);
            let at = at.to_string_lossy();
            directories(archive, &at)?;
            tree(archive, &crate::root().join(source), &at[1..])?;
        }
        if let Some(modules) = &self.kernel.modules {
            let at = format!("/lib/modules/{}", self.kernel.release);
            directories(archive, &at)?;
            tree(archive, modules, &at[1..])?;
        }
        Ok(())
    }
}

/// A name in the archive: no slash at its start.
fn inside(directory: &str, name: &str) -> String {
    format!("{}/{name}", &directory[1..])
}

/// All directories on the way to this one. Twice is no harm.
fn directories(archive: &mut Initramfs, path: &str) -> Result<()> {
    for (at, _) in path.match_indices('/').skip(1) {
        archive.directory(&path[1..at], 0o755)?;
    }
    Ok(archive.directory(&path[1..], 0o755)?)
}

fn program(archive: &mut Initramfs, name: &str, path: &Path) -> Result<()> {
    let bytes = fs::read(path).step(|| format!("read(2) {}", path.display()))?;
    Ok(archive.file(name, 0o755, &bytes)?)
}

/// What lies in a directory, under `prefix` in the archive.
fn tree(archive: &mut Initramfs, directory: &Path, prefix: &str) -> Result<()> {
    let step = || format!("readdir(3) {}", directory.display());
    let mut entries: Vec<_> =
        fs::read_dir(directory).and_then(Iterator::collect).step(step)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let file_name = entry.file_name();
        let file_name = file_name.to_string_lossy();
        let name = match prefix {
            "" => file_name.into_owned(),
            prefix => format!("{prefix}/{file_name}"),
        };
        let meta = entry.metadata().step(|| path.display().to_string())?;
        let mode = meta.permissions().mode() & 0o7777;
        if meta.is_dir() {
            archive.directory(&name, mode)?;
            tree(archive, &path, &name)?;
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).step(|| path.display().to_string())?;
            archive.symlink(&name, target.as_os_str().as_bytes())?;
        } else if meta.is_file() {
            let bytes =
                fs::read(&path).step(|| format!("read(2) {}", path.display()))?;
            archive.file(&name, mode, &bytes)?;
        }
    }
    Ok(())
}
