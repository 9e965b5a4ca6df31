//! `cargo xtask test`: the black-box tests, privileged ones included.

mod here;
pub(crate) mod judge;
pub(crate) mod lane;
pub(crate) mod report;
mod skips;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use common::rights;
use common::step::report as in_words;

use crate::build::{Built, build};
use crate::minimum;
use crate::session::{self, Watch};
use crate::vm::accelerator::Choice;
use crate::vm::machine::Machine;
use crate::vm::{self, Cgroup, qemu, say};
use report::{Report, Reports};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run the tests of these chapters, or whose names contain one of these words
    /// [default: all]. `book`, and then words for pages, types what the book and the
    /// README show at a terminal, and compares
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
        let known = ["blackbox", BOOK].contains(&self.program.as_str());
        known && self.filter.is_empty() && self.pages.is_none()
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Layout {
    /// Each controller in a hierarchy of its own
    V1,
    /// As v1, with an empty v2 tree beside it
    Hybrid,
    /// One tree
    V2,
    /// One after the other
    All,
}

impl Layout {
    fn each(self) -> &'static [Cgroup] {
        match self {
            Layout::V1 => &[Cgroup::V1],
            Layout::Hybrid => &[Cgroup::Hybrid],
            Layout::V2 => &[Cgroup::V2],
            Layout::All => &[Cgroup::V1, Cgroup::Hybrid, Cgroup::V2],
        }
    }
}

/// The test program with the pages of the book.
const BOOK: &str = "book";

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
    if args.filter.first().is_some_and(|word| word == BOOK) {
        args.filter.remove(0);
        BOOK.clone_into(&mut args.program);
        if args.here {
            bail!(
                "pages change the machine that they run on: without --here they run in a VM"
            );
        }
    }
    // A missing QEMU is said before a minute goes into building.
    let place = if args.list { Place::Here } else { place(&args)? };
    let extra = (args.program != "blackbox").then_some(args.program.as_str());
    let mut built = build(extra)?;
    if let Some(directory) = &args.bin_dir {
        built.replace_chapters(directory, !args.here)?;
    }
    if let Some(pages) = &args.pages {
        built.pages = pages.clone();
    }
    let tests = select(listed(&built, &args.program)?, &args.filter)?;
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
            args.filter.join(" ")
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
            minimum::check("here", executed, skipped)
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
        let jobs = args.jobs.unwrap_or(processors).clamp(1, tests.len());
        let tests = times.longest_first(&tests);
        let mut set = crate::set::make(built, &qemu, &kernel, cgroup, accelerator)?;
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
            let lane = minimum::vm(&kernel, cgroup);
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

/// A machine, by its kernel and cgroup layout, and the tests for it.
type Lane = (String, Cgroup, Vec<String>);

/// The machines that are asked for; and those that pages ask for, whatever is given
/// on the command line: what such a block shows is to be seen nowhere else.
fn machines(args: &Args, tests: &[String]) -> Result<Vec<Lane>> {
    let kernels = match args.kernel.as_deref() {
        None => vec![PACKAGED[0]],
        Some("all") => PACKAGED.to_vec(),
        Some(other) => vec![other],
    };
    let mut lanes: Vec<Lane> = Vec::new();
    for kernel in kernels {
        for cgroup in args.cgroup.unwrap_or(Layout::V2).each() {
            lanes.push((kernel.to_owned(), *cgroup, Vec::new()));
        }
    }
    let asked_for = lanes.len();
    for test in tests {
        let Some(machine) = named_machine(args, test)? else {
            lanes[..asked_for].iter_mut().for_each(|lane| lane.2.push(test.clone()));
            continue;
        };
        let same = |lane: &&mut Lane| lane.0 == machine.0 && lane.1 == machine.1;
        match lanes[asked_for..].iter_mut().find(same) {
            Some(lane) => lane.2.push(test.clone()),
            None => lanes.push((machine.0, machine.1, vec![test.clone()])),
        }
    }
    lanes.retain(|lane| !lane.2.is_empty());
    Ok(lanes)
}

