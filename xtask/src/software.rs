//! The images for the book's page about real software. mmdebstrap(1) and umoci(1)
//! make them from packages of the distribution. They are stored in the build
//! directory.

mod recipe;

use std::env;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::rights;
use common::state::remove_tree;
use common::step::Step;
use provision::apt::Apt;
use provision::command::run;
use provision::room::room;
use sha2::{Digest, Sha256};

use crate::checkout::target;
use crate::install::{Installer, Package, on_path};
use crate::vm::scratch::Scratch;
use crate::vm::tree::{Node, Tree};
use recipe::{BASE, DEB, IMAGES, Image, REGISTRY};

/// The name of the page.
pub(crate) const PAGE: &str = "ch07-software";

/// The memory of the page's VM, in megabytes. The VM's files are also in memory.
pub(crate) const MEMORY: u32 = 1536;

/// The tools that make the images. If this process is root's, missing tools are
/// installed.
const TOOLS: [&str; 2] = ["mmdebstrap", "umoci"];

/// The files that the page uses: an archive with all images, and a package.
const FILES: [&str; 2] = ["images.tar", "hello.deb"];

/// The disk space for the directory trees of the images, and for their packages.
const REQUIRED_SPACE: u64 = 1 << 30;

/// The time limit of one command. A command may download 60 MB.
const STEP_TIMEOUT: Duration = Duration::from_secs(900);

fn say(text: &str) {
    eprintln!("software: {text}");
}

/// The files for the VM, in /usr/share/software.
///
/// # Errors
/// The images do not exist yet and this process is not root's; a package or a tool
/// cannot be downloaded or installed.
pub(crate) fn files() -> Result<Tree> {
    let directory = current_images().context("the images of real software")?;
    let mut tree = Tree::default();
    for name in FILES {
        let path = directory.join(name);
        let bytes =
            fs::read(&path).step(|| format!("read(2) {}", path.display()))?;
        tree.add(&format!("usr/share/software/{name}"), Node::File(0o644, bytes));
    }
    Ok(tree)
}

/// The directory with the files. If the recipes or the versions of the packages have
/// changed since the files were made, the files are made again.
fn current_images() -> Result<PathBuf> {
    let parent = target().join("software");
    fs::create_dir_all(&parent).step(|| format!("mkdir(2) {}", parent.display()))?;
    let lock =
        File::open(&parent).step(|| format!("open(2) {}", parent.display()))?;
    lock.lock().step(|| format!("flock(2) {}", parent.display()))?;
    let scratch = Scratch::new(&parent.join("new"))?;
    let path = env::var_os("PATH").unwrap_or_default();
    let apt = Apt::new(&path, &scratch.path().join("apt"), &say)?;
    let versions = apt.versions(&recipe::packages());
    let kept = parent.join("images");
    let there = fs::read_to_string(kept.join("versions")).ok();
    let versions = match (versions, there) {
        (Ok(versions), Some(there)) if there == key(&versions) => return Ok(kept),
        (Ok(versions), _) => versions,
        // Without a network, use the existing images of the same recipes.
        (Err(error), Some(there)) if there.starts_with(&key("")) => {
            say(&format!("the versions of the packages are not known: {error:#}"));
            return Ok(kept);
        }
        (Err(error), _) => return Err(error),
    };
    tools()?;
    room(scratch.path(), REQUIRED_SPACE, "the images")?;
    let new = scratch.path().join("images");
    fs::create_dir(&new).step(|| format!("mkdir(2) {}", new.display()))?;
    ImageBuilder { scratch: scratch.path(), apt: &apt }.make(&new)?;
    fs::write(new.join("versions"), key(&versions)).step(|| "write(2) versions")?;
    if kept.exists() {
        remove_tree(&kept)?;
    }
    fs::rename(&new, &kept).step(|| format!("rename(2) to {}", kept.display()))?;
    Ok(kept)
}

/// A text that identifies the images: a digest of the recipes, and the versions of
/// the packages.
fn key(versions: &str) -> String {
    let (without, never) = (recipe::LEFT_OUT, recipe::VOLATILE);
    let recipes = format!("{BASE:?} {IMAGES:?} {REGISTRY:?} {without:?} {never:?}");
    let digest = Sha256::digest(recipes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}\n{versions}")
}

/// Install the tools that are missing.
fn tools() -> Result<()> {
    let missing = || TOOLS.iter().copied().filter(|it| on_path(it).is_none());
    let packages: Vec<Package> = missing().map(Package::named).collect();
    ensure!(
        rights::privileged(),
        "mmdebstrap(1) makes them as root: run this command as root once"
    );
    if packages.is_empty() {
        return Ok(());
    }
    let installer = Installer::of(&packages).context("no package manager")?;
    say(&format!("installing tools: {}", installer.line()));
    installer.run()
}

/// Makes the images in a temporary directory.
struct ImageBuilder<'a> {
    scratch: &'a Path,
    apt: &'a Apt<'a>,
}

