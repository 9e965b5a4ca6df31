//! Commands of the chapters, stopped at each of their system calls: killed there, or
//! left there until something else has happened.
//!
//! A chapter's own tests are quick. What takes a run for each system call is here.

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

/// What a command prints that succeeds and has nothing to say on standard error.
fn ok(lab: &Lab, chapter: &str, words: &[&str]) -> String {
    let out = lab.chapter(chapter).args(words).assert().success().stderr("");
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}
