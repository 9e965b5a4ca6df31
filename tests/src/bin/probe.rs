//! Functions that the tests need inside and outside of containers, and that busybox
//! lacks. It is linked statically, so it runs in any root.
#![allow(clippy::print_stdout, reason = "the tests read it")]

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use common::{RawCall, SystemV, one_mount_writable, raw_ioctl};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::unistd::{Gid, Uid, chdir, chroot, geteuid, setgid, setgroups, setuid};
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::mount::OpenTreeFlags;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities,
    remove_capability_from_bounding_set, set_capabilities,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

fn main() -> io::Result<ExitCode> {
    let mut words = env::args_os().skip(1);
    let verb = words.next().unwrap_or_default();
    let rest: Vec<_> = words.collect();
    match verb.to_str() {
        // shared COMMAND, private COMMAND: run it with a shared or private `/`, and
        // exit with 99 if the mount table has changed afterwards.
        Some(verb @ ("shared" | "private")) => {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let kind = if verb == "shared" {
                MsFlags::MS_SHARED
            } else {
                MsFlags::MS_PRIVATE
            };
            let flags = MsFlags::MS_REC | kind;
            mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
            let before = fs::read("/proc/self/mountinfo")?;
            let status = Command::new(&rest[0]).args(&rest[1..]).status()?;
            if fs::read("/proc/self/mountinfo")? != before {
                eprintln!("the mount table changed");
                return Ok(ExitCode::from(99));
            }
            let code = status.code().or(status.signal().map(|s| 128 + s));
            Ok(ExitCode::from(code.unwrap_or(98) as u8))
        }
        // escape: the classic escape from chroot. If the working directory is
        // outside of the root, `..` leads to the host's root.
        Some("escape") => {
            fs::create_dir_all("/prison")?;
            chroot("/prison")?;
            for _ in 0..64 {
                chdir("..")?;
            }
            chroot(".")?;
            let out = Path::new(&rest[0]).exists();
            println!("{}", if out { "escaped" } else { "held" });
            Ok(ExitCode::SUCCESS)
        }
        // chrooted DIR COMMAND: run it in a root that is a plain directory and not a
        // mount point, and that contains the whole host.
        Some("chrooted") => {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            let root = Path::new(&rest[0]);
            let host = root.join("host");
            fs::create_dir_all(&host)?;
            mount(Some("/"), &host, none, MsFlags::MS_REC | MsFlags::MS_BIND, none)?;
            for entry in fs::read_dir("/")?.flatten() {
                let name = entry.file_name();
                symlink(Path::new("host").join(&name), root.join(&name))?;
            }
            chroot(root)?;
            chdir("/")?;
            Err(Command::new(&rest[1]).args(&rest[2..]).exec())
        }
        // user ID COMMAND: run it as an ordinary user.
        Some("user") => {
            let id = rest[0].to_str().and_then(|id| id.parse().ok()).expect("an id");
            setgroups(&[])?;
            setgid(Gid::from_raw(id))?;
            setuid(Uid::from_raw(id))?;
            Err(Command::new(&rest[1]).args(&rest[2..]).exec())
        }
        // rename FROM TO: only rename(2), without the copy that mv(1) would make.
        Some("rename") => {
            match fs::rename(&rest[0], &rest[1]) {
                Ok(()) => println!("renamed"),
                Err(error) => println!("{:?}", error.kind()),
            }
            Ok(ExitCode::SUCCESS)
        }
        // traced COMMAND: run it traced by the parent, and stopped.
        Some("traced") => {
            ptrace::traceme()?;
            Err(Command::new(&rest[0]).args(&rest[1..]).exec())
        }
        // filtered CALL COMMAND: the same, stopped at each system call with this
        // number, or at `all` calls.
        Some("filtered") => {
            ptrace::traceme()?;
            // Without a tracer, the filter makes the calls fail, so the tracer must
            // be ready first.
            raise(Signal::SIGSTOP)?;
            let call = rest[0].to_str().and_then(|number| number.parse().ok());
            seccompiler::apply_filter(&filter(call)).map_err(io::Error::other)?;
            Err(Command::new(&rest[1]).args(&rest[2..]).exec())
        }
        // fds: the open descriptors and their files.
        Some("fds") => {
            // The list itself is read through a descriptor, which is closed before
            // printing.
            let list = fs::read_dir("/proc/self/fd")?.flatten();
            let paths: Vec<_> = list.map(|entry| entry.path()).collect();
            for path in paths {
                if let Ok(what) = fs::read_link(&path) {
                    let number = path.file_name().unwrap_or_default();
                    println!("{} {}", number.display(), what.display());
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        // make KIND, remove KIND ID: create or remove a System V object.
        Some("make") => {
            println!("{}", kind(&rest[0]).make()?);
            Ok(ExitCode::SUCCESS)
        }
        Some("remove") => {
            let id = rest[1].to_str().and_then(|id| id.parse().ok()).expect("an id");
            kind(&rest[0]).remove(id)?;
            Ok(ExitCode::SUCCESS)
        }
        // direct DEVICE: read 3 MiB, bypassing the page cache.
        Some("direct") => {
            let flags = OFlags::RDONLY | OFlags::DIRECT;
            let device = rustix::fs::open(&rest[0], flags, Mode::empty())?;
            // The kernel requires memory that is aligned to the disk's blocks.
            let mut memory = vec![0; (256 << 10) + 4096];
            let start = memory.as_ptr().align_offset(4096);
            let block = &mut memory[start..][..256 << 10];
            let mut total = 0;
            while total < 3 << 20 {
                total += rustix::io::read(&device, &mut *block)?;
            }
            println!("{total}");
            Ok(ExitCode::SUCCESS)
        }
        // ignoring-sigchld COMMAND: a shell cannot ignore this signal, which it
        // needs.
        Some("ignoring-sigchld") => {
            common::ignore_signal(Signal::SIGCHLD)?;
            Err(Command::new(&rest[0]).args(&rest[1..]).exec())
        }
        // type TEXT [FILE...]: try to inject it into each terminal of this process
        // and of these files, in each way; print the results.
        Some("type") => {
            let text = rest[0].as_encoded_bytes();
            type_into("0", 0, text);
            type_into("1", 1, text);
            type_into("2", 2, text);
            for path in [&"/dev/tty".into()].into_iter().chain(&rest[1..]) {
                match fs::File::open(path) {
                    Ok(file) => {
                        type_into(&path.to_string_lossy(), file.as_raw_fd(), text);
                    }
                    Err(error) => println!("{}: {error}", path.display()),
                }
            }
            println!("typed");
            Ok(ExitCode::SUCCESS)
        }
        // tamper PATH: try to change the file at this path, in each way that root
        // has; with `later`, try again after its process has ended.
        Some("tamper") => {
            let path = Path::new(&rest[0]);
            let held = fs::File::open(path)?;
            tamper("now", path)?;
            if rest.get(1).is_some() {
                while fs::read_link(path).is_ok() {
                    thread::sleep(Duration::from_millis(10));
                }
                let path = format!("/proc/self/fd/{}", held.as_raw_fd());
                tamper("later", Path::new(&path))?;
            }
            println!("tampered");
            Ok(ExitCode::SUCCESS)
        }
        // euid: the effective user ID.
        Some("euid") => {
            println!("{}", geteuid());
            Ok(ExitCode::SUCCESS)
        }
        // powerless COMMAND: run it as root without capabilities.
        Some("powerless") => {
            for right in CapabilitySet::all().iter() {
                // EINVAL: this kernel does not have the capability.
                let _ = remove_capability_from_bounding_set(right);
            }
            let none = CapabilitySet::empty();
            let own = capabilities(None)?;
            set_capabilities(None, CapabilitySets { inheritable: none, ..own })?;
            Err(Command::new(&rest[0]).args(&rest[1..]).exec())
        }
        // datagrams PORT: answer each datagram with the address of its sender.
        Some("datagrams") => {
            let port = rest.first().and_then(|port| port.to_str()?.parse().ok());
            let any = (Ipv4Addr::UNSPECIFIED, port.unwrap_or(0));
            let socket = UdpSocket::bind(any)?;
            loop {
                let (_, sender) = socket.recv_from(&mut [0])?;
                socket.send_to(sender.ip().to_string().as_bytes(), sender)?;
            }
        }
        _ => Ok(ExitCode::from(97)),
    }
}

/// Print the result of each way to change a file of the host, one per line.
fn tamper(when: &str, path: &Path) -> io::Result<()> {
    let told = |way: &str, result: io::Result<()>| match result {
        Ok(()) => println!("{when} {way}: done"),
        Err(error) => println!("{when} {way}: {error}"),
    };
    let set_mode =
        |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o4777));
    told("chmod", set_mode(path));
    told("chown", chown(path, Some(1), Some(1)));
    told("write", fs::write(path, "evil"));
    told(
        "truncate",
        rustix::fs::open(path, OFlags::WRONLY | OFlags::TRUNC, Mode::empty())
            .map(drop)
            .map_err(Into::into),
    );
    for name in ["user.evil", "trusted.evil"] {
        let set = rustix::fs::setxattr(path, name, b"1", XattrFlags::empty());
        told(&format!("setxattr {name}"), set.map_err(Into::into));
    }
    // The mount is read-only: try to change or replace the mount.
    let writable = |fd: OwnedFd| {
        one_mount_writable(&fd)?;
        set_mode(&Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string()))
    };
    let opened = rustix::fs::open(path, OFlags::PATH, Mode::empty());
    told("mount_setattr", opened.map_err(io::Error::from).and_then(writable));
    let flags = OpenTreeFlags::OPEN_TREE_CLONE;
    let cloned = rustix::mount::open_tree(rustix::fs::CWD, path, flags);
    told("open_tree", cloned.map_err(io::Error::from).and_then(writable));
    let target = Path::new("/tmp/target");
    fs::create_dir_all("/tmp")?;
    fs::write(target, "")?;
    let none = None::<&str>;
    let bound = mount(Some(path), target, none, MsFlags::MS_BIND, none)
        .and_then(|()| {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
            mount(none, target, none, flags, none)
        })
        .map_err(io::Error::from)
        .and_then(|()| set_mode(target));
    told("bind", bound);
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
    let remounted = mount(none, path, none, flags, none);
    told("remount", remounted.map_err(Into::into).and_then(|()| set_mode(path)));
    Ok(())
}

