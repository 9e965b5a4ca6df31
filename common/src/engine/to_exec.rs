//! The child's side: from the clone through every `enter` and the sealing steps to
//! execve(2).

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::panic;
use std::rc::Rc;

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, umask};

use crate::cli::step::{self, Position, Step};
use crate::engine::part::{ParentLink, Part};
use crate::engine::plan::{OwnFile, Plan, Seal};
use crate::engine::seal::seal;
use crate::process::channel::{Channel, Frame};
use crate::process::exit::{RUNTIME_ERROR, code_of};
use crate::process::program::Program;
use crate::process::signals::die_with_parent;
use crate::process::sys;

/// The child's whole life before execve(2). It never returns into the parent's code,
/// because the parent's destructors must not run in the child.
pub(crate) fn main(
    plan: &Plan,
    parts: &[Box<dyn Part>],
    program: Program,
    channel: &'static Channel,
) -> ! {
    let refuse = |code, text: String| -> ! {
        // If the parent has ended, no process can receive the error.
        let _ = channel.send(&Frame::Refused { code, text });
        sys::exit_now(code)
    };
    // On a panic, report it and exit here: unwinding would run the parent's
    // destructors in the child.
    panic::set_hook(Box::new(move |panic| {
        refuse(RUNTIME_ERROR, format!("the child panicked: {panic}"))
    }));
    let Err(error) = enter(plan, parts, program, channel);
    refuse(code_of(&error), step::report(&error))
}

/// Used instead of the type `!`, which is not stable as a type argument.
enum Never {}

// ANCHOR: enter
fn enter(
    plan: &Plan,
    parts: &[Box<dyn Part>],
    mut program: Program,
    channel: &'static Channel,
) -> Result<Never> {
    step::set_position(Position { side: "child", hook: "cloned", part: "" });
    step::redirect_trace(move |line| {
        // A dead parent is detected below.
        let _ = channel.send(&Frame::Step(line.to_owned()));
    });
    die_with_parent()?;
    // The first barrier opens after every `attach` has run.
    wait_for_parent(channel)?;
    sys::default_signals().step(|| "sigprocmask(2) to none")?;
    umask(Mode::from_bits_truncate(0o022));
    // This value is leaked, like the channel, because this function never returns:
    // the child ends with execve(2) or _exit(2).
    let contributed: &RefCell<Seal> =
        Box::leak(Box::new(RefCell::new(plan.seal.clone())));
    let files = Rc::new(RefCell::new(own_files(plan)?));
    for part in parts {
        let name = part.name();
        step::set_position(Position { side: "child", hook: "enter", part: name });
        let (late, files) = (Rc::default(), files.clone());
        let link =
            ParentLink { part: name, channel, late, seal: contributed, files };
        part.enter(plan, &link).with_context(|| format!("enter {name}"))?;
        program.set(&link.late.take())?;
    }
    // The second barrier opens after every `meanwhile` has run.
    wait_for_parent(channel)?;
    step::set_position(Position { side: "child", hook: "seal", part: "" });
    seal(plan, &contributed.borrow(), channel)?;
    step::set_position(Position { side: "child", hook: "exec", part: "" });
    step::trace(&format_args!("execve(2) {}", plan.command[0].display()));
    channel
        .send(&Frame::Exec)
        .untraced(|| "sendmsg(2) to tell the parent of exec")?;
    if step::is_tracing() {
        // The parent prints the trace. The program must not print before that.
        wait_for_parent(channel)?;
    }
    program.exec()
}

/// Wait until the parent opens a barrier.
fn wait_for_parent(channel: &Channel) -> Result<()> {
    let frame = channel.receive().untraced(|| "recvmsg(2) at the barrier")?;
    if !matches!(frame, Some(Frame::Go)) {
        // End of file: the parent died, perhaps before `die_with_parent`.
        sys::exit_now(RUNTIME_ERROR);
    }
    Ok(())
}
// ANCHOR_END: enter

/// Open the container's own files, before a part mounts something over their paths.
fn own_files(plan: &Plan) -> Result<Vec<OwnedFd>> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = |file: &OwnFile| {
        open(&file.host, flags, Mode::empty())
            .untraced(|| format!("open(2) {}", file.host.display()))
    };
    plan.files.iter().map(open).collect()
}
