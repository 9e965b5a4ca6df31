//! The attempts. Each runs in a child with one thread. The child may change
//! everything in its own namespaces, because the kernel removes it with the
//! namespaces.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use ch02_net::Route;
use ch02_user::Outside;
use ch06_connect::conntrack;
use ch06_connect::firewall::open_table;
use ch06_connect::nft::NftSocket;
use common::rights;
use common::state::{Id, Protocol, Published};
use common::step::Step;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_dumpable;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv,
    sendto, socket,
};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use crate::child::{Outcome, VERB};

const NONE: Option<&str> = None;

/// Make the attempt that the words name, and print the outcome on standard output.
#[must_use]
pub fn attempt(words: &[OsString]) -> ExitCode {
    let outcome = match make(words) {
        Ok(()) => Outcome::default(),
        Err(error) => Outcome::failed(&error),
    };
    let told = serde_json::to_vec(&outcome).map_err(std::io::Error::from);
    match told.and_then(|text| std::io::stdout().write_all(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn make(words: &[OsString]) -> Result<()> {
    let (what, rest) = words.split_first().context("no attempt was named")?;
    let what = what.to_str().context("no attempt was named")?;
    let place = || rest.last().map(PathBuf::from).context("no directory was named");
    let as_user = rest.first().is_some_and(|who| who == "user");
    match what {
        "uts" | "ipc" | "pid" | "net" | "cgroup" => namespace(what, as_user),
        "mount" => mounts(as_user),
        "user" => maps(),
        "ordinary" => ordinary(),
        "proc" => proc_of_own(as_user),
        "mount-proc" => mount(Some("proc"), "/proc", Some("proc"), hard(), NONE)
            .step(|| "mount(2) proc on /proc"),
        "overlay" => overlay_in_memory(as_user),
        "overlay-at" => overlay(as_user, &place()?),
        "aufs" => aufs(),
        "veth" => network(as_user, |route| route.add_veth("doctor0", "doctor1")),
        "bridge" => network(as_user, |route| route.add("bridge", "doctor0")),
        "nftables" => network(as_user, |_| nftables()),
        "rules" => network(as_user, |_| rules()),
        "connections" => network(as_user, |_| connections()),
        "tun" => tun(),
        "group" => group(&place()?),
        "write" => write(&place()?),
        "execute" => execute(&place()?),
        _ => bail!("unknown attempt {what}"),
    }
}

/// Create a namespace of this kind; for an ordinary user inside a user namespace.
fn namespace(kind: &str, as_user: bool) -> Result<()> {
    let flag = match kind {
        "uts" => CloneFlags::CLONE_NEWUTS,
        "ipc" => CloneFlags::CLONE_NEWIPC,
        "pid" => CloneFlags::CLONE_NEWPID,
        "net" => CloneFlags::CLONE_NEWNET,
        "mount" => CloneFlags::CLONE_NEWNS,
        _ => CloneFlags::CLONE_NEWCGROUP,
    };
    if as_user {
        maps()?;
    }
    unshare(flag).step(|| format!("unshare(2) of the {kind} namespace"))
}

/// Create a mount namespace with private mounts.
fn mounts(as_user: bool) -> Result<()> {
    namespace("mount", as_user)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, private, NONE).step(|| "mount(2) / MS_REC|MS_PRIVATE")
}

/// Create a user namespace in which this user is root.
fn maps() -> Result<()> {
    let outside = Outside::caller();
    unshare(CloneFlags::CLONE_NEWUSER)
        .step(|| "unshare(2) of the user namespace")?;
    outside.becomes_root_of("self")
}

/// As an ordinary user: create a user namespace, and mount a filesystem in it.
/// AppArmor may allow the namespace but deny the mount.
fn ordinary() -> Result<()> {
    become_ordinary()?;
    mounts(true)?;
    tmpfs().map(drop)
}

/// Change from root to a user without privileges.
fn become_ordinary() -> Result<()> {
    if rights::is_host_root().unwrap_or(false) {
        const NOBODY: u32 = 65534;
        setgroups(&[]).step(|| "setgroups(2)")?;
        setgid(Gid::from_raw(NOBODY)).step(|| "setgid(2)")?;
        setuid(Uid::from_raw(NOBODY)).step(|| "setuid(2)")?;
        // After a change of user, the files in /proc/self belong to root.
        set_dumpable(true).step(|| "prctl(2) PR_SET_DUMPABLE")?;
    }
    Ok(())
}

/// Mount proc in a PID namespace, as in a container.
fn proc_of_own(as_user: bool) -> Result<()> {
    mounts(as_user)?;
    unshare(CloneFlags::CLONE_NEWPID).step(|| "unshare(2) of the pid namespace")?;
    // Only a child of this process is in the new namespace.
    let mut child = Command::new("/proc/self/exe");
    let told = child.args([VERB, "mount-proc"]).output();
    let told = told.step(|| "execve(2) /proc/self/exe")?;
    let outcome: Outcome = serde_json::from_slice(&told.stdout)
        .context("PID 1 of the PID namespace printed nothing")?;
    let Some(error) = &outcome.error else { return Ok(()) };
    match outcome.errno() {
        Some(errno) => Err(errno).step(|| "mount(2) proc on /proc"),
        None => bail!("{error}"),
    }
}

fn hard() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC
}

/// Mount a tmpfs in a new mount namespace and return its path.
fn tmpfs() -> Result<&'static Path> {
    let places = ["/tmp", "/var/tmp", "/run", "/mnt"].map(Path::new);
    let place = places.into_iter().find(|place| place.is_dir());
    let place = place.context("no directory exists to mount a tmpfs on")?;
    let size = Some("size=1m");
    mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), size)
        .step(|| format!("mount(2) tmpfs on {}", place.display()))?;
    Ok(place)
}

