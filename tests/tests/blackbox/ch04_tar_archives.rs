//! ch04-tar: archives with extended headers: sparse files, unknown keywords, names and
//! times that a plain header cannot hold.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use blackbox::{Caller, Lab, record, values};
use predicates::str::contains;
use serial_test::file_serial;
use tar::{Builder, EntryType, Header};

const BIN: &str = "ch04-tar";

fn ok(lab: &Lab, words: &[&str]) {
    lab.chapter(BIN).args(words).assert().success();
}

fn layers(state: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(state.join("layers")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The directory of the only container.
fn container(state: &Path) -> PathBuf {
    let mut entries = fs::read_dir(state.join("containers")).unwrap();
    entries.next().unwrap().unwrap().path()
}

/// The top layer of an image.
fn top(state: &Path, image: &str) -> PathBuf {
    let layers = values(record(state, image), "layer");
    state.join("layers").join(&layers[0])
}

/// An archive with one empty entry of this type.
fn typed(name: &str, kind: u8) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_entry_type(EntryType::new(kind));
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, &b""[..]).unwrap();
    builder.into_inner().unwrap()
}

/// A tar in posix format with one file: its name is `name`, its extended header has
/// these records, and its data is `data`.
fn extended(records: &[(&str, &str)], name: &str, data: &[u8]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let records =
        records.iter().map(|(keyword, value)| (*keyword, value.as_bytes()));
    builder.append_pax_extensions(records).unwrap();
    let mut header = Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(data.len() as u64);
    header.set_cksum();
    builder.append(&header, data).unwrap();
    builder.into_inner().unwrap()
}

/// A block of text.
fn block(text: &str) -> Vec<u8> {
    let mut block = text.as_bytes().to_vec();
    block.resize(512, 0);
    block
}

#[test]
#[file_serial(machine)]
fn import_preserves_content_and_holes_of_sparse_files() {
    const SIZE: usize = 1 << 20;
    let middle = block("middle");
    let mut file = vec![0; SIZE];
    file[SIZE / 2..SIZE / 2 + 512].copy_from_slice(&middle);
    // As GNU tar 1.34 writes it with -S: --sparse-version=0.0, 0.1, 1.0, --format=gnu.
    let pairs = [
        ("GNU.sparse.size", "1048576"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.offset", "524288"),
        ("GNU.sparse.numbytes", "512"),
        ("GNU.sparse.offset", "1048576"),
        ("GNU.sparse.numbytes", "0"),
    ];
    let list = [
        ("GNU.sparse.size", "1048576"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.name", "sparse"),
        ("GNU.sparse.map", "524288,512,1048576,0"),
    ];
    let lines = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "sparse"),
        ("GNU.sparse.realsize", "1048576"),
    ];
    let with_map = [block("2\n524288\n512\n1048576\n0\n"), middle.clone()].concat();
    let mut old = Header::new_gnu();
    old.set_path("sparse").unwrap();
    old.set_entry_type(EntryType::GNUSparse);
    old.set_mode(0o644);
    old.set_uid(0);
    old.set_gid(0);
    old.set_mtime(0);
    old.set_size(512);
    let fields = old.as_gnu_mut().unwrap();
    fields.set_real_size(SIZE as u64);
    fields.sparse[0].set_offset(SIZE as u64 / 2);
    fields.sparse[0].set_length(512);
    fields.sparse[1].set_offset(SIZE as u64);
    fields.sparse[1].set_length(0);
    old.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&old, &middle[..]).unwrap();
    let archives = [
        extended(&pairs, "sparse", &middle),
        extended(&list, "GNUSparseFile.1/sparse", &middle),
        extended(&lines, "GNUSparseFile.1/sparse", &with_map),
        builder.into_inner().unwrap(),
    ];
    for caller in Caller::BOTH {
        let lab = Lab::new();
        for archive in &archives {
            let mut import = caller.chapter(&lab, BIN);
            import.args(["import", "-", "holes"]).write_stdin(archive.clone());
            import.assert().success().stderr("");
            let top = top(&caller.state(&lab), "holes");
            assert_eq!(fs::read_dir(&top).unwrap().count(), 1);
            assert!(fs::read(top.join("sparse")).unwrap() == file);
            let blocks = top.join("sparse").metadata().unwrap().blocks();
            assert!(blocks <= 16, "{blocks} blocks");
            caller.chapter(&lab, BIN).args(["rmi", "holes"]).assert().success();
        }
    }
}

#[test]
#[file_serial(machine)]
fn an_entry_with_an_unknown_meaning_is_refused_by_name() {
    let lab = Lab::new();
    ok(&lab, &["images"]);
    let before = layers(&lab.state());
    let refused = [
        (
            extended(&[("VENDOR.magic", "1")], "f", b""),
            r#"entry f: pax keyword "VENDOR.magic": unknown, and it may change"#,
        ),
        (
            extended(&[("SCHILY.acl.access", "u::rw")], "f", b""),
            r#"entry f: pax keyword "SCHILY.acl.access": access control lists are not"#,
        ),
        (
            extended(&[("path", "a\u{1b}[2Jb"), ("GNU.sparse.x", "1")], "f", b""),
            r#"entry a\u{1b}[2Jb: pax keyword "GNU.sparse.x": unknown"#,
        ),
        (
            typed("dump", b'D'),
            r#"entry dump: entry type "D": incremental archives are not supported"#,
        ),
        (typed("f", b'Z'), r#"unknown entry type "Z""#),
    ];
    for (archive, reason) in refused {
        let mut import = lab.chapter(BIN);
        import.args(["import", "-", "evil"]).write_stdin(archive);
        import.assert().code(125).stdout("").stderr(contains(reason));
        assert_eq!(layers(&lab.state()), before, "{reason}");
    }
}

#[test]
#[file_serial(machine)]
fn a_tar_preserves_names_with_line_feeds_and_times_before_1970() {
    let lab = Lab::new();
    let words = ["run", "--name", "one", "busybox", "sh", "-c"];
    let script = "touch -d '1969-12-31 23:59:58' \"$(printf '/a\\nb')\"";
    ok(&lab, &[&words[..], &[script]].concat());
    let time = |file: &Path| {
        let about = file.metadata().unwrap();
        (about.mtime(), about.mtime_nsec())
    };
    let written = container(&lab.state()).join("upper/a\nb");
    assert_eq!(time(&written), (-2, 0));
    let file = lab.dir().join("x.tar");
    let file = file.to_str().unwrap();
    ok(&lab, &["export", "-o", file, "one"]);
    ok(&lab, &["import", file, "flat"]);
    assert_eq!(time(&top(&lab.state(), "flat").join("a\nb")), (-2, 0));
    ok(&lab, &["rm", "one"]);
    ok(&lab, &["rmi", "flat"]);
}
