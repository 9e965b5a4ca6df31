//! The checks of ch04-tar: a merged tree becomes a tar, and a tar becomes an image.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;

use tar::{Archive, EntryType};

use super::{frozen_during, inside, layers, ok, one, same_layers, tidy};
use crate::Entry;
use crate::outcome::{Outcome, Trouble, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("tree", "upper_files_hide_lower_files_in_the_tar", upper, ""),
    ("tree", "removed_files_are_not_in_the_tar", removed, ""),
    ("tree", "a_replaced_directory_has_only_its_new_files", replaced, ""),
    ("tree", "a_directory_comes_before_its_files", order, ""),
    ("tree", "three_layers_are_merged", three, ""),
    ("export", "the_container_is_frozen_during_the_export", frozen, ""),
    ("export", "the_extension_selects_the_compression", compressed, ""),
    ("import", "an_imported_tar_is_the_same_tree", imported, ""),
    ("import", "a_directory_becomes_an_image", from_directory, ""),
    ("import", "a_truncated_tar_leaves_no_image", truncated, ""),
];

/// Export the container `one` to a file.
fn export(room: &Room) -> Result<String, Trouble> {
    let tar = room.path("x.tar").to_string_lossy().into_owned();
    ok(room, &["export", "-o", &tar, "one"])?;
    Ok(tar)
}

/// The entries of a tar, in their order: path, type and content.
type Entries = Vec<(String, EntryType, String)>;

fn read(tar: &str) -> Result<Entries, Trouble> {
    let read = || -> std::io::Result<Entries> {
        let mut archive = Archive::new(File::open(tar)?);
        let mut all = Vec::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            let path = path.trim_matches(['.', '/']).to_owned();
            let mut bytes = Vec::new();
            // Only the small files of the checks are compared.
            entry.by_ref().take(100).read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            all.push((path, entry.header().entry_type(), text));
        }
        Ok(all)
    };
    read().map_err(|error| Trouble::fail("a tar", error.to_string()))
}

/// Run a script in a container of busybox, and call `then` with the entries of its tar.
fn exported(
    room: &Room,
    script: &str,
    then: impl FnOnce(&Entries) -> Outcome,
) -> Outcome {
    let outcome =
        one(room, "busybox", script).and_then(|()| then(&read(&export(room)?)?));
    tidy(room, outcome)
}

/// The entries have these files with these texts, and none of the others.
fn has(entries: &Entries, files: &[(&str, &str)], none: &[&str]) -> Outcome {
    for (path, text) in files {
        let found: Vec<_> = entries.iter().filter(|it| it.0 == *path).collect();
        let right = matches!(*found, [(_, EntryType::Regular, it)] if it == text);
        let expected = format!("one file {path} with {text:?}");
        so(right, &expected, format!("{found:?}"))?;
    }
    let bad = entries.iter().find(|it| none.contains(&&*it.0));
    let bad = bad.map(|it| &*it.0).unwrap_or_default();
    so(bad.is_empty(), &format!("none of {none:?} in the tar"), bad)?;
    let device = entries.iter().find(|it| it.1 == EntryType::Char);
    let device = device.map(|it| &*it.0).unwrap_or_default();
    so(device.is_empty(), "no whiteout in the tar", format!("the device {device}"))
}

fn upper(room: &mut Room) -> Outcome {
    let script = "echo new > /etc/passwd; echo more > /more";
    exported(room, script, |entries| {
        has(entries, &[("etc/passwd", "new\n"), ("more", "more\n")], &[])?;
        let group = entries.iter().any(|it| it.0 == "etc/group");
        so(group, "etc/group of the lower layer in the tar", "it is not there")
    })
}

fn removed(room: &mut Room) -> Outcome {
    exported(room, "rm /etc/passwd /bin/vi", |entries| {
        has(entries, &[], &["etc/passwd", "bin/vi"])
    })
}

fn replaced(room: &mut Room) -> Outcome {
    let script = "rm -r /etc; mkdir /etc; echo new > /etc/new";
    exported(room, script, |entries| {
        has(entries, &[("etc/new", "new\n")], &["etc/passwd", "etc/group"])
    })
}

