//! Archives of GNU tar, and archives that no program would write.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const KEEP: Keep = Keep { owners: false, attributes: true, whiteouts: None };

/// The result of unpacking these bytes into a new directory, and the directory.
fn unpacked(archive: &[u8]) -> (tempfile::TempDir, anyhow::Result<()>) {
    let dir = tempfile::tempdir().unwrap();
    let done = unpack_stream(archive, dir.path(), KEEP);
    (dir, done)
}

fn refusal(archive: &[u8]) -> String {
    let (_dir, done) = unpacked(archive);
    format!("{:#}", done.expect_err("the archive must be refused"))
}

// Writing archives.

/// Fill up to a whole block.
fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A header of GNU tar's format or of POSIX's.
fn header(name: &[u8], flag: u8, size: u64, gnu: bool) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &[u8]| {
        block[at..at + text.len()].copy_from_slice(text);
    };
    put(0, name);
    put(100, b"0000644\x000000000\x000000000\0");
    put(124, format!("{size:011o}\0{:011o}\0", 1).as_bytes());
    put(156, &[flag]);
    put(257, if gnu { b"ustar  \0" } else { b"ustar\x0000" });
    block
}

pub(super) fn checked(mut block: [u8; 512]) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

pub(super) fn record(keyword: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let rest = keyword.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {keyword}=").as_bytes(), value, b"\n"].concat()
}

/// An entry with an extended header in front of it.
fn entry(records: &[Vec<u8>], name: &str, flag: u8, data: &[u8]) -> Vec<u8> {
    let text = records.concat();
    let before = checked(header(b"PaxHeaders/x", b'x', text.len() as u64, false));
    let own = checked(header(name.as_bytes(), flag, data.len() as u64, false));
    [before, padded(text), own, padded(data.to_vec())].concat()
}

fn ended(mut archive: Vec<u8>) -> Vec<u8> {
    archive.extend([0; 1024]);
    archive
}

/// A tar with one entry, `f`.
fn one(records: &[Vec<u8>], flag: u8, data: &[u8]) -> Vec<u8> {
    ended(entry(records, "f", flag, data))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Pairs,
    List,
    Data,
    Old,
}
const FORMS: [Form; 4] = [Form::Pairs, Form::List, Form::Data, Form::Old];

/// An archive of the sparse file `f`. Nothing is checked here.
fn sparse(form: Form, size: u64, map: &[(u64, u64)], data: &[u8]) -> Vec<u8> {
    let number = |keyword, value: u64| record(keyword, value.to_string());
    match form {
        Form::Pairs => {
            let mut records = vec![
                number("GNU.sparse.size", size),
                number("GNU.sparse.numblocks", map.len() as u64),
            ];
            for (offset, length) in map {
                records.push(number("GNU.sparse.offset", *offset));
                records.push(number("GNU.sparse.numbytes", *length));
            }
            one(&records, b'0', data)
        }
        Form::List => {
            let text: Vec<_> = map.iter().map(|(a, b)| format!("{a},{b}")).collect();
            let records = [
                number("GNU.sparse.size", size),
                number("GNU.sparse.numblocks", map.len() as u64),
                record("GNU.sparse.name", "f"),
                record("GNU.sparse.map", text.join(",")),
            ];
            ended(entry(&records, "GNUSparseFile.1/f", b'0', data))
        }
        Form::Data => {
            let records = [
                number("GNU.sparse.major", 1),
                number("GNU.sparse.minor", 0),
                record("GNU.sparse.name", "f"),
                number("GNU.sparse.realsize", size),
            ];
            let lines: String =
                map.iter().map(|(a, b)| format!("{a}\n{b}\n")).collect();
            let text = format!("{}\n{lines}", map.len()).into_bytes();
            let data = [padded(text), data.to_vec()].concat();
            ended(entry(&records, "GNUSparseFile.1/f", b'0', &data))
        }
        Form::Old => {
            let mut block = header(b"f", b'S', data.len() as u64, true);
            let field = |number: u64| match number < 1 << 33 {
                true => format!("{number:011o}\0").into_bytes(),
                false => [&[0x80, 0, 0, 0][..], &number.to_be_bytes()].concat(),
            };
            let pair = |(a, b): &(u64, u64)| [field(*a), field(*b)].concat();
            let fields: Vec<Vec<u8>> = map.iter().map(pair).collect();
            let (first, rest) = fields.split_at(fields.len().min(4));
            block[386..386 + first.len() * 24].copy_from_slice(&first.concat());
            block[482] = u8::from(!rest.is_empty());
            block[483..495].copy_from_slice(&field(size));
            let mut archive = checked(block);
            let count = rest.chunks(21).count();
            for (at, fields) in rest.chunks(21).enumerate() {
                let mut block = fields.concat();
                block.resize(512, 0);
                block[504] = u8::from(at + 1 < count);
                archive.extend(block);
            }
            archive.extend(padded(data.to_vec()));
            ended(archive)
        }
    }
}

