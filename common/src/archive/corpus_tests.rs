//! Property tests that start from archives of other programs, in `common/corpus/tar`:
//! GNU tar 1.34, libarchive 3.6, busybox 1.35 and Python 3.11, in each format that
//! they write. All were made of the same directory.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::tests::checked;
use super::*;

const KEEP: Keep = Keep { owners: false, attributes: true, whiteouts: None };

/// The name of the file with a long name, and the target of the long symlink.
const LONG: [(char, usize); 2] = [('n', 120), ('t', 130)];

fn corpus() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/tar");
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

/// A directory with an empty directory `root` and a file `x` beside it.
fn room() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("root")).unwrap();
    fs::write(dir.path().join("x"), "outside").unwrap();
    dir
}

#[test]
fn archives_of_other_programs_are_unpacked_to_the_same_files() {
    let corpus = corpus();
    assert_eq!(corpus.len(), 10);
    for (name, archive) in corpus {
        let dir = room();
        let root = dir.path().join("root");
        unpack_stream(&archive[..], &root, KEEP)
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let at = |path: &str| root.join("d").join(path);
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "hello\n", "{name}");
        let [file, hard] = ["file", "hard"].map(|path| at(path).metadata().unwrap());
        assert_eq!(file.ino(), hard.ino(), "{name}");
        assert_eq!(file.mode() & 0o7777, 0o4755, "{name}");
        assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("../x"), "{name}");
        // An ordinary archive has no whiteouts: these are files.
        assert!(at(".wh.gone").is_file(), "{name}");
        if name != "gnu-v7" {
            assert!(at("e/.wh..wh..opq").is_file(), "{name}");
            assert!(at("pipe").metadata().unwrap().file_type().is_fifo(), "{name}");
            assert_eq!(fs::read_to_string(at("ü")).unwrap(), "u", "{name}");
        }
        if !name.ends_with("v7") && !name.ends_with("ustar") {
            let [file, target] =
                LONG.map(|(it, count)| String::from(it).repeat(count));
            assert_eq!(fs::read_to_string(at(&file)).unwrap(), "long\n", "{name}");
            let link = fs::read_link(at("longlink")).unwrap();
            assert_eq!(link, Path::new(&target), "{name}");
        }
        if name == "gnu-gnu" || name == "gnu-pax" {
            let content = fs::read(at("sparse")).unwrap();
            assert_eq!((content.len(), content[70_000]), (1 << 20, b'x'), "{name}");
            assert_eq!(
                content.iter().filter(|byte| **byte != 0).count(),
                1,
                "{name}"
            );
            assert!(at("sparse").metadata().unwrap().blocks() < 100, "{name}");
            assert_eq!(at("e").metadata().unwrap().mtime(), -86_401, "{name}");
        }
        let mut value = [0; 9];
        let noted = rustix::fs::getxattr(at("file"), "user.note", &mut value[..]);
        // GNU tar and libarchive have an extension for attributes.
        let expected = name == "gnu-pax" || name == "libarchive-pax";
        assert_eq!(noted.ok(), expected.then_some(4), "{name}");
        gone(dir.path());
    }
}

