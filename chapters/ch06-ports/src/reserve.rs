//! Ports of the host, each reserved by a bound socket that accepts no connections.
//!
//! A firewall rule forwards a port to a container, but for the kernel this does not
//! occupy the port: another program could listen on it and would never get a
//! connection. The bound socket occupies the port. The kernel closes the socket when
//! its process ends.

use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use common::state::{Protocol, Published, State};
use common::step::{Hint, Step};
use nix::errno::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, bind, getsockname, listen,
    shutdown, socket_with,
};

use crate::holder::holder;

/// Ports of the host that no other program can bind. Drop releases them.
#[derive(Debug)]
pub struct Reservation {
    ports: Vec<Published>,
    sockets: Vec<OwnedFd>,
}

impl Reservation {
    /// Reserve all of these ports, or none. The host port 0 is replaced by a free
    /// port.
    ///
    /// Only the supervisor may keep the sockets open. Create them after the clone,
    /// or close them in the child.
    ///
    /// # Errors
    /// EADDRINUSE if the port is in use (the error names the program or container);
    /// EADDRNOTAVAIL if this host does not have the address; EACCES if an ordinary
    /// user requests a port below 1024; EMFILE if the process has too many open
    /// files.
    pub fn take(state: &State, wanted: &[Published]) -> Result<Reservation> {
        // A container that is ending keeps its ports bound for some milliseconds.
        let deadline = Instant::now() + RESERVE_TIMEOUT;
        let mut ports = Vec::with_capacity(wanted.len());
        let mut sockets = Vec::with_capacity(wanted.len());
        for port in wanted {
            let socket = loop {
                match reserve(port) {
                    Err(error) if is_taken(&error) && Instant::now() < deadline => {
                        sleep(Duration::from_millis(2));
                    }
                    reserved => break reserved,
                }
            };
            let socket = socket.hint(|errno| hint(state, port, errno))?;
            ports.push(Published { host: bound_port(&socket)?, ..*port });
            sockets.push(socket);
        }
        Ok(Reservation { ports, sockets })
    }

    /// The ports in the order of the request, each with its host port.
    #[must_use]
    pub fn ports(&self) -> &[Published] {
        &self.ports
    }

    /// The ports, and the sockets that reserve them while they are open.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Published>, Vec<OwnedFd>) {
        (self.ports, self.sockets)
    }
}

/// The maximum total time to wait for ports that are in use.
const RESERVE_TIMEOUT: Duration = Duration::from_millis(100);

// ANCHOR: reserve
/// Reserve one port.
///
/// # Source
/// ip(7), "Address format"; ipv6(7), `IPV6_V6ONLY`; socket(7), `SO_REUSEADDR`
fn reserve(port: &Published) -> Result<OwnedFd> {
    let bind = |socket: &OwnedFd, address: &SocketAddr| {
        bind(socket, address).step(|| format!("bind(2) {address}/{}", port.protocol))
    };
    let ipv4 = SocketAddr::from((port.address(), port.host));
    if port.protocol == Protocol::Udp {
        let socket = socket(AddressFamily::INET, SocketType::DGRAM)?;
        // Do not bind [::]: a client of ::1 would wait for an answer. Without such a
        // socket, the kernel refuses the client at once.
        bind(&socket, &ipv4)?;
        return Ok(socket);
    }
    let (socket, address) = match (port.address, dual_stack_socket()?) {
        (None, Some(socket)) => {
            (socket, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port.host)))
        }
        _ => (socket(AddressFamily::INET, SocketType::STREAM)?, ipv4),
    };
    if port.host == 0 {
        bind(&socket, &address)?;
        return Ok(socket);
    }
    // A connection still occupies the port for a minute after it was closed. With
    // this option, bind(2) succeeds although such a connection, or another socket
    // with the option, uses the port. Only one of the sockets can listen, and this
    // socket owns the port. Then clear the option and stop listening.
    reuse_address(&socket, true)?;
    bind(&socket, &address)?;
    let protocol = port.protocol;
    listen(&socket, 0).step(|| format!("listen(2) {address}/{protocol}"))?;
    reuse_address(&socket, false)?;
    shutdown(&socket, Shutdown::Read).untraced(|| "shutdown(2) SHUT_RD")?;
    Ok(socket)
}