impl ImageBuilder<'_> {
    /// Make all files in this directory.
    fn make(&self, directory: &Path) -> Result<()> {
        let layout = self.scratch.join("layout").display().to_string();
        umoci(&["init", "--layout", &layout])?;
        say("making the image debian with mmdebstrap, as root");
        let base = self.scratch.join("base.tar");
        self.mmdebstrap(&BASE, &[], &base)?;
        umoci(&["new", "--image", &reference(&layout, BASE.name)])?;
        self.layer(&layout, &BASE, &base)?;
        for image in &IMAGES {
            say(&format!(
                "making the image {} with mmdebstrap, as root",
                image.name
            ));
            let layer = self.changes(image, &base)?;
            let from = reference(&layout, BASE.name);
            umoci(&["tag", "--image", &from, &format!("{}:latest", image.name)])?;
            self.layer(&layout, image, &layer)?;
        }
        self.registry(&layout)?;
        umoci(&["gc", "--layout", &layout])?;
        let [archive, deb] = FILES.map(|name| directory.join(name));
        tar(Path::new(&layout), &archive)?;
        let package = self.apt.download(DEB)?;
        fs::copy(&package, &deb).step(|| format!("write(2) {}", deb.display()))?;
        Ok(())
    }

    /// Call mmdebstrap for an image. It uses the package sources of this machine.
    fn mmdebstrap(&self, image: &Image, more: &[String], to: &Path) -> Result<()> {
        let mut command = Command::new("mmdebstrap");
        command.env("TMPDIR", self.scratch).args(["--mode=root", "--quiet"]);
        command.arg(format!("--variant={}", image.variant));
        command.arg(format!("--include={}", image.packages.join(",")));
        for path in recipe::LEFT_OUT {
            command.arg(format!("--dpkgopt=path-exclude={path}"));
        }
        command.args(more);
        if let Some((name, text)) = image.program {
            let path = self.scratch.join(name);
            let step = || format!("write(2) {}", path.display());
            fs::write(&path, text).step(step)?;
            fs::set_permissions(&path, Permissions::from_mode(0o755)).step(step)?;
            let script = format!("copy-in \"{}\" /usr/local/bin", path.display());
            command.arg(format!("--customize-hook={script}"));
        }
        if !image.script.is_empty() {
            let script = format!("chroot \"$1\" sh -ec '{}'", image.script);
            command.arg(format!("--customize-hook={script}"));
        }
        command.arg(release()?).arg(to).args(sources()?);
        run(&mut command, STEP_TIMEOUT).map(drop)
    }

    /// The files that the packages of an image add to the base, as a layer.
    fn changes(&self, image: &Image, base: &Path) -> Result<PathBuf> {
        let file = |end: &str| self.scratch.join(format!("{}{end}", image.name));
        let [tree, mark, layer] = [".d", ".mark", ".tar"].map(file);
        let begin = format!(
            "--setup-hook=tar -C \"$1\" -xf '{}' && touch '{}'",
            base.display(),
            mark.display()
        );
        self.mmdebstrap(image, &[begin], &tree)?;
        let left_out: Vec<String> =
            recipe::VOLATILE.iter().map(|it| format!("! -path './{it}'")).collect();
        // A package preserves the modification times of its files. The change time
        // of the inode, however, is the time of the installation.
        let script = format!(
            "cd '{}'; find . -xdev -cnewer '{}' {} -print0 | \
             tar --null --no-recursion --numeric-owner -T - -cf '{}'",
            tree.display(),
            mark.display(),
            left_out.join(" "),
            layer.display()
        );
        run(Command::new("sh").args(["-ec", &script]), STEP_TIMEOUT)?;
        remove_tree(&tree)?;
        Ok(layer)
    }

    /// The image of a registry. It contains only two unpacked packages. It shares no
    /// layer with the images that are pushed to it.
    fn registry(&self, layout: &str) -> Result<()> {
        let tree = self.scratch.join("registry.d");
        for package in REGISTRY.packages {
            self.apt.unpack(&self.apt.download(package)?, &tree)?;
        }
        let script = format!(
            "cd '{}'; rm -r usr/share; mkdir tmp; chmod 1777 tmp; {}",
            tree.display(),
            REGISTRY.script
        );
        run(Command::new("sh").args(["-ec", &script]), STEP_TIMEOUT)?;
        let layer = self.scratch.join("registry.tar");
        tar(&tree, &layer)?;
        umoci(&["new", "--image", &reference(layout, REGISTRY.name)])?;
        self.layer(layout, &REGISTRY, &layer)
    }

    /// Add a layer to an image, and the settings of its recipe.
    fn layer(&self, layout: &str, image: &Image, layer: &Path) -> Result<()> {
        let name = reference(layout, image.name);
        let layer = layer.display().to_string();
        umoci(&["raw", "add-layer", "--image", &name, &layer])?;
        umoci(&[&["config", "--image", &name][..], image.config].concat())
    }
}

/// The name of an image for umoci. The annotation in the index is a name with a tag.
fn reference(layout: &str, name: &str) -> String {
    format!("{layout}:{name}:latest")
}

fn umoci(words: &[&str]) -> Result<()> {
    run(Command::new("umoci").args(words), STEP_TIMEOUT).map(drop)
}

/// Write a directory as a tar archive in which root owns all files.
fn tar(directory: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("tar");
    command.args(["--owner=0", "--group=0", "--numeric-owner", "-C"]);
    command.arg(directory).arg("-cf").arg(to).arg(".");
    run(&mut command, STEP_TIMEOUT).map(drop)
}

/// The name of the distribution's release.
fn release() -> Result<String> {
    let text =
        fs::read_to_string("/etc/os-release").step(|| "read(2) os-release")?;
    let mut lines = text.lines();
    let name = lines.find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.context("/etc/os-release has no VERSION_CODENAME")?.to_owned())
}

/// The files with the distribution's own package sources, in the old or the new
/// format.
fn sources() -> Result<Vec<PathBuf>> {
    let known = [
        "/etc/apt/sources.list",
        "/etc/apt/sources.list.d/debian.sources",
        "/etc/apt/sources.list.d/ubuntu.sources",
    ];
    let has_source = |path: &PathBuf| {
        fs::read_to_string(path).is_ok_and(|text| {
            text.lines().any(|line| line.starts_with("deb ") || line == "Types: deb")
        })
    };
    let found: Vec<PathBuf> =
        known.iter().map(PathBuf::from).filter(has_source).collect();
    ensure!(!found.is_empty(), "no package source in {}", known.join(", "));
    Ok(found)
}
