//! The claims of a network's addresses, in one file.
//!
//! ```text
//! networks/NAME/claims   a line for each claim: address, inode, ID, and perhaps name
//! ```
//!
//! The symlinks in `addresses` are the truth. To read two hundred of them takes a
//! millisecond of each start, and to read one file with the same text takes a tenth of
//! that. The last line of an address counts, and only if it names the inode of the
//! symlink. A line with inode 0 precedes each removal, because a filesystem may use an
//! inode again at once. So it does not matter if the line of a symlink is missing.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::read_whole;

/// How many bytes the file may have in addition to twice the lines that count.
const MAX_OLD_BYTES: usize = 4096;

/// The content of the file.
pub(crate) struct Claims {
    path: PathBuf,
    text: String,
}

// ANCHOR: claims
impl Claims {
    /// Read the claims of the network whose addresses are in this directory. An error is
    /// ignored: then the symlinks are read.
    pub(crate) fn read(addresses: &Path) -> Claims {
        let path = addresses.with_file_name("claims");
        let text = read_whole::text(&path).unwrap_or_default();
        Claims { path, text }
    }

    /// The address of the last claim.
    pub(crate) fn last(&self) -> Option<Ipv4Addr> {
        let made = self.lines().filter(|(_, inode, _)| *inode != 0);
        made.last().map(|(address, ..)| address)
    }

    /// The last claim of each address: the inode of its symlink, and its target.
    pub(crate) fn latest(&self) -> HashMap<Ipv4Addr, (u64, &str)> {
        self.lines()
            .map(|(address, inode, owner)| (address, (inode, owner)))
            .collect()
    }

    /// The whole lines. A process that was killed leaves half a line, which becomes a
    /// part of the next line. Its address, inode and ID cannot be valid then.
    fn lines(&self) -> impl Iterator<Item = (Ipv4Addr, u64, &str)> {
        let whole = self.text.rfind('\n').map_or("", |end| &self.text[..end]);
        whole.lines().filter_map(|line| {
            let (address, rest) = line.split_once(' ')?;
            let (inode, owner) = rest.split_once(' ')?;
            Some((address.parse().ok()?, inode.parse().ok()?, owner))
        })
    }

    /// Add the claim of the address whose symlink was just created. If most lines
    /// are old, the file is replaced, and then contains only the lines of these
    /// `owners`.
    ///
    /// # Errors
    /// lstat(2), open(2) or write(2) fails.
    pub(crate) fn add<Owner>(
        &self,
        link: &Path,
        address: Ipv4Addr,
        owner: &str,
        owners: &BTreeMap<Ipv4Addr, Owner>,
    ) -> io::Result<()> {
        let inode = fs::symlink_metadata(link)?.ino();
        let line = format!("{address} {inode} {owner}\n");
        let kept: usize = owners.len() * line.len();
        if self.text.len() < 2 * kept + MAX_OLD_BYTES {
            let file = File::options().create(true).append(true).open(&self.path);
            return file?.write_all(line.as_bytes());
        }
        let latest = self.latest().into_iter();
        let living = latest.filter(|(address, (inode, _))| {
            *inode != 0 && owners.contains_key(address)
        });
        let lines = living
            .map(|(address, (inode, owner))| format!("{address} {inode} {owner}\n"));
        fs::write(&self.path, lines.collect::<String>() + &line)
    }
}

/// Record that the symlink of this address is about to be removed. An error is
/// ignored: the next symlink most likely has another inode, or its own line.
pub(crate) fn end(link: &Path, address: Ipv4Addr) {
    let path = link.parent().map(|addresses| addresses.with_file_name("claims"));
    if let Some(path) = path
        && let Ok(mut file) = File::options().append(true).open(path)
    {
        let _ = file.write_all(format!("{address} 0 -\n").as_bytes());
    }
}
// ANCHOR_END: claims

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "10.0.0.2 7 aaaa00000000\n10.0.0.3 8 bbbb00000000 web\n";

    fn claims(text: &str) -> Claims {
        Claims { path: PathBuf::new(), text: text.to_owned() }
    }

    #[test]
    fn the_last_complete_line_of_an_address_counts() {
        let address = |last| Ipv4Addr::new(10, 0, 0, last);
        let again = LINES.to_owned() + "10.0.0.2 9 cccc00000000\n";
        let read = claims(&again);
        assert_eq!(read.last(), Some(address(2)));
        assert_eq!(read.latest()[&address(2)], (9, "cccc00000000"));
        assert_eq!(read.latest()[&address(3)], (8, "bbbb00000000 web"));
        for torn in 1..24 {
            let read = &again[..again.len() - torn];
            assert_eq!(claims(read).latest()[&address(2)], (7, "aaaa00000000"));
            // The next line is appended to the half of a line.
            let joined = read.to_owned() + "10.0.0.9 11 dddd00000000\n";
            let joined = claims(&joined);
            let owner = |last| joined.latest().get(&address(last)).copied();
            let member = |(_, owner): (u64, &str)| owner.len() == 12;
            assert!(owner(2).is_some_and(|it| it.0 == 7 || !member(it)), "{torn}");
            assert!(owner(9).is_none_or(|it| it.0 == 11), "{torn}");
        }
        let ended = again + "10.0.0.3 0 -\n";
        let read = claims(&ended);
        assert_eq!(
            (read.last(), read.latest()[&address(3)].0),
            (Some(address(2)), 0)
        );
        assert_eq!(claims("").last(), None);
        assert_eq!(claims("x\n\n10.0.0.1\n10.0.0.1 x y\n").last(), None);
    }

    #[test]
    fn a_file_with_many_old_lines_is_rewritten() {
        let dir = tempfile::tempdir().unwrap();
        let addresses = dir.path().join("addresses");
        let path = dir.path().join("claims");
        let mut owners = BTreeMap::new();
        owners.insert(Ipv4Addr::new(10, 0, 0, 3), ());
        let add = || {
            let address = Ipv4Addr::new(10, 0, 0, 4);
            let claims = Claims::read(&addresses);
            claims.add(dir.path(), address, "eeee00000000", &owners).unwrap();
            fs::read_to_string(&path).unwrap()
        };
        fs::write(&path, LINES).unwrap();
        let own = add();
        assert!(own.starts_with(LINES) && own.ends_with(" eeee00000000\n"), "{own}");
        fs::write(&path, LINES.repeat(200)).unwrap();
        let own = add();
        assert!(own.starts_with("10.0.0.3 8 bbbb00000000 web\n10.0.0.4 "), "{own}");
        assert_eq!(own.lines().count(), 2);
    }
}
