//! Published ports of an ordinary user: a proxy in the container's supervisor.
//!
//! The bridge of an ordinary user is in a network namespace of the user, so no rule
//! of the host's packet filter can forward packets to it. But a socket belongs to
//! the namespace in which it was created, and a process may have sockets of two
//! namespaces. The supervisor creates the listening sockets in the host's namespace,
//! enters the user's namespace, and creates all other sockets there. It copies the
//! bytes between them.

use std::collections::HashMap;
use std::io::{self, ErrorKind, PipeReader, pipe};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use anyhow::Result;
use ch06_connect::Publication;
use common::state::{Protocol, Published};
use common::step::Step;
use common::{ByteCopy, ReadResult, Watch};
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, accept_with, connect, listen,
    shutdown, socket_with,
};

/// The maximum number of simultaneous connections to all ports. More clients wait in
/// the queue of the listening socket.
const MAX_CONNECTIONS: usize = 128;

/// The maximum number of clients in the queue. The kernel's limit is
/// net.core.somaxconn.
const BACKLOG: i32 = 128;

/// The maximum number of simultaneous UDP clients of one port. A new client replaces
/// the client that has been idle for the longest time.
const MAX_UDP_CLIENTS: usize = 64;

/// The largest datagram of UDP over IPv4, in bytes.
const DATAGRAM: usize = 65_507;

/// The number of bytes per read of a connection. With 4 KiB, a transfer took three
/// times as long.
const CHUNK: usize = 64 << 10;

/// The ports of one container.
pub(crate) struct Proxy {
    /// Provides the container's address while the container is connected.
    publication: Publication,
    /// A pipe that reaches its end of file when the container is disconnected.
    connected: Option<PipeReader>,
    tcp: Vec<(OwnedFd, Published)>,
    connections: Vec<Connection>,
    udp: Vec<UdpPort>,
}

/// The connection of a client, and the connection to the container.
struct Connection {
    up: Half,
    down: Half,
}

/// One direction of a connection.
struct Half {
    copy: ByteCopy,
    to: Rc<OwnedFd>,
    ended: bool,
}

/// A published UDP port. Each client has its own socket to the container, so that
/// each answer can be sent to the right client.
struct UdpPort {
    socket: UdpSocket,
    guest: u16,
    clients: HashMap<SocketAddr, (UdpSocket, u64)>,
    clock: u64,
}

impl Proxy {
    /// Serve these ports. The sockets were created in the host's namespace. They are
    /// closed together with the publication.
    ///
    /// # Errors
    /// EADDRINUSE if another socket now listens on a port.
    pub(crate) fn new(
        publication: Publication,
        ports: &[Published],
        sockets: Vec<OwnedFd>,
    ) -> Result<Proxy> {
        for (port, socket) in ports.iter().zip(&sockets) {
            ioctl_fionbio(socket, true).untraced(|| "ioctl(2) FIONBIO")?;
            if port.protocol == Protocol::Tcp {
                // The connections inherit this option. Without it, they occupy the
                // port for a minute after their end.
                set_socket_reuseaddr(socket, true)
                    .untraced(|| "setsockopt(2) SO_REUSEADDR")?;
                listen(socket, BACKLOG).step(|| format!("listen(2) {port}"))?;
            }
        }
        // The publication closes the other end together with its sockets.
        let (connected, writer) = pipe().untraced(|| "pipe2(2)")?;
        publication.set(Vec::new(), vec![writer.into()]);
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        for (port, socket) in ports.iter().zip(sockets) {
            match port.protocol {
                Protocol::Tcp => tcp.push((socket, *port)),
                Protocol::Udp => udp.push(UdpPort {
                    socket: socket.into(),
                    guest: port.guest,
                    clients: HashMap::new(),
                    clock: 0,
                }),
            }
        }
        let connected = Some(connected);
        Ok(Proxy { publication, connected, tcp, connections: Vec::new(), udp })
    }

    /// Accept one client, and connect to the container for it.
    fn accept(&mut self, listener: usize) {
        let (socket, port) = &self.tcp[listener];
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // The client may have closed the connection already.
        let Ok(client) = accept_with(socket, flags) else { return };
        // If the container cannot be reached, the client sees the end of its
        // connection.
        let Some(address) = self.publication.address() else { return };
        self.connections.extend(Connection::open(client, address, port.guest));
    }
}

impl Connection {
    fn open(client: OwnedFd, address: Ipv4Addr, port: u16) -> Option<Connection> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
        let server = socket_with(family, kind, flags, None).ok()?;
        match connect(&server, &SocketAddrV4::new(address, port)) {
            // The first write waits until the socket is connected.
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(_) => return None,
        }
        let (client, server) = (Rc::new(client), Rc::new(server));
        let (up, down) = (Half::new(&client, &server), Half::new(&server, &client));
        Some(Connection { up, down })
    }

    fn halves(&mut self) -> [&mut Half; 2] {
        [&mut self.up, &mut self.down]
    }

    fn has_ended(&self) -> bool {
        self.up.ended && self.down.ended
    }
}

