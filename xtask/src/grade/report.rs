//! The results: a table for people, results.json and JUnit for programs.

use anyhow::Result;
use quick_xml::events::{BytesDecl, BytesText, Event};
use quick_xml::writer::Writer;
use serde_json::json;
use vm_init::grade::Status;

use super::chapters::page;
use super::row::Row;
use crate::test::report::printable;

/// The results of all checks.
pub(crate) struct Report<'a> {
    pub(crate) capabilities: &'a [&'static str],
    pub(crate) rows: &'a [Row],
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Pass => "pass",
        Status::Skip => "skip",
        Status::Leak => "leak",
        Status::Error => "error",
        Status::Fail => "fail",
    }
}

impl Row {
    /// The lines that describe a result that is not a pass.
    pub(crate) fn explanation(&self) -> Vec<String> {
        let answer = &self.answer;
        let mut lines = vec![
            format!("expected: {}", answer.expected),
            format!("actual:   {}", answer.actual),
        ];
        if answer.status != Status::Leak && !answer.left.is_empty() {
            lines.push(format!("left:     {}", answer.left.join("; ")));
        }
        let ran =
            answer.commands.iter().map(|command| format!("ran:      {command}"));
        lines.extend(ran);
        lines
    }

    fn message(&self) -> String {
        let Row { check, answer, .. } = self;
        let group = &check.group;
        match answer.status {
            Status::Pass => String::new(),
            Status::Skip => format!("{group}: skip: {}", answer.actual),
            status => format!(
                "{group}: {}\n{}\nread:     {}",
                word(status),
                self.explanation().join("\n"),
                page(group)
            ),
        }
    }
}

impl Report<'_> {
    fn of(&self, capability: &str) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.check.group == capability).collect()
    }

    /// One line per capability, then the reasons of the checks that did not pass.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{:<12}{:<8}VERDICT\n", "CAPABILITY", "PASSED");
        for capability in self.capabilities {
            let rows = self.of(capability);
            let is = |status: Status| {
                rows.iter().filter(|row| row.answer.status == status).count()
            };
            // The worst result counts.
            let worst = [Status::Fail, Status::Error, Status::Leak, Status::Pass];
            let verdict = worst.into_iter().find(|status| is(*status) > 0);
            let mut verdict = word(verdict.unwrap_or(Status::Skip)).to_owned();
            let mut reasons: Vec<&str> = rows
                .iter()
                .filter(|row| row.answer.status == Status::Skip)
                .map(|row| row.answer.actual.as_str())
                .collect();
            reasons.dedup();
            if !reasons.is_empty() {
                let some = if verdict == "skip" { "" } else { ", some skipped" };
                verdict += &format!("{some}: {}", reasons.join("; "));
            }
            let passed = format!("{}/{}", is(Status::Pass), rows.len());
            text += &format!("{capability:<12}{passed:<8}{verdict}\n");
        }
        for row in self.rows {
            let status = row.answer.status;
            if matches!(status, Status::Pass | Status::Skip) {
                continue;
            }
            let (group, sentence) = (&row.check.group, row.sentence());
            text += &format!("\n{group}: {sentence} ... {}\n", word(status));
            for line in row.explanation() {
                text += &format!("    {line}\n");
            }
            text += &format!("    read:     {}\n", page(group));
        }
        let count = |status: Status| {
            self.rows.iter().filter(|row| row.answer.status == status).count()
        };
        let counts =
            [Status::Pass, Status::Fail, Status::Error, Status::Leak, Status::Skip]
                .map(|status| format!("{} {}", count(status), word(status)));
        text + &format!("\ngrade: {}\n", counts.join(", "))
    }

    /// Exercism's format has only pass, fail and error: a leak is a fail whose
    /// message says so. Skipped checks are not tests in this format; they are listed
    /// separately.
    ///
    /// # Source
    /// "The Test Runner Interface" of Exercism, version 3
    pub(crate) fn results_json(&self) -> Result<Vec<u8>> {
        let ran =
            || self.rows.iter().filter(|row| row.answer.status != Status::Skip);
        let tests: Vec<_> = ran()
            .map(|row| {
                let status = match row.answer.status {
                    Status::Pass => "pass",
                    Status::Error => "error",
                    _ => "fail",
                };
                let message = Some(row.message()).filter(|text| !text.is_empty());
                let capability = &row.check.group;
                let number =
                    self.capabilities.iter().position(|it| it == capability);
                json!({
                    "name": format!("{capability}: {}", row.sentence()),
                    "status": status,
                    "verdict": word(row.answer.status),
                    "message": message,
                    "output": cut(&row.answer.output),
                    "test_code": row.answer.commands.join("\n"),
                    "task_id": number.map(|number| number + 1),
                })
            })
            .collect();
        let all = |status: Status| ran().all(|row| row.answer.status == status);
        let (status, message) = if ran().next().is_none() {
            ("error", Some("no check was run".to_owned()))
        } else if all(Status::Pass) {
            ("pass", None)
        } else if all(Status::Error) {
            ("error", ran().next().map(Row::message))
        } else {
            ("fail", None)
        };
        let skipped: Vec<_> = self
            .rows
            .iter()
            .filter(|row| row.answer.status == Status::Skip)
            .map(|row| {
                let name = format!("{}: {}", row.check.group, row.sentence());
                json!({ "name": name, "reason": row.answer.actual })
            })
            .collect();
        let text = json!({
            "version": 3,
            "status": status,
            "message": message,
            "tests": tests,
            "skipped": skipped,
        });
        Ok(serde_json::to_vec_pretty(&text)?)
    }

    /// One suite per capability; a leak is a failure of the type `leak`.
    pub(crate) fn junit(&self) -> Result<Vec<u8>> {
        let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
        xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        xml.create_element("testsuites").write_inner_content(|xml| {
            for capability in self.capabilities {
                suite(xml, capability, &self.of(capability))?;
            }
            Ok(())
        })?;
        Ok(xml.into_inner())
    }
}

