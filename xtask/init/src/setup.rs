//! Set up the VM for tests, starting from the initramfs.

use std::fs::{self, File, read_to_string};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Result, bail};
use common::step::Step;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sendto,
    socket,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use nix::unistd::{chdir, chroot, sethostname};
use vm_init::{Event, place};

const NONE: Option<&str> = None;

// ANCHOR: machine
/// Set up the machine; returns the event for the host.
pub(crate) fn machine() -> Result<Event> {
    // /proc is mounted twice: the kernel runs modprobe(8) in the root that exists at
    // boot, and modprobe reads /proc/modules there.
    file_system("proc", "/proc", "")?;
    let line = read_to_string("/proc/cmdline").step(|| "read(2) /proc/cmdline")?;
    let words: Vec<&str> = line.split_whitespace().collect();
    if !words.contains(&place::RAW_ROOT) {
        // In a user namespace, the kernel allows mounting /proc only if a complete
        // /proc is already visible. The first /proc always stays below all other
        // mounts, and would count as complete. This tmpfs makes it incomplete.
        file_system("tmpfs", "/proc/sys", "")?;
        leave_initramfs()?;
        file_system("proc", "/proc", "")?;
    }
    file_system("sysfs", "/sys", "")?;
    file_system("devtmpfs", "/dev", "")?;
    drivers()?.iter().try_for_each(|path| load(path))?;
    // Create this link only now: at boot, the modules that the kernel requests do
    // not exist yet.
    symlink("/bin/busybox", place::MODPROBE)
        .step(|| format!("symlink(2) {}", place::MODPROBE))?;
    // udev(7) creates these links on other systems.
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, Path::new("/dev").join(name))
            .step(|| format!("symlink(2) /dev/{name}"))?;
    }
    file_system("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666")?;
    file_system("tmpfs", "/dev/shm", "mode=1777")?;
    file_system("mqueue", "/dev/mqueue", "")?;
    file_system("tmpfs", "/run", "mode=755,size=64m")?;
    // Each of these directories has its own filesystem, so that a test can fill it.
    for (directory, mode) in
        [("/tmp", "mode=1777"), ("/root", "mode=700"), (place::DEFAULT_STATE, "")]
    {
        file_system("tmpfs", directory, mode)?;
    }
    sethostname("vm").step(|| "sethostname(2)")?;
    loopback_up()?;
    let layout = words.iter().find_map(|word| word.strip_prefix(place::CGROUP));
    let missing = cgroups(layout.unwrap_or("v2"))?;
    let kernel =
        read_to_string("/proc/sys/kernel/osrelease").step(|| "read(2) osrelease")?;
    Ok(Event::Ready { kernel: kernel.trim().to_owned(), missing })
}
// ANCHOR_END: machine

fn file_system(kind: &str, at: &str, options: &str) -> Result<()> {
    fs::create_dir_all(at).step(|| format!("mkdir(2) {at}"))?;
    let options = Some(options).filter(|options| !options.is_empty());
    mount(Some(kind), at, Some(kind), MsFlags::empty(), options)
        .step(|| format!("mount(2) {kind} on {at}"))
}

/// Set the clock and mount the disk. Both differ for each VM, so no snapshot
/// contains them.
pub(crate) fn begin(seconds: i64, nanoseconds: i64) -> Result<()> {
    let now = TimeSpec::new(seconds, nanoseconds);
    clock_settime(ClockId::CLOCK_REALTIME, now).step(|| "clock_settime(2)")?;
    if bus()?.is_some() { disk() } else { Ok(()) }
}

/// The bus of the disk; `None` if everything is in the initramfs.
fn bus() -> Result<Option<String>> {
    let line = read_to_string("/proc/cmdline").step(|| "read(2) /proc/cmdline")?;
    let mut words = line.split_whitespace();
    let bus = words.find_map(|word| word.strip_prefix(place::BUS));
    Ok(bus.map(str::to_owned))
}

/// The drivers that the disk needs, in order.
fn drivers() -> Result<Vec<String>> {
    let Some(bus) = bus()? else { return Ok(Vec::new()) };
    let list = format!("{}/{bus}", place::DRIVERS);
    let names = read_to_string(&list).step(|| format!("read(2) {list}"))?;
    let path = |name| format!("{}/{name}", place::DRIVERS);
    Ok(names.lines().map(path).collect())
}