fn overlay_in_memory(as_user: bool) -> Result<()> {
    mounts(as_user)?;
    mount_overlay(as_user, tmpfs()?)
}

/// Mount an overlay in this empty directory.
fn overlay(as_user: bool, place: &Path) -> Result<()> {
    mounts(as_user)?;
    mount_overlay(as_user, place)
}

/// Merge two trees, and change a file of the lower one. The paths are relative,
/// because the names of the user's directories may contain characters that separate
/// options.
fn mount_overlay(as_user: bool, place: &Path) -> Result<()> {
    for name in ["lower", "upper", "work", "merged"] {
        let path = place.join(name);
        fs::create_dir(&path).step(|| format!("mkdir(2) {}", path.display()))?;
    }
    fs::write(place.join("lower/file"), "below").step(|| "write(2) below")?;
    std::env::set_current_dir(place)
        .step(|| format!("chdir(2) {}", place.display()))?;
    let options = "lowerdir=lower,upperdir=upper,workdir=work,index=off";
    let more = if as_user { ",userxattr" } else { ",redirect_dir=off,metacopy=off" };
    let options = format!("{options}{more}");
    let flags = MsFlags::empty();
    let data = Some(options.as_str());
    mount(Some("overlay"), "merged", Some("overlay"), flags, data)
        .step(|| "mount(2) overlay")?;
    fs::write("merged/file", "above").step(|| "write(2) in the overlay")?;
    fs::remove_file("merged/file").step(|| "unlink(2) in the overlay")?;
    let lower = fs::read("lower/file").step(|| "read(2) of the lower layer")?;
    ensure!(lower == b"below", "a write to the overlay changed the lower layer");
    Ok(())
}

fn aufs() -> Result<()> {
    mounts(false)?;
    let place = tmpfs()?;
    for name in ["lower", "upper", "merged"] {
        fs::create_dir(place.join(name)).step(|| format!("mkdir(2) {name}"))?;
    }
    let place = place.display();
    let options = format!("dirs={place}/upper=rw:{place}/lower=ro");
    let (at, flags) = (format!("{place}/merged"), MsFlags::empty());
    mount(Some("none"), at.as_str(), Some("aufs"), flags, Some(options.as_str()))
        .step(|| "mount(2) aufs")
}

/// Make an attempt in a new network namespace.
fn network(as_user: bool, what: impl FnOnce(&Route) -> Result<()>) -> Result<()> {
    namespace("net", as_user)?;
    what(&Route::open()?)
}