/// A TCP socket for IPv4 and IPv6 addresses. It does not listen, so a client of
/// `::1` is refused at once. `None` on a host without IPv6.
fn dual_stack_socket() -> Result<Option<OwnedFd>> {
    let socket = match socket(AddressFamily::INET6, SocketType::STREAM) {
        Err(error) if errno(&error) == Some(Errno::EAFNOSUPPORT) => return Ok(None),
        socket => socket?,
    };
    set_ipv6_v6only(&socket, false).untraced(|| "setsockopt(2) IPV6_V6ONLY")?;
    Ok(Some(socket))
}
// ANCHOR_END: reserve

fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd> {
    socket_with(family, kind, SocketFlags::CLOEXEC, None).untraced(|| "socket(2)")
}

fn reuse_address(socket: &OwnedFd, value: bool) -> Result<()> {
    set_socket_reuseaddr(socket, value).untraced(|| "setsockopt(2) SO_REUSEADDR")
}

/// The port of a socket. The kernel may have chosen it.
fn bound_port(socket: &OwnedFd) -> Result<u16> {
    let address = getsockname(socket).untraced(|| "getsockname(2)")?;
    let address = SocketAddr::try_from(address).untraced(|| "getsockname(2)")?;
    Ok(address.port())
}

fn errno(error: &Error) -> Option<Errno> {
    error.root_cause().downcast_ref().copied()
}

fn is_taken(error: &Error) -> bool {
    errno(error) == Some(Errno::EADDRINUSE)
}

