//! The engine: what it does for every program, independent of the parts. The example
//! `witness` of common is the container.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::path::Path;

use blackbox::{Lab, bin_dir};
use predicates::str::contains;
use serial_test::file_serial;

/// A container whose program is sealed with this working directory.
fn sealed(lab: &Lab, directory: &Path) -> assert_cmd::Command {
    // In the VM it is beside the chapters, and otherwise in cargo's directory of examples.
    let name = ["witness", "examples/witness"];
    let name = name.into_iter().find(|name| bin_dir().join(name).exists());
    let mut command = lab.chapter(name.unwrap());
    command.env("WITNESS_SEAL", directory).args(["none", "none"]);
    command
}

fn status(text: &str, field: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap_or_else(|| panic!("no {field} in {text}")).trim().to_owned()
}

#[test]
#[file_serial(machine)]
fn all_sealing_steps_take_effect_despite_their_order_requirements() {
    let lab = Lab::new();
    let mut run = sealed(&lab, Path::new("/"));
    let run = run.args(["cat", "/proc/self/status"]).assert().success();
    let text = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    assert_eq!(status(&text, "Uid:"), "65534\t65534\t65534\t65534");
    assert_eq!(status(&text, "Gid:"), "65534\t65534\t65534\t65534");
    assert_eq!(status(&text, "Groups:"), "7 8");
    // CAP_KILL is number 5.
    assert_eq!(status(&text, "CapBnd:"), "0000000000000020");
    assert_eq!(status(&text, "CapEff:"), "0000000000000000");
    assert_eq!(status(&text, "NoNewPrivs:"), "1");
}

#[test]
#[file_serial(machine)]
fn the_working_directory_is_entered_with_the_rights_of_the_programs_user() {
    let lab = Lab::new();
    // Only its owner, root, may enter this directory.
    let closed = lab.dir().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&closed, mode).unwrap();
    let refused = format!("chdir(2) {}: EACCES", closed.display());
    sealed(&lab, &closed)
        .arg("true")
        .assert()
        .code(125)
        .stderr(contains(refused.as_str()));
}
