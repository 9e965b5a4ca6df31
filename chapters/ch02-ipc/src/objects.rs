//! Create, list and remove the objects of an IPC namespace. Needed because busybox
//! has neither ipcmk(1) nor ipcs(1).

use std::fs;

use anyhow::{Context, Result};
use clap::ValueEnum;
use common::SystemV;
use common::state::Id;
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, mq_open, mq_unlink};
use nix::sys::stat::Mode;

/// The kinds of IPC objects.
///
/// # Source
/// sysvipc(7), mq_overview(7)
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// A System V message queue
    Queue,
    /// A System V semaphore set with one semaphore
    Semaphores,
    /// A System V shared memory segment of one page
    Memory,
    /// A POSIX message queue
    Posix,
}

// ANCHOR: objects
/// Create an object. Returns its ID, or the name of a POSIX queue.
///
/// # Errors
/// ENOSPC or EMFILE if the namespace already has its maximum number of objects of
/// this kind.
pub fn make(kind: Kind) -> Result<String> {
    let number = match kind {
        Kind::Queue => SystemV::Queue.make().step(|| "msgget(2)"),
        Kind::Semaphores => SystemV::Semaphores.make().step(|| "semget(2)"),
        Kind::Memory => SystemV::Memory.make().step(|| "shmget(2)"),
        Kind::Posix => return make_posix(),
    };
    Ok(number?.to_string())
}

/// A System V object is identified by a number. A POSIX queue is identified by a
/// name that begins with a slash, in a filesystem of its own.
fn make_posix() -> Result<String> {
    let name = format!("/{}", Id::new()?);
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    // Room for one message of 64 bytes. The queue remains after its file descriptor
    // is closed.
    let room = MqAttr::new(0, 1, 64, 0);
    mq_open(name.as_str(), flags, mode, Some(&room))
        .step(|| format!("mq_open(3) {name}"))
        .hint(|errno| {
            (errno == Errno::ENOSYS)
                .then(|| "this kernel has no POSIX queues".into())
        })?;
    Ok(name)
}
// ANCHOR_END: objects

/// Remove an object.
///
/// # Errors
/// EINVAL or ENOENT if no object has this ID or name; EPERM or EACCES if it belongs
/// to another user.
pub fn remove(kind: Kind, id: &str) -> Result<()> {
    let (object, call) = match kind {
        Kind::Queue => (SystemV::Queue, "msgctl(2)"),
        Kind::Semaphores => (SystemV::Semaphores, "semctl(2)"),
        Kind::Memory => (SystemV::Memory, "shmctl(2)"),
        Kind::Posix => return remove_posix(id),
    };
    let number = id.parse().with_context(|| {
        format!("invalid ID {id:?}: expected a number from the output of list")
    })?;
    object.remove(number).step(|| format!("{call} IPC_RMID {number}")).hint(
        |errno| {
            (errno == Errno::EINVAL)
                .then(|| format!("there is no object with the ID {number}"))
        },
    )
}

fn remove_posix(name: &str) -> Result<()> {
    mq_unlink(name).step(|| format!("mq_unlink(3) {name}")).hint(|errno| {
        (errno == Errno::EINVAL && !name.starts_with('/'))
            .then(|| format!("the name of a queue must begin with a slash: /{name}"))
    })
}

/// A table of all objects in this process's namespace. POSIX queues appear only if
/// their filesystem is mounted at its usual place, /dev/mqueue.
///
/// # Errors
/// ENOENT if the kernel was built without System V IPC, or /proc is not mounted.
/// # Source
/// proc(5), "/proc/sysvipc"
pub fn list() -> Result<String> {
    let mut table = format!("{:<12}ID\n", "KIND");
    for (kind, file) in [("queue", "msg"), ("semaphores", "sem"), ("memory", "shm")]
    {
        let path = format!("/proc/sysvipc/{file}");
        let text = fs::read_to_string(&path).step(|| format!("read(2) {path}"))?;
        // The first line is a heading. Each other line has the key, the ID and other
        // fields.
        for line in text.lines().skip(1) {
            let id = line.split_whitespace().nth(1).unwrap_or("?");
            table += &format!("{kind:<12}{id}\n");
        }
    }
    for entry in fs::read_dir("/dev/mqueue").into_iter().flatten().flatten() {
        table +=
            &format!("{:<12}/{}\n", "posix", entry.file_name().to_string_lossy());
    }
    Ok(table)
}
