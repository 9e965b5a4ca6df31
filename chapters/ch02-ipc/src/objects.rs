//! Create, list and remove the objects of an IPC namespace. Needed because busybox
//! has neither ipcmk(1) nor ipcs(1).

use std::fs;
use std::os::unix::fs::MetadataExt;

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

/// A table of all objects in this process's namespace: the ID, the key, the user ID of
/// the owner, the permissions, the bytes of a queue or a segment, and the messages of a
/// queue. POSIX queues appear only if their filesystem is mounted at its usual place,
/// /dev/mqueue; they have names instead of keys, and do not tell their number of messages.
///
/// # Errors
/// ENOENT if the kernel was built without System V IPC, or /proc is not mounted.
/// # Source
/// proc(5), "/proc/sysvipc"; mq_overview(7), "Mounting the message queue filesystem"
pub fn list() -> Result<String> {
    let row = |[a, b, c, d, e, f, g]: [&str; 7]| {
        format!("{a:<12}{b:<15}{c:<12}{d:<8}{e:<7}{f:<8}{g}\n")
    };
    let mut table =
        row(["KIND", "ID", "KEY", "OWNER", "PERMS", "BYTES", "MESSAGES"]);
    for (kind, file) in [("queue", "msg"), ("semaphores", "sem"), ("memory", "shm")]
    {
        let path = format!("/proc/sysvipc/{file}");
        let text = fs::read_to_string(&path).step(|| format!("read(2) {path}"))?;
        let mut lines = text.lines();
        // The first line is a heading: the names of the columns.
        let names = lines.next().unwrap_or_default();
        let names: Vec<&str> = names.split_whitespace().collect();
        for line in lines {
            let values: Vec<&str> = line.split_whitespace().collect();
            let value = |wanted: &[&str]| {
                let at = names.iter().position(|name| wanted.contains(name));
                at.and_then(|at| values.get(at).copied()).unwrap_or("-")
            };
            table += &row([
                kind,
                value(&["msqid", "semid", "shmid"]),
                value(&["key"]),
                value(&["uid"]),
                value(&["perms"]),
                value(&["cbytes", "size"]),
                value(&["qnum"]),
            ]);
        }
    }
    for entry in fs::read_dir("/dev/mqueue").into_iter().flatten().flatten() {
        let Ok(about) = entry.metadata() else { continue };
        let name = format!("/{}", entry.file_name().to_string_lossy());
        // "QSIZE:0 NOTIFY:0 …": only users with the right to read may see it.
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let bytes = text.strip_prefix("QSIZE:").unwrap_or("-");
        let (owner, mode) = (about.uid().to_string(), about.mode() & 0o777);
        let mode = format!("{mode:o}");
        let bytes = bytes.split(' ').next().unwrap_or_default();
        table += &row(["posix", &name, "-", &owner, &mode, bytes, "-"]);
    }
    Ok(table)
}
