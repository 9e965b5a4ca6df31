//! Write the image of a read-only disk. Its filesystem is ext4 without a journal,
//! and the image is written sequentially. Every cloud kernel has ext4 built in.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::tree::{Node, Tree};

const BLOCK: usize = 4096;
const INODE: usize = 128;
/// One block contains the bitmap of a group, with one bit for each block.
const BLOCKS_PER_GROUP: usize = 8 * BLOCK;
const ROOT: usize = 2;
/// The first inode that is not reserved.
const FIRST: usize = 11;

/// Incompatible features: directory entries contain the kind of file; contents are
/// extents; a group's tables may be anywhere.
const INCOMPAT: u32 = 0x2 | 0x40 | 0x200;
/// Compatible feature: the superblock lists the groups that contain a copy of it
/// (here there are none).
const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const EXTENTS: u32 = 0x80000;

/// A file that is to be written.
struct File<'a> {
    mode: u32,
    links: usize,
    /// The major and minor number of a device.
    device: Option<(u32, u32)>,
    content: std::borrow::Cow<'a, [u8]>,
    /// The first block of its content.
    start: usize,
}

impl File<'_> {
    fn is_directory(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// The target of a short symlink is stored in the inode.
    fn in_inode(&self) -> bool {
        self.mode & 0o170_000 == 0o120_000 && self.content.len() < 60
    }

    fn blocks(&self) -> usize {
        if self.in_inode() { 0 } else { self.content.len().div_ceil(BLOCK) }
    }
}

