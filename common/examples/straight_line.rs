//! `ch04-volume run true` as a straight line: the same system calls, one behind the
//! other, with no part, no flag, no error text. What the engine costs is measured
//! against it by `cargo xtask bench start`.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a yardstick, not an example")]

use std::env;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, fstat, mkdirat, umask};
use nix::unistd::{
    Gid, chdir, execve, pivot_root, setgroups, sethostname, symlinkat,
};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags,
    SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

fn main() {
    let mut random = [0_u8; 6];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .unwrap();
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    env::current_dir().unwrap();
    let root = PathBuf::from(env::var_os("MYDOCKER_ROOT").unwrap());
    let record = fs::read_to_string(root.join("images/busybox.json")).unwrap();
    let layer = record.split('"').find(|word| word.starts_with("busybox-")).unwrap();
    let layer = root.join("layers").join(layer);
    assert!(layer.is_dir());
    fs::read_to_string("/proc/self/status").unwrap();

    // SAFETY: SIG_DFL installs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let caught = SigSet::from_iter([
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
    ]);
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&caught), Some(&mut before)).unwrap();
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&caught, flags).unwrap();

    let containers = root.join("containers");
    assert_eq!(fs::read_dir(&containers).unwrap().flatten().count(), 0);
    fs::create_dir_all(&containers).unwrap();
    let home = containers.join(&id);
    fs::DirBuilder::new().mode(0o700).create(&home).unwrap();
    let lock = home.join("lock");
    let mut lock_file =
        File::options().create(true).append(true).open(&lock).unwrap();
    lock_file.lock().unwrap();
    assert!(lock_file.metadata().unwrap().nlink() > 0);
    lock_file
        .write_all(b"user walls overlay kernel volume pivot-root terminal")
        .unwrap();
    lock_file.write_all(b"\n").unwrap();
    let [upper, work, merged] =
        ["upper", "work", "merged"].map(|name| home.join(name));
    for directory in [&upper, &work, &merged] {
        fs::create_dir(directory).unwrap();
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&upper, mode).unwrap();
    let own = fs::metadata("/proc/self/exe").unwrap();
    let own = (own.dev(), own.ino());
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    assert_eq!(fs::metadata("/proc/self/task").unwrap().nlink(), 3);
    let mut pidfd = -1;
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    // SAFETY: all zero is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (namespaces | libc::CLONE_PIDFD) as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM the child has a copy of this memory.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args))
    };
    if pid == 0 {
        drop(ours);
        drop(lock_file);
        child(&theirs, &id, &layer, [&upper, &work, &merged], own);
    }
    assert!(pid > 0);
    // SAFETY: CLONE_PIDFD has stored a new descriptor that nobody else owns.
    let pidfd: OwnedFd = unsafe { std::os::fd::FromRawFd::from_raw_fd(pidfd) };
    drop(theirs);
    send(&ours, b"g");
    loop {
        poll(&[&ours, &signals]);
        if receive(&ours) == 0 {
            break;
        }
    }
    drop(ours);
    poll(&[&pidfd, &signals]);
    let id = nix::sys::wait::Id::PIDFd(std::os::fd::AsFd::as_fd(&pidfd));
    let how =
        nix::sys::wait::waitid(id, nix::sys::wait::WaitPidFlag::WEXITED).unwrap();
    drop(pidfd);
    for directory in [&upper, &work, &merged] {
        fs::remove_dir_all(directory).unwrap();
    }
    assert_eq!(fs::read_dir(&home).unwrap().flatten().count(), 1);
    fs::remove_file(&lock).unwrap();
    fs::remove_dir(&home).unwrap();
    drop(lock_file);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None).unwrap();
    drop(signals);
    assert!(matches!(how, nix::sys::wait::WaitStatus::Exited(_, 0)));
}

fn send(socket: &OwnedFd, word: &[u8; 1]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let frame = [word[0], 0];
    let parts = [IoSlice::new(&frame), IoSlice::new(b"")];
    sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL).unwrap();
}

fn receive(socket: &OwnedFd) -> usize {
    let mut bytes = [0; 8192];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        .unwrap()
        .bytes
}

fn poll(fds: &[&dyn std::os::fd::AsFd]) {
    let fds =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
    rustix::event::poll(&mut fds.collect::<Vec<_>>(), None).unwrap();
}

