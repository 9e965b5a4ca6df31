//! `ch04-volume run -m 100m -cpushare 512 -cpuset 0 -v DIR:/v true` as straight-line
//! code: the same system calls in the same order, without parts, options or error
//! texts. `cargo xtask bench start` compares it with the real program to measure the
//! cost of the engine.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    reason = "a reference for a benchmark, not an example"
)]

use std::env;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write, stderr, stdin, stdout};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use common::read_whole;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, SFlag, fstat, makedev, mkdirat, mknodat, umask};
use nix::unistd::{
    Gid, chdir, execve, pivot_root, setgroups, sethostname, symlinkat,
};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags,
    SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// libc's constants are `c_int`, which is too small for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn main() {
    let mut random = [0_u8; 6];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .unwrap();
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    env::current_dir().unwrap();
    assert!(fs::read_link("/proc/self/ns/user").is_ok());
    let volume = PathBuf::from(env::args_os().nth(1).unwrap());
    let root = PathBuf::from(env::var_os("MYDOCKER_ROOT").unwrap());
    let record = read_whole::read(root.join("images/names/busybox:latest")).unwrap();
    let record = String::from_utf8(record).unwrap();
    let mut layers = record.lines().filter_map(|line| line.strip_prefix("layer "));
    let layer = layers.next().unwrap();
    let layer = root.join("layers").join(layer);
    assert!(layer.is_dir());
    rustix::thread::capabilities(None).unwrap();

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

    let running = root.join("running");
    // Without other containers there are none to sample.
    fs::read_dir(&running).unwrap().flatten().count();
    fs::create_dir_all(&running).unwrap();
    let lock = running.join(&id);
    let mut lock_file =
        File::options().create(true).append(true).open(&lock).unwrap();
    lock_file.lock().unwrap();
    assert!(lock_file.metadata().unwrap().nlink() > 0);
    lock_file
        .write_all(b"user limits walls overlay kernel volume pivot-root terminal\n")
        .unwrap();
    let home = root.join("containers").join(&id);
    fs::DirBuilder::new().mode(0o700).create(&home).unwrap();
    let groups = groups(&id, &lock);
    let joins = limit(&groups);
    let [upper, work] = ["upper", "work"].map(|name| home.join(name));
    for directory in [&upper, &work] {
        fs::create_dir(directory).unwrap();
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&upper, mode).unwrap();
    assert!(volume.exists());
    assert!(fs::metadata(&volume).unwrap().is_dir());
    let own = fs::metadata("/proc/self/exe").unwrap();
    let own = (own.dev(), own.ino());
    assert!(fs::read_link("/proc/self/exe").is_ok());
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
    if let Join::Cloned(directory) = &joins {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = directory.as_raw_fd() as u64;
    }
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM the child has a copy of this memory.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args))
    };
    if pid == 0 {
        drop(ours);
        drop(lock_file);
        child(&theirs, &id, &layer, &joins, [&upper, &work, &home, &volume], own);
    }
    assert!(pid > 0);
    // SAFETY: CLONE_PIDFD has stored a new descriptor, which has no other owner.
    let pidfd: OwnedFd = unsafe { std::os::fd::FromRawFd::from_raw_fd(pidfd) };
    drop(theirs);
    let tasks = match joins {
        Join::Cloned(directory) => {
            drop(directory);
            Vec::new()
        }
        Join::Tasks(tasks) => tasks,
    };
    assert!(signals.read_signal().unwrap().is_none());
    send(&ours, b"g");
    loop {
        poll(&[&ours, &signals]);
        if receive(&ours) == 0 {
            break;
        }
    }
    drop(ours);
    poll(&[&pidfd, &signals]);
    let id = nix::sys::wait::Id::PIDFd(pidfd.as_fd());
    let how =
        nix::sys::wait::waitid(id, nix::sys::wait::WaitPidFlag::WEXITED).unwrap();
    drop(pidfd);
    assert!(!read_whole::read(&lock).unwrap().is_empty());
    for group in groups {
        fs::remove_dir(&group.path).unwrap();
    }
    let inner = work.join("work");
    fs::remove_file(inner.join("incompat/volatile/dirty")).unwrap();
    for made in ["incompat/volatile", "incompat", ""] {
        fs::remove_dir(inner.join(made)).unwrap();
    }
    assert!(fs::remove_dir(&upper).is_err(), "the volume's mount point is in it");
    fs::remove_dir_all(&upper).unwrap();
    fs::remove_dir(&work).unwrap();
    assert!(fs::remove_file(home.join("record")).is_err(), "it must have no record");
    fs::remove_dir(&home).unwrap();
    fs::remove_file(&lock).unwrap();
    drop(lock_file);
    drop(tasks);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None).unwrap();
    drop(signals);
    assert!(matches!(how, nix::sys::wait::WaitStatus::Exited(_, 0)));
}

/// The container's directory in one hierarchy.
struct Group {
    version: u8,
    mount: PathBuf,
    path: PathBuf,
    controllers: Vec<String>,
}

/// How the child joins its cgroups.
enum Join {
    Tasks(Vec<File>),
    Cloned(File),
}