fn order(room: &mut Room) -> Outcome {
    exported(room, "mkdir -p /a/b/c; echo text > /a/b/c/d", |entries| {
        let place: BTreeMap<&str, usize> =
            entries.iter().enumerate().map(|(at, it)| (&*it.0, at)).collect();
        for (path, at) in &place {
            let Some((above, _)) = path.rsplit_once('/') else { continue };
            let before = place.get(above).is_some_and(|above| above < at);
            so(before, &format!("{above} before {path}"), "another order")?;
        }
        has(entries, &[("a/b/c/d", "text\n")], &[])
    })
}

fn three(room: &mut Room) -> Outcome {
    // An image with the layer of busybox and another one; a container of it.
    let tar = |script: &str| -> Result<Entries, Trouble> {
        one(
            room,
            "busybox",
            "rm /etc/passwd; mkdir /d; echo low > /d/low; echo low > /f",
        )?;
        ok(room, &["commit", "one", "first"])?;
        ok(room, &["rm", "one"])?;
        one(room, "first", script)?;
        read(&export(room)?)
    };
    let script = "echo back > /etc/passwd; echo up > /d/up; rm /f; mkdir /f; \
                  echo in > /f/in";
    let outcome = tar(script).and_then(|entries| {
        let files = [
            ("etc/passwd", "back\n"),
            ("d/low", "low\n"),
            ("d/up", "up\n"),
            ("f/in", "in\n"),
        ];
        has(&entries, &files, &[])
    });
    tidy(room, outcome)
}

fn frozen(room: &mut Room) -> Outcome {
    let tar = room.path("x.tar");
    let tar = tar.to_string_lossy();
    let outcome = frozen_during(room, &["export", "-o", &tar, "one"], false);
    tidy(room, outcome)
}

fn compressed(room: &mut Room) -> Outcome {
    let outcome = one(room, "busybox", "true").and_then(|()| {
        // The first bytes of gzip and zstd.
        for (name, magic) in [
            ("x.tar.gz", &[0x1f, 0x8b][..]),
            ("x.tar.zst", &[0x28, 0xb5, 0x2f, 0xfd]),
        ] {
            let path = room.path(name);
            ok(room, &["export", "-o", &path.to_string_lossy(), "one"])?;
            let bytes = fs::read(&path).expect("read(2)");
            let begins = format!("{name} begins with {magic:x?}");
            let actual = format!("{:x?}", &bytes[..bytes.len().min(4)]);
            so(bytes.starts_with(magic), &begins, actual)?;
        }
        Ok(())
    });
    tidy(room, outcome)
}

fn imported(room: &mut Room) -> Outcome {
    let script =
        "rm /etc/passwd; echo text > /file; chown 7:8 /file; chmod 4755 /file";
    let outcome = one(room, "busybox", script).and_then(|()| {
        let tar = export(room)?;
        ok(room, &["import", &tar, "first"])?;
        let layers = room.lab.layers("first").len();
        so(layers == 1, "an image with one layer", format!("{layers} layers"))?;
        let look = "test -e /etc/passwd || echo gone; cat /file; \
                    stat -c '%a %u:%g' /file";
        inside(room, "first", look, "gone\ntext\n4755 7:8\n")
    });
    tidy(room, outcome)
}

fn from_directory(room: &mut Room) -> Outcome {
    let tree = room.directory("tree");
    fs::create_dir(tree.join("bin")).expect("mkdir(2)");
    let busybox = room.lab.image().join("bin/busybox");
    fs::copy(busybox, tree.join("bin/busybox")).expect("copy");
    let link = tree.join("bin/sh");
    std::os::unix::fs::symlink("busybox", link).expect("symlink(2)");
    let tree = tree.to_string_lossy();
    let outcome = ok(room, &["import", &tree, "first"]).and_then(|()| {
        inside(room, "first", "echo /bin/*", "/bin/busybox /bin/sh\n")
    });
    tidy(room, outcome)
}

fn truncated(room: &mut Room) -> Outcome {
    let outcome = one(room, "busybox", "true").and_then(|()| {
        let (tar, count) = (export(room)?, layers(room));
        let bytes = fs::read(&tar).expect("read(2)");
        fs::write(&tar, &bytes[..bytes.len() / 2]).expect("write(2)");
        room.words(&["import", &tar, "first"]).end()?.exits(125)?;
        room.words(&["images", "-q"]).end()?.prints("busybox\n")?;
        same_layers(room, count)
    });
    tidy(room, outcome)
}