/// Load a module.
///
/// # Source
/// init_module(2), "finit_module()"
fn load(path: &str) -> Result<()> {
    let file = File::open(path).step(|| format!("open(2) {path}"))?;
    finit_module(file, c"", ModuleInitFlags::empty())
        .step(|| format!("finit_module(2) {path}"))
}

fn disk() -> Result<()> {
    let (device, at, kind) = ("/dev/vda", place::DISK, "ext4");
    // The kernel has read the disk to find partitions, but it has dropped this data.
    // This is important because the snapshot was taken with another disk. The mount
    // is read-only, so that a test cannot change files of other tests.
    mount(Some(device), at, Some(kind), MsFlags::MS_RDONLY, NONE)
        .step(|| format!("mount(2) {kind} {device} on {at}"))
}

// ANCHOR: leave_initramfs
/// Make a bind mount of the initramfs the root of every process. The initramfs
/// itself is the root of all mounts and has no parent mount, but pivot_root(2)
/// requires a parent mount.
///
/// # Source
/// pivot_root(2), "The rootfs (initial ramfs) cannot be pivot_rooted"
fn leave_initramfs() -> Result<()> {
    let new = "/newroot";
    fs::create_dir_all(new).step(|| format!("mkdir(2) {new}"))?;
    mount(Some("/"), new, NONE, MsFlags::MS_BIND, NONE)
        .step(|| format!("mount(2) bind / on {new}"))?;
    chdir(new).step(|| format!("chdir(2) {new}"))?;
    mount(Some("."), "/", NONE, MsFlags::MS_MOVE, NONE)
        .step(|| format!("mount(2) move {new} to /"))?;
    chroot(".").step(|| "chroot(2) .")?;
    chdir("/").step(|| "chdir(2) /")
}
// ANCHOR_END: leave_initramfs

/// Mount the cgroup layout, and return the v1 controllers that the kernel lists but
/// cannot mount: Linux 6.12 lists memory and cpuset, and refuses to mount them.
fn cgroups(layout: &str) -> Result<Vec<String>> {
    let root = "/sys/fs/cgroup";
    if layout == "v2" {
        file_system("cgroup2", root, "")?;
        return Ok(Vec::new());
    }
    if layout != "v1" && layout != "hybrid" {
        bail!("{}{layout}: expected v1, hybrid or v2", place::CGROUP);
    }
    file_system("tmpfs", root, "mode=755")?;
    let mut missing = Vec::new();
    let table = read_to_string("/proc/cgroups").step(|| "read(2) /proc/cgroups")?;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        // The name, its hierarchy, the number of cgroups, whether it is enabled.
        let [name, _, _, "1"] = line.split_whitespace().collect::<Vec<_>>()[..]
        else {
            continue;
        };
        let at = Path::new(root).join(name);
        fs::create_dir(&at).step(|| format!("mkdir(2) {}", at.display()))?;
        let flags = MsFlags::empty();
        if mount(Some("cgroup"), &at, Some("cgroup"), flags, Some(name)).is_err() {
            missing.push(name.to_owned());
            fs::remove_dir(&at).step(|| format!("rmdir(2) {}", at.display()))?;
        }
    }
    if layout == "hybrid" {
        file_system("cgroup2", &format!("{root}/unified"), "")?;
    }
    Ok(missing)
}

/// Set the loopback device up.
///
/// # Source
/// rtnetlink(7), "RTM_NEWLINK"
fn loopback_up() -> Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST: u16 = 1;
    const IFF_UP: u32 = 1;
    const LOOPBACK: u32 = 1;
    let mut message = 32_u32.to_ne_bytes().to_vec();
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and port, then struct ifinfomsg: family and device type,
    // index, flags, and the mask of the flags to change.
    for word in [0, 0, 0, LOOPBACK, IFF_UP, IFF_UP] {
        message.extend(word.to_ne_bytes());
    }
    let family = AddressFamily::Netlink;
    let protocol = SockProtocol::NetlinkRoute;
    let line = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
        .step(|| "socket(2) AF_NETLINK")?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(line.as_raw_fd(), &message, &kernel, MsgFlags::empty())
        .map(drop)
        .step(|| "sendto(2) RTM_NEWLINK")
}
