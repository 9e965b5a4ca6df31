//! The sources of a static busybox.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::say;
use crate::apt::{Apt, TIMEOUT, only_file};
use crate::command::{Said, run};
use crate::room::{is_full, room};
use common::archive::unpack_file;
use common::hints;
use common::step::{Hint, Step};

/// The disk space for a package, its content, and the image.
const ROOM: u64 = 8 << 20;

/// The places in which to search.
#[derive(Debug)]
pub(super) struct Places {
    /// The file that the user named.
    pub(super) named: Option<PathBuf>,
    /// PATH, in which busybox and package managers are searched.
    pub(super) path: OsString,
}

impl Places {
    /// The places according to the environment of this process.
    pub(super) fn here() -> Places {
        let named = env::var_os("MYDOCKER_BUSYBOX").filter(|path| !path.is_empty());
        Places {
            named: named.map(PathBuf::from),
            path: env::var_os("PATH").unwrap_or_default(),
        }
    }

    fn run(&self, command: &mut Command) -> Result<Said> {
        run(command.env("PATH", &self.path), TIMEOUT)
    }
}

/// A busybox that was found.
#[derive(Debug)]
pub(super) struct BusyboxSource {
    /// The file.
    pub(super) file: PathBuf,
    /// Whether the file is a tar of a whole root filesystem, not a program.
    pub(super) is_tar: bool,
    /// The source, for the record and for display.
    pub(super) name: String,
}

/// A function that gets a busybox, with a directory to work in.
type Source = fn(&Places, &Path) -> Result<BusyboxSource>;

/// Try all sources in order; `scratch` is a directory to work in.
///
/// # Errors
/// `$MYDOCKER_BUSYBOX` is set and not usable; ENOSPC; all sources fail. In the last
/// case, the error contains the error of each source.
pub(super) fn find(places: &Places, scratch: &Path) -> Result<BusyboxSource> {
    // If the user names a busybox, no other busybox is used.
    if let Some(path) = &places.named {
        return named(path).context("MYDOCKER_BUSYBOX");
    }
    let mut tried = Vec::new();
    let sources: [(&str, Source); 4] = [
        ("a static busybox in PATH", on_path),
        ("apt-get download busybox-static", apt),
        ("apk fetch busybox-static", apk),
        ("dnf download busybox", dnf),
    ];
    for (name, source) in sources {
        match source(places, scratch) {
            Ok(found) => return Ok(found),
            Err(error) if is_full(&error) => return Err(error),
            Err(error) => {
                // The package manager's own message for a full disk is misleading.
                room(scratch, ROOM, "busybox").hint(hints::state)?;
                tried.push(format!("\n  {name}: {error:#}"));
            }
        }
    }
    bail!(
        "no busybox found; tried:{}\nhint: set MYDOCKER_BUSYBOX to a static \
         busybox, or to a tar of a root filesystem",
        tried.concat()
    )
}

/// The source that [`find`] would probably use, without downloading.
///
/// # Errors
/// `$MYDOCKER_BUSYBOX` is set and not usable; there is no static busybox and no
/// package manager.
pub(super) fn first(places: &Places) -> Result<String> {
    if let Some(path) = &places.named {
        let found = named(path).context("MYDOCKER_BUSYBOX")?;
        return Ok(format!("MYDOCKER_BUSYBOX names {}", found.name));
    }
    let none = match on_path(places, Path::new("")) {
        Ok(found) => return Ok(format!("{} will be used", found.name)),
        Err(error) => error,
    };
    for manager in ["apt-get", "apk", "dnf"] {
        let mut directories = env::split_paths(&places.path);
        if directories.any(|directory| directory.join(manager).is_file()) {
            return Ok(format!("{manager} can download it"));
        }
    }
    bail!(
        "no static busybox in PATH ({none:#}), and no apt-get, apk or dnf to \
         download it"
    )
}

fn named(path: &Path) -> Result<BusyboxSource> {
    let file = fs::canonicalize(path).step(|| path.display().to_string())?;
    let name = file.display().to_string();
    let head = head(&file)?;
    // All tars since POSIX.1-1988 have this magic at byte 257.
    if head.get(257..262) == Some(b"ustar") {
        return Ok(BusyboxSource { file, is_tar: true, name });
    }
    let packed = [
        ("gunzip", &b"\x1f\x8b"[..]),
        ("unxz", b"\xfd7zXZ"),
        ("unzstd", b"\x28\xb5\x2f\xfd"),
        ("bunzip2", b"BZh"),
    ];
    if let Some((tool, _)) = packed.iter().find(|(_, magic)| head.starts_with(magic))
    {
        bail!("{name} is compressed: decompress it with {tool} first");
    }
    check(&file)?;
    Ok(BusyboxSource { file, is_tar: false, name })
}

