//! A tar that nobody vouches for, unpacked.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags as Follow, fchmodat, makedev,
    mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{
    Gid, LinkatFlags, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat,
};
use rustix::fs::{XattrFlags, setxattr};
use tar::{Archive, Entry, EntryType};

use crate::base64;
use crate::guest::{GuestRoot, Kind, Place};
use crate::hints;
use crate::rights;
use crate::step::{Hint, Step};

/// What is kept of the files beside names and bytes.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Owners and device nodes, by who may give files away and make nodes. To others
    /// all files belong, and there are no devices.
    pub owners: bool,
    /// Times, and extended attributes but for those that an overlay would obey.
    pub attributes: bool,
}

/// Unpack a file. No times, no attributes, owners if the caller may: for what is not
/// to be packed again.
pub fn unpack(tar: &Path, root: &Path) -> Result<()> {
    let file = File::open(tar).step(|| at("open(2)", tar))?;
    let mut archive = Archive::new(io::BufReader::new(file));
    // An .apk ends each of its sections with zeros, and goes on.
    archive.set_ignore_zeros(true);
    let keep = Keep { owners: rights::is_host_root(), attributes: false };
    entries(archive, root, keep)
}

/// Unpack a tar that nobody vouches for: whatever its names and links say, nothing
/// outside `root` is touched.
///
/// # Errors
/// It isn't a tar, or not to its end; a name with `..`; those of open(2), write(2),
/// link(2), mknod(2).
pub fn unpack_stream(tar: impl Read, root: &Path, keep: Keep) -> Result<()> {
    let mut stream = Stream { inner: tar, ended: false };
    entries(Archive::new(&mut stream), root, keep)?;
    // The mark at the end of a tar comes before the end of the file.
    if stream.ended {
        bail!("not a whole tar: it ends without its end mark, so it was cut off");
    }
    // What packs it may check itself at its own end.
    io::copy(&mut stream, &mut io::sink()).look(|| "behind the tar's end")?;
    Ok(())
}

/// A stream, and whether it has been read to its end.
struct Stream<R> {
    inner: R,
    ended: bool,
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.ended |= count == 0 && !into.is_empty();
        Ok(count)
    }
}

fn entries<R: Read>(mut archive: Archive<R>, root: &Path, keep: Keep) -> Result<()> {
    let root = GuestRoot::open(root)?;
    let mut unpacker =
        Unpacker { root, keep, directories: BTreeMap::new(), parent: None };
    // The caller's umask has no say.
    unpacker
        .directories
        .insert(PathBuf::new(), Directory { mode: 0o755, time: None });
    for entry in archive.entries().context("not a tar")? {
        let mut entry = entry.context("not a whole tar")?;
        let path = entry.path().context("a name that is none")?.into_owned();
        unpacker
            .entry(&mut entry, &path)
            .with_context(|| format!("entry {}", path.display()))?;
    }
    unpacker.finish()
}

/// What a directory gets at the end.
struct Directory {
    mode: u32,
    time: Option<SystemTime>,
}

struct Unpacker {
    root: GuestRoot,
    keep: Keep,
    /// Directories get their modes at the end, the deepest first: one that is not to
    /// be written has first to be filled.
    directories: BTreeMap<PathBuf, Directory>,
    /// The directory of the last file, as most lie beside the one before.
    parent: Option<(PathBuf, Rc<Place>)>,
}

