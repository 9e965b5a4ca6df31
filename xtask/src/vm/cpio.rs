//! Writing a cpio archive, which the kernel unpacks into the initramfs.

use std::io::{self, Write};

use super::tree::{Node, Tree};

/// Write the tree as an archive.
///
/// # Errors
/// Writing fails; a file has 4 GiB or more.
/// # Source
/// Documentation/driver-api/early-userspace/buffer-format.rst of Linux
pub(crate) fn write(tree: &Tree, out: &mut impl Write) -> io::Result<()> {
    let mut archive = Archive { out, written: 0, entries: 0 };
    for (path, node) in &tree.0 {
        match node {
            Node::Directory(mode) => {
                archive.entry(path, DIRECTORY | mode, (0, 0), b"")?;
            }
            Node::File(mode, content) => {
                archive.entry(path, FILE | mode, (0, 0), content)?;
            }
            Node::Symlink(target) => {
                archive.entry(path, SYMLINK | 0o777, (0, 0), target)?;
            }
            Node::CharacterDevice(mode, number) => {
                archive.entry(path, CHARACTER_DEVICE | mode, *number, b"")?;
            }
        }
    }
    archive.entry(b"TRAILER!!!", 0, (0, 0), b"")?;
    archive.out.flush()
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive that is being written.
struct Archive<W> {
    out: W,
    written: u64,
    entries: u32,
}

impl<W: Write> Archive<W> {
    fn entry(
        &mut self,
        name: &[u8],
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        self.entries += 1;
        let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, "4 GiB");
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = name.len() as u32 + 1;
        // Each entry needs a unique number: equal numbers would be hard links.
        let (uid, gid, links, time, inode) = (0, 0, 1, 0, self.entries);
        let fields = [
            inode, mode, uid, gid, links, time, size, 0, 0, device.0, device.1,
            name_size, 0,
        ];
        self.put(b"070701")?;
        for field in fields {
            self.put(format!("{field:08x}").as_bytes())?;
        }
        self.put(name)?;
        self.put(b"\0")?;
        self.pad()?;
        self.put(content)?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Pad to a multiple of four, at which names and contents begin.
    fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(4) - self.written;
        self.put(&[0; 3][..missing as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_header_starts_at_a_multiple_of_four() {
        let mut tree = Tree::default();
        tree.add("bin/a", Node::File(0o644, b"12345".to_vec()));
        tree.add("bin/bb", Node::Symlink(b"a".to_vec()));
        let mut bytes = Vec::new();
        write(&tree, &mut bytes).unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let heads = bytes.windows(6).enumerate();
        let heads = heads.filter(|(_, window)| window == b"070701");
        let places: Vec<usize> = heads.map(|(at, _)| at).collect();
        assert_eq!(places.len(), 4);
        assert!(places.iter().all(|at| at % 4 == 0), "{places:?}");
        let file = &bytes[places[1]..];
        assert_eq!(&file[14..22], b"000081a4");
        assert_eq!(&file[54..62], b"00000005");
        assert_eq!(&file[110..116], b"bin/a\0");
        assert_eq!(&file[116..121], b"12345");
    }
}
