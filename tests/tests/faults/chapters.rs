//! Commands of the chapters, stopped at each of their system calls. There they are killed,
//! or they wait until something else has happened.
//!
//! The tests of a chapter itself are short. Tests that need a run for each system call are
//! here.

mod ch02_net;
mod ch03_limits;
mod ch04_commit;
mod ch04_volume;
mod ch05_attach;
mod ch05_exec;
mod ch05_ps;
mod ch05_rm;
mod ch05_stop;
mod ch06_ports;

use blackbox::Lab;

/// The standard output of a command that succeeds and prints nothing on standard error.
fn ok(lab: &Lab, chapter: &str, words: &[&str]) -> String {
    let out = lab.chapter(chapter).args(words).assert().success().stderr("");
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}