/// The machine that stands behind a page's name: `book::not-so::6.12-v1`.
fn named_machine(args: &Args, test: &str) -> Result<Option<(String, Cgroup)>> {
    let Some(name) = test.split("::").nth(2).filter(|_| args.program == BOOK) else {
        return Ok(None);
    };
    let (kernel, cgroup) = name.rsplit_once('-').unwrap_or((name, ""));
    match Cgroup::from_str(cgroup, false) {
        Ok(cgroup) if PACKAGED.contains(&kernel) => {
            Ok(Some((kernel.to_owned(), cgroup)))
        }
        _ => bail!(
            "{test}: there is no machine {name}, but {} with v1, hybrid or v2",
            PACKAGED.join(" or ")
        ),
    }
}

pub(crate) fn counted(tests: usize) -> String {
    format!("{tests} test{}", if tests == 1 { "" } else { "s" })
}

/// The names of a test program's tests.
///
/// # Errors
/// There is no such program, or it can't list them.
pub(crate) fn listed(built: &Built, program: &str) -> Result<Vec<String>> {
    let program = built.test(program)?;
    let output = Command::new(program)
        .args(["--list", "--format", "terse"])
        .env("MYDOCKER_SOURCE", &built.pages)
        .output()
        .with_context(|| program.display().to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{} --list:\n{}", program.display(), said.trim());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let tests = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(tests.map(str::to_owned).collect())
}

/// Those that the usual machine skips.
pub(crate) fn usually_skipped(tests: &[String]) -> Vec<String> {
    let skipped = |test: &&String| {
        let expected = skips::expected(PACKAGED[0], Some(Cgroup::V2), test);
        matches!(expected, skips::Expected::Yes(_))
    };
    tests.iter().filter(skipped).cloned().collect()
}

/// Those that one of the words means; without words, all.
pub(crate) fn select(all: Vec<String>, words: &[String]) -> Result<Vec<String>> {
    if words.is_empty() {
        return Ok(all);
    }
    let means = |word: &String, name: &str| {
        let chapter = name.split("::").next().unwrap_or(name);
        name.contains(word.as_str()) || chapter.contains(&word.replace('-', "_"))
    };
    // A word with a typo must not hide behind others that fit.
    for word in words {
        if !all.iter().any(|name| means(word, name)) {
            bail!(
                "no chapter and no test's name contains {word:?}: --list shows all"
            );
        }
    }
    Ok(all
        .into_iter()
        .filter(|name| words.iter().any(|word| means(word, name)))
        .collect())
}

/// How long each test took last, in milliseconds: the long ones go first, lest one
/// VM works on while the others have nothing to do.
struct Times(std::cell::RefCell<BTreeMap<String, u64>>);

impl Times {
    fn path() -> PathBuf {
        vm::directory().join("times.json")
    }

    fn read() -> Times {
        let text = fs::read(Times::path()).unwrap_or_default();
        Times(serde_json::from_slice(&text).unwrap_or_default())
    }

    fn longest_first(&self, tests: &[String]) -> Vec<String> {
        let mut tests = tests.to_vec();
        let times = self.0.borrow();
        // The order of the book for those that took about as long, and for new ones.
        let seconds = |name: &String| times.get(name).map_or(0, |time| time / 2000);
        tests.sort_by_key(|name| std::cmp::Reverse(seconds(name)));
        tests
    }

    fn add(&self, reports: &[Report]) {
        let mut times = self.0.borrow_mut();
        for report in reports {
            times.insert(report.name.clone(), report.milliseconds);
        }
    }

    fn write(&self) {
        // Only an order depends on it.
        if let Ok(text) = serde_json::to_vec(&*self.0.borrow()) {
            let _ = fs::write(Times::path(), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["ch02_uts::host_name", "ch04_volume::kept", "lab::a_leak"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn a_word_means_a_chapter_or_a_part_of_a_name() {
        let select = |words: &[&str]| {
            let words: Vec<_> =
                words.iter().map(|word| (*word).to_owned()).collect();
            select(names(), &words)
        };
        assert_eq!(select(&[]).unwrap(), names());
        assert_eq!(select(&["ch04-volume"]).unwrap(), ["ch04_volume::kept"]);
        assert_eq!(select(&["leak", "ch02"]).unwrap().len(), 2);
        assert_eq!(select(&["lab::a_leak"]).unwrap(), ["lab::a_leak"]);
        let error = select(&["kept", "ch99"]).unwrap_err();
        assert!(error.to_string().contains("\"ch99\""), "{error}");
    }
}
