//! Connecting to a published port, compared with handwritten DNAT rules.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ch02_net::{Route, TargetNamespace};
use ch06_network::sysctl;
use common::step::Step;
use serde_json::Value;

use super::space::Space;
use super::{Aim, Host, Line, Measure, NAME, PORT, TIMEOUT, in_turn};
use crate::bench::measure::median;
use xtask::install::on_path;

/// The maximum of our time divided by the time with handwritten rules.
const BY_HAND: f64 = 1.1;
const BY_PROXY: f64 = 0.5;

/// The port that docker-proxy listens on.
const PROXIED: u16 = PORT + 1;

/// The number of connections in one round.
const CONNECTIONS: usize = 200;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);

/// Handwritten rules that make the port reachable from this host and from others.
const RULES: &str = "
table ip nat {
  chain prerouting { type nat hook prerouting priority -100;
    fib daddr type local tcp dport 18480 dnat to 10.10.0.2:80; }
  chain output { type nat hook output priority -100;
    fib daddr type local tcp dport 18480 dnat to 10.10.0.2:80; }
  chain postrouting { type nat hook postrouting priority 100;
    ip saddr 10.10.0.0/24 oifname != \"br0\" masquerade
    ip saddr 127.0.0.0/8 oifname \"br0\" masquerade; }
}
";

/// A server in the container that answers each client with one byte.
struct Server {
    stop: Arc<AtomicBool>,
    port: (Ipv4Addr, u16),
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn new(space: &Space) -> Result<Server> {
        let any = (Ipv4Addr::UNSPECIFIED, 80);
        let listener =
            space.within(|| TcpListener::bind(any).step(|| "bind(2) port 80"))?;
        listener.set_nonblocking(false).step(|| "fcntl(2)")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // If the client has closed the connection, its own code reports it.
                let _ = client.and_then(|mut client| client.write_all(b"x"));
            }
        });
        Ok(Server { stop, port: (Ipv4Addr::LOCALHOST, 80), thread: Some(thread) })
    }

    /// Stop the server, and leave its network namespace.
    fn end(mut self, space: &Space) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        let port = self.port;
        space.within(|| TcpStream::connect(port).map(drop).step(|| "connect(2)"))?;
        let ended = self.thread.take().map(JoinHandle::join);
        ensure!(matches!(ended, Some(Ok(()))), "the server failed");
        Ok(())
    }
}

/// The handwritten network: a bridge, a pair of devices, and the rules.
struct ManualNetwork {
    host: Space,
    guest: Space,
}

impl ManualNetwork {
    fn new() -> Result<ManualNetwork> {
        let (host, guest) = (Space::new()?, Space::new()?);
        let [outer, inner] =
            [Route::open_in(host.fd())?, Route::open_in(guest.fd())?];
        outer.add_bridge("br0", "bench")?;
        outer.add_address("br0", GATEWAY, 24)?;
        outer.set_up("br0")?;
        let mac = [2, 0x42, 10, 10, 0, 2];
        outer.add_veth_to(
            "veth0",
            "eth0",
            mac,
            TargetNamespace::Namespace(guest.fd()),
        )?;
        outer.set_master("veth0", "br0")?;
        outer.set_hairpin("veth0", true)?;
        outer.set_up("veth0")?;
        inner.add_address("eth0", GUEST, 24)?;
        inner.set_up("eth0")?;
        inner.add_route(Ipv4Addr::UNSPECIFIED, 0, Some(GATEWAY), Some("eth0"))?;
        let up = outer.wait_until_up("veth0", Duration::from_secs(5))?;
        ensure!(up, "veth0 did not come up");
        host.within(|| {
            sysctl::forward()?;
            sysctl::route_localnet("br0")?;
            let mut nft = Command::new("nft");
            let mut nft = nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
            let mut rules = nft.stdin.take().context("stdin")?;
            rules.write_all(RULES.as_bytes()).step(|| "write(2) to nft")?;
            drop(rules);
            let status = nft.wait()?;
            ensure!(status.success(), "nft -f -: {status}");
            Ok(())
        })?;
        Ok(ManualNetwork { host, guest })
    }
}

/// Docker's program that serves a published port where no rule can: it accepts each
/// connection, connects to the container, and copies the bytes.
struct Proxy(Child);

