//! What the tests need inside and around containers and busybox hasn't got. Linked
//! statically, it runs in any root.
#![allow(clippy::print_stdout, reason = "the tests read it")]

use std::env;
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot};

fn main() -> io::Result<ExitCode> {
    let mut words = env::args_os().skip(1);
    let verb = words.next().unwrap_or_default();
    let rest: Vec<_> = words.collect();
    match verb.to_str() {
        // propagation COMMAND: run it where `/` is shared (or private), and fail
        // with 99 when the mount table is another afterwards.
        Some(verb @ ("shared" | "private")) => {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let kind = if verb == "shared" {
                MsFlags::MS_SHARED
            } else {
                MsFlags::MS_PRIVATE
            };
            let flags = MsFlags::MS_REC | kind;
            mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
            let before = fs::read("/proc/self/mountinfo")?;
            let status = Command::new(&rest[0]).args(&rest[1..]).status()?;
            if fs::read("/proc/self/mountinfo")? != before {
                eprintln!("the mount table changed");
                return Ok(ExitCode::from(99));
            }
            let code = status.code().or(status.signal().map(|s| 128 + s));
            Ok(ExitCode::from(code.unwrap_or(98) as u8))
        }
        // The classic way out of chroot: with the working directory outside the
        // root, `..` is never stopped.
        Some("escape") => {
            fs::create_dir_all("/prison")?;
            chroot("/prison")?;
            for _ in 0..64 {
                chdir("..")?;
            }
            chroot(".")?;
            let out = Path::new(&rest[0]).exists();
            println!("{}", if out { "escaped" } else { "held" });
            Ok(ExitCode::SUCCESS)
        }
        // A daemon: it forgets its parent, its session and its streams.
        Some("daemon") => {
            Command::new("setsid").args(["sleep", "1000"]).spawn()?;
            Ok(ExitCode::SUCCESS)
        }
        // Read everything and say how much it was.
        Some("count") => {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes)?;
            println!("{}", bytes.len());
            Ok(ExitCode::SUCCESS)
        }
        _ => Ok(ExitCode::from(97)),
    }
}