impl Unpacker {
    fn entry<R: Read>(&mut self, entry: &mut Entry<R>, path: &Path) -> Result<()> {
        let path = inside(path)?;
        let kind = entry.header().entry_type();
        let mode = entry.header().mode()? & 0o7777;
        let more = More::of(entry, self.keep)?;
        if kind == EntryType::Directory {
            return self.directory(entry, path, mode, &more);
        }
        let Some(name) = path.file_name() else { return Ok(()) };
        let parent = self.parent(&path)?;
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mut file = self.create(&parent, name, &path)?;
                io::copy(entry, &mut file)
                    .step(|| at("write(2)", &path))
                    .hint(hints::state)?;
                self.own(entry, &parent, &path)?;
                // After chown(2), which clears the setuid bit and capabilities.
                file.set_permissions(Permissions::from_mode(mode))
                    .step(|| at("chmod(2)", &path))?;
                more.set(&proc_path(&file), &path)?;
                return match more.time {
                    Some(time) => {
                        file.set_modified(time).step(|| at("futimens(3)", &path))
                    }
                    None => Ok(()),
                };
            }
            EntryType::Symlink => {
                let target = entry.link_name()?.context("a symlink to nothing")?;
                self.replace(&parent, name);
                symlinkat(&*target, &parent, name)
                    .step(|| at("symlink(2)", &path))?;
            }
            EntryType::Link => {
                let target = entry.link_name()?.context("a link to nothing")?;
                let target = inside(&target)?;
                // To itself: it would be removed before it is linked.
                if target == path {
                    return Ok(());
                }
                let above = target.parent().unwrap_or(Path::new(""));
                let above =
                    self.root.find(above)?.context("a link to what is not there")?;
                let old = target.file_name().context("a link to a directory")?;
                self.replace(&parent, name);
                linkat(&above, old, &parent, name, LinkatFlags::empty())
                    .step(|| at("link(2)", &path))?;
                return Ok(());
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                // A container has its own /dev; who can't make nodes does without.
                if kind != EntryType::Fifo && !self.keep.owners {
                    return Ok(());
                }
                self.replace(&parent, name);
                node(entry, &parent, &path, mode)?;
                self.own(entry, &parent, &path)?;
                // The caller's umask has had its say, and chown(2).
                let flags = FchmodatFlags::FollowSymlink;
                let mode = Mode::from_bits_truncate(mode);
                fchmodat(&parent, name, mode, flags)
                    .step(|| at("chmod(2)", &path))?;
                return more.touch(&parent, &path);
            }
            // Headers for whole archives, and what this reader doesn't know.
            _ => return Ok(()),
        }
        self.own(entry, &parent, &path)?;
        more.touch(&parent, &path)
    }

    fn directory<R: Read>(
        &mut self,
        entry: &Entry<R>,
        path: PathBuf,
        mode: u32,
        more: &More,
    ) -> Result<()> {
        if path.file_name().is_some() {
            let parent = self.parent(&path)?;
            let place = self.root.make(&path, Kind::Directory)?;
            self.own(entry, &parent, &path)?;
            more.set(&place.path(), &path)?;
        }
        self.directories.insert(path, Directory { mode, time: more.time });
        Ok(())
    }

    /// Every parent is looked up inside the root, so a symlink that an earlier entry
    /// made leads nowhere else; the last name is never followed.
    fn parent(&mut self, path: &Path) -> Result<Rc<Place>> {
        let above = path.parent().unwrap_or(Path::new(""));
        if let Some((known, place)) = &self.parent
            && known == above
        {
            return Ok(Rc::clone(place));
        }
        let place = Rc::new(self.root.make(above, Kind::Directory)?);
        self.parent = Some((above.to_owned(), Rc::clone(&place)));
        Ok(place)
    }

    /// Later entries replace earlier ones.
    fn replace(&mut self, parent: &Place, name: &OsStr) {
        // What can't be removed, as a directory, is in the way of what comes now,
        // which says so.
        let _ = unlinkat(parent, name, UnlinkatFlags::NoRemoveDir);
        // It may have been a link that the known parent was found by.
        self.parent = None;
    }

    fn create(&mut self, parent: &Place, name: &OsStr, path: &Path) -> Result<File> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY;
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = || openat(parent, name, flags, Mode::from_bits_truncate(0o600));
        let opened = match open() {
            Err(Errno::EEXIST) => {
                self.replace(parent, name);
                open()
            }
            opened => opened,
        };
        Ok(File::from(opened.step(|| at("open(2)", path)).hint(hints::state)?))
    }

    /// Give it to whom the tar says.
    fn own<R: Read>(
        &self,
        entry: &Entry<R>,
        parent: &Place,
        path: &Path,
    ) -> Result<()> {
        if !self.keep.owners {
            return Ok(());
        }
        let header = entry.header();
        let uid = Uid::from_raw(u32::try_from(header.uid()?)?);
        let gid = Gid::from_raw(u32::try_from(header.gid()?)?);
        let name = path.file_name().context("no name")?;
        fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
            .step(|| at("chown(2)", path))
    }

    fn finish(self) -> Result<()> {
        for (path, Directory { mode, time }) in self.directories.into_iter().rev() {
            // A later entry may have put something else in its place.
            let place = self.root.find(&path)?;
            let Some(place) = place.filter(|p| p.is_directory().is_ok_and(|is| is))
            else {
                continue;
            };
            fs::set_permissions(place.path(), Permissions::from_mode(mode))
                .step(|| at("chmod(2)", &path))?;
            if let Some(time) = time {
                let time = spec(time);
                utimensat(
                    AT_FDCWD,
                    &place.path(),
                    &time,
                    &time,
                    Follow::FollowSymlink,
                )
                .step(|| at("utimensat(2)", &path))?;
            }
        }
        Ok(())
    }
}