fn suite(
    xml: &mut Writer<Vec<u8>>,
    capability: &str,
    rows: &[&Row],
) -> std::io::Result<()> {
    let count = |wanted: &[Status]| {
        let is = |row: &&&Row| wanted.contains(&row.answer.status);
        rows.iter().filter(is).count().to_string()
    };
    let seconds = |milliseconds: u64| format!("{:.3}", milliseconds as f64 / 1000.0);
    let tests = rows.len().to_string();
    let failures = count(&[Status::Fail, Status::Leak]);
    let (errors, skipped) = (count(&[Status::Error]), count(&[Status::Skip]));
    xml.create_element("testsuite")
        .with_attributes([
            ("name", capability),
            ("tests", &tests),
            ("failures", &failures),
            ("errors", &errors),
            ("skipped", &skipped),
        ])
        .write_inner_content(|xml| {
            for row in rows {
                let (name, time) = (row.sentence(), seconds(row.milliseconds));
                let case = xml.create_element("testcase").with_attributes([
                    ("classname", capability),
                    ("name", &name),
                    ("time", &time),
                ]);
                let tag = match row.answer.status {
                    Status::Pass => {
                        case.write_empty()?;
                        continue;
                    }
                    Status::Skip => "skipped",
                    Status::Error => "error",
                    Status::Fail | Status::Leak => "failure",
                };
                let (kind, text) =
                    (word(row.answer.status), printable(&row.message()));
                let actual = printable(&row.answer.actual);
                case.write_inner_content(|xml| {
                    xml.create_element(tag)
                        .with_attribute(("type", kind))
                        .with_attribute(("message", actual.as_str()))
                        .write_text_content(BytesText::new(&text))?;
                    Ok(())
                })?;
            }
            Ok(())
        })?;
    Ok(())
}

/// Truncate a text to the limit of Exercism's format.
fn cut(text: &str) -> String {
    const LIMIT: usize = 500;
    let note = "Output was truncated. Please limit to 500 chars";
    let text = printable(text);
    if text.chars().count() <= LIMIT {
        return text;
    }
    let kept: String = text.chars().take(LIMIT - note.len() - 1).collect();
    format!("{kept}\n{note}")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use vm_init::grade::{Answer, Check};

    use super::*;

    fn row(group: &str, name: &str, status: Status) -> Row {
        let [expected, actual] =
            ["\"inside\"", "\"outside\" & <more>"].map(str::to_owned);
        let check =
            Check { group: group.into(), name: name.into(), before: String::new() };
        let answer = Answer {
            status,
            expected,
            actual,
            left: Vec::new(),
            commands: vec!["box run hostname".into()],
            output: "é\u{1b}".repeat(300),
        };
        Row { check, answer, milliseconds: 1500 }
    }

    fn rows() -> Vec<Row> {
        vec![
            row("uts", "a_name", Status::Pass),
            row("uts", "another_name", Status::Fail),
            row("pid", "one", Status::Leak),
            row("net", "none", Status::Error),
            row("volume", "kept", Status::Skip),
        ]
    }

    const CAPABILITIES: [&str; 4] = ["uts", "pid", "net", "volume"];

    #[test]
    fn the_table_and_junit_distinguish_the_verdicts() {
        let rows = rows();
        let report = Report { capabilities: &CAPABILITIES, rows: &rows };
        insta::assert_snapshot!("table", report.table());
        let xml = String::from_utf8(report.junit().unwrap()).unwrap();
        insta::assert_snapshot!("junit", xml);
    }

    #[test]
    fn results_json_has_exercisms_format() {
        let read = |rows: &[Row]| -> Value {
            let report = Report { capabilities: &CAPABILITIES, rows };
            serde_json::from_slice(&report.results_json().unwrap()).unwrap()
        };
        let all = rows();
        let results = read(&all);
        assert_eq!(results["version"], 3);
        assert_eq!(results["status"], "fail");
        let tests = results["tests"].as_array().unwrap();
        let statuses: Vec<_> = tests.iter().map(|test| &test["status"]).collect();
        assert_eq!(statuses, ["pass", "fail", "fail", "error"]);
        assert_eq!(tests[0]["message"], Value::Null);
        assert_eq!(tests[2]["verdict"], "leak");
        assert_eq!(tests[2]["task_id"], 2);
        assert_eq!(tests[1]["test_code"], "box run hostname");
        let message = tests[1]["message"].as_str().unwrap();
        for part in ["uts", "\"inside\"", "<more>", "book/src/ch02-uts.md"] {
            assert!(message.contains(part), "{message}");
        }
        let output = tests[1]["output"].as_str().unwrap();
        assert_eq!(output.chars().count(), 500);
        assert_eq!(results["skipped"][0]["name"], "volume: kept");

        let status = |rows: &[Row]| read(rows)["status"].clone();
        assert_eq!(status(&all[..1]), "pass");
        assert_eq!(status(&all[3..]), "error");
        assert_eq!(status(&all[4..]), "error");
        assert!(read(&all[3..])["message"].as_str().unwrap().contains("net: error"));
    }
}
