//! The checks of ch04-image: an image's settings, and the layers of several images.

use std::fs;
use std::path::{Path, PathBuf};

use blackbox::record;
use common::images::{Digest, Image, Layout, Reference};
use common::state::State;
use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::fs::{XattrFlags, setxattr};

use super::{inside, ok};
use crate::Entry;
use crate::outcome::{Outcome, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("image", "the_program_gets_the_variables_of_the_image", variables, ""),
    ("image", "the_program_starts_in_the_directory_of_the_image", directory, ""),
    ("image", "a_whiteout_is_found_before_aufs_misses_it", whiteout, ""),
    ("image", "an_opaque_directory_is_found_before_aufs_misses_it", opaque, ""),
    ("image", "an_ordinary_layer_hides_nothing", ordinary, ""),
    ("image", "rmi_removes_only_what_no_other_image_uses", removes, ""),
];

/// An image `first`: the layer of busybox, and another one above it.
struct First {
    layer: PathBuf,
    record: PathBuf,
    name: PathBuf,
}

/// Call `then` with the image `first`, whose record `change` has changed. Its second layer
/// has a directory `d` with a file.
fn first(
    room: &Room,
    change: impl FnOnce(&mut Image),
    then: impl FnOnce(&First) -> Outcome,
) -> Outcome {
    let state = State::at(room.lab.state());
    let name = |name: &str| -> Reference {
        name.parse::<Reference>().expect("a name").with_default_tag()
    };
    let found = Image::find(&state, &name("busybox")).expect("a record");
    let mut image = found.expect("busybox");
    let chain = "1".repeat(64);
    image.id = Digest::from_hex(&chain).expect("a digest");
    image.layers.insert(0, chain.clone());
    change(&mut image);
    let first = First {
        layer: state.layers().join(&chain),
        record: Layout::of(&state).record(&image.id),
        name: record(state.root(), "first"),
    };
    fs::create_dir_all(first.layer.join("d")).expect("mkdir(2)");
    fs::write(first.layer.join("d/file"), "text\n").expect("write(2)");
    image.save(&state).expect("a record");
    Layout::of(&state).set_name(&name("first"), &image.id).expect("a name");
    let outcome = then(&first);
    let _ = fs::remove_file(&first.name);
    let _ = fs::remove_file(&first.record);
    let _ = fs::remove_dir_all(&first.layer);
    outcome
}

fn variables(room: &mut Room) -> Outcome {
    let words = ["GREETING=hello=you", "EMPTY="].map(str::to_owned);
    let change = |image: &mut Image| image.settings.environment = words.into();
    first(room, change, |_| {
        inside(
            room,
            "first",
            "echo $GREETING; env | grep EMPTY",
            "hello=you\nEMPTY=\n",
        )
    })
}

fn directory(room: &mut Room) -> Outcome {
    for (name, expected) in [("d", "/d\nfile\n"), ("/srv/new", "/srv/new\n")] {
        let change = |image: &mut Image| image.settings.directory = name.to_owned();
        first(room, change, |_| inside(room, "first", "pwd; ls", expected))?;
    }
    Ok(())
}

/// The driver aufs refuses the image, with this path in the error.
fn refused(room: &Room, hide: impl FnOnce(&Path) -> PathBuf) -> Outcome {
    first(
        room,
        |_| {},
        |image| {
            let path = hide(&image.layer);
            let run = ["run", "--rm", "--driver", "aufs", "first", "true"];
            let ended = room.words(&run).end()?;
            ended.exits(125)?;
            let path = path.display();
            let names = ended.err.contains(&format!("{path} is a whiteout"));
            ended.so(names, &format!("an error about {path}"))
        },
    )
}

fn whiteout(room: &mut Room) -> Outcome {
    refused(room, |layer| {
        let path = layer.join("d/gone");
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), 0).expect("mknod(2)");
        path
    })
}

fn opaque(room: &mut Room) -> Outcome {
    refused(room, |layer| {
        let path = layer.join("d/e");
        fs::create_dir(&path).expect("mkdir(2)");
        let name = "trusted.overlay.opaque";
        setxattr(&path, name, b"y", XattrFlags::empty()).expect("setxattr(2)");
        path
    })
}

fn ordinary(room: &mut Room) -> Outcome {
    first(
        room,
        |_| {},
        |image| {
            // A device, but not the device 0, 0.
            let null = nix::libc::makedev(1, 3);
            let path = image.layer.join("d/null");
            mknod(&path, SFlag::S_IFCHR, Mode::empty(), null).expect("mknod(2)");
            let run = ["run", "--rm", "--driver", "aufs", "first", "true"];
            let ended = room.words(&run).end()?;
            let refused = ended.err.contains("is a whiteout");
            ended.so(!refused, "no error about a whiteout")
        },
    )
}

fn removes(room: &mut Room) -> Outcome {
    let busybox = room.lab.image();
    let outcome = first(
        room,
        |_| {},
        |image| {
            inside(room, "first", "cat /d/file", "text\n")?;
            ok(room, &["rmi", "first"])?;
            for path in [&image.name, &image.record, &image.layer] {
                let place = path.display();
                so(!path.exists(), &format!("no {place}"), "it exists")?;
            }
            let place = busybox.join("bin/busybox");
            let expected = "the layer of busybox, which the image busybox uses";
            so(place.exists(), expected, "it was removed")?;
            inside(room, "busybox", "echo text", "text\n")
        },
    );
    if outcome.is_err() {
        // Do not list each file of busybox.
        room.lab.update_snapshot();
    }
    outcome
}
