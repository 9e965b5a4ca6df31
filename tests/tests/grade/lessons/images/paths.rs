//! The checks of guest paths: volumes at places to which symlinks of the image lead.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::Entry;
use crate::outcome::{Outcome, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("guest-path", "a_symlink_of_the_image_is_followed_inside", existing, ""),
    ("guest-path", "a_loop_of_symlinks_is_an_error", endless, ""),
    ("guest-path", "missing_directories_are_created", missing, ""),
    ("guest-path", "an_absolute_symlink_does_not_lead_to_the_host", absolute, ""),
    ("guest-path", "dot_dot_does_not_lead_out_of_the_root", dot_dot, ""),
    ("guest-path", "the_target_of_a_dangling_symlink_is_created", dangling, ""),
];

/// Make symlinks in the image.
fn plant(room: &mut Room, links: &[(&str, &str)]) {
    for (name, target) in links {
        let link = room.lab.image().join(name);
        let parent = link.parent().expect("a parent");
        fs::create_dir_all(parent).expect("mkdir(2)");
        symlink(target, link).expect("symlink(2)");
    }
    room.lab.update_snapshot();
}

/// Mount a volume with a file at a guest path, and expect the file at another one. The
/// image has these symlinks.
fn volume(
    room: &mut Room,
    links: &[(&str, &str)],
    guest: &str,
    expected: &str,
) -> Outcome {
    plant(room, links);
    let host = room.directory("volume");
    fs::write(host.join("file"), "of the volume\n").expect("write(2)");
    let script = format!("cat {expected}/file");
    room.sh(&script).volume(&host, guest, false).end()?.prints("of the volume\n")
}

fn existing(room: &mut Room) -> Outcome {
    // On the host, it is another directory.
    volume(room, &[("grade", "/etc")], "/grade", "/etc")
}

fn endless(room: &mut Room) -> Outcome {
    plant(room, &[("grade", "grade-2"), ("grade-2", "grade")]);
    let host = room.directory("volume");
    let ended = room.run(&["true"]).volume(&host, "/grade/sub", false).end()?;
    ended.exits(125)?;
    ended.so(ended.err.contains("ELOOP"), "the errno ELOOP in the error")
}

fn missing(room: &mut Room) -> Outcome {
    volume(room, &[], "/grade/a/b", "/grade/a/b")
}

/// A directory of the host to which no path of a container leads.
const HOST: &str = "/run/grade-host";

fn absolute(room: &mut Room) -> Outcome {
    fs::create_dir_all(HOST).expect("mkdir(2)");
    let guest = format!("{HOST}/sub");
    let outcome = volume(room, &[("grade/link", HOST)], "/grade/link/sub", &guest);
    let created = fs::read_dir(HOST).expect("readdir(3)").count();
    fs::remove_dir_all(HOST).expect("rmdir(2)");
    let expected = format!("nothing new in {HOST} of the host");
    so(created == 0, &expected, "the directory sub was created there")?;
    outcome
}

fn dot_dot(room: &mut Room) -> Outcome {
    let up = "../".repeat(30);
    let outcome = volume(room, &[("grade", &up)], "/grade/grade-sub", "/grade-sub");
    let outside = Path::new("/grade-sub");
    let created = outside.exists();
    let _ = fs::remove_dir(outside);
    so(!created, "nothing new on the host", "/grade-sub was created there")?;
    outcome
}

fn dangling(room: &mut Room) -> Outcome {
    let link = ("grade/link", "../grade-new/../grade-other/place");
    volume(room, &[link], "/grade/link", "/grade-other/place")
}
