//! `cargo xtask grade`: grades a container program in any language.

mod chapters;
mod packing;
mod report;
pub(crate) mod row;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use common::step::Step;
use vm_init::grade::{Adapter, Check, Status, Subject};
use vm_init::place;

use crate::build::{Built, build, build_exercises};
use crate::progress::Progress;
use crate::set;
use crate::vm::accelerator::Choice;
use crate::vm::qemu::Qemu;
use crate::vm::tree::{Node, Tree};
use crate::vm::{Cgroup, qemu};
use report::Report;
use row::Row;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The program: a static or dynamic binary, or a script with an interpreter
    binary: PathBuf,

    /// Chapter whose container the program must provide
    #[arg(long, default_value = "ch04-volume")]
    chapter: String,

    /// TOML file that describes the program's command line
    #[arg(long, value_name = "FILE")]
    adapter: Option<PathBuf>,

    /// Write the results as exercism's results.json
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    #[command(flatten)]
    which: VmArgs,
}

/// The options that choose a VM.
#[derive(clap::Args)]
pub(crate) struct VmArgs {
    /// The VM's kernel: a series such as 6.1, or the path of a vmlinux or bzImage
    #[arg(long, value_name = "6.1|6.12|PATH", default_value = "6.1")]
    pub(crate) kernel: String,

    /// The VM's cgroup layout
    #[arg(long, default_value = "v2")]
    pub(crate) cgroup: Cgroup,

    /// Accelerator of the VM
    #[arg(long, default_value = "auto")]
    pub(crate) accel: Choice,

    /// Time limit of a check in seconds; a check that exceeds it counts as a hang
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) timeout: u64,
}

/// The program with the checks.
pub(crate) const PROGRAM: &str = "grade";

pub(crate) fn run(args: &Args) -> Result<()> {
    let adapter = adapter(args.adapter.as_deref())?;
    let asked = chapters::capabilities(&args.chapter)?;
    let claimed = claimed(&adapter, asked)?;
    // Find the program's files before the build, which takes a minute.
    let (packing, subject) = packing::pack(&args.binary, adapter)?;
    let qemu = qemu::find()?;
    let built = build(&[PROGRAM])?;
    let checks = listed(built.test(PROGRAM)?)?;
    let accelerator = set::accelerator(args.which.accel, &qemu)?;
    let which = &args.which;
    let set = set::make_with(
        &built,
        &qemu,
        &which.kernel,
        which.cgroup,
        accelerator,
        packing,
    )?;
    eprintln!("grading {} in a VM: {}", subject.binary, set.describe());
    let progress = Progress::start("booting the VM");
    let mut rows = Vec::new();
    let mut vm = row::Vm::new(&set, which.timeout);
    for capability in asked {
        for check in checks.iter().filter(|check| check.group == *capability) {
            rows.push(if claimed.contains(capability) {
                progress.step(&format!("check {}: {}", rows.len() + 1, check.group));
                vm.run(check)?
            } else {
                Row::skipped(check, "not claimed")
            });
        }
    }
    vm.finish()?;
    drop(progress);
    let report = Report { capabilities: asked, rows: &rows };
    print!("{}", report.table());
    write(args.json.as_deref(), || report.results_json())?;
    write(args.junit.as_deref(), || report.junit())?;
    let bad = |row: &&Row| !matches!(row.answer.status, Status::Pass | Status::Skip);
    match rows.iter().filter(bad).count() {
        // A program that claims no capability has not passed.
        0 if rows.iter().all(|row| row.answer.status == Status::Skip) => {
            bail!("no check was run")
        }
        0 => Ok(()),
        count => bail!("{count} of {} checks failed", rows.len()),
    }
}

/// Run these checks, `group::name`, for a chapter's program that is linked dynamically.
///
/// # Errors
/// There is no such check; the VM does not boot.
pub(crate) fn check(
    program: &Path,
    wanted: &[String],
    which: &VmArgs,
) -> Result<Vec<Row>> {
    let qemu = qemu::find()?;
    let mut built = build_exercises(&[], PROGRAM)?;
    let all = listed(built.test(PROGRAM)?)?;
    let find = |name: &String| {
        let found =
            all.iter().find(|it| *name == format!("{}::{}", it.group, it.name));
        found.with_context(|| format!("there is no check {name}"))
    };
    let wanted: Vec<Check> =
        wanted.iter().map(|name| find(name).cloned()).collect::<Result<_>>()?;
    built.chapters = vec![program.to_owned()];
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let subject = Subject {
        binary: format!("{}/{name}", place::CHAPTERS),
        adapter: Adapter::default(),
        links: BTreeMap::new(),
    };
    let mut more = built.libraries()?;
    let at = format!("{}/subject.json", place::GRADE);
    more.add(&at, Node::File(0o644, serde_json::to_vec(&subject)?));
    run_checks(&built, &qemu, &wanted, which, more)
}

