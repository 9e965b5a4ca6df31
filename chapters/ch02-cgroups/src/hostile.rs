//! Arbitrary text from a user or the kernel: the parsers never panic, and a value
//! that they accept means what the text says.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use proptest::collection::vec;
use proptest::prelude::*;

use crate::layout::{Version, hierarchy, membership, unescaped};
use crate::name::GroupName;
use crate::statistics::number;

/// Bytes, the `special` ones often among them.
fn bytes(special: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => prop::sample::select(special), 1 => any::<u8>()];
    vec(byte, 0..40)
}

fn text(special: &'static str) -> impl Strategy<Value = String> {
    let letters: Vec<char> = special.chars().collect();
    let letter = prop_oneof![4 => prop::sample::select(letters), 1 => any::<char>()];
    vec(letter, 0..9).prop_map(|letters| letters.into_iter().collect())
}

/// The path as the kernel writes it.
///
/// # Source
/// show_mountinfo() in fs/proc_namespace.c, mangle_path() in fs/seq_file.c
fn mangled(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in path {
        if b" \t\n\\".contains(&byte) {
            out.extend(format!("\\{byte:03o}").bytes());
        } else {
            out.push(byte);
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_groups_name_never_leaves_its_directory(text in text("a-_.//..0")) {
        if let Ok(name) = text.parse::<GroupName>() {
            prop_assert_eq!(name.to_string(), text.clone());
            let path = Path::new("/sys/fs/cgroup").join(format!("mydocker-{name}"));
            let all: Vec<_> = path.components().skip(4).collect();
            let plain = all.iter().all(|c| matches!(c, Component::Normal(_)));
            prop_assert!(plain && all.len() == text.split('/').count(), "{path:?}");
        }
    }

    #[test]
    fn a_mount_point_is_read_as_the_kernel_writes_it(path in bytes(b"/ \\\t\n-01357a")) {
        let path: Vec<u8> = path.into_iter().filter(|byte| *byte != 0).collect();
        let line = [
            &b"33 31 0:29 / /"[..],
            &mangled(&path),
            b" rw,relatime shared:7 master:1 - cgroup2 none rw,nsdelegate",
        ]
        .concat();
        let found = hierarchy(&line).unwrap();
        prop_assert_eq!(found.version, Version::V2);
        let path = [b"/", &path[..]].concat();
        prop_assert_eq!(found.mount.as_os_str().as_bytes(), path);
    }

    #[test]
    fn any_line_of_a_mount_table_is_read_without_a_panic(
        start in bytes(b" -\\/0a:,"),
        end in bytes(b" -\\/0a:,="),
    ) {
        let _ = hierarchy(&start);
        let _ = hierarchy(&[&start[..], b" - cgroup ", &end].concat());
        let _ = unescaped(&start);
    }

    #[test]
    fn a_membership_is_read_as_the_kernel_writes_it(
        number in any::<u32>(),
        controllers in "[a-z_=,]{0,20}",
        group in bytes(b"/:. a"),
    ) {
        let group: Vec<u8> = group.into_iter().filter(|b| ![0, b'\n'].contains(b)).collect();
        let line = [format!("{number}:{controllers}:/").as_bytes(), &group].concat();
        let found = membership(&line).unwrap();
        prop_assert_eq!(found.number, number);
        prop_assert_eq!(found.controllers, controllers);
        let group = OsString::from_vec([b"/", &group[..]].concat());
        prop_assert_eq!(found.group, group);
    }

    #[test]
    fn any_line_of_a_membership_is_read_without_a_panic(line in bytes(b":/0123456789")) {
        let _ = membership(&line);
    }

    /// A flat-keyed file, as cgroup-v2.rst has it.
    #[test]
    fn each_key_has_its_own_number(pairs in vec(("[a-z_]{1,9}", any::<u64>()), 1..9)) {
        let mut text = String::new();
        for (key, value) in &pairs {
            writeln!(text, "{key} {value}").unwrap();
        }
        for (key, _) in &pairs {
            let own = pairs.iter().filter(|(other, _)| other == key);
            let sum = own.fold(0, |sum: u64, (_, n)| sum.saturating_add(*n));
            prop_assert_eq!(number(&text, key), Some(sum), "{} in {}", key, text);
        }
        prop_assert_eq!(number(&text, "Total"), None);
    }

    /// A nested-keyed one.
    #[test]
    fn nested_keys_are_added_up(disks in vec((any::<u64>(), any::<u64>()), 0..9)) {
        let mut text = String::new();
        for (read, written) in &disks {
            writeln!(text, "8:0 rbytes={read} wbytes={written} rios=1").unwrap();
        }
        let sum = disks.iter().fold(0, |sum: u64, (_, n)| sum.saturating_add(*n));
        prop_assert_eq!(number(&text, "wbytes="), Some(sum));
    }

    #[test]
    fn any_file_is_read_without_a_panic(text in text("0123456789 \n=:max"), key in "[a-z=]{0,4}") {
        let _ = number(&text, &key);
    }
}
