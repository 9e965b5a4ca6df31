//! Reporting the tests: a line for each test, the reasons of failures, libtest's
//! result line, and files for other programs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use quick_xml::events::{BytesDecl, BytesText, Event};
use quick_xml::writer::Writer;
use serde_json::json;

use super::judge::Verdict;

/// One test in one lane.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) lane: String,
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
    pub(crate) milliseconds: u64,
    /// The output of the test.
    pub(crate) output: String,
    /// The last lines of the console, if the test failed in a VM.
    pub(crate) kernel: String,
    /// The command that repeats the test.
    pub(crate) again: String,
}

/// The reports of all tests, lane after lane.
#[derive(Default)]
pub(crate) struct Reports {
    all: Vec<Report>,
    /// The number of reports when the last lane was closed.
    closed: usize,
}

impl Reports {
    /// Add a report, and print its line.
    pub(crate) fn add(&mut self, report: Report) {
        let Report { name, verdict, milliseconds, .. } = &report;
        let how = match verdict {
            Verdict::Passed => "ok".to_owned(),
            Verdict::Skipped(reason) => format!("skipped: {reason}"),
            Verdict::Failed(what) if what == "failed" => "FAILED".to_owned(),
            Verdict::Failed(what) => format!("FAILED: {what}"),
        };
        let seconds = *milliseconds as f64 / 1000.0;
        println!("test {name} ... {how} ({seconds:.2}s)");
        self.all.push(report);
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn since(&self, first: usize) -> &[Report] {
        &self.all[first..]
    }

    /// The numbers of executed and skipped tests since the report `first`.
    pub(crate) fn executed(&self, first: usize) -> (usize, usize) {
        let reports = self.since(first);
        let skipped =
            |report: &&Report| matches!(report.verdict, Verdict::Skipped(_));
        let skipped = reports.iter().filter(skipped).count();
        (reports.len() - skipped, skipped)
    }

    pub(crate) fn failed(&self) -> usize {
        let failed = |report: &&Report| matches!(report.verdict, Verdict::Failed(_));
        self.all.iter().filter(failed).count()
    }

    /// Close a lane: print the skipped and failed tests, then the result line. A
    /// lane that is not complete, because of an error of a VM, is never ok.
    pub(crate) fn close(&mut self, lane: &str, took: Duration, complete: bool) {
        let reports = &self.all[self.closed..];
        let (mut passed, mut failed, mut skipped) = (0, Vec::new(), Vec::new());
        for report in reports {
            match &report.verdict {
                Verdict::Passed => passed += 1,
                Verdict::Failed(_) => failed.push(report),
                Verdict::Skipped(reason) => skipped.push((report, reason)),
            }
        }
        if !skipped.is_empty() {
            println!("\nskipped:");
            for (report, reason) in &skipped {
                println!("    {}: {reason}", report.name);
            }
        }
        if !failed.is_empty() {
            println!("\nfailures:");
            for report in &failed {
                println!("\n---- {} ({lane}) ----", report.name);
                if let Verdict::Failed(what) = &report.verdict {
                    println!("{what}");
                }
                println!("{}", tail(report.output.trim(), 100));
                if !report.kernel.is_empty() {
                    println!(
                        "the console's last lines:\n{}",
                        tail(&report.kernel, 20)
                    );
                }
                println!("again: {}", report.again);
            }
            println!("\nfailures:");
            failed.iter().for_each(|report| println!("    {}", report.name));
        }
        let word = if failed.is_empty() && complete { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {word}. {passed} passed; {} failed; {} ignored; 0 measured; \
             0 filtered out; finished in {:.2}s\n",
            failed.len(),
            skipped.len(),
            took.as_secs_f64()
        );
        self.closed = self.all.len();
    }

    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        let tests: Vec<_> = self
            .all
            .iter()
            .map(|report| {
                let (verdict, reason) = words(&report.verdict);
                json!({
                    "lane": report.lane,
                    "name": report.name,
                    "verdict": verdict,
                    "reason": reason,
                    "milliseconds": report.milliseconds,
                    "output": report.output,
                    "console": report.kernel,
                    "again": report.again,
                })
            })
            .collect();
        let text = serde_json::to_vec_pretty(&json!({ "tests": tests }))?;
        fs::write(path, text).with_context(|| path.display().to_string())
    }

