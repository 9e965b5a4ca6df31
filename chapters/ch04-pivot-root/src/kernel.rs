//! The kernel's filesystems: /proc, /dev and /sys.

use std::path::Path;

use anyhow::{Context, Result};
use common::guest::{GuestFile, GuestRoot, Kind};
use common::step::{Hint, Step};
use common::{ParentLink, Part, Plan, Users, id_map, mount_read_only};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mknodat, umask};
use nix::unistd::symlinkat;

/// The part that mounts /proc, /dev and /sys in the container's root. They contain
/// the files that programs need, but no file through which root inside the container
/// could change the host.
///
/// # Source
/// The OCI runtime specification, config-linux.md: "Default Filesystems",
/// "Default Devices", "Masked Paths", "Readonly Paths"
#[derive(Debug)]
pub struct KernelMounts;

/// Paths to hide, because they show data of the host.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths to make read-only, because writing to them changes the host.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Devices that give no access to the host, with major and minor numbers.
///
/// # Source
/// Documentation/admin-guide/devices.txt
const DEVICES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Symlinks in /dev that programs expect.
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

// ANCHOR: part
impl Part for KernelMounts {
    fn name(&self) -> &'static str {
        "kernel"
    }

    // Mount everything before the old root is detached: in a user namespace, the
    // kernel mounts a new /proc only if the process can still see a complete /proc.
    fn enter(&self, plan: &Plan, _link: &ParentLink) -> Result<()> {
        let root = GuestRoot::open(plan.root.assembled()?)?;
        let hardened = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let on = |path| root.make(Path::new(path), Kind::Directory);
        mount_new("proc", &on("/proc")?, "/proc", hardened, "")?;
        sys(&root, plan, hardened | MsFlags::MS_RDONLY)?;
        devices(&root, plan)?;
        let null = root.find(Path::new("/dev/null"))?.context("no /dev/null")?;
        let mut empty = None;
        for path in MASKED {
            mask(&root, Path::new(path), &null, &mut empty)?;
        }
        for path in READ_ONLY {
            make_read_only(&root, Path::new(path))?;
        }
        Ok(())
    }
}
// ANCHOR_END: part

/// Mount a new /sys. It shows the devices of the network namespace, so the kernel
/// mounts it only if the network namespace belongs to the user namespace. If a
/// container in a user namespace uses the host's network, the host's /sys is
/// bind-mounted read-only instead.
///
/// # Source
/// user_namespaces(7), "Interaction of user namespaces and other types of
/// namespaces"
fn sys(root: &GuestRoot, plan: &Plan, flags: MsFlags) -> Result<()> {
    let guest = Path::new("/sys");
    let make = || root.make(guest, Kind::Directory);
    let Err(error) = mount_new("sysfs", &make()?, "/sys", flags, "") else {
        return Ok(());
    };
    let denied = error.root_cause().downcast_ref() == Some(&Errno::EPERM);
    if plan.users == Users::Initial || !denied {
        return Err(error);
    }
    bind(guest, &make()?, guest)?;
    let place = root.find(guest)?.context("/sys was just mounted")?;
    mount_read_only(&place).step(|| "mount_setattr(2) /sys read-only".to_owned())
}

/// Mount a new filesystem of this kind on a directory.
fn mount_new(
    kind: &str,
    place: &GuestFile,
    guest: &str,
    flags: MsFlags,
    options: &str,
) -> Result<()> {
    mount(Some(kind), &place.path(), Some(kind), flags, Some(options))
        .step(|| {
            let options = words(flags) + options;
            format!("mount(2) {kind} on {guest} {}", options.trim_end_matches(','))
        })
        .hint(|errno| {
            (errno == Errno::EPERM).then(|| format!(
            "in a user namespace the kernel mounts {kind} only if the host's {kind} \
             is completely visible: inside another container, other mounts cover \
             parts of it"
        ))
        })
}

/// The flags in the notation of mount(8). Each flag ends with a comma, so that more
/// options can follow.
fn words(flags: MsFlags) -> String {
    let word = |(name, _): (&str, MsFlags)| match name {
        "MS_RDONLY" => "ro,".to_owned(),
        name => name.trim_start_matches("MS_").to_lowercase() + ",",
    };
    flags.iter_names().map(word).collect()
}

