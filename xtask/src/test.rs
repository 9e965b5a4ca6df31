//! `cargo xtask test`: runs the black-box tests, including the privileged ones.

mod here;
pub(crate) mod judge;
pub(crate) mod lane;
mod machines;
mod programs;
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
use crate::part::Part;
use crate::progress::Progress;
use crate::session::{self, Watch};
use crate::software;
use crate::vm::accelerator::Choice;
use crate::vm::machine::Machine;
use crate::vm::tree::Tree;
use crate::vm::{self, firewalls, qemu, say, systemd};
use machines::{Layout, machines};
use programs::{BOOK, MACHINE_DEPENDENT, NETWORK_PROGRAMS, NETWORKS, SYSTEMD, word};
use report::Reports;
use times::Times;

pub(crate) use select::{listed, select, usually_skipped};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run the tests of these chapters, or tests whose names contain one of these
    /// words [default: all]. book PAGES... types the commands of the book and the
    /// README at a terminal and compares the output. networks TESTS... sends packets
    /// between network namespaces, each of which represents a host. systemd TESTS...
    /// boots systemd in the VM and uses the cgroups that it delegates
    filter: Vec<String>,

    /// Run only the tests of the chapters that depend on the kernel's version or on
    /// the cgroup layout: for a second machine, after all tests have run on the first
    #[arg(long, conflicts_with = "filter")]
    machine_dependent: bool,

    /// Run only a part of these tests, such as 2/4: the second of four parts
    #[arg(long)]
    part: Option<Part>,

    /// List the tests without running them
    #[arg(long)]
    list: bool,

    /// Run on this machine as root, not in a VM
    #[arg(long, conflicts_with_all = ["kernel", "cgroup", "accel", "jobs", "boot_timeout"])]
    here: bool,

    /// Kernel of the VM: a series such as 6.1 or 6.12, the path of a vmlinux or
    /// bzImage, or `all` for 6.1 and 6.12 [default: 6.1]
    #[arg(long, value_name = "6.1|6.12|PATH|all")]
    kernel: Option<String>,

    /// Cgroup layout of the VM [default: v2]
    #[arg(long)]
    cgroup: Option<Layout>,

    /// Accelerator of the VM [default: auto]
    #[arg(long)]
    accel: Option<Choice>,

    /// Number of parallel VMs [default: number of CPUs]
    #[arg(long)]
    jobs: Option<usize>,

    /// Test the programs of this directory instead of the chapters
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,

    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Run another test program; for tests of this runner
    #[arg(long, hide = true, default_value = "blackbox")]
    program: String,

    /// At the first failed test, open a root shell in its VM, as the test left it
    #[arg(long, conflicts_with_all = ["here", "list"])]
    keep: bool,
    /// Run the pages of another checkout; for tests of this runner
    #[arg(long, hide = true)]
    pages: Option<PathBuf>,

    /// Time limit for booting a VM, in seconds
    #[arg(long, value_name = "SECONDS")]
    boot_timeout: Option<u64>,

    /// Time limit of a test, in seconds; a test that exceeds it is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