impl Half {
    fn new(from: &Rc<OwnedFd>, to: &Rc<OwnedFd>) -> Half {
        let copy = ByteCopy::new(from.clone(), Some(Box::new(to.clone())));
        let copy = copy.with_chunk(CHUNK);
        Half { copy, to: to.clone(), ended: false }
    }

    // ANCHOR: step
    /// Copy some bytes when the file descriptor is ready. At the end of file, the
    /// other side gets an end of file too, and the other direction continues.
    fn step(&mut self) {
        if self.copy.is_pending() {
            if !self.copy.write() {
                self.end();
            }
            return;
        }
        match self.copy.read(|_| {}) {
            ReadResult::Bytes if !self.copy.is_pending() || self.copy.write() => {}
            ReadResult::Nothing => {}
            ReadResult::Bytes | ReadResult::End | ReadResult::Failed(_) => {
                self.end()
            }
        }
    }
    // ANCHOR_END: step

    fn end(&mut self) {
        self.ended = true;
        // An error is ignored: a closed connection needs no end of file.
        let _ = shutdown(&*self.to, Shutdown::Write);
        self.copy.close();
    }
}

impl UdpPort {
    /// Send a client's datagram to the container.
    fn receive(&mut self, address: Option<Ipv4Addr>) {
        let mut bytes = [0; DATAGRAM];
        let Ok((count, client)) = self.socket.recv_from(&mut bytes) else { return };
        self.clock += 1;
        if !self.clients.contains_key(&client) {
            if self.clients.len() == MAX_UDP_CLIENTS {
                let oldest = self.clients.iter().min_by_key(|(_, (_, used))| *used);
                let oldest = oldest.map(|(client, _)| *client);
                oldest.and_then(|client| self.clients.remove(&client));
            }
            let socket = address.map(|address| self.socket_to(address));
            let Some(Ok(socket)) = socket else { return };
            self.clients.insert(client, (socket, self.clock));
        }
        if let Some((socket, used)) = self.clients.get_mut(&client) {
            *used = self.clock;
            // A datagram that cannot be forwarded is dropped, as a router does.
            let _ = socket.send(&bytes[..count]);
        }
    }

    fn socket_to(&self, address: Ipv4Addr) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((address, self.guest))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// Send the container's answers to the client.
    fn answer(&mut self, client: SocketAddr) {
        let Some((socket, _)) = self.clients.get(&client) else { return };
        let mut bytes = [0; DATAGRAM];
        match socket.recv(&mut bytes) {
            Ok(count) => drop(self.socket.send_to(&bytes[..count], client)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            // No program listens in the container.
            Err(_) => drop(self.clients.remove(&client)),
        }
    }

    /// The clients in an order that is the same until a client is added or removed.
    fn order(&self) -> Vec<SocketAddr> {
        let mut clients: Vec<_> = self.clients.keys().copied().collect();
        clients.sort();
        clients
    }
}

impl Watch for Proxy {
    fn wants<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let ends = self.connected.iter();
        fds.extend(ends.map(|end| PollFd::new(end, PollFlags::IN)));
        for port in &self.udp {
            fds.push(PollFd::new(&port.socket, PollFlags::IN));
            for client in port.order() {
                fds.push(PollFd::new(&port.clients[&client].0, PollFlags::IN));
            }
        }
        for connection in &self.connections {
            fds.extend(connection.up.copy.wants());
            fds.extend(connection.down.copy.wants());
        }
        if self.connections.len() < MAX_CONNECTIONS {
            let listeners = self.tcp.iter();
            fds.extend(listeners.map(|(it, _)| PollFd::new(it, PollFlags::IN)));
        }
    }

    fn ready(&mut self, events: &[PollFlags]) -> Result<()> {
        let mut events = events.iter().map(|event| !event.is_empty());
        let mut next = || events.next().unwrap_or(false);
        if self.connected.is_some() && next() {
            self.connected = None;
            self.tcp.clear();
            self.udp.clear();
            self.connections.clear();
            return Ok(());
        }
        for port in &mut self.udp {
            let clients = port.order();
            let arrived = next();
            for client in clients {
                if next() {
                    port.answer(client);
                }
            }
            if arrived {
                port.receive(self.publication.address());
            }
        }
        for connection in &mut self.connections {
            for half in connection.halves() {
                if half.copy.wants().is_some() && next() {
                    half.step();
                }
            }
        }
        let room = self.connections.len() < MAX_CONNECTIONS;
        self.connections.retain(|connection| !connection.has_ended());
        for listener in 0..self.tcp.len() {
            if room && next() {
                self.accept(listener);
            }
        }
        Ok(())
    }
}
