//! `cargo xtask test`: the black-box tests, privileged ones included.

mod here;
pub(crate) mod judge;
pub(crate) mod lane;
mod machines;
pub(crate) mod report;
mod select;
mod skips;
mod times;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use common::rights;
use common::step::report as in_words;

use crate::build::{Built, build};
use crate::minimum;
use crate::session::{self, Watch};
use crate::software;
use crate::vm::accelerator::Choice;
use crate::vm::machine::Machine;
use crate::vm::tree::Tree;
use crate::vm::{self, firewalls, qemu, say};
use machines::{Layout, machines};
use report::Reports;
use times::Times;

pub(crate) use select::{listed, select, usually_skipped};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run the tests of these chapters, or whose names contain one of these words
    /// [default: all]. `book`, and then words for pages, types what the book and the
    /// README show at a terminal, and compares. `networks`, and then words for tests,
    /// sends packets between network namespaces, each of which is a host
    filter: Vec<String>,

    /// List the tests, and run none
    #[arg(long)]
    list: bool,

    /// Run on this machine, as root, and not in a VM
    #[arg(long, conflicts_with_all = ["kernel", "cgroup", "accel", "jobs", "boot_timeout"])]
    here: bool,

    /// The VM's kernel: a series such as 6.1 or 6.12, the path of a vmlinux or
    /// bzImage, or `all` for 6.1 and 6.12 [default: 6.1]
    #[arg(long, value_name = "6.1|6.12|PATH|all")]
    kernel: Option<String>,

    /// The VM's cgroup layout [default: v2]
    #[arg(long)]
    cgroup: Option<Layout>,

    /// Who runs the VM's instructions [default: auto]
    #[arg(long)]
    accel: Option<Choice>,

    /// How many VMs at a time [default: one a processor]
    #[arg(long)]
    jobs: Option<usize>,

    /// Put the programs of this directory in the chapters' place
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,

    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Run another test program, for the tests of this one
    #[arg(long, hide = true, default_value = "blackbox")]
    program: String,

    /// At the first test that fails, open a root shell in its VM, with all that it
    /// left there
    #[arg(long, conflicts_with_all = ["here", "list"])]
    keep: bool,
    /// Run the pages of another checkout, for the tests of this
    #[arg(long, hide = true)]
    pages: Option<PathBuf>,

    /// A VM that takes longer to come up, in seconds, is given up
    #[arg(long, value_name = "SECONDS")]
    boot_timeout: Option<u64>,

    /// A test that takes longer, in seconds, is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

impl Args {
    /// Whether all tests of a program run that has a minimum.
    fn is_whole(&self) -> bool {
        let known = ["blackbox", BOOK, NETWORKS].contains(&self.program.as_str());
        known && self.filter.is_empty() && self.pages.is_none()
    }
}

/// The test program with the pages of the book.
const BOOK: &str = "book";

/// The test programs of chapters that make topologies of network namespaces, under one
/// name.
const NETWORKS: &str = "networks";
const NETWORK_PROGRAMS: [&str; 2] = ["namespaces", "paths"];

/// The first word of the command line that runs this program's tests.
fn word(program: &str) -> &str {
    if program == NETWORKS { "networks " } else { "" }
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let watch = match args.keep {
        true => Some(Watch::of_terminal("--keep")?),
        false => None,
    };
    // What the user's last command in the shell came to is no result of the tests.
    let look = |name: &str, vm: &mut Machine, given: u32| {
        let Some(watch) = &watch else { return Ok(()) };
        say(&format!("a root shell where {name} failed; exit ends the VM"));
        let words = vec!["sh".into(), "-l".into()];
        session::attend(vm, words, watch, given).map(drop)
    };
    let first = args.filter.first().map_or("", String::as_str);
    if let Some(program) = [BOOK, NETWORKS].into_iter().find(|it| *it == first) {
        args.filter.remove(0);
        program.clone_into(&mut args.program);
    }
    if args.here && args.program == BOOK {
        bail!(
            "pages change the machine that they run on: without --here they run in a VM"
        );
    }
    // A missing QEMU is said before a minute goes into building.
    let place = if args.list { Place::Here } else { place(&args)? };
    let mut built = match args.program.as_str() {
        "blackbox" => build(&[])?,
        NETWORKS => build(&NETWORK_PROGRAMS)?,
        other => build(&[other])?,
    };
    if let Some(directory) = &args.bin_dir {
        built.replace_chapters(directory, !args.here)?;
    }
    if let Some(pages) = &args.pages {
        built.pages = pages.clone();
    }
    let mut tests = select(listed(&built, &args.program)?, &args.filter)?;
    if args.program == BOOK && args.filter.is_empty() && !args.list {
        // Its images are downloaded, and made as root.
        let page = format!("book::{}", software::PAGE);
        tests.retain(|test| *test != page);
        say(&format!(
            "not run with the other pages: cargo xtask test book {}",
            software::PAGE
        ));
    }
    if args.list {
        tests.iter().for_each(|test| println!("{test}"));
        return Ok(());
    }
    let mut reports = Reports::default();
    let ran = match place {
        Place::Here => on_this_machine(&args, &built, &tests, &mut reports),
        Place::Vm(qemu) => in_vms(&args, &built, &tests, qemu, &look, &mut reports),
    };
    // What ended before a VM made trouble is told too.
    if let Some(path) = &args.json {
        reports.write_json(path)?;
    }
    if let Some(path) = &args.junit {
        reports.write_junit(path)?;
    }
    ran?;
    match reports.failed() {
        0 => Ok(()),
        count => bail!("{} failed", counted(count)),
    }
}