fn hint(state: &State, port: &Published, errno: Errno) -> Option<String> {
    let Published { protocol, host, guest, .. } = port;
    Some(match errno {
        Errno::EADDRINUSE => {
            let other = if *host < u16::MAX { host + 1 } else { host - 1 };
            format!(
                "{} already uses the host port {host}/{protocol}: stop it, or \
                 choose another host port, for example {other}:{guest}",
                holder(state, port).as_deref().unwrap_or("another program")
            )
        }
        Errno::EADDRNOTAVAIL => format!(
            "this host does not have the address {}: write an address of this host, or \
             leave it out to publish on all IPv4 addresses",
            port.address()
        ),
        Errno::EACCES => format!(
            "an ordinary user cannot use the host port {host}: choose a host port of \
             1024 or higher, or lower the sysctl net.ipv4.ip_unprivileged_port_start"
        ),
        Errno::EMFILE => "each published port needs one open file: raise the limit \
                          (ulimit -n), or publish fewer ports"
            .to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

    use common::step::report;

    use super::*;

    fn state() -> (tempfile::TempDir, State) {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        (dir, state)
    }

    fn any(protocol: Protocol) -> Published {
        Published { protocol, address: None, host: 0, guest: 80 }
    }

    /// These addresses, without IPv6 addresses if the host has no IPv6.
    fn existing(addresses: &[&'static str]) -> Vec<&'static str> {
        let exists = |it: &&&str| TcpListener::bind((**it, 0)).is_ok();
        addresses.iter().filter(exists).copied().collect()
    }

    fn port_in_time_wait() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect(("127.0.0.1", host)).unwrap();
        // The side that closes first occupies the port.
        drop(listener.accept().unwrap());
        client.read_exact(&mut [0]).unwrap_err();
        drop((client, listener));
        host
    }

    /// The error text of a reservation that fails.
    fn refused(state: &State, port: Published) -> String {
        report(&Reservation::take(state, &[port]).unwrap_err())
    }

    #[test]
    fn no_other_program_can_use_a_reserved_port() {
        let (_dir, state) = state();
        let wanted = [any(Protocol::Tcp), any(Protocol::Udp)];
        let chosen = Reservation::take(&state, &wanted).unwrap().ports().to_vec();
        let reservation = Reservation::take(&state, &chosen).unwrap();
        let [tcp, udp] = [0, 1].map(|at| reservation.ports()[at]);
        for address in existing(&["0.0.0.0", "127.0.0.1", "::", "::1"]) {
            let listener = TcpListener::bind((address, tcp.host));
            assert_eq!(listener.unwrap_err().kind(), ErrorKind::AddrInUse);
        }
        for address in existing(&["0.0.0.0", "127.0.0.1", "::"]) {
            let socket = UdpSocket::bind((address, udp.host));
            assert_eq!(socket.unwrap_err().kind(), ErrorKind::AddrInUse);
        }
        for port in [tcp, udp] {
            for address in [None, Some(Ipv4Addr::LOCALHOST)] {
                let error = refused(&state, Published { address, ..port });
                assert!(error.contains("EADDRINUSE"), "{error}");
            }
        }
        drop(reservation);
        Reservation::take(&state, &[tcp, udp]).unwrap();
    }

    #[test]
    fn one_reserved_address_leaves_the_others_free() {
        let (_dir, state) = state();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let address = Some(Ipv4Addr::LOCALHOST);
            let port = Published { address, ..any(protocol) };
            let reservation = Reservation::take(&state, &[port]).unwrap();
            let port = reservation.ports()[0];
            let address = Some(Ipv4Addr::new(127, 0, 0, 2));
            Reservation::take(&state, &[Published { address, ..port }]).unwrap();
            let all = refused(&state, Published { address: None, ..port });
            assert!(all.contains("EADDRINUSE"), "{all}");
        }
    }

    #[test]
    fn tcp_and_udp_ports_of_one_number_are_independent() {
        let (_dir, state) = state();
        let tcp = Reservation::take(&state, &[any(Protocol::Tcp)]).unwrap();
        let udp = Published { protocol: Protocol::Udp, ..tcp.ports()[0] };
        Reservation::take(&state, &[udp]).unwrap();
    }

    #[test]
    fn clients_of_the_host_itself_are_refused_at_once() {
        let (_dir, state) = state();
        let wanted = [any(Protocol::Tcp), any(Protocol::Udp)];
        let chosen = Reservation::take(&state, &wanted).unwrap().ports().to_vec();
        let reservation = Reservation::take(&state, &chosen).unwrap();
        let [tcp, udp] = [0, 1].map(|at| reservation.ports()[at]);
        for address in existing(&["127.0.0.1", "127.0.0.5", "::1"]) {
            let begun = Instant::now();
            let error = TcpStream::connect((address, tcp.host)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}");
            assert!(begun.elapsed() < Duration::from_secs(1), "{address}");
        }
        for address in existing(&["::1"]) {
            let client = UdpSocket::bind((address, 0)).unwrap();
            client.connect((address, udp.host)).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            client.send(b"x").unwrap();
            let error = client.recv(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
    }

    #[test]
    fn a_connection_in_time_wait_does_not_block_a_reservation() {
        let (_dir, state) = state();
        let host = port_in_time_wait();
        let plain = socket(AddressFamily::INET, SocketType::STREAM).unwrap();
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, host));
        let taken = bind(&plain, &address).unwrap_err();
        assert_eq!(taken, rustix::io::Errno::ADDRINUSE, "it is in TIME_WAIT");
        let port = Published { host, ..any(Protocol::Tcp) };
        let reservation = Reservation::take(&state, &[port]).unwrap();
        let error = refused(&state, port);
        assert!(error.contains("EADDRINUSE"), "{error}");
        drop(reservation);
    }

    #[test]
    fn the_program_that_uses_the_port_is_named() {
        let (_dir, state) = state();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().port();
        let error = refused(&state, Published { host, ..any(Protocol::Tcp) });
        let this = format!("process {} (", std::process::id());
        assert!(error.contains(&format!(":{host}/tcp: EADDRINUSE")), "{error}");
        assert!(error.contains(&this), "{error}");
        assert!(error.contains(&format!("for example {}:80", host + 1)), "{error}");
        let socket = UdpSocket::bind((existing(&["::", "0.0.0.0"])[0], 0)).unwrap();
        let host = socket.local_addr().unwrap().port();
        let error = refused(&state, Published { host, ..any(Protocol::Udp) });
        assert!(error.contains(&this), "{error}");
    }

    #[test]
    fn an_address_that_the_host_does_not_have_is_refused() {
        let (_dir, state) = state();
        let address = Some(Ipv4Addr::new(203, 0, 113, 77));
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let error = refused(&state, Published { address, ..any(protocol) });
            assert!(error.contains("EADDRNOTAVAIL"), "{error}");
            assert!(
                error.contains("does not have the address 203.0.113.77"),
                "{error}"
            );
        }
    }

    #[test]
    fn take_waits_for_a_port_that_becomes_free() {
        let (_dir, state) = state();
        let reservation = Reservation::take(&state, &[any(Protocol::Tcp)]).unwrap();
        let port = reservation.ports()[0];
        std::thread::scope(|scope| {
            scope.spawn(move || {
                sleep(Duration::from_millis(30));
                drop(reservation);
            });
            Reservation::take(&state, &[port]).unwrap();
        });
    }

    #[test]
    fn only_one_of_many_reservations_gets_a_port_in_time_wait() {
        let (_dir, state) = state();
        let host = port_in_time_wait();
        let port = Published { host, ..any(Protocol::Tcp) };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Reservation::take(&state, &[port]).ok()))
                .collect();
            let all: Vec<_> =
                all.into_iter().map(|one| one.join().unwrap()).collect();
            assert_eq!(all.iter().flatten().count(), 1);
        });
    }
}
