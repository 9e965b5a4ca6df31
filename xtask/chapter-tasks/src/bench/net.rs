//! `cargo xtask bench net`: the cost of a network and of a published port.
//!
//! Everything happens in network namespaces of the benchmark, so the host's firewall
//! and networks do not affect it.

mod crowd;
mod podman;
mod port;
mod space;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ch02_net::Route;
use ch06_connect::nft::NftSocket;
use common::step::Step;
use provision::command;

use super::life::{
    Aim, BenchDirs, Line, Measure, block_signals, figures, go_on, in_turn, table,
};
use super::record::Record;
use space::Space;
use xtask::build::build_release;
use xtask::checkout::target;

/// The targets: additional ms, and ratios to the times of other programs.
const NETWORK: f64 = 2.5;
const PUBLISHED: f64 = 2.0;
const GONE: f64 = 25.0;

/// The idle time before each run. The kernel destroys the network namespace of the
/// previous run under a lock, for which the next run would have to wait.
const IDLE: Duration = Duration::from_millis(100);

/// A time limit that is reached only after a failure.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The network, and the published port.
const NAME: &str = "bench";
const SUBNET: &str = "10.9.0.0/22";
const PORT: u16 = 18480;

/// Run the benchmark.
///
/// # Errors
/// The user is not root; a command fails; a container does not answer. A missed
/// target is not an error.
pub(super) fn net(runs: u32, state: Option<PathBuf>) -> Result<Record> {
    if !common::rights::privileged() {
        bail!("bridges require root: run it with sudo");
    }
    let release = build_release(&["--package", "ch06-ports"])?;
    block_signals()?;
    let parent = state.unwrap_or_else(|| target().join("bench"));
    let parent = std::path::absolute(parent).context("--state")?;
    let program = release.join("ch06-ports");
    let host = Host::new(&program, &parent.join("net"), runs)?;
    let mut lines = host.starts()?;
    lines.extend(podman::lines(&host)?);
    lines.extend(host.ends()?);
    lines.extend(port::lines(&host)?);
    // Use two new hosts. podman has left firewall rules on the first host, and each
    // start there would check whether they drop packets.
    let full = Host::new(&program, &parent.join("net-full"), runs)?;
    let empty = Host::new(&program, &parent.join("net-empty"), runs)?;
    lines.extend(crowd::lines(&full, &empty)?);
    println!("\nmedians of {runs} rounds, in ms unless stated otherwise");
    println!("ours / theirs, and ms more: the medians of the values of all rounds");
    print!("{}", table(&lines));
    let title = "networks".to_owned();
    Ok(Record::new("net", title, "ms", &parent, figures(&lines)))
}

/// A host for containers: a network namespace with the network, and a state
/// directory.
struct Host {
    space: Space,
    place: BenchDirs,
    runs: u32,
}

impl Drop for Host {
    fn drop(&mut self) {
        // If this fails, the kernel removes the rest with the network namespace.
        if let Ok(ids) = self.output(&["ps", "-aq"]) {
            let ids: Vec<&str> = ids.split_whitespace().collect();
            for ids in ids.chunks(50) {
                let _ = self.output(&[&["rm", "-f"], ids].concat());
            }
        }
        let _ = self.output(&["prune"]);
        let _ = self.output(&["network", "rm", NAME]);
    }
}

impl Host {
    fn new(program: &Path, parent: &Path, runs: u32) -> Result<Host> {
        fs::create_dir_all(parent)
            .step(|| format!("mkdir(2) {}", parent.display()))?;
        let mut place = BenchDirs::new(program, parent, runs)?;
        // Use a copy of the program, as after an installation: see `bench life`.
        place.program = place.path("ch06-ports");
        fs::copy(program, &place.program).context("copy the program")?;
        let space = Space::new()?;
        space.within(|| ch06_network::sysctl::forward().map(drop))?;
        let host = Host { space, place, runs };
        host.output(&["network", "create", "--subnet", SUBNET, NAME])?;
        Ok(host)
    }

    /// The output of a command of the chapter.
    fn output(&self, words: &[&str]) -> Result<String> {
        let mut ours = self.place.ours(words);
        let said = self.space.within(|| command::run(&mut ours, TIMEOUT))?;
        Ok(String::from_utf8_lossy(&said.out).into_owned())
    }