/// Ask nf_tables for the generation number of its rule set.
///
/// # Source
/// include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h, "NFT_MSG_GETGEN"
fn nftables() -> Result<()> {
    const NFT_MSG_GETGEN: u16 = 10 << 8 | 16;
    const NLM_F_REQUEST: u16 = 1;
    const NLMSG_ERROR: u16 = 2;
    const LENGTH: u32 = 20;
    let (family, kind) = (AddressFamily::Netlink, SockType::Raw);
    let line = SockProtocol::NetlinkNetFilter;
    let line = socket(family, kind, SockFlag::SOCK_CLOEXEC, Some(line))
        .step(|| "socket(2) NETLINK_NETFILTER")?;
    // A header (length, kind, flags, number, port), then family, version, resource.
    let mut message = LENGTH.to_ne_bytes().to_vec();
    message.extend(NFT_MSG_GETGEN.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 12]);
    let kernel = NetlinkAddr::new(0, 0);
    let line = std::os::fd::AsRawFd::as_raw_fd(&line);
    sendto(line, &message, &kernel, MsgFlags::empty()).step(|| "sendto(2)")?;
    let mut answer = [0; 256];
    let length = recv(line, &mut answer, MsgFlags::empty()).step(|| "recv(2)")?;
    ensure!(length >= LENGTH as usize, "the answer is truncated");
    if u16::from_ne_bytes([answer[4], answer[5]]) == NLMSG_ERROR {
        let [a, b, c, d] = [answer[16], answer[17], answer[18], answer[19]];
        let error = i32::from_ne_bytes([a, b, c, d]);
        return Err(Errno::from_raw(-error)).step(|| "NFT_MSG_GETGEN");
    }
    Ok(())
}

/// Create a container's table with the rules of a published port. The kernel removes
/// it with the socket.
fn rules() -> Result<()> {
    let (protocol, guest) = (Protocol::Tcp, 80);
    let port = Published { protocol, address: None, host: 8080, guest };
    let subnet = (Ipv4Addr::new(192, 0, 2, 0), 24);
    let address = Ipv4Addr::new(192, 0, 2, 2);
    open_table(&Id::new()?, "doctor0", subnet, address, &[port]).map(drop)
}

/// Delete the connections of an unused address.
fn connections() -> Result<()> {
    let address = Ipv4Addr::new(192, 0, 2, 2);
    conntrack::forget(&NftSocket::open()?, address, &[]).map(drop)
}

/// Open the device from which pasta(1) creates a network interface, as an ordinary
/// user.
fn tun() -> Result<()> {
    become_ordinary()?;
    let path = "/dev/net/tun";
    let tun = File::options().read(true).write(true).open(path);
    tun.step(|| format!("open(2) {path}")).map(drop)
}

/// Create and remove a cgroup.
fn group(path: &Path) -> Result<()> {
    fs::create_dir(path).step(|| format!("mkdir(2) {}", path.display()))?;
    fs::remove_dir(path).step(|| format!("rmdir(2) {}", path.display()))
}

/// Write a file in this directory.
fn write(place: &Path) -> Result<()> {
    let path = place.join("file");
    fs::write(&path, [1; 64 << 10])
        .step(|| format!("write(2) {}", path.display()))?;
    fs::remove_file(&path).step(|| format!("unlink(2) {}", path.display()))
}

/// Execute a program in this directory.
fn execute(place: &Path) -> Result<()> {
    let path = place.join("program");
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o755).open(&path);
    let mut file = file.step(|| format!("open(2) {}", path.display()))?;
    file.write_all(b"#!/bin/sh\nexit 0\n")
        .step(|| format!("write(2) {}", path.display()))?;
    drop(file);
    let status = Command::new(&path).status();
    let status = status.step(|| format!("execve(2) {}", path.display()))?;
    ensure!(status.success(), "{} exited with {status}", path.display());
    fs::remove_file(&path).step(|| format!("unlink(2) {}", path.display()))
}

/// Check whether programs can be executed in this directory or, if it does not exist
/// yet, in its nearest existing parent.
///
/// # Errors
/// The kernel refuses it.
pub fn can_execute(directory: &Path) -> Result<(), String> {
    in_place(directory, "execute", &[]).error.map_or(Ok(()), Err)
}

/// Make an attempt in a new directory below this one or, if it does not exist yet,
/// below its nearest existing parent. The new directory is always removed.
pub(crate) fn in_place(directory: &Path, what: &str, words: &[&str]) -> Outcome {
    let there = directory.ancestors().find(|path| path.is_dir());
    let there = there.unwrap_or(Path::new("/"));
    let place = there.join(format!(".mydocker-doctor-{}", std::process::id()));
    let made = fs::create_dir(&place);
    if let Err(error) = made.step(|| format!("mkdir(2) {}", place.display())) {
        return Outcome::failed(&error);
    }
    let mut all: Vec<&OsStr> = vec![OsStr::new(what)];
    all.extend(words.iter().map(OsStr::new));
    all.push(place.as_os_str());
    let mut outcome = crate::child::attempt(&all);
    // The mounts of a killed child disappear a moment later; remove_tree() waits.
    if let Err(error) = common::state::remove_tree(&place) {
        outcome.error.get_or_insert(format!("{error:#}"));
    }
    outcome
}
