//! For tests: a host, its containers and a client. Each of them is a network
//! namespace.
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
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ch02_net::{Route, TargetNamespace};
use ch06_connect::nft::NftSocket;
use ch06_network::sysctl;
use common::state::Protocol;
use nix::sched::{CloneFlags, setns, unshare};

/// The maximum time to wait for an answer on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);
/// The time to wait for an answer that must not arrive.
pub(crate) const SILENCE: Duration = Duration::from_millis(400);

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
    /// Create a network namespace. This requires root.
    fn new() -> Host {
        let thread = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("unshare(2) as root");
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        let host = Host(Arc::new(thread::spawn(thread).join().unwrap()));
        host.route().set_up("lo").unwrap();
        host
    }

    /// Call a function in this namespace. The thread returns to its own namespace
    /// afterwards.
    pub(crate) fn inside<T>(&self, work: impl FnOnce() -> T) -> T {
        let own = File::open("/proc/thread-self/ns/net").unwrap();
        setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
        let result = work();
        setns(own, CloneFlags::CLONE_NEWNET).unwrap();
        result
    }

    /// Its devices, addresses and routes.
    pub(crate) fn route(&self) -> Route {
        Route::open_in(self.0.as_fd()).unwrap()
    }

    pub(crate) fn add_route(&self, destination: &str, prefix: u8, gateway: &str) {
        let (destination, gateway) =
            (destination.parse().unwrap(), gateway.parse().unwrap());
        self.route().add_route(destination, prefix, Some(gateway), None).unwrap();
    }

    /// Its firewall rules.
    pub(crate) fn rules(&self) -> NftSocket {
        self.inside(|| NftSocket::open().unwrap())
    }

    /// Run a command in this namespace. A no-break space stands for a space within a
    /// word. Returns `None` if the program is not installed.
    pub(crate) fn run(&self, line: &str) -> Option<String> {
        let mut words = line.split(' ').map(|word| word.replace('\u{a0}', " "));
        let mut command = Command::new(words.next().unwrap());
        let output = match self.inside(|| command.args(words).output()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                skip(&format!("{line}: there is no such program"));
                return None;
            }
            output => output.unwrap(),
        };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(output.status.success(), "{line}: {text}");
        Some(text)
    }

    /// Set a value below /proc/sys/net.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.inside(|| fs::write(format!("/proc/sys/net/{name}"), value).unwrap());
    }

    /// Answer each request at a port with the address of its sender.
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

    /// The client's address as the server saw it, or "refused", or "no answer".
    pub(crate) fn ask(
        &self,
        protocol: Protocol,
        address: &str,
        port: u16,
    ) -> String {
        self.ask_for(TIMEOUT, protocol, None, address, port)
    }

    /// Whether there is no answer, not even a refusal.
    pub(crate) fn gets_no_answer(
        &self,
        protocol: Protocol,
        address: &str,
        port: u16,
    ) -> bool {
        self.ask_for(SILENCE, protocol, None, address, port) == "no answer"
    }

    /// The address that the server saw when a UDP client with this address and port
    /// sent a request.
    pub(crate) fn ask_from(
        &self,
        from: (&str, u16),
        address: &str,
        port: u16,
    ) -> String {
        self.ask_for(SILENCE, Protocol::Udp, Some(from), address, port)
    }

    pub(crate) fn ask_for(
        &self,
        patience: Duration,
        protocol: Protocol,
        from: Option<(&str, u16)>,
        address: &str,
        port: u16,
    ) -> String {
        let to = (address, port).to_socket_addrs().unwrap().next().unwrap();
        let answer = self.inside(|| match protocol {
            Protocol::Tcp => {
                let mut stream = TcpStream::connect_timeout(&to, patience)?;
                stream.set_read_timeout(Some(patience))?;
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
                socket.set_read_timeout(Some(patience))?;
                // Answers from another address do not count.
                socket.connect(to)?;
                socket.send(b"?")?;
                let mut buffer = [0; 64];
                let length = loop {
                    match socket.recv(&mut buffer) {
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        result => break result?,
                    }
                };
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
    /// Create all hosts and veth pairs, with the settings of the engine:
    /// route_localnet, hairpin, ip_forward. k1 serves the ports 80 and 81.
    pub(crate) fn new() -> Lab {
        let (client, host) = (Host::new(), Host::new());
        let (k1, k2, k3) = (Host::new(), Host::new(), Host::new());
        cable(&host, "lan", &client, "203.0.113.2");
        let route = host.route();
        add_address(&route, "lan", "203.0.113.1");
        for (bridge, address) in [("br0", "192.168.10.1"), ("br1", "192.168.20.1")] {
            route.add_bridge(bridge, "lab").unwrap();
            add_address(&route, bridge, address);
            route.set_up(bridge).unwrap();
            host.inside(|| sysctl::route_localnet(bridge)).unwrap();
        }
        let ports = [
            (&k1, "v1", "br0", "192.168.10.2", "192.168.10.1"),
            (&k2, "v2", "br0", "192.168.10.3", "192.168.10.1"),
            (&k3, "v3", "br1", "192.168.20.2", "192.168.20.1"),
        ];
        for (container, port, bridge, address, gateway) in ports {
            cable(&host, port, container, address);
            route.set_master(port, bridge).unwrap();
            route.set_hairpin(port, true).unwrap();
            container.add_route("0.0.0.0", 0, gateway);
            assert!(route.wait_until_up(port, TIMEOUT).unwrap());
        }
        // These settings exist only after the module is loaded.
        if !Path::new("/proc/sys/net/bridge").exists() {
            host.run("modprobe br_netfilter").unwrap();
        }
        // A new namespace inherits the setting of the initial one.
        host.set("ipv4/ip_forward", "0");
        assert!(host.inside(sysctl::forward).unwrap());
        assert!(!host.inside(sysctl::forward).unwrap());
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            k1.serve(protocol, "0.0.0.0", 80);
            k1.serve(protocol, "0.0.0.0", 81);
            k2.serve(protocol, "0.0.0.0", 80);
            client.serve(protocol, "0.0.0.0", 7);
        }
        Lab { client, host, k1, k2, k3 }
    }
}

/// A veth pair: a device of this name, and eth0 with an address of a /24.
fn cable(left: &Host, name: &str, right: &Host, address: &str) {
    let [a, b, c, d] = address.parse::<Ipv4Addr>().unwrap().octets();
    let (route, place) = (left.route(), TargetNamespace::Namespace(right.0.as_fd()));
    route.add_veth_to(name, "eth0", [2, 0x42, a, b, c, d], place).unwrap();
    add_address(&right.route(), "eth0", address);
    right.route().set_up("eth0").unwrap();
    route.set_up(name).unwrap();
}

fn add_address(route: &Route, device: &str, address: &str) {
    route.add_address(device, address.parse().unwrap(), 24).unwrap();
}

/// Report that a test, or a part of it, was skipped.
pub(crate) fn skip(reason: &str) {
    if let Some(path) = std::env::var_os("MYDOCKER_SKIP_FILE") {
        let file = File::options().append(true).create(true).open(path);
        let written = file.and_then(|mut file| writeln!(file, "{reason}"));
        written.expect("the file of skips can be written");
    }
    eprintln!("skipped: {reason}");
}