/// A device or a fifo.
fn node<R: Read>(
    entry: &Entry<R>,
    parent: &Place,
    path: &Path,
    mode: u32,
) -> Result<()> {
    let sort = match entry.header().entry_type() {
        EntryType::Char => SFlag::S_IFCHR,
        EntryType::Block => SFlag::S_IFBLK,
        _ => SFlag::S_IFIFO,
    };
    // Archives of fifos often leave the numbers blank.
    let number = |field: io::Result<Option<u32>>| match sort {
        SFlag::S_IFIFO => Ok(0),
        _ => field.map(|number| u64::from(number.unwrap_or(0))),
    };
    let major = number(entry.header().device_major())?;
    let minor = number(entry.header().device_minor())?;
    let name = path.file_name().context("no name")?;
    let mode = Mode::from_bits_truncate(mode);
    mknodat(parent, name, sort, mode, makedev(major, minor))
        .step(|| at("mknod(2)", path))
}

/// What an entry says in its extensions.
struct More {
    time: Option<SystemTime>,
    attributes: Vec<(String, Vec<u8>)>,
}

/// GNU tar's and libarchive's keys of extended attributes; a value of the second is
/// in base64, as a line of a header can't hold every byte.
const PLAIN: &str = "SCHILY.xattr.";
const CODED: &str = "LIBARCHIVE.xattr.";

impl More {
    fn of<R: Read>(entry: &mut Entry<R>, keep: Keep) -> Result<More> {
        let mut more = More { time: None, attributes: Vec::new() };
        if !keep.attributes {
            return Ok(more);
        }
        let mut time = Duration::from_secs(entry.header().mtime()?);
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension.context(
                "an extension that is none, or an extended attribute with a line \
                 break in it, which only libarchive's tar can say",
            )?;
            let Ok(key) = extension.key() else { continue };
            let value = extension.value_bytes();
            if key == "mtime"
                && let Some(found) = extension.value().ok().and_then(seconds)
            {
                time = found;
            }
            let found = match key.strip_prefix(CODED) {
                Some(name) => base64::decode(value).map(|value| (name, value)),
                None => key.strip_prefix(PLAIN).map(|name| (name, value.to_vec())),
            };
            if let Some((name, value)) = found.filter(|(name, _)| kept(name, keep)) {
                more.attributes.push((name.to_owned(), value));
            }
        }
        more.time = SystemTime::UNIX_EPOCH.checked_add(time);
        Ok(more)
    }

    fn set(&self, file: &Path, path: &Path) -> Result<()> {
        for (name, value) in &self.attributes {
            match setxattr(file, name.as_str(), value, XattrFlags::empty()) {
                // One that this file system hasn't got.
                Err(rustix::io::Errno::OPNOTSUPP) => {}
                set => set.step(|| format!("{} {name}", at("setxattr(2)", path)))?,
            }
        }
        Ok(())
    }

    /// Set the time of what can't be opened.
    fn touch(&self, parent: &Place, path: &Path) -> Result<()> {
        let Some(time) = self.time.map(spec) else { return Ok(()) };
        let name = path.file_name().context("no name")?;
        utimensat(parent, name, &time, &time, Follow::NoFollowSymlink)
            .step(|| at("utimensat(2)", path))
    }
}

