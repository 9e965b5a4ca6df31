//! Find the VM's kernel on this machine, or download it with the package manager.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use common::state::remove_tree;
use common::step::{Hint, Step};
use provision::apt::{Apt, TIMEOUT};
use provision::command::run;
use provision::room::room;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::scratch::Scratch;
use super::{bzimage, modules, package, say};

/// The disk space for the package, the unpacked tree and the result of one kernel.
const REQUIRED_SPACE: u64 = 400 << 20;

/// A kernel that is ready to boot.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// The kernel as the user named it: a series, or a path.
    pub(crate) wanted: String,
    /// The release, as `uname -r` prints it.
    pub(crate) release: String,
    /// Whether the kernel loads unsigned modules.
    pub(crate) any_module: bool,
    /// The images to try, the fastest first.
    pub(crate) images: Vec<PathBuf>,
    /// A directory like /lib/modules/RELEASE, if there is one.
    pub(crate) modules: Option<PathBuf>,
}

/// The record that is stored beside a kernel.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The file name of the package, with its version, or the path of the image.
    source: String,
    /// The SHA-256 of that file, in hexadecimal.
    sha256: String,
    release: String,
    /// The names of the modules that were searched.
    #[serde(default)]
    modules: Vec<String>,
    /// The digest that [`beside`] returned.
    #[serde(default)]
    beside: String,
}

/// The kernel that `wanted` names: `6.1`, `6.12`, another series that the package
/// manager has, or the path of a vmlinux or bzImage. The result is kept in `cache`;
/// `busybox` provides depmod(8).
///
/// # Errors
/// The kernel is not available. The error names the attempts and the remedy.
pub(crate) fn find(wanted: &str, cache: &Path, busybox: &Path) -> Result<Kernel> {
    let (name, image) = if is_series(wanted) {
        (wanted.to_owned(), None)
    } else {
        let path = fs::canonicalize(wanted).step(|| wanted.to_owned())?;
        let meta = path.metadata().step(|| path.display().to_string())?;
        if !meta.is_file() {
            bail!("{wanted} is not a file: expected a vmlinux or a bzImage");
        }
        // A changed file at the same path is another kernel.
        let key = format!("{path:?} {} {:?}", meta.len(), meta.modified()?);
        (hexadecimal(&Sha256::digest(key))[..16].to_owned(), Some(path))
    };
    let directory = cache.join(&name);
    if let Some(kernel) = open(wanted, image.as_deref(), &directory)? {
        return Ok(kernel);
    }
    // One process does the work; the others wait and use the result.
    fs::create_dir_all(cache).step(|| format!("mkdir(2) {}", cache.display()))?;
    let lock_path = cache.join("lock");
    let lock = File::create(&lock_path)
        .step(|| format!("open(2) {}", lock_path.display()))?;
    lock.lock().step(|| format!("flock(2) {}", lock_path.display()))?;
    if let Some(kernel) = open(wanted, image.as_deref(), &directory)? {
        return Ok(kernel);
    }
    room(cache, REQUIRED_SPACE, "a kernel").hint(super::full)?;
    let scratch = Scratch::new(&cache.join("new"))?;
    let new = scratch.path().join("kernel");
    fs::create_dir(&new).step(|| format!("mkdir(2) {}", new.display()))?;
    let record = match &image {
        Some(path) => from_image(path, scratch.path(), &new, busybox),
        None => from_package(wanted, scratch.path(), &new, busybox),
    }
    .with_context(|| format!("kernel {wanted}"))
    .hint(super::full)?;
    let text = serde_json::to_vec_pretty(&record)?;
    fs::write(new.join("record.json"), text).step(|| "write(2) record.json")?;
    // Remove a kernel that has no record or an outdated record.
    if directory.exists() {
        remove_tree(&directory)?;
    }
    fs::rename(&new, &directory)
        .step(|| format!("rename(2) to {}", directory.display()))?;
    let short = &record.sha256[..12];
    say(&format!("kernel {wanted} from {}, sha256 {short}", record.source));
    let made = open(wanted, image.as_deref(), &directory)?;
    made.context("the new kernel was not found")
}

