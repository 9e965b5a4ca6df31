//! Findings, and what they come to.

use serde::Serialize;

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It was tried, and works.
    Ok,
    /// It is not as it could be; what needs it can do without.
    Warn,
    /// It was tried, and fails.
    Fail,
    /// It could not be tried.
    Unknown,
}

/// What the reader wants to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// `cargo run -p ch04-volume -- run -ti -v /tmp/v:/test sh`.
    MainJob,
    /// `cargo xtask test`.
    VmTests,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, which stays the same.
    pub id: String,
    /// What it came to.
    pub status: Status,
    /// What was found, in one line.
    pub detail: String,
    /// What to do about it.
    pub fix: Option<String>,
    /// What can't run when it fails.
    pub needed_for: Vec<Task>,
}

impl Check {
    /// It works.
    #[must_use]
    pub fn ok(id: &str, detail: impl Into<String>) -> Check {
        Check::new(id, Status::Ok, detail.into(), None)
    }

    /// It doesn't.
    #[must_use]
    pub fn fail(
        id: &str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Check {
        Check::new(id, Status::Fail, detail.into(), Some(fix.into()))
    }

    /// It doesn't, and one can do without.
    #[must_use]
    pub fn warn(
        id: &str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Check {
        Check::new(id, Status::Warn, detail.into(), Some(fix.into()))
    }

    /// Nobody knows.
    #[must_use]
    pub fn unknown(
        id: &str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Check {
        Check::new(id, Status::Unknown, detail.into(), Some(fix.into()))
    }

    fn new(id: &str, status: Status, detail: String, fix: Option<String>) -> Check {
        // One line: an error may have hints below it.
        let detail = detail.replace('\n', "; ");
        Check { id: id.to_owned(), status, detail, fix, needed_for: Vec::new() }
    }

    /// These can't run when it fails.
    #[must_use]
    pub fn needed(mut self, tasks: &[Task]) -> Check {
        self.needed_for = tasks.to_vec();
        self
    }
}

/// Whether a task can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All that it needs works.
    Ok,
    /// Something that it needs fails.
    Fail,
    /// Something that it needs was not tried.
    Unknown,
}

/// All findings.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In the order in which they are told.
    pub checks: Vec<Check>,
    /// What they come to.
    pub summary: Summary,
}

/// What the findings come to.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary {
    /// Whether the main job can run here.
    pub main_job: Verdict,
    /// Whether the tests can run in a VM here.
    pub vm_tests: Verdict,
}

impl Report {
    /// Sum up.
    #[must_use]
    pub fn new(checks: Vec<Check>) -> Report {
        let verdict = |task| {
            let needed = checks.iter().filter(|c| c.needed_for.contains(&task));
            let found: Vec<Status> = needed.map(|check| check.status).collect();
            if found.contains(&Status::Fail) {
                Verdict::Fail
            } else if found.is_empty() || found.contains(&Status::Unknown) {
                Verdict::Unknown
            } else {
                Verdict::Ok
            }
        };
        let (main_job, vm_tests) = (verdict(Task::MainJob), verdict(Task::VmTests));
        Report { checks, summary: Summary { main_job, vm_tests } }
    }

    /// A line a finding, the fix below it, and what all of it comes to.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let longest = self.checks.iter().map(|check| check.id.len()).max();
        let width = longest.unwrap_or(0);
        for Check { id, status, detail, fix, .. } in &self.checks {
            let mark = match status {
                Status::Ok => "ok",
                Status::Warn => "warn",
                Status::Fail => "FAIL",
                Status::Unknown => "?",
            };
            text += &format!("{mark:<4}  {id:<width$}  {detail}\n");
            if let Some(fix) = fix {
                text += &format!("{:width$}        fix: {fix}\n", "");
            }
        }
        let can = |verdict| match verdict {
            Verdict::Ok => "can run here",
            Verdict::Fail => "can't run here: see FAIL",
            Verdict::Unknown => "not known whether it can run here",
        };
        let Summary { main_job, vm_tests } = self.summary;
        text += &format!("\nthe main job: {}\n", can(main_job));
        text += &format!("the tests in a VM: {}\n", can(vm_tests));
        text
    }

    /// 0 when both tasks can run, 3 when the main job can't, 4 when the tests in a
    /// VM can't, 5 when neither can. (1 and 2 are what a program that fails and a
    /// wrong command line end with.) What is not known counts as can.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let Summary { main_job, vm_tests } = self.summary;
        match (main_job == Verdict::Fail, vm_tests == Verdict::Fail) {
            (false, false) => 0,
            (true, false) => 3,
            (false, true) => 4,
            (true, true) => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Task; 2] = [Task::MainJob, Task::VmTests];

    fn code(checks: Vec<Check>) -> u8 {
        Report::new(checks).exit_code()
    }

    #[test]
    fn the_exit_code_tells_what_can_not_run() {
        let fine = || Check::ok("a", "fine").needed(&BOTH);
        let broken = |tasks: &[Task]| Check::fail("b", "no", "do").needed(tasks);
        assert_eq!(code(vec![fine()]), 0);
        assert_eq!(code(vec![fine(), broken(&[])]), 0);
        assert_eq!(code(vec![broken(&[Task::MainJob]), fine()]), 3);
        assert_eq!(code(vec![fine(), broken(&[Task::VmTests])]), 4);
        assert_eq!(code(vec![broken(&BOTH), fine()]), 5);
        assert_eq!(code(vec![Check::warn("w", "no", "do").needed(&BOTH)]), 0);
    }

    #[test]
    fn what_nobody_tried_is_not_known() {
        let report = Report::new(vec![Check::ok("a", "").needed(&[Task::MainJob])]);
        assert_eq!(report.summary.main_job, Verdict::Ok);
        assert_eq!(report.summary.vm_tests, Verdict::Unknown);
        let unknown = Check::unknown("u", "", "").needed(&BOTH);
        let report = Report::new(vec![unknown]);
        assert_eq!(report.summary.main_job, Verdict::Unknown);
    }

    #[test]
    fn a_finding_is_a_line_with_the_fix_below() {
        let checks = vec![
            Check::ok("long-name", "works"),
            Check::fail("short", "first\nsecond", "do this"),
        ];
        let text = Report::new(checks).text();
        assert!(text.starts_with(
            "ok    long-name  works\n\
             FAIL  short      first; second\n\
             \x20                fix: do this\n"
        ));
    }
}
