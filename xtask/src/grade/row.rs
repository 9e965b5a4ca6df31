//! Running one check in the VM, and its row in the results.

use anyhow::Result;
use vm_init::How;
use vm_init::grade::{ANSWER, Answer, Check, Status};

use super::PROGRAM;
use crate::test::lane::{Asked, Suite, ask};
use crate::vm::Set;
use crate::vm::machine::Machine;

/// A check and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) check: Check,
    pub(crate) answer: Answer,
    pub(crate) milliseconds: u64,
}

impl Row {
    pub(crate) fn skipped(check: &Check, reason: &str) -> Row {
        let answer = without_answer(Status::Skip, reason.to_owned());
        Row { check: check.clone(), answer, milliseconds: 0 }
    }

    /// The name of the check, as a sentence.
    pub(crate) fn sentence(&self) -> String {
        self.check.name.replace('_', " ")
    }
}

fn without_answer(status: Status, actual: String) -> Answer {
    Answer {
        status,
        expected: "the check to finish".into(),
        actual,
        left: Vec::new(),
        commands: Vec::new(),
        output: String::new(),
    }
}

/// The VM in which checks run. It is replaced by a new VM when a check has changed
/// it.
pub(crate) struct Vm<'a> {
    set: &'a Set,
    seconds: u64,
    machine: Option<(Machine, u32)>,
}

impl<'a> Vm<'a> {
    pub(crate) fn new(set: &'a Set, seconds: u64) -> Vm<'a> {
        Vm { set, seconds, machine: None }
    }

    /// Run one check.
    ///
    /// # Errors
    /// The VM does not boot.
    pub(crate) fn run(&mut self, check: &Check) -> Result<Row> {
        let (mut machine, given) = match self.machine.take() {
            Some(known) => known,
            None => (self.set.boot()?, 0),
        };
        let name = format!("{}::{}", check.group, check.name);
        let mut output = Vec::new();
        let asked =
            ask(&mut machine, Suite::of(PROGRAM, self.seconds), &name, &mut output);
        let text = String::from_utf8_lossy(&output).into_owned();
        let milliseconds = asked.as_ref().map_or(0, |asked| asked.milliseconds);
        let (answer, usable) = understand(asked, &text, self.seconds);
        if usable {
            self.machine = Some((machine, given + 1));
        }
        Ok(Row { check: check.clone(), answer, milliseconds })
    }

    /// Shut down the VM and check its last message.
    ///
    /// # Errors
    /// The message is wrong.
    pub(crate) fn finish(self) -> Result<()> {
        match self.machine {
            Some((machine, given)) => machine.finish(given),
            None => Ok(()),
        }
    }
}

/// The answer, and whether the VM can be used again.
fn understand(
    asked: Result<Asked, String>,
    text: &str,
    seconds: u64,
) -> (Answer, bool) {
    let asked = match asked {
        Ok(asked) => asked,
        Err(trouble) => return (without_answer(Status::Fail, trouble), false),
    };
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    let line = last.and_then(|line| line.strip_prefix(ANSWER));
    let answer = line.and_then(|line| serde_json::from_str::<Answer>(line).ok());
    let mut answer = match (asked.how, answer) {
        (How::Code(0), Some(answer)) => answer,
        (How::TimedOut, _) => {
            let text = format!("hang: timed out after {seconds} s");
            return (without_answer(Status::Fail, text), false);
        }
        (how, _) => {
            let text = format!("the check gave no answer, {how:?}: {}", text.trim());
            return (without_answer(Status::Error, text), false);
        }
    };
    // PID 1 may find leaks that the check itself did not find.
    let usable = asked.left.is_empty();
    if !usable && answer.status == Status::Pass {
        answer.status = Status::Leak;
        answer.expected = "no change of the machine".into();
        answer.actual = asked.left.join("; ");
    }
    answer.left.extend(asked.left);
    (answer, usable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(how: How, left: &[&str]) -> Result<Asked, String> {
        let left = left.iter().map(|line| (*line).to_owned()).collect();
        Ok(Asked { how, milliseconds: 1, skips: Vec::new(), left })
    }

    #[test]
    fn only_a_complete_answer_counts() {
        let pass = without_answer(Status::Pass, String::new());
        let line = format!("x\n{ANSWER}{}\n", serde_json::to_string(&pass).unwrap());
        let status = |asked, text: &str| {
            let (answer, usable) = understand(asked, text, 5);
            (answer.status, usable)
        };
        let end = || asked(How::Code(0), &[]);
        assert_eq!(status(end(), &line), (Status::Pass, true));
        assert_eq!(status(end(), ""), (Status::Error, false));
        assert_eq!(status(end(), &format!("{line}more")), (Status::Error, false));
        let leak = asked(How::Code(0), &["mount: /x"]);
        assert_eq!(status(leak, &line), (Status::Leak, false));
        let killed = asked(How::Signal(9), &[]);
        assert_eq!(status(killed, &line), (Status::Error, false));
        let (answer, _) = understand(asked(How::TimedOut, &[]), &line, 5);
        assert_eq!(answer.actual, "hang: timed out after 5 s");
        let (answer, _) = understand(Err("powered the VM off".into()), "", 5);
        assert_eq!(answer.actual, "powered the VM off");
    }
}