    /// `run` with these options, and a program that prints a line.
    fn line(&self, flags: &[&str]) -> Command {
        let words = ["busybox", "echo", "ready"];
        self.place.ours(&[&["run", "--rm"], flags, &words].concat())
    }

    /// The time until a container's program has printed a line, in ms.
    fn start(&self, flags: &[&str]) -> Result<f64> {
        let mut run = self.line(flags);
        self.space.within(|| until_ready(&mut run))
    }

    fn starts(&self) -> Result<Vec<Line>> {
        let port = format!("{PORT}:80");
        let network = ["-net", NAME];
        let published = ["-net", NAME, "-p", &port];
        let contestant = |name: &str, aim, flags: &[&str]| {
            let flags: Vec<String> = flags.iter().map(|&it| it.to_owned()).collect();
            let measure: Measure = Box::new(move || {
                let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
                self.start(&flags)
            });
            (name.to_owned(), aim, measure)
        };
        let mut lines = in_turn(
            self.runs,
            "start until the program's first line, with a network",
            vec![
                contestant("run -net", Aim::None, &network),
                contestant("run", Aim::More(NETWORK), &[]),
            ],
        )?;
        lines.extend(in_turn(
            self.runs,
            "start until the program's first line, with a published port",
            vec![
                contestant("run -net -p", Aim::None, &published),
                contestant("run -net", Aim::More(PUBLISHED), &network),
            ],
        )?);
        Ok(lines)
    }

    /// The time from a program's end until `run` returns, and until the kernel has
    /// removed everything.
    fn ends(&self) -> Result<Vec<Line>> {
        let port = format!("{PORT}:80");
        let flags = ["-net", NAME, "-p", &port];
        let ours: Measure = Box::new(|| Ok(self.end(&flags)?.0));
        let theirs: Measure = Box::new(|| Ok(self.end(&[])?.0));
        let mut lines = in_turn(
            self.runs,
            "end of the program until run returns",
            vec![
                ("run -net -p".to_owned(), Aim::None, ours),
                ("run".to_owned(), Aim::None, theirs),
            ],
        )?;
        let gone: Measure = Box::new(|| Ok(self.end(&flags)?.1));
        lines.extend(in_turn(
            self.runs,
            "end of the program until table and device are gone",
            vec![("run -net -p".to_owned(), Aim::Below(GONE), gone)],
        )?);
        Ok(lines)
    }

    /// Both times in ms.
    fn end(&self, flags: &[&str]) -> Result<(f64, f64)> {
        let words = ["busybox", "sh", "-c", "echo ready; read x"];
        let mut run =
            self.place.ours(&[&["run", "-i", "--rm"], flags, &words].concat());
        run.stdin(Stdio::piped()).stdout(Stdio::piped());
        go_on()?;
        sleep(IDLE);
        self.space.within(|| {
            let mut child = run.spawn().context("run")?;
            ready(child.stdout.take().context("stdout")?)?;
            let mut stdin = child.stdin.take().context("stdin")?;
            let begun = Instant::now();
            stdin.write_all(b"\n").step(|| "write(2) to the container")?;
            let status = child.wait().step(|| "waitid(2)")?;
            let returned = begun.elapsed();
            ensure!(status.code() == Some(1) || status.success(), "run: {status}");
            while is_connected()? {
                ensure!(
                    begun.elapsed() < TIMEOUT,
                    "the kernel does not remove the table"
                );
                sleep(Duration::from_micros(100));
            }
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            Ok((ms(returned), ms(begun.elapsed())))
        })
    }
}

/// Whether this network namespace has a container's table or device.
fn is_connected() -> Result<bool> {
    let tables = NftSocket::open()?.tables()?;
    let links = Route::open()?.links()?;
    Ok(tables.iter().any(|table| table.name.starts_with("mydocker-"))
        || links.iter().any(|link| link.name.starts_with("veth")))
}

/// Wait for the first line.
fn ready(out: impl std::io::Read) -> Result<()> {
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).context("the container's output")?;
    ensure!(line == "ready\n", "the container printed {line:?}");
    Ok(())
}

/// The time until a command prints its first line, in ms. Its end is not included.
fn until_ready(command: &mut Command) -> Result<f64> {
    go_on()?;
    sleep(IDLE);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn().context("run")?;
    let read = ready(child.stdout.take().context("stdout")?);
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let status = child.wait().step(|| "waitid(2)")?;
    read?;
    ensure!(status.success(), "run: {status}");
    Ok(took)
}
