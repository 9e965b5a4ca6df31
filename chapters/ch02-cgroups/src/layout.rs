//! Find the cgroup hierarchies of this machine in the mount table.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use common::read_whole;
use common::step::Step;

/// The two versions of the interface. A controller belongs to one of them at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller, or for several controllers together.
    V1,
    /// One hierarchy for all controllers.
    V2,
}

/// A mounted tree of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The version of its interface.
    pub version: Version,
    /// Its mount point.
    pub mount: PathBuf,
    /// The controllers that its groups can use. Empty for a hierarchy that only
    /// keeps track of processes.
    pub controllers: Vec<String>,
}

/// All hierarchies of the machine. A machine is called v1, v2, or, if both are
/// mounted, hybrid.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The hierarchies, in the order of the mount table.
    pub hierarchies: Vec<Hierarchy>,
}

/// Options of a v1 mount that are not names of controllers.
const OTHER_OPTIONS: [&str; 7] =
    ["rw", "ro", "noprefix", "clone_children", "xattr", "none", "favordynmods"];

// ANCHOR: find
impl Layout {
    /// Read the hierarchies from the mount table. The kernel's version and
    /// /proc/cgroups are no substitute: Linux 6.12 lists the v1 controllers memory
    /// and cpuset as enabled, but cannot mount them.
    ///
    /// # Errors
    /// No cgroup filesystem is mounted.
    /// # Source
    /// cgroups(7); proc_pid_mountinfo(5)
    pub fn find() -> Result<Layout> {
        let path = "/proc/self/mountinfo";
        // Read bytes: a mount point need not be valid UTF-8.
        let mut table = Vec::with_capacity(4096);
        File::open(path)
            .and_then(|mut file| file.read_to_end(&mut table))
            .untraced(|| format!("read(2) {path}"))?;
        let lines = table.split(|byte| *byte == b'\n');
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for mut found in lines.filter_map(hierarchy) {
            if found.version == Version::V2 {
                // This file does not list a controller that is mounted in v1, or
                // that the group above has not enabled.
                let list = found.mount.join("cgroup.controllers");
                let list = read_whole::text(&list)
                    .untraced(|| format!("read(2) {}", list.display()))?;
                found.controllers.extend(list.split_whitespace().map(Into::into));
            }
            // The same hierarchy may be mounted twice. The later mount wins, because
            // it may cover the earlier one.
            hierarchies.retain(|other| {
                (other.version, &other.controllers)
                    != (found.version, &found.controllers)
                    || found.controllers.is_empty()
            });
            hierarchies.push(found);
        }
        if hierarchies.is_empty() {
            bail!(
                "no cgroup filesystem is mounted here; as root: \
                 mount -t cgroup2 none /sys/fs/cgroup"
            );
        }
        Ok(Layout { hierarchies })
    }

    /// The hierarchy that has this controller, if there is one.
    #[must_use]
    pub fn of(&self, controller: &str) -> Option<&Hierarchy> {
        let has = |h: &&Hierarchy| h.controllers.iter().any(|c| c == controller);
        self.hierarchies.iter().find(has)
    }
}
// ANCHOR_END: find

/// Parse a line of the mount table. Returns `None` if it is not a cgroup filesystem.
pub(crate) fn hierarchy(line: &[u8]) -> Option<Hierarchy> {
    let at = line.windows(3).position(|window| window == b" - ")?;
    let (mount, file_system) = (&line[..at], &line[at + 3..]);
    let mut words = file_system.split(|byte| *byte == b' ');
    let version = match words.next()? {
        b"cgroup" => Version::V1,
        b"cgroup2" => Version::V2,
        _ => return None,
    };
    let mount = unescaped(mount.split(|byte| *byte == b' ').nth(4)?);
    let mut controllers = Vec::new();
    if version == Version::V1 {
        // The options of the filesystem: names of controllers, or name=NAME for a
        // hierarchy without controllers.
        let options = String::from_utf8_lossy(words.nth(1)?);
        let options = options.split(',');
        let other = |word: &&str| word.contains('=') || OTHER_OPTIONS.contains(word);
        controllers.extend(options.filter(|word| !other(word)).map(str::to_owned));
    }
    Some(Hierarchy { version, mount, controllers })
}

/// Decode a path of the mount table, where white space and backslashes are written
/// in octal.
pub(crate) fn unescaped(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| after.get(..3)).flatten();
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => (bytes.push(byte), rest = &after[3..]),
            None => (bytes.push(byte), rest = after),
        };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// A process's membership in one hierarchy: a line of /proc/PID/cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The ID of the hierarchy; 0 for v2.
    pub number: u32,
    /// The controllers of the hierarchy, or `name=NAME`; empty for v2.
    pub controllers: String,
    /// The group's path in the hierarchy.
    pub group: OsString,
}

/// The groups of a process.
///
/// # Errors
/// The process does not exist.
/// # Source
/// cgroups(7), "/proc/pid/cgroup"
pub fn memberships(process: &str) -> Result<Vec<Membership>> {
    let path = format!("/proc/{process}/cgroup");
    let text = match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            bail!("there is no process {process}")
        }
        text => text.untraced(|| format!("read(2) {path}"))?,
    };
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let found = lines.map(|line| {
        let shown = || String::from_utf8_lossy(line).into_owned();
        membership(line)
            .with_context(|| format!("{path} has the line {:?}", shown()))
    });
    found.collect()
}

pub(crate) fn membership(line: &[u8]) -> Option<Membership> {
    let mut fields = line.splitn(3, |byte| *byte == b':');
    let mut word = || std::str::from_utf8(fields.next()?).ok();
    let (number, controllers) = (word()?.parse().ok()?, word()?.to_owned());
    // The name of a group may contain any byte except a newline.
    let group = OsString::from_vec(fields.next()?.to_owned());
    Some(Membership { number, controllers, group })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn names_that_are_not_utf_8_are_read() {
        let line = b"41 31 0:38 / /a\xff rw - cgroup2 none rw";
        let found = hierarchy(line).unwrap();
        assert_eq!(
            found.mount.into_os_string(),
            OsString::from_vec(b"/a\xff".into())
        );
        assert_eq!(hierarchy(b"36 35 8:1 / /\xff rw - ext4 /dev/sda1 rw"), None);
        let found = membership(b"0::/a\xff:b").unwrap();
        assert_eq!(found.group, OsString::from_vec(b"/a\xff:b".into()));
    }

    #[test]
    fn mount_tables_of_both_versions_are_read() {
        let line = "33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:7 - \
                    cgroup cgroup rw,cpu,cpuacct";
        let found = hierarchy(line.as_bytes()).unwrap();
        assert_eq!(found.version, Version::V1);
        assert_eq!(found.mount, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(found.controllers, ["cpu", "cpuacct"]);
        let line = r"41 31 0:38 / /a\040b\134 rw - cgroup2 none rw,nsdelegate";
        let found = hierarchy(line.as_bytes()).unwrap();
        assert_eq!((found.version, found.controllers.len()), (Version::V2, 0));
        assert_eq!(found.mount, Path::new(r"/a b\"));
        let line = "40 31 0:37 / /s rw - cgroup cgroup rw,xattr,name=systemd";
        assert_eq!(hierarchy(line.as_bytes()).unwrap().controllers.len(), 0);
        assert_eq!(hierarchy(b"36 35 8:1 / / rw - ext4 /dev/sda1 rw"), None);
    }
}