fn head(file: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(file)
        .and_then(|file| file.take(512).read_to_end(&mut head))
        .step(|| format!("read(2) {}", file.display()))?;
    Ok(head)
}

fn on_path(places: &Places, _scratch: &Path) -> Result<BusyboxSource> {
    let mut reason = "not found".to_owned();
    for directory in env::split_paths(&places.path) {
        for name in ["busybox", "busybox.static", "busybox-static"] {
            let file = directory.join(name);
            if !file.is_file() {
                continue;
            }
            match check(&file) {
                Ok(()) => {
                    let name = file.display().to_string();
                    return Ok(BusyboxSource { file, is_tar: false, name });
                }
                Err(error) => reason = format!("{error:#}"),
            }
        }
    }
    bail!(reason)
}

/// Get busybox from Debian or a derivative.
fn apt(places: &Places, scratch: &Path) -> Result<BusyboxSource> {
    let work = scratch.join("apt");
    let apt = Apt::new(&places.path, &work, &say)?;
    let package = apt.download("busybox-static").hint(hints::state)?;
    let tree = work.join("tree");
    apt.unpack(&package, &tree)?;
    unpacked(&tree, &package)
}

/// Get busybox from Alpine.
fn apk(places: &Places, scratch: &Path) -> Result<BusyboxSource> {
    places.run(Command::new("apk").arg("--version"))?;
    let work = scratch.join("apk");
    let tree = make(&work.join("tree"))?;
    let got = make(&work.join("got"))?;
    say("downloading busybox-static with apk");
    places.run(
        Command::new("apk")
            .args(["fetch", "--quiet", "--no-cache", "--output"])
            .arg(&got)
            .arg("busybox-static"),
    )?;
    let package = only_file(&got)?;
    // An .apk file consists of three concatenated gzipped tars: signature, control
    // and data.
    let plain = work.join("plain.tar");
    let said = places.run(Command::new("gzip").arg("-dc").arg(&package))?;
    fs::write(&plain, said.out).step(|| format!("write(2) {}", plain.display()))?;
    unpack_file(&plain, &tree)?;
    unpacked(&tree, &package)
}

/// Get busybox from Fedora or a derivative.
fn dnf(places: &Places, scratch: &Path) -> Result<BusyboxSource> {
    places.run(Command::new("dnf").arg("--version"))?;
    let work = scratch.join("dnf");
    let tree = make(&work.join("tree"))?;
    let got = make(&work.join("got"))?;
    say("downloading busybox with dnf");
    places.run(
        Command::new("dnf")
            .args(["download", "-q", "--destdir"])
            .arg(&got)
            .arg("busybox"),
    )?;
    let package = only_file(&got)?;
    let said = places.run(Command::new("rpm2archive").arg("-n").arg(&package))?;
    // Depending on its version, rpm2archive writes to stdout or to a file beside the
    // package.
    let plain = got.join(format!("{}.tar", file_name(&package)));
    if !plain.exists() {
        fs::write(&plain, said.out)
            .step(|| format!("write(2) {}", plain.display()))?;
    }
    unpack_file(&plain, &tree)?;
    unpacked(&tree, &package)
}

/// The busybox of an unpacked package.
fn unpacked(tree: &Path, package: &Path) -> Result<BusyboxSource> {
    let places =
        ["bin/busybox", "usr/bin/busybox", "sbin/busybox", "usr/sbin/busybox"];
    let static_ones = ["bin/busybox.static", "usr/bin/busybox.static"];
    let places = static_ones.iter().chain(&places).map(|place| tree.join(place));
    let name = file_name(package);
    let file = places
        .into_iter()
        .find(|place| place.is_file())
        .with_context(|| format!("{name} contains no busybox"))?;
    check(&file)?;
    Ok(BusyboxSource { file, is_tar: false, name })
}

fn make(directory: &Path) -> Result<PathBuf> {
    fs::create_dir_all(directory)
        .step(|| format!("mkdir(2) {}", directory.display()))?;
    Ok(directory.to_owned())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(OsStr::new("?")).to_string_lossy().into_owned()
}