/// The cgroups to create, which are also noted in the container's lock file.
fn groups(id: &str, lock: &Path) -> Vec<Group> {
    let mut table = String::with_capacity(4096);
    let mut mountinfo = File::open("/proc/self/mountinfo").unwrap();
    mountinfo.read_to_string(&mut table).unwrap();
    drop(mountinfo);
    let mut hierarchies = Vec::new();
    for line in table.lines() {
        let (mount, file_system) = line.split_once(" - ").unwrap();
        let mount = PathBuf::from(mount.split(' ').nth(4).unwrap());
        let options = file_system.rsplit(' ').next().unwrap();
        let words = |text: &str, separator| -> Vec<String> {
            text.split(separator).map(|word| word.trim().to_owned()).collect()
        };
        match file_system.split(' ').next().unwrap() {
            "cgroup" => hierarchies.push((1, mount, words(options, ','))),
            "cgroup2" => {
                let list = mount.join("cgroup.controllers");
                let list = read_whole::text(list).unwrap();
                hierarchies.push((2, mount, words(&list, ' ')));
            }
            _ => {}
        }
    }
    let has = |controllers: &[String], name: &str| {
        controllers.iter().any(|own| own == name)
    };
    let (version, mount, _) =
        hierarchies.iter().find(|(_, _, own)| has(own, "cpuset")).unwrap();
    let file = if *version == 1 {
        "cpuset.effective_cpus"
    } else {
        "cpuset.cpus.effective"
    };
    let _ = read_whole::text(top(*version, mount).join(file)).unwrap();
    let mut groups = Vec::new();
    for (version, mount, controllers) in hierarchies {
        if ["memory", "cpu", "cpuset"].iter().any(|name| has(&controllers, name)) {
            let path = top(version, &mount).join(format!("mydocker-{id}"));
            groups.push(Group { version, mount, path, controllers });
        }
    }
    let notes = groups.iter().flat_map(|group| {
        [b"group ", group.path.as_os_str().as_bytes(), b"\n"].concat()
    });
    let notes: Vec<u8> = notes.collect();
    File::options().append(true).open(lock).unwrap().write_all(&notes).unwrap();
    groups
}

/// Root's cgroups are created at the top of the hierarchy. A delegated cgroup is not
/// supported here.
fn top(version: u8, mount: &Path) -> PathBuf {
    if version == 2 {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
        if !own.is_empty() {
            rustix::thread::capabilities(None).unwrap();
            for name in ["trusted.delegate", "user.delegate"] {
                let mut value = [0; 1];
                let group = mount.join(own);
                let read = rustix::fs::getxattr(group, name, &mut value[..]);
                assert!(read.is_err(), "run it in a cgroup that is not delegated");
            }
        }
    }
    mount.to_owned()
}