/// Write the tree as a disk image.
///
/// # Errors
/// Writing fails; a file has 128 MiB or more, which would need several extents.
/// # Source
/// Documentation/filesystems/ext4/ of Linux
pub(crate) fn write(tree: &Tree, out: &mut impl Write) -> io::Result<()> {
    let mut files = files(tree);
    let inodes = FIRST - 1 + files.len() - 1;
    let data: usize = files.iter().map(File::blocks).sum();
    // More groups need more tables: increase the count until everything fits.
    let mut groups = 1;
    let (per_group, first) = loop {
        let per_group = inodes.div_ceil(groups).next_multiple_of(BLOCK / INODE);
        let tables = per_group * INODE / BLOCK;
        let descriptors = (groups * 32).div_ceil(BLOCK);
        let first = 1 + descriptors + groups * (2 + tables);
        if first + data <= groups * BLOCKS_PER_GROUP {
            break (per_group, first);
        }
        groups += 1;
    };
    let tables = per_group * INODE / BLOCK;
    let descriptors = (groups * 32).div_ceil(BLOCK);
    let bitmaps = 1 + descriptors;
    let blocks = first + data;
    let mut next = first;
    for file in &mut files {
        if file.blocks() >= BLOCKS_PER_GROUP {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "128 MiB"));
        }
        file.start = next;
        next += file.blocks();
    }

    let mut head = vec![0; first * BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        head[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let long = |number: usize| (number as u32).to_le_bytes();
    let short = |number: usize| (number as u16).to_le_bytes();
    let total_inodes = per_group * groups;
    // The superblock: offset, value.
    for (at, value) in [
        (0, total_inodes),
        (4, blocks),
        (16, total_inodes - inodes),
        (24, 2), // 4096 is 1024 << 2
        (28, 2),
        (32, BLOCKS_PER_GROUP),
        (36, BLOCKS_PER_GROUP),
        (40, per_group),
        (56, 0x1_ef53), // magic number, and a clean state
        (76, 1),        // with the fields that follow
        (84, FIRST),
        (88, INODE),
        (92, COMPAT_SPARSE_SUPER2 as usize),
        (96, INCOMPAT as usize),
        (372, 4), // 16 groups store their tables together
    ] {
        put(1024 + at, &long(value));
    }
    for group in 0..groups {
        let at = BLOCK + group * 32;
        let used = inodes.saturating_sub(group * per_group).min(per_group);
        let mine = |inode: usize| (inode - 1) / per_group == group;
        let directories = (0..files.len())
            .filter(|&index| files[index].is_directory() && mine(number(index)))
            .count();
        put(at, &long(bitmaps + group));
        put(at + 4, &long(bitmaps + groups + group));
        put(at + 8, &long(bitmaps + 2 * groups + group * tables));
        put(at + 14, &short(per_group - used));
        put(at + 16, &short(directories));
        // Every block is in use. The bits beyond the last block are set as well.
        put((bitmaps + group) * BLOCK, &[0xff; BLOCK]);
        put((bitmaps + groups + group) * BLOCK, &inode_bitmap(used, per_group));
    }
    for (index, file) in files.iter().enumerate() {
        // The tables of all groups are contiguous.
        let at = (bitmaps + 2 * groups) * BLOCK + (number(index) - 1) * INODE;
        put(at, &short(file.mode as usize));
        put(at + 4, &long(file.content.len()));
        put(at + 26, &short(file.links));
        put(at + 28, &long(file.blocks() * BLOCK / 512));
        if let Some((major, minor)) = file.device {
            put(at + 40, &long((major << 8 | minor) as usize));
        } else if file.in_inode() {
            put(at + 40, &file.content);
        } else {
            put(at + 32, &EXTENTS.to_le_bytes());
            let extents = usize::from(file.blocks() > 0);
            put(at + 40, &[0x0a, 0xf3, extents as u8, 0, 4, 0]);
            put(at + 56, &short(file.blocks()));
            put(at + 60, &long(file.start));
        }
    }
    out.write_all(&head)?;
    for file in files.iter().filter(|file| !file.in_inode()) {
        out.write_all(&file.content)?;
        out.write_all(&vec![0; file.blocks() * BLOCK - file.content.len()])?;
    }
    out.flush()
}

/// The inode number of the file at this index: the root has a reserved number.
fn number(index: usize) -> usize {
    if index == 0 { ROOT } else { FIRST - 1 + index }
}

/// A bitmap of `count` inodes, of which the first `used` are in use. The bits beyond
/// `count` are set.
fn inode_bitmap(used: usize, count: usize) -> Vec<u8> {
    let set = |bit: usize| bit < used || bit >= count;
    let byte = |at: usize| {
        (0..8).fold(0, |byte, bit| byte | u8::from(set(at * 8 + bit)) << bit)
    };
    (0..BLOCK).map(byte).collect()
}

/// The root and all files, with the generated contents of directories.
fn files(tree: &Tree) -> Vec<File<'_>> {
    let mut numbers: BTreeMap<&[u8], usize> = BTreeMap::new();
    numbers.insert(b"", ROOT);
    for (index, path) in tree.0.keys().enumerate() {
        numbers.insert(path, number(index + 1));
    }
    let parent = |path: &[u8]| match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (path[..at].to_vec(), path[at + 1..].to_vec()),
        None => (Vec::new(), path.to_vec()),
    };
    let mut entries: BTreeMap<Vec<u8>, Vec<Entry>> = BTreeMap::new();
    for (path, node) in &tree.0 {
        let (directory, name) = parent(path);
        let kind = match node {
            Node::File(..) => 1,
            Node::Directory(_) => 2,
            Node::CharacterDevice(..) => 3,
            Node::Symlink(_) => 7,
        };
        entries.entry(directory).or_default().push((numbers[&path[..]], kind, name));
    }
    let root = (&b""[..], &Node::Directory(0o755));
    let all = tree.0.iter().map(|(path, node)| (&path[..], node));
    let file =
        |(path, node): (&[u8], &Node)| -> (u32, usize, Option<(u32, u32)>, Vec<u8>) {
            match node {
                Node::Directory(mode) => {
                    let own = entries.get(path).map_or(&[][..], |own| own);
                    let below = own.iter().filter(|(_, kind, _)| *kind == 2).count();
                    let up = numbers[&parent(path).0[..]];
                    let content = directory(numbers[path], up, own);
                    (0o040_000 | mode, 2 + below, None, content)
                }
                Node::CharacterDevice(mode, device) => {
                    (0o020_000 | mode, 1, Some(*device), Vec::new())
                }
                Node::File(mode, _) => (0o100_000 | mode, 1, None, Vec::new()),
                Node::Symlink(_) => (0o120_777, 1, None, Vec::new()),
            }
        };
    std::iter::once(root)
        .chain(all)
        .map(|(path, node)| {
            let (mode, links, device, made) = file((path, node));
            let content = match node {
                Node::File(_, bytes) | Node::Symlink(bytes) => bytes.into(),
                _ => made.into(),
            };
            File { mode, links, device, content, start: 0 }
        })
        .collect()
}

/// Inode, kind and name.
type Entry = (usize, u8, Vec<u8>);