    /// Write JUnit XML for CI servers, with one suite per lane.
    pub(crate) fn write_junit(&self, path: &Path) -> Result<()> {
        let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
        xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        xml.create_element("testsuites").write_inner_content(|xml| {
            for lane in self.all.chunk_by(|a, b| a.lane == b.lane) {
                suite(xml, lane)?;
            }
            Ok(())
        })?;
        fs::write(path, xml.into_inner()).with_context(|| path.display().to_string())
    }
}

fn suite(xml: &mut Writer<Vec<u8>>, lane: &[Report]) -> std::io::Result<()> {
    let is = |wanted: &str| {
        lane.iter().filter(|report| words(&report.verdict).0 == wanted).count()
    };
    let seconds = |milliseconds: u64| format!("{:.3}", milliseconds as f64 / 1000.0);
    let (failed, skipped) = (is("failed").to_string(), is("skipped").to_string());
    let all = lane.len().to_string();
    let time = seconds(lane.iter().map(|report| report.milliseconds).sum());
    xml.create_element("testsuite")
        .with_attributes([
            ("name", lane[0].lane.as_str()),
            ("tests", &all),
            ("failures", &failed),
            ("skipped", &skipped),
            ("time", &time),
        ])
        .write_inner_content(|xml| {
            for report in lane {
                let (class, name) =
                    report.name.split_once("::").unwrap_or(("", &report.name));
                let time = seconds(report.milliseconds);
                xml.create_element("testcase")
                    .with_attributes([
                        ("classname", class),
                        ("name", name),
                        ("time", &time),
                    ])
                    .write_inner_content(|xml| {
                        let (verdict, reason) = words(&report.verdict);
                        let tag = match verdict {
                            "failed" => "failure",
                            "skipped" => "skipped",
                            _ => return Ok(()),
                        };
                        xml.create_element(tag)
                            .with_attribute(("message", reason))
                            .write_text_content(BytesText::new(&printable(
                                &report.output,
                            )))?;
                        Ok(())
                    })?;
            }
            Ok(())
        })?;
    Ok(())
}

fn words(verdict: &Verdict) -> (&'static str, &str) {
    match verdict {
        Verdict::Passed => ("passed", ""),
        Verdict::Skipped(reason) => ("skipped", reason),
        Verdict::Failed(what) => ("failed", what),
    }
}

/// Replace the characters that XML 1.0 cannot contain, even escaped.
pub(crate) fn printable(text: &str) -> String {
    let fits = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\t');
    text.chars().map(|c| if fits(c) { c } else { '\u{fffd}' }).collect()
}

/// The last lines of a text; long lines are truncated.
fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(count)..];
    let cut = |line: &&str| match line.char_indices().nth(1000) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => (*line).to_owned(),
    };
    last.iter().map(cut).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junit_distinguishes_passed_failed_and_skipped_tests() {
        let report = |name: &str, verdict| Report {
            lane: "6.1 v2".into(),
            name: name.into(),
            verdict,
            milliseconds: 1500,
            output: "a < b & \u{1b}[1m".into(),
            kernel: String::new(),
            again: String::new(),
        };
        let all = vec![
            report("ch02_uts::a", Verdict::Passed),
            report("ch02_uts::b", Verdict::Failed("killed by signal 9".into())),
            report("ch02_uts::c", Verdict::Skipped("no aufs".into())),
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("junit.xml");
        Reports { all, closed: 0 }.write_junit(&path).unwrap();
        let text = fs::read_to_string(path).unwrap();
        insta::assert_snapshot!(text);
    }
}
