//! One check in the VM, and its row in the results.

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

    /// The sentence.
    pub(crate) fn sentence(&self) -> String {
        self.check.name.replace('_', " ")
    }
}

fn without_answer(status: Status, actual: String) -> Answer {
    Answer {
        status,
        expected: "the check to come to its end".into(),
        actual,
        left: Vec::new(),
        commands: Vec::new(),
        output: String::new(),
    }
}

/// The VM that they run in, and another one when it was spoilt.
pub(crate) struct Vm<'a> {
    set: &'a Set,
    seconds: u64,
    machine: Option<(Machine, u32)>,
}

impl<'a> Vm<'a> {
    pub(crate) fn new(set: &'a Set, seconds: u64) -> Vm<'a> {
        Vm { set, seconds, machine: None }
    }

    /// Run one.
    ///
    /// # Errors
    /// No VM comes up.
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

    /// The VM's goodbye.
    ///
    /// # Errors
    /// It says something else.
    pub(crate) fn finish(self) -> Result<()> {
        match self.machine {
            Some((machine, given)) => machine.finish(given),
            None => Ok(()),
        }
    }
}

/// The answer, and whether the VM is as good as before.
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
            let text = format!("hang: it had not ended after {seconds} s");
            return (without_answer(Status::Fail, text), false);
        }
        (how, _) => {
            let text = format!("the check gave no answer, {how:?}: {}", text.trim());
            return (without_answer(Status::Error, text), false);
        }
    };
    // What the room overlooked, process 1 has seen.
    let usable = asked.left.is_empty();
    if !usable && answer.status == Status::Pass {
        answer.status = Status::Leak;
        answer.expected = "the machine to be as it was".into();
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
    fn only_an_answer_is_one() {
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
        assert_eq!(answer.actual, "hang: it had not ended after 5 s");
        let (answer, _) = understand(Err("powered the VM off".into()), "", 5);
        assert_eq!(answer.actual, "powered the VM off");
    }
}
