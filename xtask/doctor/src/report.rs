//! Findings, and their summary.

use serde::Serialize;

/// The status of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The feature was tried and works.
    Ok,
    /// The feature does not work, but nothing requires it.
    Warn,
    /// The feature was tried and fails.
    Fail,
    /// The feature could not be tried.
    Unknown,
}

/// A task that the user wants to run.
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
    /// The stable name of the check.
    pub id: String,
    /// The status.
    pub status: Status,
    /// The result, in one line.
    pub detail: String,
    /// The remedy.
    pub fix: Option<String>,
    /// The tasks that cannot run if the check fails.
    pub needed_for: Vec<Task>,
}

impl Check {
    /// A check that succeeded.
    #[must_use]
    pub fn ok(id: &str, detail: impl Into<String>) -> Check {
        Check::new(id, Status::Ok, detail.into(), None)
    }

    /// A check that failed.
    #[must_use]
    pub fn fail(
        id: &str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Check {
        Check::new(id, Status::Fail, detail.into(), Some(fix.into()))
    }

    /// A check that failed, of a feature that is not required.
    #[must_use]
    pub fn warn(
        id: &str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Check {
        Check::new(id, Status::Warn, detail.into(), Some(fix.into()))
    }

    /// A check that could not be made.
    #[must_use]
    pub fn unknown(
        id: &str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Check {
        Check::new(id, Status::Unknown, detail.into(), Some(fix.into()))
    }

    fn new(id: &str, status: Status, detail: String, fix: Option<String>) -> Check {
        // One line, although an error may have hints on further lines.
        let detail = detail.replace('\n', "; ");
        Check { id: id.to_owned(), status, detail, fix, needed_for: Vec::new() }
    }

    /// Set the tasks that cannot run if the check fails.
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
    /// Everything that the task requires works.
    Ok,
    /// A required feature fails.
    Fail,
    /// A required feature was not tried.
    Unknown,
}

/// All findings.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The checks, in the order in which they are printed.
    pub checks: Vec<Check>,
    /// The summary of the checks.
    pub summary: Summary,
}

/// The summary of the findings.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary {
    /// Whether the main job can run on this machine.
    pub main_job: Verdict,
    /// Whether the tests can run in a VM on this machine.
    pub vm_tests: Verdict,
}

impl Report {
    /// Summarize the checks.
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

    /// The text: a line for each finding, the remedy below it, and the summary.
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
            Verdict::Fail => "cannot run here: see FAIL",
            Verdict::Unknown => "unknown whether it can run here",
        };
        let Summary { main_job, vm_tests } = self.summary;
        text += &format!("\nthe main job: {}\n", can(main_job));
        text += &format!("the tests in a VM: {}\n", can(vm_tests));
        text
    }

    /// The exit status: 0 if both tasks can run, 3 if the main job cannot, 4 if the
    /// tests in a VM cannot, 5 if neither can. (1 means that the doctor failed, 2
    /// that the command line is invalid.) An unknown result counts as success.
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
    fn the_exit_code_shows_which_tasks_cannot_run() {
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
    fn a_task_without_checks_is_unknown() {
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
