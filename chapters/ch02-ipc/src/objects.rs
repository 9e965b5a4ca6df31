//! What an IPC namespace holds, made and listed: busybox has neither ipcmk(1) nor
//! ipcs(1).

use std::fs;

use anyhow::{Context, Result};
use clap::ValueEnum;
use common::SystemV;
use common::state::Id;
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, mq_open, mq_unlink};
use nix::sys::stat::Mode;

/// The kinds of objects.
///
/// # Source
/// sysvipc(7), mq_overview(7)
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// A System V message queue
    Queue,
    /// A System V semaphore set, of one
    Semaphores,
    /// A page of System V shared memory
    Memory,
    /// A POSIX message queue
    Posix,
}

// ANCHOR: objects
/// Make one; its id, or for a POSIX queue its name.
///
/// # Errors
/// ENOSPC and EMFILE when the namespace has as many as it may.
pub fn make(kind: Kind) -> Result<String> {
    let number = match kind {
        Kind::Queue => SystemV::Queue.make().step(|| "msgget(2)"),
        Kind::Semaphores => SystemV::Semaphores.make().step(|| "semget(2)"),
        Kind::Memory => SystemV::Memory.make().step(|| "shmget(2)"),
        Kind::Posix => return make_posix(),
    };
    Ok(number?.to_string())
}

/// System V numbers its objects; POSIX gives its queues names, with a slash, in a
/// file system of their own.
fn make_posix() -> Result<String> {
    let name = format!("/{}", Id::new()?);
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    // Room for one message of 64 bytes. The queue stays when its descriptor is closed.
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

/// Remove one.
///
/// # Errors
/// There is none of that id or name, or it is somebody else's.
pub fn remove(kind: Kind, id: &str) -> Result<()> {
    let (object, call) = match kind {
        Kind::Queue => (SystemV::Queue, "msgctl(2)"),
        Kind::Semaphores => (SystemV::Semaphores, "semctl(2)"),
        Kind::Memory => (SystemV::Memory, "shmctl(2)"),
        Kind::Posix => return remove_posix(id),
    };
    let number =
        id.parse().with_context(|| format!("{id:?} is no id, as list shows"))?;
    object.remove(number).step(|| format!("{call} IPC_RMID {number}")).hint(
        |errno| {
            (errno == Errno::EINVAL)
                .then(|| format!("there is none with the id {number}"))
        },
    )
}

fn remove_posix(name: &str) -> Result<()> {
    mq_unlink(name).step(|| format!("mq_unlink(3) {name}")).hint(|errno| {
        (errno == Errno::EINVAL && !name.starts_with('/'))
            .then(|| format!("a queue's name begins with a slash: /{name}"))
    })
}

/// A table of all in this process' namespace. POSIX queues show where their file
/// system is mounted, which is /dev/mqueue by custom.
///
/// # Errors
/// A kernel without System V objects.
/// # Source
/// proc(5), "/proc/sysvipc"
pub fn list() -> Result<String> {
    let mut table = format!("{:<12}ID\n", "KIND");
    for (kind, file) in [("queue", "msg"), ("semaphores", "sem"), ("memory", "shm")]
    {
        let path = format!("/proc/sysvipc/{file}");
        let text = fs::read_to_string(&path).step(|| format!("read(2) {path}"))?;
        // Below a heading, a line is: key, id, and more.
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
