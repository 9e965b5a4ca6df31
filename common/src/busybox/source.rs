//! Where a static busybox can be had.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::say;
use super::unpack::unpack;

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The file.
    pub(super) file: PathBuf,
    /// Whether it is a tar of a whole root file system, not a program.
    pub(super) is_tar: bool,
    /// For the record and the reader.
    pub(super) name: String,
}

/// A way to get one, with a directory to work in.
type Source = fn(&Path) -> Result<Found>;

/// Try all sources in turn; `scratch` is a directory to work in.
///
/// # Errors
/// `$MYDOCKER_BUSYBOX` when it is set and no good; else all that was tried.
pub(super) fn find(scratch: &Path) -> Result<Found> {
    // Who names one wants that one.
    if let Some(path) =
        env::var_os("MYDOCKER_BUSYBOX").filter(|path| !path.is_empty())
    {
        return named(Path::new(&path)).context("MYDOCKER_BUSYBOX");
    }
    let mut tried = Vec::new();
    let sources: [(&str, Source); 4] = [
        ("a static busybox on PATH", on_path),
        ("apt-get download busybox-static", apt),
        ("apk fetch busybox-static", apk),
        ("dnf download busybox", dnf),
    ];
    for (name, source) in sources {
        match source(scratch) {
            Ok(found) => return Ok(found),
            Err(error) => tried.push(format!("\n  {name}: {error:#}")),
        }
    }
    bail!(
        "no busybox to be had; tried:{}\nhint: let MYDOCKER_BUSYBOX name a static \
         busybox, or a tar of a root file system",
        tried.concat()
    )
}

fn named(path: &Path) -> Result<Found> {
    let file =
        fs::canonicalize(path).with_context(|| format!("{}", path.display()))?;
    let name = file.display().to_string();
    if is_tar(&file)? {
        return Ok(Found { file, is_tar: true, name });
    }
    check(&file)?;
    Ok(Found { file, is_tar: false, name })
}

/// The magic at byte 257 that all tars since POSIX.1-1988 have.
fn is_tar(file: &Path) -> Result<bool> {
    let mut head = Vec::new();
    File::open(file)
        .and_then(|file| file.take(512).read_to_end(&mut head))
        .with_context(|| format!("{}", file.display()))?;
    Ok(head.get(257..262) == Some(b"ustar"))
}

fn on_path(_scratch: &Path) -> Result<Found> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut reason = "none there".to_owned();
    for directory in env::split_paths(&path) {
        for name in ["busybox", "busybox.static", "busybox-static"] {
            let file = directory.join(name);
            if !file.is_file() {
                continue;
            }
            match check(&file) {
                Ok(()) => {
                    let name = file.display().to_string();
                    return Ok(Found { file, is_tar: false, name });
                }
                Err(error) => reason = format!("{error:#}"),
            }
        }
    }
    bail!(reason)
}

/// Debian and its children. The machine's own package lists are tried first; a
/// fresh machine has none, so the second attempt reads lists of its own, which
/// needs no root.
fn apt(scratch: &Path) -> Result<Found> {
    output(Command::new("apt-get").arg("--version"))?;
    let work = scratch.join("apt");
    for directory in ["lists/partial", "cache/archives/partial", "got"] {
        fs::create_dir_all(work.join(directory))?;
    }
    let option = |name: &str, directory: &str| {
        format!("-o{name}={}", work.join(directory).display())
    };
    let common = [
        option("Dir::Cache", "cache"),
        // Root would download as the user "_apt", who can't write here.
        "-oAPT::Sandbox::User=".to_owned(),
        "-oAcquire::Languages=none".to_owned(),
        "-oAcquire::Retries=1".to_owned(),
        "-oAcquire::http::Timeout=20".to_owned(),
        "-oAcquire::https::Timeout=20".to_owned(),
    ];
    let got = work.join("got");
    let apt_get = |lists: Option<String>, words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.arg("-qq").args(&common).args(lists).args(words).current_dir(&got);
        output(&mut command)
    };
    say("downloading busybox-static with apt-get");
    if apt_get(None, &["download", "busybox-static"]).is_err() {
        say("reading package lists with apt-get, once");
        let lists = || Some(option("Dir::State::Lists", "lists"));
        // A source that doesn't answer is only a warning: what the others have is
        // enough.
        let updated = apt_get(lists(), &["update"]);
        apt_get(lists(), &["download", "busybox-static"])
            .map_err(|error| updated.err().unwrap_or(error))?;
    }
    let package = only_file(&got)?;
    let tree = work.join("tree");
    output(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&tree))?;
    unpacked(&tree, &package)
}

/// Alpine.
fn apk(scratch: &Path) -> Result<Found> {
    let work = scratch.join("apk");
    let tree = work.join("tree");
    fs::create_dir_all(work.join("got"))?;
    fs::create_dir_all(&tree)?;
    let got = work.join("got");
    output(
        Command::new("apk")
            .args(["fetch", "--quiet", "--no-cache", "--output"])
            .arg(&got)
            .arg("busybox-static"),
    )?;
    let package = only_file(&got)?;
    // An .apk is a gzipped tar of signature, control and data, one behind the other.
    let plain = work.join("plain.tar");
    let status = Command::new("gzip")
        .arg("-dc")
        .arg(&package)
        .stdout(File::create(&plain)?)
        .status()
        .context("gzip")?;
    ensure!(status.success(), "gzip -dc {}: {status}", package.display());
    unpack(&plain, &tree)?;
    unpacked(&tree, &package)
}