/// The blocks of a directory: entries of inode, length, name length, kind and name.
/// No entry crosses the end of a block, and the last entry of a block reaches its
/// end.
fn directory(own: usize, up: usize, entries: &[Entry]) -> Vec<u8> {
    let dots = [(own, 2, b".".to_vec()), (up, 2, b"..".to_vec())];
    let mut blocks = Vec::new();
    let mut last = 0;
    for (inode, kind, name) in dots.iter().chain(entries) {
        let length = (8 + name.len()).next_multiple_of(4);
        let used = blocks.len() % BLOCK;
        if used + length > BLOCK {
            stretch(&mut blocks, last);
        }
        last = blocks.len();
        blocks.extend((*inode as u32).to_le_bytes());
        blocks.extend((length as u16).to_le_bytes());
        blocks.extend([name.len() as u8, *kind]);
        blocks.extend(name);
        blocks.resize(last + length, 0);
    }
    stretch(&mut blocks, last);
    blocks
}

/// Extend the last entry to the end of its block.
fn stretch(blocks: &mut Vec<u8>, last: usize) {
    let end = blocks.len().next_multiple_of(BLOCK);
    blocks.resize(end, 0);
    let length = (end - last) as u16;
    blocks[last + 4..last + 6].copy_from_slice(&length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn image(tree: &Tree) -> Vec<u8> {
        let mut image = Vec::new();
        write(tree, &mut image).unwrap();
        image
    }

    /// The offset of the content of the file with this inode number.
    fn start(image: &[u8], inode: usize) -> usize {
        let long = |at: usize| {
            u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize
        };
        long(long(BLOCK + 8) * BLOCK + (inode - 1) * INODE + 60) * BLOCK
    }

    #[test]
    fn a_file_is_listed_in_the_root_and_its_inode_locates_its_content() {
        let mut tree = Tree::default();
        tree.add("word", Node::File(0o644, b"content".to_vec()));
        let image = image(&tree);
        let root = start(&image, ROOT);
        // After the entries of `.` and `..`, with twelve bytes each.
        let entry = &image[root + 24..][..12];
        assert_eq!(entry, [11, 0, 0, 0, 0xe8, 0x0f, 4, 1, b'w', b'o', b'r', b'd']);
        let content = &image[start(&image, FIRST)..][..8];
        assert_eq!(content, b"content\0");
        assert_eq!(image[1024 + 56..][..2], [0x53, 0xef]);
    }

    #[test]
    fn no_entry_of_a_large_directory_crosses_a_block() {
        let mut tree = Tree::default();
        for index in 0..1000 {
            let name = format!("file-with-a-name-of-some-length-{index:099}");
            tree.add(&name, Node::File(0o644, index.to_string().into_bytes()));
        }
        let image = image(&tree);
        let root = start(&image, ROOT);
        let (mut at, mut seen) = (root, 0);
        // `.`, `..` and the files, of 140 bytes each: 29 in a block.
        while seen < 1002 {
            let length = u16::from_le_bytes([image[at + 4], image[at + 5]]) as usize;
            assert!(at % BLOCK + length <= BLOCK, "an entry crosses a block's end");
            let name = &image[at + 8..][..image[at + 6] as usize];
            if name.len() > 2 {
                let digits = String::from_utf8_lossy(&name[name.len() - 4..]);
                let index: usize = digits.parse().unwrap();
                let inode =
                    u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
                let content = index.to_string();
                let there = &image[start(&image, inode as usize)..][..content.len()];
                assert_eq!(there, content.as_bytes());
            }
            at += length;
            seen += 1;
        }
        assert_eq!(at - root, 35 * BLOCK);
    }

    #[test]
    fn e2fsck_finds_no_error_in_an_image() {
        let mut tree = Tree::default();
        for index in 0..3000 {
            let name = format!("many/file-with-a-long-name-{index:0100}");
            tree.add(&name, Node::File(0o644, vec![7; index]));
        }
        tree.add("big", Node::File(0o755, vec![1; 100 << 20]));
        tree.add("bigger", Node::File(0o755, vec![1; 100 << 20]));
        tree.add("deep/er/link", Node::Symlink(b"../../big".to_vec()));
        tree.add("deep/long", Node::Symlink(vec![b'x'; 99]));
        tree.add("empty", Node::File(0o600, Vec::new()));
        tree.add("null", Node::CharacterDevice(0o666, (1, 3)));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        std::fs::write(&path, image(&tree)).unwrap();
        let checked = Command::new("e2fsck").arg("-fn").arg(&path).output();
        // Without e2fsck, nothing is checked here. The VM's kernel still mounts such
        // a disk in each test run.
        if let Ok(checked) = checked {
            let said = String::from_utf8_lossy(&checked.stdout).into_owned();
            assert!(checked.status.success(), "{said}");
        }
    }

    #[test]
    fn a_file_too_large_for_one_extent_is_refused() {
        let mut tree = Tree::default();
        tree.add("huge", Node::File(0o644, vec![0; BLOCKS_PER_GROUP * BLOCK]));
        let error = write(&tree, &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
