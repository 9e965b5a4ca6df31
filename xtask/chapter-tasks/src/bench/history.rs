//! The figures of the benchmarks by commit. `--record` adds a line to a file of the
//! book, and writes the page that shows the last values and their changes.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::step::Step;

use super::record::{Figure, Record};
use xtask::checkout::root;

/// The file with one record per line, the oldest first.
const DATA: &str = "book/data/bench.jsonl";

const PAGE: &str = "book/src/bench-history.md";

/// A value that is larger than the previous value by this factor is marked.
const WORSE: f64 = 1.15;

/// Add a record, and write the page.
///
/// # Errors
/// The checkout has changes that are not committed, so the figures belong to no
/// commit; read(2) or write(2) fails.
pub(super) fn add(record: &Record) -> Result<()> {
    let commit = &record.machine.commit;
    ensure!(
        !commit.ends_with("-dirty") && commit != "unknown",
        "the figures belong to no commit ({commit}): commit the changes, then measure"
    );
    let data = root().join(DATA);
    let line = serde_json::to_string(record)? + "\n";
    File::options()
        .create(true)
        .append(true)
        .open(&data)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .step(|| format!("write(2) {}", data.display()))?;
    let page = root().join(PAGE);
    fs::write(&page, text(&read(&data)?))
        .step(|| format!("write(2) {}", page.display()))?;
    println!("recorded in {DATA} and {PAGE}");
    Ok(())
}

fn read(data: &Path) -> Result<Vec<Record>> {
    let shown = data.display();
    let text = fs::read_to_string(data).step(|| format!("read(2) {shown}"))?;
    let record = |(at, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{shown}:{}", at + 1))
    };
    text.lines().enumerate().map(record).collect()
}

/// The text of the page: for each benchmark and machine, the last figures and the
/// previous figures.
fn text(records: &[Record]) -> String {
    let mut text = HEAD.to_owned();
    let mut shown: Vec<(&str, String)> = Vec::new();
    for (at, last) in records.iter().enumerate().rev() {
        let place = (last.bench.as_str(), machine(last));
        if shown.contains(&place) {
            continue;
        }
        let same = |it: &&Record| it.bench == last.bench && machine(it) == place.1;
        let before = records[..at].iter().rev().find(same);
        text += &section(last, before);
        shown.push(place);
    }
    if records.is_empty() {
        text += "\nNo figures are recorded yet.\n";
    }
    text
}

const HEAD: &str = "\
# Measurements by commit

`cargo xtask bench start --record` adds a line to `book/data/bench.jsonl` and writes this page. Only
figures of the same machine and kernel are compared. A ratio compares our time with the time of
another program in the same rounds, so it depends less on the machine. A figure that is at least
15 % worse than the one before is marked **worse**.
";

/// Figures of different machines cannot be compared.
fn machine(record: &Record) -> String {
    let it = &record.machine;
    format!(
        "{} × {}, Linux {}, {}",
        it.processors, it.processor, it.kernel, it.file_system
    )
}

fn section(last: &Record, before: Option<&Record>) -> String {
    let commit =
        |record: &Record| format!("{} ({})", record.machine.commit, record.date);
    let mut text = format!("\n## {}: {}\n\n", last.bench, last.title);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}. Unit: {}.\n", machine(last), last.unit);
    let old = before.map_or_else(|| "before".to_owned(), commit);
    let _ = writeln!(text, "| figure | {old} | {} | change |", commit(last));
    text += "|---|---|---|---|\n";
    for figure in &last.figures {
        let same = |it: &&Figure| it.group == figure.group && it.name == figure.name;
        let old = before.and_then(|it| it.figures.iter().find(same));
        let _ = writeln!(
            text,
            "| {} {} | {} | {} | {} |",
            figure.group,
            figure.name,
            old.map_or_else(|| "-".to_owned(), value),
            value(figure),
            old.map_or_else(|| "-".to_owned(), |old| change(old, figure)),
        );
    }
    text
}

fn value(figure: &Figure) -> String {
    let unit = figure.unit.as_deref().map(|it| format!(" {it}")).unwrap_or_default();
    match figure.ratio {
        Some(ratio) => format!("{:.2}{unit}, ratio {ratio:.2}", figure.median),
        None => format!("{:.2}{unit}", figure.median),
    }
}

/// The change of the ratio, or of the median if there is no ratio.
fn change(old: &Figure, new: &Figure) -> String {
    let (old, new) = match (old.ratio, new.ratio) {
        (Some(old), Some(new)) => (old, new),
        _ => (old.median, new.median),
    };
    let factor = new / old;
    if !factor.is_finite() {
        return "-".to_owned();
    }
    let percent = (factor - 1.0) * 100.0;
    match factor {
        WORSE.. => format!("{percent:+.0} %, **worse**"),
        _ => format!("{percent:+.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(
        commit: &str,
        kernel: &str,
        median: f64,
        ratio: Option<f64>,
    ) -> Record {
        let mut figure = Figure::of("cold", "ours", &[median]);
        figure.ratio = ratio;
        let mut record = Record::new(
            "start",
            "whole process".into(),
            "ms",
            Path::new("/"),
            vec![figure],
        );
        record.machine.commit = commit.to_owned();
        record.machine.kernel = kernel.to_owned();
        record
    }

    #[test]
    fn a_figure_that_became_worse_is_marked() {
        let text = text(&[
            record("aaa", "6.1", 4.0, None),
            record("bbb", "6.1", 5.0, None),
        ]);
        assert!(
            text.contains("| cold ours | 4.00 | 5.00 | +25 %, **worse** |"),
            "{text}"
        );
        assert!(text.contains("aaa (") && text.contains("bbb ("), "{text}");
        let better = super::text(&[
            record("aaa", "6.1", 5.0, None),
            record("bbb", "6.1", 4.0, None),
        ]);
        assert!(better.contains("| -20 % |"), "{better}");
    }

    #[test]
    fn a_ratio_decides_and_other_machines_are_not_compared() {
        let text = text(&[
            record("aaa", "6.1", 4.0, Some(0.5)),
            record("ccc", "6.12", 1.0, Some(0.1)),
            record("bbb", "6.1", 8.0, Some(0.5)),
        ]);
        let row = "| cold ours | 4.00, ratio 0.50 | 8.00, ratio 0.50 | +0 % |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| cold ours | - | 1.00, ratio 0.10 | - |"), "{text}");
        assert_eq!(text.matches("## start").count(), 2);
    }

    #[test]
    fn figures_without_a_commit_are_refused() {
        for commit in ["abc-dirty", "unknown"] {
            let error = add(&record(commit, "6.1", 1.0, None)).unwrap_err();
            assert!(error.to_string().contains("belong to no commit"), "{error}");
        }
    }

    #[test]
    fn the_page_shows_the_data() {
        let records = read(&root().join(DATA)).unwrap();
        let page = fs::read_to_string(root().join(PAGE)).unwrap();
        assert_eq!(
            text(&records),
            page,
            "write it with: cargo xtask bench ... --record"
        );
    }
}