/// Those that mean the same everywhere: not an overlay's, and no other user's right.
fn kept(name: &str, keep: Keep) -> bool {
    (name.starts_with("user.") && !name.starts_with("user.overlay."))
        || (keep.owners && name == "security.capability")
}

/// `1234.5678`, after 1970.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let nanos: String = part.chars().chain("000000000".chars()).take(9).collect();
    Some(Duration::new(whole.parse().ok()?, nanos.parse().ok()?))
}

fn spec(time: SystemTime) -> TimeSpec {
    TimeSpec::from_duration(
        time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
    )
}

fn proc_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// A step's text.
fn at(call: &str, path: &Path) -> String {
    format!("{call} {}", path.display())
}

/// The path below the root, or an error when it would leave it.
fn inside(path: &Path) -> Result<PathBuf> {
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                bail!(
                    "the name leaves the archive by \"..\": this tar can't be trusted"
                )
            }
        }
    }
    Ok(inside)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    use proptest::collection::vec;
    use proptest::prelude::*;
    use tar::{Builder, Header};

    use super::*;

    /// A tar of (name, kind, content or link, mode).
    fn archive(dir: &Path, entries: &[(&str, EntryType, &str, u32)]) -> PathBuf {
        let path = dir.join("test.tar");
        let mut builder = Builder::new(File::create(&path).unwrap());
        for &(name, kind, text, mode) in entries {
            let mut header = Header::new_gnu();
            // The bytes as they are: the library's own setter refuses "..".
            let raw = header.as_gnu_mut().unwrap();
            raw.name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_uid(nix::unistd::getuid().as_raw().into());
            header.set_gid(nix::unistd::getgid().as_raw().into());
            let is_file = kind == EntryType::Regular;
            if !is_file && !text.is_empty() {
                let raw = header.as_gnu_mut().unwrap();
                raw.linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            let data = if is_file { text } else { "" };
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data.as_bytes()).unwrap();
        }
        builder.finish().unwrap();
        path
    }

    /// Every path below, links not followed, with what a file holds.
    fn all(dir: &Path) -> Vec<(PathBuf, String)> {
        let (mut found, mut todo) = (Vec::new(), vec![dir.to_owned()]);
        while let Some(path) = todo.pop() {
            let meta = path.symlink_metadata().unwrap();
            if meta.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            }
            let text = match meta.is_file() {
                true => fs::read_to_string(&path).unwrap(),
                false => String::new(),
            };
            found.push((path, format!("{:o} {} {text}", meta.mode(), meta.nlink())));
        }
        found.sort();
        found
    }

    /// Whatever root is left of it, however it is closed.
    fn gone(dir: &Path) {
        crate::state::remove_tree(dir).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 300,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn whatever_names_and_links_there_are_nothing_outside_is_touched(
            entries in vec((
                vec(prop::sample::select(vec!["a", "b", "c", "..", ".", ""]), 1..4),
                prop::sample::select(vec![
                    EntryType::Regular, EntryType::Directory, EntryType::Symlink,
                    EntryType::Link, EntryType::Fifo, EntryType::Symlink,
                ]),
                vec(prop::sample::select(vec!["a", "b", "..", "", "out", "OUT"]), 1..4),
                prop::sample::select(vec![0o755, 0o644, 0o4755, 0o000]),
            ), 0..10)
        ) {
            let dir = tempfile::tempdir().unwrap();
            let out = dir.path().join("out");
            for name in ["a", "b", "c"] {
                fs::create_dir_all(&out).unwrap();
                fs::write(out.join(name), name).unwrap();
            }
            let root = dir.path().join("root");
            fs::create_dir(&root).unwrap();
            // The absolute path of what is outside, too.
            let long = out.to_str().unwrap();
            let texts: Vec<_> = entries.iter().map(|(name, kind, text, mode)| {
                let text = text.join("/").replace("OUT", long);
                (name.join("/"), *kind, text, *mode)
            }).collect();
            let entries: Vec<_> = texts.iter()
                .map(|(name, kind, text, mode)| (name.as_str(), *kind, text.as_str(), *mode))
                .collect();
            let tar = archive(dir.path(), &entries);
            let before = all(&out);
            let done = unpack(&tar, &root);
            prop_assert_eq!(all(&out), before, "{:?}", done);
            let mut beside: Vec<_> = fs::read_dir(dir.path()).unwrap()
                .map(|e| e.unwrap().file_name()).collect();
            beside.sort();
            prop_assert_eq!(beside, ["out", "root", "test.tar"]);
            let leaves = entries.iter().any(|(name, ..)| name.split('/').any(|n| n == ".."));
            prop_assert!(!(leaves && done.is_ok()), "{:?}", entries);
            gone(&root);
        }

        #[test]
        fn damaged_archives_are_errors(
            damage in vec((0..2048_usize, any::<u8>()), 1..8),
            length in 0..2048_usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("root");
            fs::create_dir(&root).unwrap();
            let entries = [
                ("d/", EntryType::Directory, "", 0o755),
                ("d/f", EntryType::Regular, "text", 0o644),
            ];
            let tar = archive(dir.path(), &entries);
            let mut bytes = fs::read(&tar).unwrap();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            bytes.truncate(length.max(512));
            fs::write(&tar, bytes).unwrap();
            let _ = unpack(&tar, &root);
            prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
            gone(&root);
        }
    }

    #[test]
    fn names_and_links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        use EntryType::{Directory, Fifo, Regular, Symlink};
        let tar = archive(
            dir.path(),
            &[
                ("/etc/", Directory, "", 0o755),
                ("/etc/absolute", Regular, "x", 0o4755),
                ("out", Symlink, "../../..", 0o777),
                ("out/escaped", Regular, "x", 0o644),
                ("abs", Symlink, "/tmp", 0o777),
                ("abs/mydocker-test-escaped", Regular, "x", 0o644),
                ("pipe", Fifo, "", 0o600),
            ],
        );
        unpack(&tar, &root).unwrap();
        let meta = root.join("etc/absolute").metadata().unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o4755);
        assert!(root.join("escaped").is_file());
        assert!(!dir.path().join("escaped").exists());
        assert!(root.join("tmp/mydocker-test-escaped").is_file());
        assert!(!Path::new("/tmp/mydocker-test-escaped").exists());
        let pipe = root.join("pipe").metadata().unwrap();
        assert!(pipe.file_type().is_fifo());
    }

    #[test]
    fn a_directory_that_is_not_to_be_written_is_filled_first() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o700)).unwrap();
        let tar = archive(
            dir.path(),
            &[
                ("usr/", EntryType::Directory, "", 0o555),
                ("usr/bin/", EntryType::Directory, "", 0o555),
                ("usr/bin/x", EntryType::Regular, "x", 0o755),
            ],
        );
        unpack(&tar, &root).unwrap();
        for (name, mode) in [("", 0o755), ("usr", 0o555), ("usr/bin", 0o555)] {
            let found = root.join(name).metadata().unwrap().mode() & 0o7777;
            assert_eq!(found, mode, "/{name}");
        }
        assert!(root.join("usr/bin/x").is_file());
        // tempfile could not remove it as an ordinary user.
        crate::state::remove_tree(&root).unwrap();
    }

    #[test]
    fn a_name_with_dots_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let tar =
            archive(dir.path(), &[("../evil", EntryType::Regular, "x", 0o644)]);
        let error = unpack(&tar, &root).unwrap_err();
        assert!(format!("{error:#}").contains("\"..\""), "{error:#}");
        assert!(!dir.path().join("evil").exists());
    }

    #[test]
    fn a_file_over_a_symlink_replaces_the_link() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        let link = victim.to_str().unwrap();
        let tar = archive(
            dir.path(),
            &[
                ("f", EntryType::Symlink, link, 0o777),
                ("f", EntryType::Regular, "new", 0o644),
            ],
        );
        unpack(&tar, &root).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(fs::read_to_string(root.join("f")).unwrap(), "new");
    }
}
