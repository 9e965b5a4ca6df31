//! Two parts that print each hook that is called, and fail at a given hook: `witness
//! HOOK fail|panic|kill COMMAND…`, or `witness none none COMMAND…`. The hook
//! `meanwhile` is printed only if it is the given one, because it is called at the
//! same time as `enter`. `witness meanwhile slow COMMAND…` prolongs it. With
//! `WITNESS_KEEPS` set, the container has its own directory; with `WITNESS_STAYS`
//! set, this directory is kept. `WITNESS_SEAL=DIRECTORY` seals the program: user and
//! group 65534, only CAP_KILL in every capability set that survives the change of
//! user, no_new_privs, and this working directory.
//!
//! This is the smallest possible part. The engine's tests run it.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};
use common::state::{Table, Undo};
use common::{
    Container, Credentials, Exit, Home, Lifetime, ParentLink, Part, Plan, Running,
    Seal, cli, exit, step,
};
use nix::sys::signal::{Signal, raise};
use nix::unistd::Pid;
use rustix::thread::CapabilitySet;

/// The undo function for notes of the kind "witness".
const UNDO: Table = &[&[Undo {
    kind: "witness",
    undo: |home| {
        say("undone");
        // A file with this name makes the function fail.
        match home.state.root().join("stuck").exists() {
            true => bail!("it fails"),
            false => Ok(()),
        }
    },
}]];

/// Print a line with one write(2): `eprintln!` can use several, and the parent and the
/// child print at the same time.
fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

struct Witness {
    name: &'static str,
    hook: String,
    how: String,
}

impl Witness {
    /// Print the hook, then fail if it was requested for this hook. `first` only
    /// prints.
    fn called(&self, hook: &str) -> Result<()> {
        say(&format!("{} {hook}", self.name));
        if self.name == "second" && self.hook == hook {
            match self.how.as_str() {
                "fail" => bail!("it fails"),
                "panic" => panic!("it fails"),
                "kill" => raise(Signal::SIGKILL)?,
                "slow" => {
                    sleep(Duration::from_millis(300));
                    say(&format!("{} {hook} is finished", self.name));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Part for Witness {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        if let Some(directory) = env::var_os("WITNESS_SEAL") {
            plan.directory = directory.into();
            plan.seal = Seal {
                bounding: Some(CapabilitySet::KILL),
                credentials: Some(Credentials {
                    user: 65534,
                    group: 65534,
                    groups: vec![7, 8],
                }),
                no_new_privs: true,
                ..Seal::default()
            };
        }
        if plan.lifetime != Lifetime::NoFiles {
            plan.home.note("witness", self.name.as_bytes())?;
        }
        self.called("prepare")
    }

    fn attach(&mut self, _plan: &Plan, _child: Pid) -> Result<()> {
        self.called("attach")
    }

    fn meanwhile(&mut self, _plan: &Plan, _child: Pid) -> Result<()> {
        if self.hook == "meanwhile" { self.called("meanwhile") } else { Ok(()) }
    }

    fn enter(&self, _plan: &Plan, _link: &ParentLink) -> Result<()> {
        self.called("enter")
    }

    fn started(&mut self, _running: &mut Running) -> Result<()> {
        self.called("started")
    }

    fn ended(&self, _home: &Home, _how: Exit) -> Result<()> {
        self.called("ended")
    }

    fn removed(&self, _home: &Home) -> Result<()> {
        self.called("removed")
    }
}

/// Prints when it is dropped. The child must never drop it.
struct Held;

impl Drop for Held {
    fn drop(&mut self) {
        say("dropped");
    }
}

fn main() -> ExitCode {
    let _held = Held;
    let mut words = env::args_os().skip(1);
    let mut word =
        || words.next().unwrap_or_default().to_string_lossy().into_owned();
    let (hook, how) = (word(), word());
    let part = |name| Witness { name, hook: hook.clone(), how: how.clone() };
    let run = cli::Run { trace: cli::Trace::default(), command: words.collect() };
    let ran = run.plan().and_then(|plan| {
        let mut container = Container::new(plan);
        if env::var_os("WITNESS_KEEPS").is_some() {
            container = container.keep(None, UNDO);
        }
        if env::var_os("WITNESS_STAYS").is_some() {
            container = container.keep(None, UNDO).stay();
        }
        container.part(part("first")).part(part("second")).run()
    });
    match ran {
        Ok(how) => ExitCode::from(how.code()),
        Err(error) => {
            say(&format!("error: {}", step::report(&error)));
            ExitCode::from(exit::code_of(&error))
        }
    }
}