/// The kernels that are got as packages, the usual one first.
pub(crate) const PACKAGED: [&str; 2] = ["6.1", "6.12"];

enum Place {
    Here,
    Vm(qemu::Qemu),
}

/// In a VM where one can start, else on this machine; and say which.
fn place(args: &Args) -> Result<Place> {
    if args.here {
        return Ok(Place::Here);
    }
    let error = match qemu::find() {
        Ok(qemu) => return Ok(Place::Vm(qemu)),
        Err(error) => error,
    };
    let wants_vm =
        args.kernel.is_some() || args.cgroup.is_some() || args.accel.is_some();
    let wants_vm = wants_vm || args.keep;
    if wants_vm || !rights::privileged() {
        return Err(error).context("no VM can start");
    }
    say(&format!("no VM can start: {}", in_words(&error)));
    Ok(Place::Here)
}

fn on_this_machine(
    args: &Args,
    built: &Built,
    tests: &[String],
    reports: &mut Reports,
) -> Result<()> {
    if !rights::privileged() {
        bail!(
            "on this machine the tests make containers as root; this works: sudo \
             --preserve-env=PATH,HOME,CARGO_HOME,RUSTUP_HOME env \
             CARGO_TARGET_DIR=target/root cargo xtask test --here {}\nwithout \
             --here they run in a VM, which takes no root",
            format!("{}{}", word(&args.program), args.filter.join(" ")).trim_end()
        );
    }
    let state = vm::state();
    provision::busybox::image(&state)?;
    eprintln!(
        "running {} on this machine, as root, each between two looks at its \
         mounts, cgroups, links, rules, processes and files",
        counted(tests.len())
    );
    let begun = Instant::now();
    for name in tests {
        let report =
            here::run(built, &args.program, name, args.timeout, state.root())?;
        reports.add(report);
    }
    reports.close("here", begun.elapsed(), true);
    match args.is_whole() {
        true => {
            let (executed, skipped) = reports.executed(0);
            let lane = format!("{}here", word(&args.program));
            minimum::check(&lane, executed, skipped)
        }
        false => Ok(()),
    }
}

fn in_vms(
    args: &Args,
    built: &Built,
    tests: &[String],
    qemu: qemu::Qemu,
    look: lane::Look,
    reports: &mut Reports,
) -> Result<()> {
    let choice = args.accel.unwrap_or(Choice::Auto);
    let accelerator = crate::set::accelerator(choice, &qemu)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let times = Times::read();
    let mut checked = Ok(());
    for (kernel, cgroup, tests) in machines(args, tests)? {
        let is_software = args.program == BOOK
            && tests[0].split("::").nth(1) == Some(software::PAGE);
        let jobs = args.jobs.unwrap_or(processors).clamp(1, tests.len());
        let tests = times.longest_first(&tests);
        let more = match args.program.as_str() {
            NETWORKS => firewalls::programs(PACKAGED.contains(&kernel.as_str()))?,
            _ if is_software => software::files()?,
            _ => Tree::default(),
        };
        let mut set =
            crate::set::make_with(built, &qemu, &kernel, cgroup, accelerator, more)?;
        if is_software {
            // A snapshot is of a VM with as much memory as the others.
            (set.memory, set.kept) = (software::MEMORY, false);
        }
        set.boot_limit = args.boot_timeout.map(Duration::from_secs);
        eprintln!(
            "running {} in a VM: {}; {jobs} at a time",
            counted(tests.len()),
            set.describe()
        );
        let first = reports.count();
        let suite = lane::Suite {
            jobs,
            look: args.keep.then_some(look),
            ..lane::Suite::of(&args.program, args.timeout)
        };
        lane::run(&set, suite, &tests, reports)?;
        times.add(reports.since(first));
        if args.keep && reports.failed() > 0 {
            return Ok(());
        }
        // A kernel that somebody brings has no number.
        if args.is_whole()
            && args.program != BOOK
            && PACKAGED.contains(&kernel.as_str())
        {
            let (executed, skipped) = reports.executed(first);
            let lane = match args.program.as_str() {
                NETWORKS => minimum::networks(&kernel),
                _ => minimum::vm(&kernel, cgroup),
            };
            checked = checked.and(minimum::check(&lane, executed, skipped));
        }
    }
    times.write();
    if args.is_whole() && args.program == BOOK {
        let (executed, skipped) = reports.executed(0);
        checked = checked.and(minimum::check(BOOK, executed, skipped));
    }
    checked
}

pub(crate) fn counted(tests: usize) -> String {
    format!("{tests} test{}", if tests == 1 { "" } else { "s" })
}