/// Fedora and its kin.
fn dnf(scratch: &Path) -> Result<Found> {
    let work = scratch.join("dnf");
    let got = work.join("got");
    let tree = work.join("tree");
    fs::create_dir_all(&got)?;
    fs::create_dir_all(&tree)?;
    output(
        Command::new("dnf")
            .args(["download", "-q", "--destdir"])
            .arg(&got)
            .arg("busybox"),
    )?;
    let package = only_file(&got)?;
    let archive = Command::new("rpm2archive").arg("-n").arg(&package).output();
    let archive = archive.context("rpm2archive")?;
    ensure!(archive.status.success(), "rpm2archive {}", package.display());
    // Given a terminal or a file it writes beside the package, else to stdout.
    let plain = got.join(format!("{}.tar", file_name(&package)));
    if !plain.exists() {
        fs::write(&plain, archive.stdout)?;
    }
    unpack(&plain, &tree)?;
    unpacked(&tree, &package)
}

/// The busybox in an unpacked package.
fn unpacked(tree: &Path, package: &Path) -> Result<Found> {
    let places =
        ["bin/busybox", "usr/bin/busybox", "sbin/busybox", "usr/sbin/busybox"];
    let static_ones = ["bin/busybox.static", "usr/bin/busybox.static"];
    let places = static_ones.iter().chain(&places).map(|place| tree.join(place));
    let name = file_name(package);
    let file = places
        .into_iter()
        .find(|place| place.is_file())
        .with_context(|| format!("{name} holds no busybox"))?;
    check(&file)?;
    Ok(Found { file, is_tar: false, name })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(OsStr::new("?")).to_string_lossy().into_owned()
}

fn only_file(directory: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(directory)?;
    Ok(entries.next().context("nothing was downloaded")??.path())
}

/// Run a command quietly; its last words are the error.
fn output(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    // The words of a package manager are read by people of one language here.
    let done = match command.env("LC_ALL", "C").output() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            bail!("no {name} here")
        }
        done => done.with_context(|| name.clone())?,
    };
    if !done.status.success() {
        let words = String::from_utf8_lossy(&done.stderr);
        let last = words.lines().rfind(|line| !line.trim().is_empty());
        bail!("{name}: {}", last.unwrap_or("failed without a word").trim());
    }
    Ok(done.stdout)
}

/// A program that works in an empty root: static, for this machine, and it runs.
pub(super) fn check(file: &Path) -> Result<()> {
    let shown = file.display();
    let read =
        |path: &Path| fs::read(path).with_context(|| path.display().to_string());
    let program = read(file)?;
    let own = read(Path::new("/proc/self/exe"))?;
    let elf = |bytes: &[u8]| Elf::read(bytes);
    let program =
        elf(&program).with_context(|| format!("{shown} is no ELF program"))?;
    let own = elf(&own).context("/proc/self/exe is no ELF program")?;
    ensure!(program.machine == own.machine, "{shown} is for another machine");
    ensure!(!program.interpreter, "{shown} is not static: it wants a loader");
    applets(file).map(drop)
}

/// The paths that busybox installs itself as, `bin/sh` for one.
pub(super) fn applets(file: &Path) -> Result<Vec<String>> {
    let list = output(Command::new(file).arg("--list-full"))
        .with_context(|| format!("{} --list-full", file.display()))?;
    let list = String::from_utf8(list).context("busybox --list-full")?;
    let list: Vec<String> = list.lines().map(str::to_owned).collect();
    ensure!(
        list.iter().any(|applet| applet.ends_with("/sh")),
        "{} has no sh",
        file.display()
    );
    Ok(list)
}

/// The little of an ELF file that matters here, 64 bit little endian.
///
/// # Source
/// elf(5)
struct Elf {
    machine: u16,
    interpreter: bool,
}

impl Elf {
    fn read(bytes: &[u8]) -> Option<Elf> {
        const PT_INTERP: u32 = 3;
        if !bytes.starts_with(b"\x7fELF\x02\x01") {
            return None;
        }
        let u16_at = |at: usize| {
            Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
        };
        let start = u64::from_le_bytes(bytes.get(32..40)?.try_into().ok()?) as usize;
        let (size, count) = (u16_at(54)? as usize, u16_at(56)? as usize);
        let mut interpreter = false;
        for number in 0..count {
            let at = start.checked_add(number * size)?;
            let kind = bytes.get(at..at.checked_add(4)?)?;
            interpreter |= kind == PT_INTERP.to_le_bytes();
        }
        Some(Elf { machine: u16_at(18)?, interpreter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_wants_a_loader_is_refused() {
        let error = check(Path::new("/bin/sh")).unwrap_err();
        assert!(format!("{error:#}").contains("is not static"), "{error:#}");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let error = check(Path::new("/etc/passwd")).unwrap_err();
        assert!(format!("{error:#}").contains("is no ELF program"), "{error:#}");
        assert!(Elf::read(b"\x7fELF\x02\x01").is_none());
    }
}
