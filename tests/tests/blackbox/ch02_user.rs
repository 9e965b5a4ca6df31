//! ch02-user: root inside, an ordinary user outside.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;

use blackbox::{Lab, user};
use predicates::prelude::*;
use serial_test::file_serial;

#[test]
#[file_serial(machine)]
fn an_ordinary_user_is_root_inside() {
    let lab = Lab::new();
    let mut run = lab.as_user("ch02-user");
    run.args([
        "run",
        "--single",
        "sh",
        "-c",
        "id -u; id -g; cat /proc/self/uid_map",
    ]);
    let map = format!("^0\n0\n +0 +{} +1\n$", user());
    let map = predicate::str::is_match(map).unwrap();
    run.assert().success().stdout(map);
}

#[test]
#[file_serial(machine)]
fn without_an_id_map_the_ids_are_65534() {
    let lab = Lab::new();
    for mut run in [lab.chapter("ch02-user"), lab.as_user("ch02-user")] {
        run.args(["run", "--unmapped", "sh", "-c", "id -u; id -g"]);
        run.assert().success().stdout("65534\n65534\n");
    }
}

#[test]
#[file_serial(machine)]
fn root_inside_has_no_rights_outside() {
    let lab = Lab::new();
    let secret = lab.dir().join("secret");
    fs::write(&secret, "the host's").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&secret, mode).unwrap();
    let mut run = lab.as_user("ch02-user");
    run.args(["run", "--single", "cat"]).arg(&secret);
    run.assert().code(1).stderr(predicate::str::contains("Permission denied"));
}

#[test]
#[file_serial(machine)]
fn a_file_created_inside_belongs_to_the_user_outside() {
    use std::os::unix::fs::MetadataExt;
    let lab = Lab::new();
    let mut run = lab.as_user("ch02-user");
    run.args(["run", "--single", "touch", "home/made"]).assert().success();
    let meta = fs::metadata(lab.dir().join("home/made")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (user(), user()));
}

#[test]
#[file_serial(machine)]
fn subordinate_ids_are_mapped_if_the_user_has_them() {
    let lab = Lab::new();
    let id = user().to_string();
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    // newuidmap(1) must be installed, and the user needs an account and a line in both
    // lists.
    let accounts = read("/etc/passwd");
    let account = accounts.lines().find(|line| line.split(':').nth(2) == Some(&id));
    let name = account.and_then(|line| line.split(':').next());
    let range = name.is_some_and(|name| {
        ["/etc/subuid", "/etc/subgid"].iter().all(|list| {
            read(list).lines().any(|line| {
                let owner = line.split(':').next();
                owner == Some(name) || owner == Some(&id)
            })
        }) && fs::metadata("/usr/bin/newuidmap").is_ok()
    });
    let mut run = lab.as_user("ch02-user");
    run.args(["run", "sh", "-c", "wc -l < /proc/self/uid_map"]);
    // Two lines: the user, and the range. Without a range, only the user.
    run.assert().success().stdout(if range { "2\n" } else { "1\n" });
}

#[test]
#[file_serial(machine)]
fn unmapped_and_single_exclude_each_other() {
    let lab = Lab::new();
    let mut run = lab.chapter("ch02-user");
    run.args(["run", "--unmapped", "--single", "true"]).assert().code(2);
}