/// The file that a map describes, or `None` if the map must be refused.
fn expected(size: u64, map: &[(u64, u64)], data: &[u8]) -> Option<Vec<u8>> {
    let mut file = vec![0; usize::try_from(size).ok()?];
    let (mut end, mut at) = (0_usize, 0_usize);
    for &(offset, length) in map {
        let (start, count) =
            (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
        let unaligned = at % 512 != 0 && count > 0;
        if start < end || unaligned {
            return None;
        }
        end = start.checked_add(count)?;
        let part = data.get(at..at.checked_add(count)?)?;
        file.get_mut(start..end)?.copy_from_slice(part);
        at += count;
    }
    (at == data.len() && end == file.len()).then_some(file)
}

/// Data in which each byte differs from its neighbours.
fn pattern(length: u64) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 + 1).collect()
}

// Archives of GNU tar 1.34.

/// A line is a block without its last zeros; `\{9}` is 9 zeros.
fn fixture(text: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    for line in text.lines() {
        let mut block = Vec::new();
        let mut rest = line;
        while let Some((plain, escape)) = rest.split_once('\\') {
            block.extend(plain.as_bytes());
            if let Some((count, after)) =
                escape.strip_prefix('{').and_then(|escape| escape.split_once('}'))
            {
                block.resize(block.len() + count.parse::<usize>().unwrap(), 0);
                rest = after;
            } else {
                block.push(u8::from_str_radix(&escape[1..3], 16).unwrap());
                rest = &escape[3..];
            }
        }
        block.extend(rest.as_bytes());
        block.resize(512, 0);
        archive.extend(block);
    }
    archive
}

/// Made by GNU tar 1.34 of one file: `--format=posix -S --sparse-version=VERSION` and
/// `--format=gnu -S`, all with `--hole-detection=raw`.
const FIXTURES: [(&str, &str); 4] = [
    ("0.0", include_str!("fixtures/sparse-0.0.txt")),
    ("0.1", include_str!("fixtures/sparse-0.1.txt")),
    ("1.0", include_str!("fixtures/sparse-1.0.txt")),
    ("old", include_str!("fixtures/sparse-old.txt")),
];