fn is_series(wanted: &str) -> bool {
    wanted.starts_with(|first: char| first.is_ascii_digit()) && !wanted.contains('/')
}

fn open(
    wanted: &str,
    image: Option<&Path>,
    directory: &Path,
) -> Result<Option<Kernel>> {
    let Ok(text) = fs::read(directory.join("record.json")) else { return Ok(None) };
    let record: Record = serde_json::from_slice(&text)
        .with_context(|| format!("{}: remove it", directory.display()))?;
    // The list of wanted modules has changed.
    if record.modules != modules::WANTED {
        return Ok(None);
    }
    // The modules beside the image have changed.
    if image.is_some_and(|image| record.beside != beside(image, &record.release)) {
        return Ok(None);
    }
    let there = |name: &str| Some(directory.join(name)).filter(|path| path.exists());
    let images: Vec<PathBuf> =
        ["vmlinux", "bzImage"].map(there).into_iter().flatten().collect();
    if images.is_empty() {
        return Ok(None);
    }
    let modules = there("modules");
    if image.is_some() && modules.is_none() {
        let release = &record.release;
        say(&format!(
            "no ../lib/modules/{release} beside the kernel: only built-in features \
             are available"
        ));
    }
    Ok(Some(Kernel {
        wanted: wanted.to_owned(),
        release: record.release,
        // Distributions do not require signatures by default; the user's own kernel
        // may.
        any_module: is_series(wanted),
        images,
        modules,
    }))
}

/// Get the kernel from the machine's package manager.
fn from_package(
    series: &str,
    scratch: &Path,
    new: &Path,
    busybox: &Path,
) -> Result<Record> {
    let path = env::var_os("PATH").unwrap_or_default();
    let apt = Apt::new(&path, &scratch.join("apt"), &say).with_context(|| {
        "kernels are downloaded only on Debian and its derivatives: use --kernel PATH \
         with a vmlinux or bzImage, and its modules in ../lib/modules beside it"
    })?;
    let package = package::download(&apt, series)?;
    let tree = scratch.join("tree");
    apt.unpack(&package, &tree)?;
    let boot = tree.join("boot");
    let image = fs::read_dir(&boot)
        .step(|| format!("readdir(3) {}", boot.display()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("/vmlinuz-"))
        .context("the package contains no /boot/vmlinuz")?;
    let mut record = from_image(&image, scratch, new, busybox)?;
    let name = package.file_name().unwrap_or_default();
    record.source = name.to_string_lossy().into_owned();
    record.sha256 = digest(&package)?;
    Ok(record)
}

/// Get the kernel from an image, and its modules from their usual path.
fn from_image(
    image: &Path,
    scratch: &Path,
    new: &Path,
    busybox: &Path,
) -> Result<Record> {
    let bytes = fs::read(image).step(|| format!("read(2) {}", image.display()))?;
    let shown = || image.display().to_string();
    let vmlinux = bzimage::vmlinux(&bytes).with_context(shown)?;
    let release = bzimage::release(&bytes).with_context(shown)?;
    // Try the ELF file first, because QEMU loads it directly, then the bzImage.
    let mut images = Vec::new();
    images.extend(vmlinux.as_ref().map(|elf| ("vmlinux", elf)));
    if !bytes.starts_with(b"\x7fELF") {
        images.push(("bzImage", &bytes));
    }
    for (name, bytes) in images {
        let path = new.join(name);
        fs::write(&path, bytes).step(|| format!("write(2) {}", path.display()))?;
    }
    if let Some(from) = modules_beside(image, &release) {
        let from = with_lists(&from, &release, scratch, busybox)?;
        modules::pick(&from, &new.join("modules"))?;
    }
    let sha256 = hexadecimal(&Sha256::digest(&bytes));
    let modules = modules::WANTED.map(str::to_owned).to_vec();
    let beside = beside(image, &release);
    Ok(Record { source: shown(), sha256, release, modules, beside })
}

/// A digest of the names, sizes and times of the modules beside an image.
fn beside(image: &Path, release: &str) -> String {
    let mut files = Vec::new();
    if let Some(directory) = modules_beside(image, release) {
        list(&directory, &mut files);
    }
    files.sort();
    hexadecimal(&Sha256::digest(files.join("\n")))
}

/// Append the path, size and time of each file below a directory. Errors are ignored
/// here, because copying the modules reports them.
fn list(directory: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(about) = entry.metadata() else { continue };
        if about.is_dir() {
            list(&entry.path(), files);
        } else {
            let (size, time) = (about.len(), about.modified());
            files.push(format!("{:?} {size} {time:?}", entry.path()));
        }
    }
}

