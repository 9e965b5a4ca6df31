//! Find the container or process that has a port of the host. Used only for error
//! texts.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use common::Home;
use common::state::{LockState, Published, State};

/// The holder of a port: a container of this state directory (`container web`), or a
/// process (`process 4711 (nginx)`). `None` if neither is found, for example because
/// the process belongs to another user.
pub(crate) fn holder(state: &State, port: &Published) -> Option<String> {
    container(state, port).or_else(|| process(port))
}

/// Find the container in the notes: the socket of a reservation does not listen, so
/// /proc/net/tcp does not list it.
fn container(state: &State, wanted: &Published) -> Option<String> {
    let overlaps = |port: Published| {
        let address = IpAddr::from(port.address());
        port.protocol == wanted.protocol
            && port.host == wanted.host
            && is_covered(address, wanted)
    };
    state.locked_ids().ok()?.into_iter().find_map(|id| {
        let home = Home { id, name: None, state: state.clone() };
        let LockState::Held(notes) = home.lock_state().ok()? else { return None };
        notes.ports().any(overlaps).then(|| match notes.name() {
            Some(name) => format!("container {name}"),
            None => format!("container {}", home.id),
        })
    })
}

/// Find the process that has a socket with this port. The socket's inode is in a
/// table of /proc/net, and in the link of a file descriptor in /proc/PID/fd.
///
/// # Source
/// proc_pid_net(5), "/proc/net/tcp"; proc_pid_fd(5)
fn process(wanted: &Published) -> Option<String> {
    let tables = ["", "6"].map(|family| {
        let path = format!("/proc/net/{}{family}", wanted.protocol);
        fs::read_to_string(path).unwrap_or_default()
    });
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let inode = lines.filter_map(socket).find(|socket| {
        socket.port == wanted.host && is_covered(socket.address, wanted)
    });
    let link = format!("socket:[{}]", inode?.inode);
    let pids = fs::read_dir("/proc").ok()?.flatten();
    let pids = pids.filter_map(|entry| entry.file_name().into_string().ok());
    let has = |pid: &String| {
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        fds.flatten().any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == &*link)
        })
    };
    let numeric = |pid: &String| pid.bytes().all(|c| c.is_ascii_digit());
    let pid = pids.filter(numeric).find(has)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", name.trim_end()))
}

/// Whether a socket with this address prevents bind(2) of the wanted port.
fn is_covered(address: IpAddr, wanted: &Published) -> bool {
    let address = address.to_canonical();
    let same = wanted.address.is_none_or(|wanted| address == wanted);
    address.is_unspecified() || same
}

/// A line of a table in /proc/net.
#[derive(Debug, PartialEq)]
struct Socket {
    address: IpAddr,
    port: u16,
    inode: u64,
}

/// Parse a line of a table in /proc/net. A socket without a process, for example in
/// TIME_WAIT, has the inode 0 and is skipped.
fn socket(line: &str) -> Option<Socket> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = words.get(1)?.split_once(':')?;
    let address = match address.len() {
        8 => Ipv4Addr::from(bytes::<4>(address)?).into(),
        32 => Ipv6Addr::from(bytes::<16>(address)?).into(),
        _ => return None,
    };
    let inode = words.get(9)?.parse().ok().filter(|inode| *inode != 0)?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Socket { address, port, inode })
}

/// Parse the bytes of an address. The kernel prints each group of four bytes as one
/// number in native byte order.
fn bytes<const SIZE: usize>(text: &str) -> Option<[u8; SIZE]> {
    let mut bytes = [0; SIZE];
    for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
        let number = u32::from_str_radix(text.get(8 * at..8 * at + 8)?, 16).ok()?;
        four.copy_from_slice(&number.to_ne_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_proc_net_tcp_are_read() {
        let rest = "00000000:0000 0A 00000000:00000000 00:00000000 00000000     0";
        let line = format!("   0: 0100007F:1F90 {rest}        0 12345 1 0 100");
        let address = IpAddr::from([127, 0, 0, 1]);
        let found = Socket { address, port: 8080, inode: 12345 };
        assert_eq!(socket(&line), Some(found));
        let mapped = "0000000000000000FFFF00000100007F";
        let line = format!("   1: {mapped}:1F90 {rest}        0 12345 1 0 100");
        let found = socket(&line).unwrap();
        assert_eq!(found.address.to_canonical(), address);
        let none = format!("   0: 0100007F:1F90 {rest}        0 0 3 0");
        assert_eq!(socket(&none), None);
        for line in ["", "x", "0: 0100007F 1", "0: 01:1F90 a b c d e f g 1 2"] {
            assert_eq!(socket(line), None, "{line}");
        }
    }
}
