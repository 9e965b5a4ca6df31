//! Running a test on this machine.

use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use vm_init::How;

use super::judge::{End, judge};
use super::report::Report;
use super::select::located;
use super::{skips, word};
use crate::build::Built;
use crate::vm;
use crate::vm::scratch::Scratch;

/// Run a test in its own process group until it ends.
///
/// # Errors
/// The test cannot be started, or its output cannot be stored.
pub(crate) fn run(
    built: &Built,
    program: &str,
    name: &str,
    seconds: u64,
    state: &Path,
) -> Result<Report> {
    let scratch = Scratch::new(&vm::directory().join("runs"))?;
    let skips_file = scratch.path().join("skips");
    let out_file = scratch.path().join("output");
    let mut out = fs::File::options()
        .create_new(true)
        .append(true)
        .read(true)
        .open(&out_file)
        .with_context(|| out_file.display().to_string())?;
    let begun = Instant::now();
    let (file, test) = located(program, name);
    let mut child = Command::new(built.test(file)?)
        .args(["--exact", test, "--test-threads", "1"])
        .env("MYDOCKER_BIN_DIR", &built.bin_dir)
        .env("MYDOCKER_PROBE", &built.probe)
        .env("MYDOCKER_TEST_STATE", state)
        .env("MYDOCKER_SKIP_FILE", &skips_file)
        .env("INSTA_WORKSPACE_ROOT", crate::checkout::root())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out.try_clone()?)
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let limit = Duration::from_secs(seconds);
    let how = loop {
        if let Some(status) = child.try_wait()? {
            break match status.code() {
                Some(code) => How::Code(code),
                None => How::Signal(status.signal().unwrap_or(0)),
            };
        }
        if begun.elapsed() > limit {
            let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
            child.wait()?;
            break How::TimedOut;
        }
        sleep(Duration::from_millis(2));
    };
    let milliseconds = begun.elapsed().as_millis() as u64;
    let mut output = Vec::new();
    std::io::Seek::rewind(&mut out)?;
    out.read_to_end(&mut output)?;
    let output = String::from_utf8_lossy(&output).into_owned();
    let skips = fs::read_to_string(&skips_file).unwrap_or_default();
    let skips = skips.lines().map(str::to_owned).collect();
    let end = End { how, seconds, output, skips, left: Vec::new() };
    let verdict = judge(&end, skips::expected("here", None, name));
    Ok(Report {
        lane: "here".into(),
        name: name.to_owned(),
        verdict,
        milliseconds,
        output: end.output,
        kernel: String::new(),
        again: format!("cargo xtask test {}--here {name}", word(program)),
    })
}