/// Try to inject each byte into the terminal. Print a line for each way that does
/// not fail with EPERM.
fn type_into(name: &str, fd: i32, text: &[u8]) {
    let ways = [
        ("native", RawCall::Native, 0),
        // The kernel uses only the lower half of a request.
        ("upper half", RawCall::Native, 0xdead_beef << 32),
        #[cfg(target_arch = "x86_64")]
        ("x32", RawCall::X32, 0),
        #[cfg(target_arch = "x86_64")]
        ("i386", RawCall::I386, 0),
    ];
    for (request, number) in [("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541c)] {
        for (way, call, upper) in ways {
            // Only one way injects the text that the user sees.
            let text = if way == "native" { text } else { b"\n" };
            let push = |byte: &u8| raw_ioctl(fd, number | upper, *byte, call);
            let answer = match text.iter().try_for_each(push) {
                Err(Errno::EPERM) => continue,
                Err(errno) => format!("{errno:?}"),
                Ok(()) => "done".to_owned(),
            };
            println!("{name} {request} {way}: {answer}");
        }
    }
}

/// A filter that stops at this call, or at every call if it is `None`.
fn filter(call: Option<i64>) -> BpfProgram {
    let (stop, allow) = (SeccompAction::Trace(0), SeccompAction::Allow);
    let (rules, mismatch, hit) = match call {
        Some(number) => (BTreeMap::from([(number, Vec::new())]), allow, stop),
        None => (BTreeMap::new(), stop, allow),
    };
    let machine =
        env::consts::ARCH.try_into().expect("seccomp supports this architecture");
    let filter = SeccompFilter::new(rules, mismatch, hit, machine);
    filter.and_then(TryInto::try_into).expect("a filter")
}

fn kind(word: &OsStr) -> SystemV {
    match word.to_str() {
        Some("queue") => SystemV::Queue,
        Some("semaphores") => SystemV::Semaphores,
        _ => SystemV::Memory,
    }
}