impl Args {
    /// Whether all tests run of a program that has a minimum.
    fn is_whole(&self) -> bool {
        let known =
            ["blackbox", BOOK, NETWORKS, SYSTEMD].contains(&self.program.as_str());
        known && self.filter.is_empty() && self.pages.is_none()
    }
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let watch = match args.keep {
        true => Some(Watch::of_terminal("--keep")?),
        false => None,
    };
    // The exit status of the user's shell is not a result of the tests.
    let hook = |name: &str, vm: &mut Machine, given: u32| {
        let Some(watch) = &watch else { return Ok(()) };
        say(&format!(
            "a root shell in the VM in which {name} failed; exit ends the VM"
        ));
        let words = vec!["sh".into(), "-l".into()];
        session::attend(vm, words, watch, given).map(drop)
    };
    if args.machine_dependent {
        args.filter = MACHINE_DEPENDENT.map(str::to_owned).to_vec();
    }
    let first = args.filter.first().map_or("", String::as_str);
    if let Some(program) =
        [BOOK, NETWORKS, SYSTEMD].into_iter().find(|it| *it == first)
    {
        args.filter.remove(0);
        program.clone_into(&mut args.program);
    }
    if args.here && args.program == BOOK {
        bail!(
            "pages change the machine on which they run: without --here they run in a VM"
        );
    }
    if args.here && args.program == SYSTEMD {
        bail!("a second systemd would disturb this machine: omit --here");
    }
    // Report a missing QEMU before the build, which takes a minute.
    let place = if args.list { Runner::Here } else { place(&args)? };
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
    if let Some(part) = args.part {
        tests = part.of(tests);
        if tests.is_empty() {
            bail!("there are fewer tests than parts: use fewer parts");
        }
    }
    if args.list {
        tests.iter().for_each(|test| println!("{test}"));
        return Ok(());
    }
    let mut reports = Reports::default();
    let ran = match place {
        Runner::Here => on_this_machine(&args, &built, &tests, &mut reports),
        Runner::Vm(qemu) => in_vms(&args, &built, &tests, qemu, &hook, &mut reports),
    };
    // Report the tests that ended before an error of a VM, too.
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

/// The kernels that are installed from packages, the default first.
pub(crate) const PACKAGED: [&str; 2] = ["6.1", "6.12"];

enum Runner {
    Here,
    Vm(qemu::Qemu),
}

/// Choose the VM if one can start, otherwise this machine, and print which.
fn place(args: &Args) -> Result<Runner> {
    if args.here {
        return Ok(Runner::Here);
    }
    let error = match qemu::find() {
        Ok(qemu) => return Ok(Runner::Vm(qemu)),
        Err(error) => error,
    };
    let wants_vm =
        args.kernel.is_some() || args.cgroup.is_some() || args.accel.is_some();
    let wants_vm = wants_vm || args.keep;
    if wants_vm || !rights::privileged() {
        return Err(error).context("no VM can start");
    }
    say(&format!("no VM can start: {}", in_words(&error)));
    Ok(Runner::Here)
}

fn on_this_machine(
    args: &Args,
    built: &Built,
    tests: &[String],
    reports: &mut Reports,
) -> Result<()> {
    if !rights::privileged() {
        bail!(
            "on this machine the tests create containers as root; run: sudo \
             --preserve-env=PATH,HOME,CARGO_HOME,RUSTUP_HOME env \
             CARGO_TARGET_DIR=target/root cargo xtask test --here {}\nwithout \
             --here they run in a VM, which does not require root",
            format!("{}{}", word(&args.program), args.filter.join(" ")).trim_end()
        );
    }
    let state = vm::state();
    provision::busybox::image(&state)?;
    eprintln!(
        "running {} on this machine as root; mounts, cgroups, links, rules, \
         processes and files are compared before and after each",
        counted(tests.len())
    );
    let begun = Instant::now();
    let progress = Progress::start("the first test");
    for (done, name) in tests.iter().enumerate() {
        progress.step(&format!("{name} ({done} of {} done)", tests.len()));
        let report =
            here::run(built, &args.program, name, args.timeout, state.root())?;
        progress.above(|| reports.add(report));
    }
    drop(progress);
    reports.close("here", begun.elapsed(), true);
    match args.is_whole() {
        true => {
            let (executed, skipped) = reports.executed(0);
            let lane = format!("{}here", word(&args.program));
            minimum::check_part(&lane, args.part, executed, skipped)
        }
        false => Ok(()),
    }
}

fn in_vms(
    args: &Args,
    built: &Built,
    tests: &[String],
    qemu: qemu::Qemu,
    hook: lane::OnFailure,
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
            SYSTEMD => systemd::files()?,
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
            on_failure: args.keep.then_some(hook),
            ..lane::Suite::of(&args.program, args.timeout)
        };
        lane::run(&set, suite, &tests, reports)?;
        times.add(reports.since(first));
        if args.keep && reports.failed() > 0 {
            return Ok(());
        }
        // The user's own kernel has no minimum.
        if (args.is_whole() || args.machine_dependent)
            && args.program != BOOK
            && PACKAGED.contains(&kernel.as_str())
        {
            let (executed, skipped) = reports.executed(first);
            let lane = match args.program.as_str() {
                NETWORKS => minimum::networks(&kernel),
                SYSTEMD => minimum::systemd(&kernel),
                _ if args.machine_dependent => minimum::part(&kernel, cgroup),
                _ => minimum::vm(&kernel, cgroup),
            };
            checked = checked
                .and(minimum::check_part(&lane, args.part, executed, skipped));
        }
    }
    times.write();
    if args.is_whole() && args.program == BOOK {
        let (executed, skipped) = reports.executed(0);
        checked =
            checked.and(minimum::check_part(BOOK, args.part, executed, skipped));
    }
    checked
}

pub(crate) fn counted(tests: usize) -> String {
    format!("{tests} test{}", if tests == 1 { "" } else { "s" })
}
