//! The files and mounts of the system, besides the packages' files.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};

/// The ordinary user of the system.
const USER: u32 = 1500;

const ETC: [(&str, &str); 7] = [
    (
        "passwd",
        "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/:/bin/false\n\
         learner:x:1500:1500::/home/learner:/bin/sh\n",
    ),
    ("group", "root:x:0:\nmessagebus:x:100:\nlearner:x:1500:\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n"),
    ("machine-id", "0123456789abcdef0123456789abcdef\n"),
    ("pam.d/login", PAM),
    ("pam.d/systemd-user", PAM),
    ("pam.d/other", PAM),
];

/// Every user may log in. PAM is used only to create the session of systemd-logind(8).
const PAM: &str = "auth sufficient pam_permit.so\naccount sufficient pam_permit.so\n\
                   session required pam_loginuid.so\nsession required pam_systemd.so\n";

/// Units that change the machine, or that only take time.
const MASKED: [&str; 12] = [
    "modprobe@.service",
    "systemd-ask-password-console.path",
    "systemd-firstboot.service",
    "systemd-journal-flush.service",
    "systemd-machine-id-commit.service",
    "systemd-modules-load.service",
    "systemd-sysctl.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-setup.service",
    "systemd-update-utmp.service",
];

/// Write what the packages lack, and mount what systemd expects of a container
/// manager.
///
/// # Source
/// systemd's CONTAINER_INTERFACE
pub(crate) fn fill(root: &Path) {
    let path = |name: &str| root.join(name);
    for name in
        ["proc", "sys", "dev", "run", "tmp", "root", "var/lib", "usr/local/bin"]
    {
        fs::create_dir_all(path(name)).unwrap();
    }
    fs::create_dir_all(path("etc/pam.d")).unwrap();
    for (name, text) in ETC {
        fs::write(path("etc").join(name), text).unwrap();
    }
    fs::create_dir_all(path("etc/systemd/system")).unwrap();
    for unit in MASKED {
        symlink("/dev/null", path("etc/systemd/system").join(unit)).unwrap();
    }
    // The login service, without the other units of multi-user.target.
    let wanted = path("etc/systemd/system/basic.target.wants");
    fs::create_dir(&wanted).unwrap();
    let login = "systemd-logind.service";
    symlink(Path::new("/lib/systemd/system").join(login), wanted.join(login))
        .unwrap();
    symlink("/run", path("var/run")).unwrap();
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let none = MsFlags::empty();
    mounted("tmpfs", &text("dev"), "tmpfs", none, "mode=755");
    for name in ["null", "zero", "full", "random", "urandom", "tty", "fuse"] {
        let device = Path::new("/dev").join(name);
        if device.exists() {
            File::create(path("dev").join(name)).unwrap();
            bind(device.to_str().unwrap(), &text(&format!("dev/{name}")));
        }
    }
    for (name, options) in
        [("pts", "gid=5,mode=620,ptmxmode=666,newinstance"), ("shm", "mode=1777")]
    {
        let at = format!("dev/{name}");
        fs::create_dir(path(&at)).unwrap();
        let kind = if name == "pts" { "devpts" } else { "tmpfs" };
        mounted(kind, &text(&at), kind, none, options);
    }
    symlink("pts/ptmx", path("dev/ptmx")).unwrap();
    symlink("/proc/self/fd", path("dev/fd")).unwrap();
    mounted("tmpfs", &text("run"), "tmpfs", none, "mode=755");
    mounted("tmpfs", &text("tmp"), "tmpfs", none, "mode=1777");
    mounted("sysfs", &text("sys"), "sysfs", MsFlags::MS_RDONLY, "");
    mounted("cgroup2", &text("sys/fs/cgroup"), "cgroup2", none, "");
    bind("/usr/local/bin", &text("usr/local/bin"));

    fs::copy("/bin/busybox", path("usr/bin/busybox")).unwrap();
    let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
    for name in String::from_utf8(list.stdout).unwrap().lines() {
        // The packages have the real mount(8) and others.
        let _ = symlink("busybox", path("usr/bin").join(name));
    }
    // Each user has a state directory with busybox. overlay does not accept a
    // directory of overlay as its upper directory.
    for at in ["var/lib", "home"] {
        fs::create_dir_all(path(at)).unwrap();
        mounted("tmpfs", &text(at), "tmpfs", none, "mode=755");
    }
    let state = std::env::var_os("MYDOCKER_TEST_STATE").unwrap();
    for (place, owner) in
        [("var/lib/mydocker", 0), ("home/learner/.local/share/mydocker", USER)]
    {
        fs::create_dir_all(path(place).parent().unwrap()).unwrap();
        let copied = Command::new("/bin/busybox")
            .args(["cp", "-a"])
            .args([PathBuf::from(&state), path(place)])
            .status();
        assert!(copied.unwrap().success());
        if owner != 0 {
            let home = path("home/learner");
            let given = Command::new("/bin/busybox")
                .args(["chown", "-R", &format!("{owner}:{owner}")])
                .arg(&home)
                .status();
            assert!(given.unwrap().success());
            fs::set_permissions(home, Permissions::from_mode(0o700)).unwrap();
        }
    }
}

fn bind(from: &str, at: &str) {
    mounted(from, at, "", MsFlags::MS_BIND, "");
}

pub(crate) fn mounted(
    from: &str,
    at: &str,
    kind: &str,
    flags: MsFlags,
    options: &str,
) {
    let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
    let result = mount(given(from), at, given(kind), flags, given(options));
    result.unwrap_or_else(|error| panic!("mount(2) {from} on {at}: {error}"));
}