/// Run the checks in a VM, one after the other. `more` are files for the VM.
///
/// # Errors
/// The VM does not boot.
pub(crate) fn run_checks(
    built: &Built,
    qemu: &Qemu,
    checks: &[Check],
    which: &VmArgs,
    more: Tree,
) -> Result<Vec<Row>> {
    let accelerator = set::accelerator(which.accel, qemu)?;
    let (kernel, cgroup) = (&which.kernel, which.cgroup);
    let progress = Progress::start("packing the programs for the VM");
    let set = set::make_with(built, qemu, kernel, cgroup, accelerator, more)?;
    let mut vm = row::Vm::new(&set, which.timeout);
    let mut rows = Vec::new();
    for (at, check) in checks.iter().enumerate() {
        let (group, number, total) = (&check.group, at + 1, checks.len());
        progress.step(&format!("checking {group} in the VM, {number} of {total}"));
        rows.push(vm.run(check)?);
    }
    vm.finish()?;
    Ok(rows)
}

fn write(path: Option<&Path>, text: impl FnOnce() -> Result<Vec<u8>>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text()?).step(|| format!("write(2) {}", path.display()))
}

/// The checks that a test program lists.
pub(crate) fn listed(program: &Path) -> Result<Vec<Check>> {
    let output = Command::new(program)
        .arg("--list")
        .output()
        .with_context(|| program.display().to_string())?;
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    let checks: Result<Vec<Check>, _> = lines.map(serde_json::from_slice).collect();
    let checks = checks.with_context(|| program.display().to_string())?;
    if checks.is_empty() {
        bail!("{} has no checks", program.display());
    }
    Ok(checks)
}

fn adapter(path: Option<&Path>) -> Result<Adapter> {
    let Some(path) = path else { return Ok(Adapter::default()) };
    let shown = path.display();
    let text = fs::read_to_string(path).step(|| format!("read(2) {shown}"))?;
    parse(&text).with_context(|| format!("--adapter {shown}"))
}

fn parse(text: &str) -> Result<Adapter> {
    let adapter: Adapter = toml::from_str(text)?;
    for word in ["{binary}", "{command}"] {
        if !adapter.run.iter().any(|it| it == word) {
            bail!("`run` has no word \"{word}\", which is required");
        }
    }
    Ok(adapter)
}

/// The requested capabilities that the adapter claims.
fn claimed(adapter: &Adapter, asked: &[&'static str]) -> Result<Vec<&'static str>> {
    let Some(claims) = &adapter.capabilities else { return Ok(asked.to_vec()) };
    for claim in claims {
        if !chapters::ALL.contains(&claim.as_str()) {
            let all = chapters::ALL.join(", ");
            bail!(
                "the adapter claims the unknown capability {claim:?}: expected {all}"
            );
        }
    }
    let is = |name: &&&str| claims.iter().any(|claim| claim == **name);
    Ok(asked.iter().filter(is).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_the_adapter_omits_have_defaults() {
        assert_eq!(parse("").unwrap(), Adapter::default());
        let adapter = parse("own_error = 1\ncapabilities = [\"uts\"]\n").unwrap();
        assert_eq!((adapter.own_error, adapter.run[1].as_str()), (1, "run"));
        let claims = claimed(&adapter, &["argv", "uts"]).unwrap();
        assert_eq!(claims, ["uts"]);
    }

    #[test]
    fn the_page_shows_the_default_adapter() {
        let page =
            fs::read_to_string(crate::checkout::root().join("book/src/grading.md"));
        let page = page.unwrap();
        let block = page.split("```toml\nrun").next().unwrap();
        let block = block.split("```toml\n").nth(1).unwrap();
        let shown = block.split("```").next().unwrap();
        assert_eq!(parse(shown).unwrap(), Adapter::default());
    }

    #[test]
    fn an_adapter_with_a_mistake_is_refused() {
        for (text, reason) in [
            ("runs = []", "unknown field `runs`"),
            ("run = [\"{binary}\", \"run\"]", "no word \"{command}\""),
            ("run = [\"x\", \"{command}\"]", "no word \"{binary}\""),
            ("own_error = \"1\"", "invalid type"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(reason), "{text}: {error}");
        }
        let adapter = parse("capabilities = [\"pivots\"]").unwrap();
        let error = claimed(&adapter, &["pivot"]).unwrap_err().to_string();
        assert!(error.contains("\"pivots\""), "{error}");
    }
}