// ANCHOR: devices
/// Create the container's own /dev.
fn devices(root: &GuestRoot, plan: &Plan) -> Result<()> {
    let on = Path::new("/dev");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME;
    let below = root.make(on, Kind::Directory)?;
    mount_new("tmpfs", &below, "/dev", flags, "mode=755,size=64k")?;
    // Look up /dev again: it is the new tmpfs now, so everything below is created in
    // it.
    let dev = root.make(on, Kind::Directory)?;

    // The group "tty" is 5 on every system, but a user namespace may lack it.
    let has_tty = plan.users == Users::Initial || id_map::maps_group(5);
    let tty = if has_tty { ",gid=5" } else { "" };
    let options = format!("newinstance,ptmxmode=0666,mode=0620{tty}");
    let pts = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let place = dev.make(Path::new("/dev/pts"), Kind::Directory)?;
    mount_new("devpts", &place, "/dev/pts", pts, &options)?;

    let shm = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let place = dev.make(Path::new("/dev/shm"), Kind::Directory)?;
    mount_new("tmpfs", &place, "/dev/shm", shm, "mode=1777,size=64m")?;

    // Create the devices. A bind-mounted device is the host's own file, so a
    // chmod(2) in the container would change it on the host. In a user namespace
    // mknod(2) is denied, so the devices are bind-mounted there. This is safe,
    // because chmod(2) of a file of the host's root is denied too.
    let before = umask(Mode::empty());
    for (name, major, minor) in DEVICES {
        let mode = Mode::from_bits_truncate(0o666);
        let number = makedev(major, minor);
        match mknodat(&dev, name, SFlag::S_IFCHR, mode, number) {
            Err(Errno::EPERM) => {
                let device = on.join(name);
                bind(&device, &dev.make(&device, Kind::File)?, &device)?;
            }
            made => made.step(|| format!("mknod(2) /dev/{name}"))?,
        }
    }
    umask(before);
    for (name, target) in LINKS {
        symlinkat(target, &dev, name)
            .step(|| format!("symlink(2) /dev/{name} to {target}"))?;
    }
    Ok(())
}
// ANCHOR_END: devices

/// Bind-mount a path of the host on a path of the container.
fn bind(host: &Path, place: &GuestFile, guest: &Path) -> Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(host), &place.path(), None::<&str>, flags, None::<&str>)
        .step(|| format!("mount(2) bind {} on {}", host.display(), guest.display()))
}

// ANCHOR: mask
/// Hide a path: cover a file with the container's /dev/null, and a directory with an
/// empty, read-only tmpfs. All directories share one tmpfs, because a bind mount
/// costs less than a new filesystem. A path that does not exist in this
/// kernel is skipped.
fn mask(
    root: &GuestRoot,
    guest: &Path,
    null: &GuestFile,
    empty: &mut Option<GuestFile>,
) -> Result<()> {
    let Some(place) = root.find(guest)? else { return Ok(()) };
    let cover = |with: &GuestFile, called: &str| {
        let (none, flags) = (None::<&str>, MsFlags::MS_BIND);
        mount(Some(&with.path()), &place.path(), none, flags, none)
            .step(|| format!("mount(2) bind {called} on {}", guest.display()))
    };
    if !place.is_directory()? {
        return cover(null, "/dev/null");
    }
    if let Some(empty) = empty {
        return cover(empty, "that empty tmpfs");
    }
    let (tmpfs, flags) = (Some("tmpfs"), MsFlags::MS_RDONLY);
    mount(tmpfs, &place.path(), tmpfs, flags, Some("size=0")).step(|| {
        format!("mount(2) an empty tmpfs on {} read-only", guest.display())
    })?;
    // Look up the path again: the earlier file descriptor refers to the directory
    // below the tmpfs.
    *empty = root.find(guest)?;
    Ok(())
}

/// Bind-mount a path on itself, and make this mount read-only.
fn make_read_only(root: &GuestRoot, guest: &Path) -> Result<()> {
    let Some(place) = root.find(guest)? else { return Ok(()) };
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    let path = place.path();
    mount(Some(&path), &path, None::<&str>, flags, None::<&str>)
        .step(|| format!("mount(2) bind {} on itself", guest.display()))?;
    // Look up the path again: the earlier file descriptor refers to the directory
    // below the new mount.
    let place = root.find(guest)?.context("the path was removed")?;
    mount_read_only(&place)
        .step(|| format!("mount_setattr(2) {} read-only", guest.display()))
}
// ANCHOR_END: mask