/// Check that a program works in an empty root: it is static, built for this
/// machine, and it runs.
pub(super) fn check(file: &Path) -> Result<()> {
    let shown = file.display();
    let read =
        |path: &Path| fs::read(path).step(|| format!("read(2) {}", path.display()));
    let program = read(file)?;
    let own = read(Path::new("/proc/self/exe"))?;
    let elf = |bytes: &[u8]| Elf::read(bytes);
    let program =
        elf(&program).with_context(|| format!("{shown} is not an ELF program"))?;
    let own = elf(&own).context("/proc/self/exe is not an ELF program")?;
    ensure!(
        program.machine == own.machine,
        "{shown} is built for another architecture"
    );
    ensure!(
        !program.interpreter,
        "{shown} is not static: it requires a dynamic loader"
    );
    let about = statvfs(file).step(|| format!("statvfs(3) {shown}"))?;
    ensure!(
        !about.flags().contains(FsFlags::ST_NOEXEC),
        "{shown} is on a filesystem that is mounted with noexec"
    );
    applets(file).map(drop)
}

/// The paths of busybox's applets, such as `bin/sh`.
pub(super) fn applets(file: &Path) -> Result<Vec<String>> {
    // Busybox takes any other name in argv[0] as the name of an applet.
    let mut command = Command::new(file);
    command.arg0("busybox").arg("--list-full");
    let said = run(&mut command, Duration::from_secs(10))
        .context("cannot list its applets")?;
    let list = String::from_utf8(said.out).context("busybox --list-full")?;
    let list: Vec<String> = list.lines().map(str::to_owned).collect();
    ensure!(
        list.iter().any(|applet| applet.ends_with("/sh")),
        "{} has no sh",
        file.display()
    );
    Ok(list)
}

/// Whether a program is dynamic: it needs a loader at run time.
#[must_use]
pub fn wants_loader(program: &[u8]) -> bool {
    Elf::read(program).is_some_and(|elf| elf.interpreter)
}

/// The fields of a 64-bit little-endian ELF file that are needed here.
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
    use super::super::fake::Machine;
    use super::*;

    #[test]
    fn a_dynamic_program_is_refused() {
        let error = check(Path::new("/bin/sh")).unwrap_err();
        assert!(format!("{error:#}").contains("is not static"), "{error:#}");
    }

    #[test]
    fn a_file_that_is_not_a_program_is_refused() {
        let error = check(Path::new("/etc/passwd")).unwrap_err();
        assert!(format!("{error:#}").contains("is not an ELF program"), "{error:#}");
        assert!(Elf::read(b"\x7fELF\x02\x01").is_none());
    }

    #[test]
    fn a_compressed_tar_is_recognized() {
        let machine = Machine::new();
        let tar = machine.program("root.tar.gz", b"\x1f\x8b\x08 and so on");
        let error = named(&tar).unwrap_err();
        assert!(format!("{error:#}").contains("gunzip"), "{error:#}");
    }

    #[test]
    fn without_a_source_the_error_lists_all_attempts() {
        let machine = Machine::new();
        machine.program("path/busybox", "#!/bin/sh\n");
        machine.program("path/apk", "#!/bin/sh\necho no route >&2; exit 1\n");
        let error = find(&machine.places(), machine.dir.path()).unwrap_err();
        let text = error.to_string();
        for tried in [
            "path/busybox is not an ELF program",
            "\n  apt-get download busybox-static: apt-get not found",
            "\n  apk fetch busybox-static: apk: no route",
            "\n  dnf download busybox: dnf not found",
            "\nhint: ",
        ] {
            assert!(text.contains(tried), "{tried:?} is not in: {text}");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_first_working_busybox_in_path_is_used_under_any_of_its_names() {
        use super::super::fake::busybox;
        let machine = Machine::new();
        machine.program("path/busybox", "#!/bin/sh\n");
        let good = machine.program("path/busybox.static", busybox());
        let found = find(&machine.places(), machine.dir.path()).unwrap();
        assert_eq!(found.file, good);
        assert!(!found.is_tar);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn apt_downloads_lists_if_the_machine_has_none() {
        let machine = Machine::new();
        machine.with_apt();
        let found = find(&machine.places(), machine.dir.path()).unwrap();
        assert_eq!(found.name, "busybox-static_1%3a1.35_all.deb");
        let calls = "--version\nbusybox-static\nupdate\nbusybox-static\n";
        assert_eq!(machine.calls(), calls);
    }
}
