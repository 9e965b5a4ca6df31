//! One `console` block: its input, its output, and the declarations for it.

use std::fmt;

use super::varies::Varies;

/// The maximum number of varying examples in one block.
const VARIES: usize = 3;

/// A machine that differs from the usual one.
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

/// The declarations of a block, in an HTML comment before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) varies: Vec<Varies>,
    /// The second of two terminals.
    pub(crate) second: bool,
    /// The last command keeps running.
    pub(crate) keeps_running: bool,
    pub(crate) lane: Option<Lane>,
    /// The reason why the block cannot be run.
    pub(crate) excuse: Option<String>,
}

impl Declared {
    /// Add the declarations of a comment, without its `book:`.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        // A reason may contain any text.
        if let Some(reason) = text.trim().strip_prefix("not run:") {
            if reason.trim().is_empty() {
                return Err("\"not run:\" requires a reason".into());
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

/// The user of a command, according to its prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PromptUser {
    /// Root: `#`.
    Root,
    /// The ordinary user: `$`.
    User,
}

/// A line that is typed at a running program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// The prompt that must appear before the line is typed.
    pub(crate) prompt: String,
    pub(crate) keys: String,
}

/// A command with its output, or the continuation of a running command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The line number on the page, starting at 1.
    pub(crate) line: usize,
    /// The user and the command; `None` continues the previous command.
    pub(crate) command: Option<(PromptUser, String)>,
    /// The lines that are typed later.
    pub(crate) typed: Vec<Typed>,
    /// The expected screen, including typed lines.
    pub(crate) shown: Vec<String>,
}

/// A block that is run, or has a reason not to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The line number of its first fence, starting at 1.
    pub(crate) line: usize,
    pub(crate) declared: Declared,
    pub(crate) steps: Vec<Step>,
}

impl Block {
    /// Parse a block's lines; its first fence is at `line`.
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
                (Some((user, command)), _, _) => {
                    let command = Some((user, command.to_owned()));
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
                    let text = "the block must start with a prompt: `$ `, `# `, or that of a program that keeps running";
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
            return Err(format!(
                "{count} examples vary in the block, but at most {VARIES} may vary"
            ));
        }
        for it in varies {
            let occurs = |step: &Step| {
                let command = step.command.as_ref().map_or("", |(_, text)| text);
                it.occurs(command) || step.shown.iter().any(|line| it.occurs(line))
            };
            if !self.steps.iter().any(occurs) {
                return Err(format!(
                    "{} is declared, but not in the block",
                    it.example
                ));
            }
        }
        if self.steps.is_empty() {
            return Err("the block is empty".into());
        }
        Ok(())
    }
}

fn outer(line: &str) -> Option<(PromptUser, &str)> {
    let root = line.strip_prefix("# ").map(|command| (PromptUser::Root, command));
    root.or_else(|| {
        line.strip_prefix("$ ").map(|command| (PromptUser::User, command))
    })
}

/// A prompt of busybox's shell, with the working directory: `/ # `, `~ $ `.
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
    fn commands_continued_lines_keys_and_output_are_distinguished() {
        let text =
            ["# a 'x", ">  y'", "out", "> out", "$ b", "/ # ls /", "bin", "$ c"];
        let steps = block("", &text).unwrap().steps;
        let command = |step: &Step| step.command.clone().unwrap();
        assert_eq!(steps.len(), 3);
        assert_eq!(command(&steps[0]), (PromptUser::Root, "a 'x\n y'".to_owned()));
        assert_eq!(steps[0].shown, ["out", "> out"]);
        assert_eq!(command(&steps[1]), (PromptUser::User, "b".to_owned()));
        assert_eq!(steps[1].shown, ["/ # ls /", "bin"]);
        assert_eq!(steps[1].typed[0].prompt, "/ # ");
        assert_eq!(steps[1].typed[0].keys, "ls /");
        assert_eq!((steps[2].line, steps[2].shown.len()), (18, 0));
        assert!(block("", &["/tmp/h # exit"]).unwrap().steps[0].command.is_none());
    }

    #[test]
    fn a_declared_example_must_be_used_and_at_most_three_are_allowed() {
        assert!(block("7 is a pid", &["$ echo", "7"]).is_ok());
        let unused = block("7 is a pid", &["$ echo", "77"]).unwrap_err();
        assert_eq!(unused, (10, "7 is declared, but not in the block".to_owned()));
        let many = "1 is a pid; 2 is a pid; 3 is a pid; 4 is a pid";
        let many = block(many, &["$ echo 1 2 3 4"]).unwrap_err();
        assert!(many.1.contains("4 examples vary"), "{many:?}");
    }

    #[test]
    fn an_unknown_declaration_is_refused() {
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
    fn output_before_the_first_prompt_is_refused() {
        assert_eq!(block("", &["out"]).unwrap_err().0, 11);
        assert!(block("", &[]).is_err());
    }
}