/// One change of an archive.
#[derive(Clone, Debug)]
enum Change {
    /// Another byte in a block.
    Byte(Index, Index, u8),
    /// A block is written again at another place.
    Copy(Index, Index),
    /// A block is missing.
    Cut(Index),
    /// Blocks of another archive come in between.
    Insert(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    // Bytes that mean something in a header.
    let telling = prop::sample::select(&b"\0 01234567gxKLSVD/.=\n\x80\xff"[..]);
    let byte = prop_oneof![telling, any::<u8>()];
    prop_oneof![
        4 => (index(), index(), byte).prop_map(|(a, b, c)| Change::Byte(a, b, c)),
        1 => (index(), index()).prop_map(|(a, b)| Change::Copy(a, b)),
        1 => index().prop_map(Change::Cut),
        1 => (index(), index(), index())
            .prop_map(|(a, b, c)| Change::Insert(a, b, c)),
    ]
}

type Block = [u8; 512];

fn apply(blocks: &mut Vec<Block>, other: &[Block], change: &Change) {
    match change {
        _ if blocks.is_empty() => {}
        Change::Byte(block, at, byte) => {
            let count = blocks.len();
            let block = &mut blocks[block.index(count)];
            block[at.index(512)] = *byte;
        }
        Change::Copy(from, to) => {
            let block = blocks[from.index(blocks.len())];
            blocks.insert(to.index(blocks.len()), block);
        }
        Change::Cut(at) => drop(blocks.remove(at.index(blocks.len()))),
        Change::Insert(at, from, count) => {
            let from = from.index(other.len());
            let end = other.len().min(from + 1 + count.index(4));
            let at = at.index(blocks.len());
            blocks.splice(at..at, other[from..end].iter().copied());
        }
    }
}

/// The archive as bytes, with right checksums: a wrong one would hide all that follows.
fn bytes(blocks: &[Block], was_header: impl Fn(&Block) -> bool) -> Vec<u8> {
    let mut all = Vec::new();
    for block in blocks {
        match was_header(block) {
            true => all.extend(checked(*block)),
            false => all.extend(block),
        }
    }
    all
}

/// Remove all of it, whatever modes it has.
fn gone(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.symlink_metadata().unwrap().is_dir() {
            true => crate::state::remove_tree(&path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A changed archive is unpacked or refused, without a panic, in bounded memory,
    /// and without touching a file outside.
    #[test]
    fn a_changed_archive_is_unpacked_or_refused(
        which in any::<Index>(),
        other in any::<Index>(),
        changes in vec(change(), 1..6),
    ) {
        let corpus = corpus();
        let blocks = |which: Index| -> Vec<Block> {
            let archive = &corpus[which.index(corpus.len())].1;
            archive.as_chunks().0.to_vec()
        };
        let mut archive = blocks(which);
        let other = blocks(other);
        for change in &changes {
            apply(&mut archive, &other, change);
        }
        let archive = bytes(&archive, |block| block[257..262] == *b"ustar");

        let dir = room();
        let _ = unpack_stream(&archive[..], &dir.path().join("root"), KEEP);
        let mut beside: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        beside.sort();
        prop_assert_eq!(beside, ["root", "x"]);
        let outside = dir.path().join("x");
        prop_assert_eq!(fs::read_to_string(&outside).unwrap(), "outside");
        prop_assert_eq!(outside.metadata().unwrap().permissions().mode() & 0o7777, 0o644);
        gone(dir.path());
    }

    /// The stream may end anywhere, and its reads may be short.
    #[test]
    fn a_slow_or_truncated_stream_is_the_same_archive_or_an_error(
        which in any::<Index>(),
        end in any::<Index>(),
        sizes in vec(1..700_usize, 1..5),
    ) {
        let corpus = corpus();
        let (_, archive) = &corpus[which.index(corpus.len())];
        let whole = archive.len();
        // Some of the archives are whole.
        let end = end.index(whole * 5 / 4).min(whole);
        let dir = room();
        let root = dir.path().join("root");
        let slow = Slow { bytes: &archive[..end], sizes: sizes.into_iter().cycle() };
        let done = unpack_stream(slow, &root, KEEP);
        // Two blocks of zeros are the end mark; one is enough.
        if end >= whole - 512 {
            prop_assert!(done.is_ok(), "{:?}", done);
            prop_assert_eq!(fs::read_to_string(root.join("d/file")).unwrap(), "hello\n");
        }
        if end <= whole - 1024 {
            prop_assert!(done.is_err());
        }
        gone(dir.path());
    }
}

/// A stream whose reads return few bytes.
struct Slow<'a, I> {
    bytes: &'a [u8],
    sizes: I,
}

impl<I: Iterator<Item = usize>> Read for Slow<'_, I> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let most = self.sizes.next().unwrap().min(into.len());
        self.bytes.read(&mut into[..most])
    }
}