fn child(
    channel: &OwnedFd,
    id: &str,
    layer: &Path,
    [upper, work, merged]: [&PathBuf; 3],
    own: (u64, u64),
) -> ! {
    let none = None::<&str>;
    set_pdeathsig(Signal::SIGKILL).unwrap();
    receive(channel);
    let default = [0_u64; 4];
    for signal in 1..=64 {
        let nothing = std::ptr::null::<u64>();
        let number = libc::SYS_rt_sigaction;
        // SAFETY: SIG_DFL installs no handler.
        unsafe { libc::syscall(number, signal, default.as_ptr(), nothing, 8_usize) };
    }
    SigSet::empty().thread_set_mask().unwrap();
    umask(Mode::from_bits_truncate(0o022));
    sethostname(id).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let options = format!(
        "lowerdir={},upperdir={},workdir={},index=off,redirect_dir=off,metacopy=off",
        layer.display(),
        upper.display(),
        work.display()
    );
    let overlay = Some("overlay");
    mount(overlay, merged, overlay, MsFlags::empty(), Some(options.as_str()))
        .unwrap();

    let open_root = || {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(merged, flags, Mode::empty()).unwrap()
    };
    let root = open_root();
    let look = |path: &str| {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        openat2(&root, path, how)
    };
    // A path of two components, made when it is missing.
    let make = |path: &str, directory: bool| {
        let place = look(path).unwrap_or_else(|_| {
            let (parent, name) = path.split_once('/').unwrap();
            let top = look(".").unwrap();
            assert_eq!(readlinkat(&top, parent), Err(Errno::EINVAL));
            drop(top);
            let parent = look(parent).unwrap();
            assert_eq!(readlinkat(&parent, name), Err(Errno::ENOENT));
            if directory {
                mkdirat(&parent, name, Mode::from_bits_truncate(0o755)).unwrap();
            } else {
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY;
                let mode = Mode::from_bits_truncate(0o644);
                openat(&parent, name, flags | OFlag::O_CLOEXEC, mode).unwrap();
            }
            drop(parent);
            look(path).unwrap()
        });
        fstat(&place).unwrap();
        place
    };
    let at = |place: &OwnedFd| format!("/proc/self/fd/{}", place.as_raw_fd());
    let fresh = |kind: &str, path: &str, flags: MsFlags, options: &str| {
        let place = make(path, true);
        mount(Some(kind), at(&place).as_str(), Some(kind), flags, Some(options))
            .unwrap();
    };
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    let hardened = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    fresh("proc", "proc", hardened, "");
    fresh("sysfs", "sys", hardened | MsFlags::MS_RDONLY, "");
    let dev = MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME;
    fresh("tmpfs", "dev", dev, "mode=755,size=64k");
    let pts = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    fresh("devpts", "dev/pts", pts, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    fresh("tmpfs", "dev/shm", hardened, "mode=1777,size=64m");
    for device in ["null", "zero", "full", "random", "urandom", "tty"] {
        let place = make(&format!("dev/{device}"), false);
        let host = format!("/dev/{device}");
        mount(Some(host.as_str()), at(&place).as_str(), none, bind, none).unwrap();
    }
    let dev = make("dev", true);
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlinkat(target, &dev, name).unwrap();
    }
    drop(dev);
    for path in [
        "proc/acpi",
        "proc/asound",
        "proc/interrupts",
        "proc/kcore",
        "proc/keys",
        "proc/latency_stats",
        "proc/sched_debug",
        "proc/scsi",
        "proc/timer_list",
        "proc/timer_stats",
        "sys/devices/virtual/powercap",
        "sys/firmware",
    ] {
        let Ok(place) = look(path) else { continue };
        let to = at(&place);
        if fstat(&place).unwrap().st_mode & libc::S_IFMT == libc::S_IFDIR {
            let tmpfs = Some("tmpfs");
            mount(tmpfs, to.as_str(), tmpfs, MsFlags::MS_RDONLY, Some("size=0"))
                .unwrap();
        } else {
            mount(Some("/dev/null"), to.as_str(), none, bind, none).unwrap();
        }
    }
    for path in ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"]
    {
        let Ok(place) = look(path) else { continue };
        let to = at(&place);
        mount(Some(to.as_str()), to.as_str(), none, bind, none).unwrap();
        let place = look(path).unwrap();
        common::mount_read_only(&place).unwrap();
    }
    drop(root);
    drop(open_root());
    chdir(merged).unwrap();
    pivot_root(".", ".").unwrap();
    umount2(".", MntFlags::MNT_DETACH).unwrap();
    chdir("/").unwrap();
    setgroups(&[] as &[Gid]).unwrap();
    chdir("/").unwrap();
    // SAFETY: nothing is closed now.
    unsafe {
        let cloexec = libc::CLOSE_RANGE_CLOEXEC;
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, cloexec);
    }
    set_pdeathsig(Signal::SIGKILL).unwrap();
    send(channel, b"x");
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for dir in path.split(':') {
        let file = Path::new(dir).join("true");
        let Ok(meta) = fs::metadata(&file) else { continue };
        assert!((meta.dev(), meta.ino()) != own);
        let mut head = [0; 256];
        File::open(&file).and_then(|mut file| file.read(&mut head)).unwrap();
        let file = CString::new(file.into_os_string().into_encoded_bytes()).unwrap();
        let environment =
            [format!("HOSTNAME={id}"), "HOME=/root".into(), format!("PATH={path}")];
        let environment = environment.map(|pair| CString::new(pair).unwrap());
        let arguments: [&CStr; 1] = [c"true"];
        execve(&file, &arguments, &environment).unwrap();
    }
    unreachable!()
}