/// Create the cgroups, set the limits, and open the files by which the child joins
/// them.
fn limit(groups: &[Group]) -> Join {
    for group in groups {
        // The real program checks here whether the cgroup is delegated.
        top(group.version, &group.mount);
    }
    for Group { version, mount, path, controllers } in groups {
        if *version == 2 {
            let top = top(*version, mount);
            let control = top.join("cgroup.subtree_control");
            let enabled = fs::read_to_string(&control).unwrap();
            let enabled: Vec<&str> = enabled.split_whitespace().collect();
            for name in ["cpuset", "cpu", "memory"] {
                assert!(
                    enabled.contains(&name),
                    "the real program must have enabled the controller"
                );
            }
        }
        fs::create_dir(path).unwrap();
        if *version == 1 && controllers.iter().any(|own| own == "cpuset") {
            for file in ["cpuset.mems", "cpuset.cpus"] {
                let value = read_whole::text(mount.join(file)).unwrap();
                fs::write(path.join(file), value.trim()).unwrap();
            }
        }
    }
    let of = |name: &str| {
        let mut all = groups.iter();
        all.find(|group| group.controllers.iter().any(|own| own == name)).unwrap()
    };
    let version = |name: &str| of(name).version;
    let set = |file: &str, value: &str| {
        let path = of(file.split('.').next().unwrap()).path.join(file);
        let file = File::options().write(true).open(path);
        file.and_then(|mut file| file.write_all(value.as_bytes()))
    };
    let bytes = (100 << 20).to_string();
    let (memory, swap, most) = match version("memory") {
        1 => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", &*bytes),
        _ => ("memory.max", "memory.swap.max", "0"),
    };
    set(memory, &bytes).unwrap();
    if let Err(e) = set(swap, most) {
        assert_eq!(e.kind(), ErrorKind::NotFound);
    }
    match version("cpu") {
        1 => set("cpu.shares", "512"),
        _ => set("cpu.weight", "20"),
    }
    .unwrap();
    set("cpuset.cpus", "0").unwrap();
    let mut tasks = Vec::new();
    for Group { version, path, .. } in groups {
        if *version == 2 {
            return Join::Cloned(File::open(path).unwrap());
        }
        tasks.push(File::options().write(true).open(path.join("tasks")).unwrap());
    }
    Join::Tasks(tasks)
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

fn poll(fds: &[&dyn AsFd]) {
    let fds =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
    rustix::event::poll(&mut fds.collect::<Vec<_>>(), None).unwrap();
}

fn child(
    channel: &OwnedFd,
    id: &str,
    layer: &Path,
    joins: &Join,
    [upper, work, home, volume]: [&PathBuf; 4],
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
    if let Join::Tasks(tasks) = joins {
        for mut file in tasks {
            file.write_all(b"0").unwrap();
        }
    }
    sethostname(id).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    for directory in [layer, upper, work] {
        assert!(fs::metadata(directory).unwrap().is_dir());
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={},index=off,volatile,redirect_dir=off,metacopy=off",
        layer.display(),
        upper.display(),
        work.display()
    );
    let overlay = Some("overlay");
    mount(overlay, home, overlay, MsFlags::empty(), Some(options.as_str())).unwrap();

    let open_root = || {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(home, flags, Mode::empty()).unwrap()
    };
    let root = open_root();
    let look = |path: &str| {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        openat2(&root, path, how)
    };
    let there = |path: &str| {
        let place = look(path).unwrap();
        fstat(&place).unwrap();
        place
    };
    let at = |place: &OwnedFd| format!("/proc/self/fd/{}", place.as_raw_fd());
    let fresh = |kind: &str, place: &OwnedFd, flags: MsFlags, options: &str| {
        mount(Some(kind), at(place).as_str(), Some(kind), flags, Some(options))
            .unwrap();
    };
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    let hardened = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    fresh("proc", &there("proc"), hardened, "");
    fresh("sysfs", &there("sys"), hardened | MsFlags::MS_RDONLY, "");
    let below = there("dev");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME;
    fresh("tmpfs", &below, flags, "mode=755,size=64k");
    let dev = there("dev");
    let pts = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let pts_options = "newinstance,ptmxmode=0666,mode=0620,gid=5";
    for (kind, name, flags, options) in [
        ("devpts", "pts", pts, pts_options),
        ("tmpfs", "shm", hardened, "mode=1777,size=64m"),
    ] {
        mkdirat(&dev, name, Mode::from_bits_truncate(0o755)).unwrap();
        let open = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let place = openat(&dev, name, open, Mode::empty()).unwrap();
        fresh(kind, &place, flags, options);
    }
    let before = umask(Mode::empty());
    for (device, major, minor) in [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ] {
        let mode = Mode::from_bits_truncate(0o666);
        mknodat(&dev, device, SFlag::S_IFCHR, mode, makedev(major, minor)).unwrap();
    }
    umask(before);
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
    drop(below);
    let null = look("dev/null").unwrap();
    let mut empty = None;
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
        let directory =
            fstat(&place).unwrap().st_mode & libc::S_IFMT == libc::S_IFDIR;
        let nothing = match &empty {
            Some(empty) if directory => at(empty),
            None if directory => {
                let (tmpfs, flags) = (Some("tmpfs"), MsFlags::MS_RDONLY);
                mount(tmpfs, to.as_str(), tmpfs, flags, Some("size=0")).unwrap();
                empty = Some(look(path).unwrap());
                continue;
            }
            _ => at(&null),
        };
        let bind = MsFlags::MS_BIND;
        mount(Some(nothing.as_str()), to.as_str(), none, bind, none).unwrap();
    }
    drop(empty);
    drop(null);
    for path in ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"]
    {
        let Ok(place) = look(path) else { continue };
        let to = at(&place);
        mount(Some(to.as_str()), to.as_str(), none, bind, none).unwrap();
        let place = look(path).unwrap();
        common::mount_read_only(&place).unwrap();
    }
    drop(root);
    let root = open_root();
    let look = |path: &str| {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        openat2(&root, path, how)
    };
    look("v").unwrap_err();
    let top = look(".").unwrap();
    assert_eq!(readlinkat(&top, "v"), Err(Errno::ENOENT));
    mkdirat(&top, "v", Mode::from_bits_truncate(0o755)).unwrap();
    drop(top);
    let place = look("v").unwrap();
    fstat(&place).unwrap();
    mount(Some(volume), at(&place).as_str(), none, bind, none).unwrap();
    drop(place);
    drop(root);
    chdir(home).unwrap();
    pivot_root(".", ".").unwrap();
    umount2(".", MntFlags::MNT_DETACH).unwrap();
    chdir("/").unwrap();
    let is_null =
        |fd: BorrowedFd| fstat(fd).is_ok_and(|about| about.st_rdev == makedev(1, 3));
    let streams = (stdin(), stdout(), stderr());
    let null =
        [streams.0.as_fd(), streams.1.as_fd(), streams.2.as_fd()].map(is_null);
    if null.contains(&true) {
        fs::metadata("/dev/null").unwrap();
        let own = File::options().read(true).write(true).open("/dev/null").unwrap();
        for (number, _) in (0..).zip(null).filter(|(_, null)| *null) {
            // SAFETY: the standard streams have no owner in this process.
            unsafe { libc::dup2(own.as_raw_fd(), number) };
        }
    }
    common::deny_terminal_input().unwrap();
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