fn modules_beside(image: &Path, release: &str) -> Option<PathBuf> {
    let beside = image.parent()?;
    let places = [
        beside.join("../lib/modules").join(release),
        beside.join("lib/modules").join(release),
        beside.join("../usr/lib/modules").join(release),
        Path::new("/lib/modules").join(release),
    ];
    places.into_iter().find(|place| place.is_dir())
}

/// Create modules.dep with depmod(8), because packages do not contain it.
fn with_lists(
    from: &Path,
    release: &str,
    scratch: &Path,
    busybox: &Path,
) -> Result<PathBuf> {
    if from.join("modules.dep").exists() {
        return Ok(from.to_owned());
    }
    // Do not change the directory. Create the lists in a copy that consists of hard
    // links.
    let base = scratch.join("depmod");
    let copy = base.join("lib/modules").join(release);
    link_tree(from, &copy)?;
    let mut depmod = Command::new(busybox);
    run(depmod.args(["depmod", "-b"]).arg(&base).arg(release), TIMEOUT)?;
    Ok(copy)
}

fn link_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).step(|| format!("mkdir(2) {}", to.display()))?;
    let entries =
        fs::read_dir(from).step(|| format!("readdir(3) {}", from.display()))?;
    for entry in entries.flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            link_tree(&from, &to)?;
        } else if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).step(|| format!("copy to {}", to.display()))?;
        }
    }
    Ok(())
}

fn digest(file: &Path) -> Result<String> {
    let bytes = fs::read(file).step(|| format!("read(2) {}", file.display()))?;
    Ok(hexadecimal(&Sha256::digest(&bytes)))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_or_changed_modules_beside_an_image_are_used() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, image) =
            (dir.path().join("kernels"), dir.path().join("vmlinux"));
        fs::write(&image, "\x7fELF\0Linux version 9.9.9-x (somebody)\0").unwrap();
        let find = || {
            let wanted = image.to_str().unwrap();
            find(wanted, &cache, Path::new("/bin/false")).unwrap().modules
        };
        assert_eq!(find(), None);
        let modules = dir.path().join("lib/modules/9.9.9-x");
        fs::create_dir_all(&modules).unwrap();
        for (name, text) in [("modules.dep", "aufs.ko:\n"), ("modules.alias", "")] {
            fs::write(modules.join(name), text).unwrap();
        }
        for text in ["built", "built anew"] {
            fs::write(modules.join("aufs.ko"), text).unwrap();
            let taken = find().unwrap().join("aufs.ko");
            assert_eq!(fs::read_to_string(taken).unwrap(), text);
        }
    }

    #[test]
    fn a_path_that_is_not_a_kernel_is_refused_and_leaves_no_files() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("kernels");
        let file = dir.path().join("file");
        fs::write(&file, "text").unwrap();
        for wanted in [dir.path(), &file, &dir.path().join("missing")] {
            let wanted = wanted.to_str().unwrap();
            find(wanted, &cache, Path::new("/bin/false")).unwrap_err();
        }
        let left = ["lock", "new"].map(|name| cache.join(name));
        for entry in fs::read_dir(&cache).unwrap().flatten() {
            assert!(left.contains(&entry.path()), "{entry:?}");
        }
        assert_eq!(fs::read_dir(cache.join("new")).unwrap().count(), 0);
    }
}