impl Proxy {
    /// Start it for port 80 of `guest`. `None` if it is not installed.
    fn new(host: &Space, guest: &Space) -> Result<Option<Proxy>> {
        let Some(program) = on_path("docker-proxy") else {
            println!("docker-proxy: not installed");
            return Ok(None);
        };
        let addresses = Route::open_in(guest.fd())?.addresses()?;
        let address = addresses.iter().find_map(|it| match it.address {
            IpAddr::V4(address) if !address.is_loopback() => Some(address),
            _ => None,
        });
        let address = address.context("the container has no IPv4 address")?;
        // It reports on descriptor 3 that it is ready, and closes that descriptor.
        // Without one, it would close its own socket.
        let mut proxy = Command::new("sh");
        proxy.args(["-c", "exec \"$0\" \"$@\" 3> /dev/null"]).arg(program);
        proxy.args(["-proto", "tcp", "-host-ip", "127.0.0.1", "-host-port"]);
        proxy.arg(PROXIED.to_string()).arg("-container-ip");
        proxy.arg(address.to_string()).args(["-container-port", "80"]);
        host.within(|| {
            let mut proxy = Proxy(proxy.spawn().context("docker-proxy")?);
            let port = (Ipv4Addr::LOCALHOST, PROXIED);
            let begun = Instant::now();
            while let Err(error) = TcpStream::connect(port) {
                let ended = proxy.0.try_wait().step(|| "waitid(2)")?;
                ensure!(ended.is_none(), "docker-proxy ended: {ended:?}");
                ensure!(begun.elapsed() < TIMEOUT, "docker-proxy: {error}");
                sleep(Duration::from_millis(5));
            }
            Ok(Some(proxy))
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn lines(host: &Host) -> Result<Vec<Line>> {
    let port = format!("{PORT}:80");
    let run = ["run", "-d", "--name", "web", "-net", NAME, "-p", &port];
    host.output(&[&run[..], &["busybox", "sleep", "1000"]].concat())?;
    let all: Vec<Value> = serde_json::from_str(&host.output(&["ps", "--json"])?)?;
    let web = all.iter().find(|one| one["name"] == "web");
    let pid = web
        .and_then(|one| one["pid"].as_u64())
        .context("the container web has no PID")?;
    let guest = Space::of(&pid.to_string())?;
    let server = Server::new(&guest)?;
    let by_hand = match on_path("nft") {
        Some(_) => {
            let by_hand = ManualNetwork::new()?;
            let other = Server::new(&by_hand.guest)?;
            Some((by_hand, other))
        }
        None => {
            println!("nft: not installed");
            None
        }
    };
    let proxy = Proxy::new(&host.space, &guest)?;
    let ours: Measure = Box::new(|| connections(&host.space, PORT));
    let mut contestants = vec![("a published port".to_owned(), Aim::None, ours)];
    if let Some((by_hand, _)) = &by_hand {
        let theirs: Measure = Box::new(|| connections(&by_hand.host, PORT));
        let name = "rules that were written by hand";
        contestants.push((name.to_owned(), Aim::Ratio(BY_HAND), theirs));
    }
    if proxy.is_some() {
        let theirs: Measure = Box::new(|| connections(&host.space, PROXIED));
        let name = "docker-proxy, in front of the same container";
        contestants.push((name.to_owned(), Aim::Ratio(BY_PROXY), theirs));
    }
    let group = "connect to 127.0.0.1 and read the answer";
    let mut lines = in_turn(host.runs, group, contestants)?;
    for line in &mut lines {
        line.unit = Some("us");
    }
    server.end(&guest)?;
    if let Some((by_hand, server)) = by_hand {
        server.end(&by_hand.guest)?;
    }
    host.output(&["rm", "-f", "web"])?;
    Ok(lines)
}

/// The median of many connections, in µs.
fn connections(space: &Space, port: u16) -> Result<f64> {
    space.within(|| {
        let mut times = Vec::new();
        for _ in 0..CONNECTIONS {
            let begun = Instant::now();
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
            let mut server = server.step(|| "connect(2) to the published port")?;
            let mut answer = [0];
            server.read_exact(&mut answer).step(|| "read(2)")?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok(median(&times))
    })
}