/// The file that is in each fixture: 31 short texts in a file of 1 MiB and 7 bytes.
fn original() -> Vec<u8> {
    let mut file = vec![0; (1 << 20) + 7];
    for number in 0..30 {
        let (at, text) = (512 * (2 * number + 1), format!("region {number}"));
        file[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    file[35840..35843].copy_from_slice(b"end");
    file
}

#[test]
fn sparse_files_of_gnu_tar_have_their_content_size_holes_and_name() {
    for (version, text) in FIXTURES {
        let (dir, done) = unpacked(&fixture(text));
        done.unwrap();
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{version}: {names:?}");
        let file = dir.path().join("f");
        assert!(fs::read(&file).unwrap() == original(), "{version}");
        let about = file.metadata().unwrap();
        assert!(about.blocks() < 200, "{version}: {} blocks", about.blocks());
        let fraction = if version == "old" { 0 } else { 700_000_000 };
        assert_eq!((about.mtime(), about.mtime_nsec()), (981_173_106, fraction));
    }
}

#[test]
fn a_truncated_archive_is_refused_wherever_it_is_cut() {
    for (version, text) in FIXTURES {
        let archive = fixture(text);
        let end = archive.len() - 1024;
        for length in (0..=end).step_by(256) {
            let (_dir, done) = unpacked(&archive[..length]);
            assert!(done.is_err(), "{version}: {length} of {end}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_sparse_file_is_the_same_in_every_form(
        parts in vec((0..9_u64, 0..4_u64), 0..60),
        last in 0..2000_u64,
        tail in prop_oneof![Just(0), 1..100_000_u64],
    ) {
        let (mut map, mut end) = (Vec::new(), 0);
        for (hole, length) in parts {
            map.push((end + hole * 512, length * 512));
            end += (hole + length) * 512;
        }
        map.push((end, last));
        let size = end + last + tail;
        map.push((size, 0));
        let data = pattern(map.iter().map(|(_, length)| length).sum());
        let file = expected(size, &map, &data).unwrap();
        for form in FORMS {
            let (dir, done) = unpacked(&sparse(form, size, &map, &data));
            prop_assert!(done.is_ok(), "{:?}: {:?}", form, done);
            prop_assert!(fs::read(dir.path().join("f")).unwrap() == file, "{:?}", form);
        }
    }

    #[test]
    fn a_sparse_map_is_applied_exactly_or_refused(
        map in vec(
            (
                prop_oneof![3 => 0..2000_u64, 3 => (0..8_u64).prop_map(|n| n * 512), 1 => any::<u64>()],
                prop_oneof![3 => 0..2000_u64, 3 => (0..4_u64).prop_map(|n| n * 512), 1 => any::<u64>()],
            ),
            0..5,
        ),
        size in prop_oneof![Just(None), (0..8000_u64).prop_map(Some)],
        stored in prop_oneof![Just(None), (0..4000_u64).prop_map(Some)],
    ) {
        let end = map.last().map_or(0, |(offset, length)| offset.saturating_add(*length));
        let size = size.unwrap_or(end);
        let sum = map.iter().fold(0_u64, |sum, (_, length)| sum.saturating_add(*length));
        let data = pattern(stored.unwrap_or(sum).min(8000));
        let file = match size {
            0..8000 => expected(size, &map, &data),
            _ => None,
        };
        for form in FORMS {
            let (dir, done) = unpacked(&sparse(form, size, &map, &data));
            match (&file, done) {
                (Some(file), Ok(())) => {
                    prop_assert!(fs::read(dir.path().join("f")).unwrap() == *file);
                }
                (None, Err(_)) => {}
                (file, done) => {
                    prop_assert!(false, "{:?}: {:?}, {:?}", form, file.is_some(), done);
                }
            }
        }
    }

    #[test]
    fn damaged_bytes_of_a_sparse_archive_never_panic(
        which in 0..4_usize,
        damage in vec((any::<prop::sample::Index>(), prop_oneof![
            any::<u8>(), prop::sample::select(&b"0123456789\n,= \0"[..]),
        ]), 1..6),
    ) {
        let mut archive = fixture(FIXTURES[which].1);
        // Regions at the end are only data.
        let maps = archive.len() - 512 * 33;
        for (at, byte) in damage {
            archive[at.index(maps)] = byte;
        }
        // A wrong checksum of a header ends the unpacking, which would hide later
        // damage.
        for at in (0..maps).step_by(512) {
            if archive[at + 257..at + 262] == *b"ustar" {
                let block: [u8; 512] = archive[at..at + 512].try_into().unwrap();
                archive[at..at + 512].copy_from_slice(&checked(block));
            }
        }
        let (dir, done) = unpacked(&archive);
        let files = fs::read_dir(dir.path()).unwrap().count();
        prop_assert!(done.is_err() || files <= 1, "{:?}", done);
        // The damage may have set any mode. With this mode, every user can remove
        // the directory.
        let _ = fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755));
    }
}

#[test]
fn a_damaged_map_is_refused_by_name() {
    let data = pattern(1024);
    type Map = Vec<(u64, u64)>;
    let cases: [(&str, u64, Map); 7] = [
        ("starts before the end", 4096, vec![(512, 512), (512, 512)]),
        ("starts before the end", 4096, vec![(1024, 512), (0, 512)]),
        ("ends at 1024, but the size of the file is 4096", 4096, vec![(0, 1024)]),
        ("beyond the end of the file", 1024, vec![(512, 1024)]),
        ("beyond the end of the file", 4096, vec![(u64::MAX >> 1, 1024)]),
        ("but the archive stores 1024", 4096, vec![(0, 512), (4096, 0)]),
        ("not a multiple of 512", 4096, vec![(0, 100), (512, 924)]),
    ];
    for (reason, size, map) in cases {
        for form in FORMS {
            let error = refusal(&sparse(form, size, &map, &data));
            assert!(error.contains(reason), "{form:?}: {error}");
            assert!(error.contains("entry f: "), "{form:?}: {error}");
        }
    }
}

#[test]
fn incomplete_or_contradicting_sparse_keywords_are_refused() {
    let number = |keyword, value: u64| record(keyword, value.to_string());
    let (size, count) =
        (number("GNU.sparse.size", 9), number("GNU.sparse.numblocks", 1));
    let map = record("GNU.sparse.map", "0,9");
    let (major, minor) =
        (number("GNU.sparse.major", 1), number("GNU.sparse.minor", 0));
    let offset = number("GNU.sparse.offset", 0);
    for (what, records) in [
        ("no map", vec![&size]),
        ("no size", vec![&count, &map]),
        ("no count", vec![&size, &map]),
        ("two maps", vec![&size, &count, &map, &map]),
        ("a map and a pair", vec![&size, &count, &map, &offset]),
        ("two places", vec![&size, &major, &minor, &map]),
        ("half a version", vec![&size, &major]),
        ("half a pair", vec![&size, &count, &offset]),
    ] {
        let records: Vec<_> = records.into_iter().cloned().collect();
        let error = refusal(&one(&records, b'0', b"123456789"));
        assert!(error.contains("entry f: "), "{what}: {error}");
    }
    let two = number("GNU.sparse.numblocks", 2);
    let error = refusal(&one(&[size.clone(), two, map.clone()], b'0', b"123456789"));
    assert!(error.contains("numblocks is 2, but there are 1"), "{error}");
    let records = [size, count, map];
    let error = refusal(&one(&records, b'5', b""));
    assert!(error.contains("only a regular file has holes"), "{error}");
    unpacked(&one(&records, b'0', b"123456789")).1.unwrap();
}

#[test]
fn a_map_that_is_too_large_for_memory_is_refused() {
    // The count alone must not allocate memory.
    let records = [
        record("GNU.sparse.major", "1"),
        record("GNU.sparse.minor", "0"),
        record("GNU.sparse.realsize", "9"),
    ];
    let text = format!("18446744073709551615\n{}", "0\n0\n".repeat((1 << 20) + 1));
    let error = refusal(&one(&records, b'0', &padded(text.into_bytes())));
    assert!(error.contains("more than 1048576 regions"), "{error}");
    let long = checked(header(b"x", b'x', 1 << 40, false));
    let error = refusal(&long);
    assert!(error.contains("more than the maximum"), "{error}");
}

#[test]
fn names_with_line_feeds_and_times_before_1970_are_unpacked() {
    let records = [record("path", "a\nb"), record("mtime", "-1.5")];
    let (dir, done) = unpacked(&one(&records, b'0', b"text"));
    done.unwrap();
    let file = dir.path().join("a\nb");
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
    let about = file.metadata().unwrap();
    assert_eq!((about.mtime(), about.mtime_nsec()), (-2, 500_000_000));
    // GNU tar stores such a time as a binary number.
    let mut block = header(b"f", b'0', 0, true);
    block[136..148].fill(0xff);
    let (dir, done) = unpacked(&ended(checked(block)));
    done.unwrap();
    assert_eq!(dir.path().join("f").metadata().unwrap().mtime(), -1);
}

#[test]
fn unknown_keywords_and_types_are_refused_with_the_entrys_name_escaped() {
    let path = record("path", "a\x1b[31m\nb\u{202e}");
    let error = refusal(&one(&[path, record("V.x", "1")], b'0', b""));
    let named = r#"entry a\u{1b}[31m\nb\u{202e}: pax keyword "V.x": unknown"#;
    assert!(error.contains(named), "{error}");
    for flag in [b'D', b'M', b'N', b'X', b'A', b'9', 0x1b] {
        let error = refusal(&ended(checked(header(b"f", flag, 0, true))));
        assert!(error.starts_with("entry f: "), "{error}");
        assert!(error.contains("entry type") || error.contains("sparse"), "{error}");
        assert!(error.contains(&flag.escape_ascii().to_string()), "{error}");
    }
}

#[test]
fn a_global_header_applies_to_all_entries_and_a_local_one_wins() {
    let text = [record("comment", "x"), record("mtime", "5")].concat();
    let global = checked(header(b"g", b'g', text.len() as u64, false));
    let first = checked(header(b"a", b'0', 0, false));
    let second = entry(&[record("mtime", "6")], "b", b'0', b"");
    let (dir, done) =
        unpacked(&ended([global, padded(text), first, second].concat()));
    done.unwrap();
    for (name, time) in [("a", 5), ("b", 6)] {
        assert_eq!(
            dir.path().join(name).metadata().unwrap().mtime(),
            time,
            "{name}"
        );
    }
}

#[test]
fn the_size_of_an_extended_header_wins_and_only_files_have_data() {
    let mut archive = entry(&[record("size", "4")], "f", b'0', b"");
    archive.extend(padded(b"text".to_vec()));
    let (dir, done) = unpacked(&ended(archive));
    done.unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"text");
    for flag in [b'1', b'2', b'3', b'5', b'6'] {
        let error = refusal(&one(&[], flag, b"text"));
        assert!(error.contains("only a regular file has data"), "{error}");
    }
}

#[test]
fn damaged_headers_are_refused() {
    let mut block = header(b"f", b'0', 0, false);
    block[262] = b'1';
    assert!(refusal(&ended(checked(block))).contains("format of a header"));
    block[262] = 0;
    let mut archive = checked(block);
    unpacked(&ended(archive.clone())).1.unwrap();
    archive[0] = b'g';
    assert!(refusal(&ended(archive)).contains("not a tar archive"));
}

#[test]
fn an_extended_header_without_an_entry_is_refused() {
    let text = record("path", "x");
    let lone = checked(header(b"x", b'x', text.len() as u64, false));
    let error = refusal(&ended([lone.clone(), padded(text.clone())].concat()));
    assert!(error.contains("without its entry"), "{error}");
    let two = [&lone[..], &padded(text.clone()), &lone, &padded(text)].concat();
    assert!(refusal(&ended(two)).contains("two extended headers"));
}

#[test]
fn an_attribute_is_set_and_an_access_control_list_is_refused() {
    let (dir, done) =
        unpacked(&one(&[record("SCHILY.xattr.user.a", "b\nc")], b'0', b""));
    done.unwrap();
    let mut value = [0; 9];
    let found = rustix::fs::getxattr(dir.path().join("f"), "user.a", &mut value[..]);
    // Some filesystems have no such attributes.
    assert!(found.is_err() || &value[..3] == b"b\nc");
    for keyword in ["SCHILY.acl.access", "SCHILY.xattr.system.posix_acl_access"] {
        let error = refusal(&one(&[record(keyword, "x")], b'0', b""));
        let named = format!("entry f: pax keyword \"{keyword}\": access control");
        assert!(error.contains(&named), "{error}");
    }
}
