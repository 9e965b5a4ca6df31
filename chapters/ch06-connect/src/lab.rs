//! For tests: a host, its containers and a client, each a network namespace.
//!
//! ```text
//! client 203.0.113.2 – 203.0.113.1 host – br0 192.168.10.1/24 – k1 .2, k2 .3
//!                                       – br1 192.168.20.1/24 – k3 .2
//! ```

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket,
};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

use common::state::Protocol;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(400);

/// A network namespace.
#[derive(Clone)]
pub(crate) struct Host(pub(crate) Arc<File>);

pub(crate) struct Lab {
    pub(crate) client: Host,
    pub(crate) host: Host,
    pub(crate) k1: Host,
    pub(crate) k2: Host,
    pub(crate) k3: Host,
}

impl Host {
    fn new() -> Host {
        let thread = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        let host = Host(Arc::new(thread::spawn(thread).join().unwrap()));
        host.run("ip link set lo up");
        host
    }

    /// Call a function in this namespace. The thread comes back.
    pub(crate) fn inside<T>(&self, work: impl FnOnce() -> T) -> T {
        let own = File::open("/proc/thread-self/ns/net").unwrap();
        setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
        let result = work();
        setns(own, CloneFlags::CLONE_NEWNET).unwrap();
        result
    }

    /// Run a command in this namespace. A no-break space is a space within a word.
    pub(crate) fn run(&self, line: &str) -> String {
        let (good, output) = self.try_run(line);
        assert!(good, "{line}: {output}");
        output
    }

    /// The same; whether it was a success, and all output.
    pub(crate) fn try_run(&self, line: &str) -> (bool, String) {
        self.inside(|| {
            let mut words = line.split(' ').filter(|word| !word.is_empty());
            let mut command = Command::new(words.next().unwrap());
            let output = command
                .args(words.map(|word| word.replace('\u{a0}', " ")))
                .output()
                .unwrap();
            let text = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&text).into_owned())
        })
    }

    /// Set a value below /proc/sys/net.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.inside(|| fs::write(format!("/proc/sys/net/{name}"), value).unwrap());
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Answer each request at a port with the address that it came from.
    pub(crate) fn serve(&self, protocol: Protocol, address: &str, port: u16) {
        let at = (address.to_owned(), port);
        match protocol {
            Protocol::Tcp => {
                let listener = self.inside(|| TcpListener::bind(at).unwrap());
                thread::spawn(move || {
                    for mut stream in listener.incoming().flatten() {
                        let peer = stream.peer_addr().unwrap().ip().to_string();
                        let _ = stream.write_all(peer.as_bytes());
                    }
                });
            }
            Protocol::Udp => {
                let socket = self.inside(|| UdpSocket::bind(at).unwrap());
                thread::spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                        let text = peer.ip().to_string();
                        let _ = socket.send_to(text.as_bytes(), peer);
                    }
                });
            }
        }
    }

    /// The address that the server saw; or "refused", or "no answer".
    pub(crate) fn ask(
        &self,
        protocol: Protocol,
        address: &str,
        port: u16,
    ) -> String {
        self.ask_from(protocol, None, address, port)
    }

    /// The same for UDP, from a given address and port of this host.
    pub(crate) fn ask_from(
        &self,
        protocol: Protocol,
        from: Option<(&str, u16)>,
        address: &str,
        port: u16,
    ) -> String {
        let to = (address, port).to_socket_addrs().unwrap().next().unwrap();
        let answer = self.inside(|| match protocol {
            Protocol::Tcp => {
                let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                let mut text = String::new();
                stream.read_to_string(&mut text).map(|_| text)
            }
            Protocol::Udp => {
                let any = match to.ip() {
                    IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                    IpAddr::V6(_) => "[::]:0".parse().unwrap(),
                };
                let socket = match from {
                    None => UdpSocket::bind(any)?,
                    Some(from) => UdpSocket::bind(from)?,
                };
                socket.set_read_timeout(Some(PATIENCE))?;
                // Answers from another address do not count.
                socket.connect(to)?;
                socket.send(b"?")?;
                let mut buffer = [0; 64];
                let length = socket.recv(&mut buffer)?;
                Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
            }
        });
        match answer {
            Ok(text) => text,
            Err(error) => match error.kind() {
                ErrorKind::ConnectionRefused => "refused".to_owned(),
                ErrorKind::TimedOut | ErrorKind::WouldBlock => {
                    "no answer".to_owned()
                }
                _ => error.to_string(),
            },
        }
    }
}

impl Lab {
    /// All hosts and cables, and what the engine sets: route_localnet, hairpin,
    /// ip_forward. k1 serves the port 80.
    pub(crate) fn new() -> Lab {
        let (client, host) = (Host::new(), Host::new());
        let (k1, k2, k3) = (Host::new(), Host::new(), Host::new());
        cable(&host, "lan", "203.0.113.1/24", &client, "203.0.113.2/24");
        for (bridge, address) in
            [("br0", "192.168.10.1/24"), ("br1", "192.168.20.1/24")]
        {
            host.run(&format!("ip link add {bridge} type bridge"));
            host.run(&format!("ip address add {address} dev {bridge}"));
            host.run(&format!("ip link set {bridge} up"));
            host.set(&format!("ipv4/conf/{bridge}/route_localnet"), "1");
        }
        let ports = [
            (&k1, "v1", "br0", "192.168.10.2/24", "192.168.10.1"),
            (&k2, "v2", "br0", "192.168.10.3/24", "192.168.10.1"),
            (&k3, "v3", "br1", "192.168.20.2/24", "192.168.20.1"),
        ];
        for (container, port, bridge, address, gateway) in ports {
            cable(&host, port, "", container, address);
            host.run(&format!("ip link set {port} master {bridge}"));
            host.run(&format!("ip link set {port} type bridge_slave hairpin on"));
            container.run(&format!("ip route add default via {gateway}"));
        }
        host.set("ipv4/ip_forward", "1");
        // The ports of the bridges learn and forward.
        thread::sleep(Duration::from_millis(100));
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            k1.serve(protocol, "0.0.0.0", 80);
            k1.serve(protocol, "0.0.0.0", 81);
            k2.serve(protocol, "0.0.0.0", 80);
            client.serve(protocol, "0.0.0.0", 7);
        }
        Lab { client, host, k1, k2, k3 }
    }
}

fn cable(left: &Host, name: &str, address: &str, right: &Host, other: &str) {
    let peer = right.path();
    left.run(&format!("ip link add {name} type veth peer name eth0 netns {peer}"));
    for (host, name, address) in [(left, name, address), (right, "eth0", other)] {
        if !address.is_empty() {
            host.run(&format!("ip address add {address} dev {name}"));
        }
        host.run(&format!("ip link set {name} up"));
    }
}
