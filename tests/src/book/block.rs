//! One `console` block: what is typed, what is shown, and what was declared of it.

use std::fmt;

use super::varies::Varies;

/// So many examples may vary in one block.
const VARIES: usize = 3;

/// A machine other than the usual one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// The kernel's series.
    pub kernel: String,
    /// The cgroup layout.
    pub cgroup: String,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}-{}", self.kernel, self.cgroup)
    }
}

/// What is said of a block before it, in a comment that readers don't see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) varies: Vec<Varies>,
    /// The second of two terminals.
    pub(crate) second: bool,
    /// Its last command is not waited for.
    pub(crate) keeps_running: bool,
    pub(crate) lane: Option<Lane>,
    /// Why it can't be run.
    pub(crate) excuse: Option<String>,
}

impl Declared {
    /// Add what a comment says, without its `book:`.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        // A reason may have any text in it.
        if let Some(reason) = text.trim().strip_prefix("not run:") {
            if reason.trim().is_empty() {
                return Err("\"not run:\" takes a reason".into());
            }
            self.excuse = Some(reason.trim().to_owned());
            return Ok(());
        }
        for text in text.split(';').map(str::trim) {
            let words: Vec<&str> = text.split_whitespace().collect();
            match words[..] {
                ["second", "terminal"] => self.second = true,
                ["keeps", "running"] => self.keeps_running = true,
                ["on", kernel, "with", cgroup] => {
                    let (kernel, cgroup) = (kernel.to_owned(), cgroup.to_owned());
                    self.lane = Some(Lane { kernel, cgroup });
                }
                _ => self.varies.push(Varies::parse(text)?),
            }
        }
        Ok(())
    }
}

/// Who has the prompt of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// `#`
    Root,
    /// `$`
    User,
}

/// A line that is typed at a program which is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// What stands before it, and has to be there first.
    pub(crate) prompt: String,
    pub(crate) keys: String,
}

/// A command, or what goes on in one, up to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its line on the page, from 1.
    pub(crate) line: usize,
    /// Who types which command; none goes on in the one before.
    pub(crate) command: Option<(Who, String)>,
    /// What is typed later.
    pub(crate) typed: Vec<Typed>,
    /// What the screen shows then, with what was typed.
    pub(crate) shown: Vec<String>,
}

/// A block that is run, or has an excuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The line of its first fence, from 1.
    pub(crate) line: usize,
    pub(crate) declared: Declared,
    pub(crate) steps: Vec<Step>,
}

impl Block {
    /// Read a block's lines; its first fence is at `line`.
    pub(crate) fn parse(
        line: usize,
        declared: Declared,
        text: &[&str],
    ) -> Result<Block, (usize, String)> {
        let mut steps: Vec<Step> = Vec::new();
        for (at, text) in (line + 1..).zip(text) {
            let step =
                |command, typed, shown| Step { line: at, command, typed, shown };
            match (outer(text), inner(text), steps.last_mut()) {
                (Some((who, command)), _, _) => {
                    let command = Some((who, command.to_owned()));
                    steps.push(step(command, Vec::new(), Vec::new()));
                }
                (_, Some(typed), Some(last)) => {
                    last.typed.push(typed);
                    last.shown.push((*text).to_owned());
                }
                (_, Some(typed), None) => {
                    steps.push(step(None, vec![typed], vec![(*text).to_owned()]));
                }
                (.., Some(last)) => {
                    match (text.strip_prefix("> "), &mut last.command) {
                        (Some(more), Some((_, command)))
                            if last.shown.is_empty() =>
                        {
                            command.push('\n');
                            command.push_str(more);
                        }
                        _ => last.shown.push((*text).to_owned()),
                    }
                }
                (None, None, None) => {
                    let text = "no prompt stands at the start of the block: `$ `, `# `, or that of a program which keeps running";
                    return Err((at, text.to_owned()));
                }
            }
        }
        let block = Block { line, declared, steps };
        block.check().map_err(|what| (line, what))?;
        Ok(block)
    }

