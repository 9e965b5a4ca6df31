//! The programs of other firewalls, for the tests of networks: nft(8), iptables-nft
//! and iptables-legacy, from the distribution's packages, with their libraries.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use common::step::{Hint, Step};

use super::tree::{Node, Tree};
use super::{full, packages, say};

/// The packages: the programs, and the libraries that they load.
const PACKAGES: [&str; 17] = [
    "nftables",
    "iptables",
    "libbsd0",
    "libc6",
    "libedit2",
    "libgmp10",
    "libip4tc2",
    "libip6tc2",
    "libjansson4",
    "libmd0",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftables1",
    "libnftnl11",
    "libtinfo6",
    "libxtables12",
];

/// The files of the packages that the programs need: a directory, and the prefixes
/// of file names in it.
const PARTS: [(&str, &[&str]); 4] = [
    ("usr/sbin", &["nft", "iptables", "xtables"]),
    ("usr/lib/x86_64-linux-gnu", &["lib", "ld-"]),
    ("lib/x86_64-linux-gnu", &["lib", "ld-"]),
    // Matches and targets of iptables, such as `-m comment`.
    ("usr/lib/x86_64-linux-gnu/xtables", &["lib"]),
];

/// The path at which the programs expect their loader, and its actual path.
const LOADER: (&str, &str) =
    ("lib64/ld-linux-x86-64.so.2", "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");

/// The disk space for the packages and their unpacked files.
const REQUIRED_SPACE: u64 = 100 << 20;

/// The programs for the VM.
///
/// A kernel of the user's own may be used on a machine without apt-get. The programs
/// are not required then: the tests that need them are skipped.
///
/// # Errors
/// The packages are required but cannot be downloaded.
pub(crate) fn programs(required: bool) -> Result<Tree> {
    let unpacked = packages::unpacked("firewalls", &PACKAGES, REQUIRED_SPACE);
    match unpacked.and_then(|tree| pick(&tree)) {
        Err(error) if !required => {
            say(&format!(
                "firewalls of other programs are not available: {error:#}"
            ));
            Ok(Tree::default())
        }
        programs => programs.context("nft(8) and iptables(8) for the VM").hint(full),
    }
}

/// The files that the programs need, all below /usr, which is a disk of the VM. The
/// loader's expected path is elsewhere: a symlink there points to it.
fn pick(unpacked: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    for (directory, starts) in PARTS {
        let from = unpacked.join(directory);
        // Newer packages have no files in /lib.
        for entry in fs::read_dir(&from).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if !starts.iter().any(|start| name.starts_with(start)) {
                continue;
            }
            let shown = || path.display().to_string();
            let meta = path.symlink_metadata().step(shown)?;
            if meta.is_symlink() {
                let target = fs::read_link(&path).step(shown)?;
                let target = target.to_string_lossy().into_owned().into();
                tree.add(&place(directory, &name), Node::Symlink(target));
            } else if meta.is_file() {
                let mode = meta.permissions().mode() & 0o777;
                let bytes = fs::read(&path).step(shown)?;
                tree.add(&place(directory, &name), Node::File(mode, bytes));
            }
        }
    }
    tree.add(LOADER.0, Node::Symlink(LOADER.1.into()));
    Ok(tree)
}

/// The path in the VM of a file in this directory of a package.
fn place(directory: &str, name: &str) -> String {
    match directory.strip_prefix("lib/") {
        Some(rest) => format!("usr/lib/{rest}/{name}"),
        None => format!("{directory}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_libraries_and_links_are_selected() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            "usr/sbin/xtables-nft-multi",
            "usr/sbin/adduser",
            "usr/share/doc/iptables",
            "usr/lib/x86_64-linux-gnu/libnftnl.so.11",
            "usr/lib/x86_64-linux-gnu/xtables/libxt_comment.so",
            "usr/lib/x86_64-linux-gnu/gconv/UTF-16.so",
            "lib/x86_64-linux-gnu/libc.so.6",
        ];
        for file in files.map(|file| dir.path().join(file)) {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let link = dir.path().join("usr/sbin/iptables-nft");
        std::os::unix::fs::symlink("xtables-nft-multi", link).unwrap();
        let tree = pick(dir.path()).unwrap();
        let is_directory = |node: &Node| matches!(node, Node::Directory(_));
        let files = tree.0.iter().filter(|(_, node)| !is_directory(node));
        let paths: Vec<_> =
            files.map(|(path, _)| String::from_utf8_lossy(path)).collect();
        let wanted = [
            LOADER.0,
            "usr/lib/x86_64-linux-gnu/libc.so.6",
            "usr/lib/x86_64-linux-gnu/libnftnl.so.11",
            "usr/lib/x86_64-linux-gnu/xtables/libxt_comment.so",
            "usr/sbin/iptables-nft",
            "usr/sbin/xtables-nft-multi",
        ];
        assert_eq!(paths, wanted);
    }
}