    fn check(&self) -> Result<(), String> {
        let varies = &self.declared.varies;
        if varies.len() > VARIES {
            let count = varies.len();
            return Err(format!("{count} examples vary in it, and {VARIES} may"));
        }
        for it in varies {
            let occurs = |step: &Step| {
                let command = step.command.as_ref().map_or("", |(_, text)| text);
                it.occurs(command) || step.shown.iter().any(|line| it.occurs(line))
            };
            if !self.steps.iter().any(occurs) {
                return Err(format!("{} is declared, and not in it", it.example));
            }
        }
        if self.steps.is_empty() {
            return Err("it is empty".into());
        }
        Ok(())
    }
}

fn outer(line: &str) -> Option<(Who, &str)> {
    let root = line.strip_prefix("# ").map(|command| (Who::Root, command));
    root.or_else(|| line.strip_prefix("$ ").map(|command| (Who::User, command)))
}

/// A shell's prompt with its working directory, as busybox has it: `/ # `, `~ $ `.
fn inner(line: &str) -> Option<Typed> {
    let at = [" # ", " $ "].iter().filter_map(|mark| line.find(mark)).min()?;
    let place = &line[..at];
    let is_path = place == "~" || place.starts_with('/') || place.starts_with("~/");
    if !is_path || place.contains(' ') {
        return None;
    }
    let (prompt, keys) = line.split_at(at + 3);
    Some(Typed { prompt: prompt.to_owned(), keys: keys.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(comment: &str, text: &[&str]) -> Result<Block, (usize, String)> {
        let mut declared = Declared::default();
        if !comment.is_empty() {
            declared.add(comment).map_err(|what| (0, what))?;
        }
        Block::parse(10, declared, text)
    }

    #[test]
    fn commands_continued_lines_keys_and_output_are_told_apart() {
        let text =
            ["# a 'x", ">  y'", "out", "> out", "$ b", "/ # ls /", "bin", "$ c"];
        let steps = block("", &text).unwrap().steps;
        let command = |step: &Step| step.command.clone().unwrap();
        assert_eq!(steps.len(), 3);
        assert_eq!(command(&steps[0]), (Who::Root, "a 'x\n y'".to_owned()));
        assert_eq!(steps[0].shown, ["out", "> out"]);
        assert_eq!(command(&steps[1]), (Who::User, "b".to_owned()));
        assert_eq!(steps[1].shown, ["/ # ls /", "bin"]);
        assert_eq!(steps[1].typed[0].prompt, "/ # ");
        assert_eq!(steps[1].typed[0].keys, "ls /");
        assert_eq!((steps[2].line, steps[2].shown.len()), (18, 0));
        assert!(block("", &["/tmp/h # exit"]).unwrap().steps[0].command.is_none());
    }

    #[test]
    fn what_varies_is_declared_used_and_no_more_than_three() {
        assert!(block("7 is a pid", &["$ echo", "7"]).is_ok());
        let unused = block("7 is a pid", &["$ echo", "77"]).unwrap_err();
        assert_eq!(unused, (10, "7 is declared, and not in it".to_owned()));
        let many = "1 is a pid; 2 is a pid; 3 is a pid; 4 is a pid";
        let many = block(many, &["$ echo 1 2 3 4"]).unwrap_err();
        assert!(many.1.contains("4 examples vary"), "{many:?}");
    }

    #[test]
    fn a_comment_that_says_nothing_known_is_refused() {
        for comment in ["terminal two", "not run:", "on 6.12", "keeps  walking"] {
            assert!(block(comment, &["$ x"]).is_err(), "{comment}");
        }
        let comment = "second terminal; keeps running; on 6.12 with v1";
        let declared = block(comment, &["$ x"]).unwrap().declared;
        assert!(declared.second && declared.keeps_running);
        assert_eq!(declared.lane.unwrap().cgroup, "v1");
        let excuse = block("not run: no; really", &["$ x"]).unwrap().declared.excuse;
        assert_eq!(excuse.as_deref(), Some("no; really"));
    }

    #[test]
    fn output_before_the_first_prompt_belongs_to_nothing() {
        assert_eq!(block("", &["out"]).unwrap_err().0, 11);
        assert!(block("", &[]).is_err());
    }
}
