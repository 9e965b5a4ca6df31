//! Executing a page: typing it from the first line to the last.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_child_subreaper;
use nix::unistd::geteuid;

use super::block::{Block, Lane, PromptUser, Step};
use super::compare::{compare, lines};
use super::machine::{Machine, STATE};
use super::page::Page;
use super::shell::{HOME, Shell};
use super::varies::Known;
use crate::lab::{base_state, copy_tree, give};
use crate::{descendants, user};

/// A command that prints nothing for this time counts as hung. If half of the page's
/// time limit is shorter, that time is used.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The directory through which the shells get their commands.
const DESK: &str = "/run/book";

/// Run the blocks of a page that are for this machine.
///
/// # Errors
/// All differences from the page, and everything that the page left behind.
pub fn run(page: &Page, lane: Option<&Lane>) -> Result<(), String> {
    if !in_test_vm() {
        return Err(
            "a page changes the machine on which it runs: run it in the VM \
                    by `cargo xtask test book`"
                .into(),
        );
    }
    set_child_subreaper(true).expect("prctl(2) PR_SET_CHILD_SUBREAPER");
    prepare();
    let meant = |block: &&Block| {
        block.declared.excuse.is_none() && block.declared.lane.as_ref() == lane
    };
    let blocks: Vec<&Block> = page.blocks.iter().filter(meant).collect();
    let mut reader = Reader::new(page, &blocks);
    let before = Machine::look();
    for block in blocks {
        if !reader.read(block) {
            break;
        }
    }
    reader.rest();
    let left = before.left();
    if !left.is_empty() {
        let left = left.join("\n");
        reader.wrong.push(format!("the machine has changed:\n{left}"));
    }
    descendants::end();
    if reader.wrong.is_empty() { Ok(()) } else { Err(reader.wrong.join("\n")) }
}

fn in_test_vm() -> bool {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    geteuid().is_root() && line.contains("mydocker.cgroup=")
}

/// Provide busybox for both users, so that no page fetches it.
fn prepare() {
    copy_tree(&base_state(), Path::new(STATE));
    copy_tree(&base_state(), &Path::new(HOME).join(".local/share/mydocker"));
    give(Path::new(HOME), user());
}

/// The user of a shell, and whether it is on the second terminal.
type Seat = (bool, bool);

fn seat(user: PromptUser, second: bool) -> Seat {
    (user == PromptUser::User, second)
}

/// The executor of a page: it types the commands and compares the output.
struct Reader<'a> {
    page: &'a Page,
    shells: BTreeMap<Seat, Shell>,
    /// For each of the two terminals, the shell in which a command keeps running.
    running: BTreeMap<bool, Seat>,
    known: Known,
    patience: Duration,
    wrong: Vec<String>,
}

/// How a step ended.
enum End {
    /// The command exited with this status.
    Status(i32),
    /// All expected output has appeared, and the command keeps running.
    Goes,
    /// Nothing was printed for too long.
    Hangs,
    /// The shell itself has ended.
    Gone,
}

impl Reader<'_> {
    fn new<'a>(page: &'a Page, blocks: &[&Block]) -> Reader<'a> {
        let mut shells = BTreeMap::new();
        for block in blocks {
            for (user, _) in
                block.steps.iter().filter_map(|step| step.command.as_ref())
            {
                let seat = seat(*user, block.declared.second);
                let directory = Path::new(DESK).join(shells.len().to_string());
                shells
                    .entry(seat)
                    .or_insert_with(|| Shell::start(*user, &directory));
            }
        }
        let seconds = std::env::var("MYDOCKER_TEST_SECONDS").ok();
        let seconds =
            seconds.and_then(|it| it.parse().ok()).map(Duration::from_secs);
        let patience = seconds.map_or(TIMEOUT, |limit| TIMEOUT.min(limit / 2));
        // Afterwards the shells wait for commands.
        for shell in shells.values_mut() {
            shell.run("true");
            follow(shell, &[], None, patience);
        }
        Reader {
            page,
            shells,
            running: BTreeMap::new(),
            known: Known::default(),
            patience,
            wrong: Vec::new(),
        }
    }

    /// Run a block. Returns whether the page can be continued.
    fn read(&mut self, block: &Block) -> bool {
        let last = block.steps.len() - 1;
        for (at, step) in block.steps.iter().enumerate() {
            let stays = block.declared.keeps_running && at == last;
            if !self.step(block, step, stays) {
                return false;
            }
        }
        true
    }

    fn step(&mut self, block: &Block, step: &Step, stays: bool) -> bool {
        let second = block.declared.second;
        let runs = self.running.remove(&second);
        let seat = match (&step.command, runs) {
            (Some((user, _)), None) => seat(*user, second),
            (Some((user, _)), Some(before)) => {
                if !self.ends(before) {
                    self.report(step, "the previous command is still running");
                    return false;
                }
                seat(*user, second)
            }
            (None, Some(seat)) => seat,
            (None, None) => {
                self.report(step, "no running command accepts this input");
                return false;
            }
        };
        let varies = &block.declared.varies;
        let Some(shell) = self.shells.get_mut(&seat) else { return false };
        if let Some((_, command)) = &step.command {
            shell.run(&self.known.put_into(command, varies));
        }
        let typed = step.typed.iter().map(|typed| {
            (typed.prompt.as_str(), self.known.put_into(&typed.keys, varies))
        });
        let typed: Vec<_> = typed.collect();
        let (end, text) = follow(
            shell,
            &typed,
            stays.then_some(step.shown.as_slice()),
            self.patience,
        );
        let mut known = self.known.clone();
        let same = compare(&step.shown, &text, varies, &mut known);
        self.known = known;
        let patience = self.patience.as_secs();
        let (what, goes_on) = match end {
            End::Goes => {
                self.running.insert(second, seat);
                (None, true)
            }
            End::Status(status) if stays => (
                Some(format!(
                    "the command must keep running, but exited with {status}"
                )),
                true,
            ),
            End::Status(status) if status != 0 && step.shown.is_empty() => {
                let what = format!(
                    "exited with {status}, which the page does not show: add \
                     `; echo $?`"
                );
                (Some(what), true)
            }
            End::Status(_) => (None, true),
            End::Hangs => {
                (Some(format!("hung: printed nothing for {patience} s")), false)
            }
            End::Gone => (Some("the page's shell has ended".into()), false),
        };
        let what: Vec<String> = what.into_iter().chain(same.err()).collect();
        if !what.is_empty() {
            self.report(step, &what.join("\n"));
        }
        goes_on
    }

    /// Whether the running command ends now, without printing anything.
    fn ends(&mut self, seat: Seat) -> bool {
        let Some(shell) = self.shells.get_mut(&seat) else { return false };
        let (end, text) = follow(shell, &[], None, self.patience);
        matches!(end, End::Status(_)) && text.is_empty()
    }

    /// Report output that appeared after the last command.
    fn rest(&mut self) {
        for shell in self.shells.values_mut() {
            let _ = shell.look();
            let text = shell.text();
            if !text.is_empty() {
                self.wrong.push(format!(
                    "unexpected output after the last command:\n{text}"
                ));
            }
        }
    }

    fn report(&mut self, step: &Step, what: &str) {
        let command = match &step.command {
            Some((PromptUser::Root, command)) => format!("# {command}"),
            Some((PromptUser::User, command)) => format!("$ {command}"),
            None => step.shown.first().cloned().unwrap_or_default(),
        };
        let (path, line) = (self.page.path.display(), step.line);
        self.wrong.push(format!("{path}:{line}: {command}\n{what}"));
    }
}

/// Wait for the end of a step, and type lines at their prompts. Returns the output.
/// A command that keeps running is left when all expected output has appeared.
fn follow(
    shell: &mut Shell,
    typed: &[(&str, String)],
    stays: Option<&[String]>,
    patience: Duration,
) -> (End, String) {
    let mut typed = typed.iter().peekable();
    // Any number of lines may precede the first prompt; at least one follows it.
    let mut from = 0;
    let prompt_at_end = stays.and(typed.clone().last().map(|(prompt, _)| *prompt));
    let mut last = Instant::now();
    loop {
        match shell.look() {
            Ok(true) => last = Instant::now(),
            Ok(false) => {
                // This process is the subreaper, so it must reap orphans.
                descendants::reap();
                sleep(Duration::from_millis(2));
            }
            Err(()) => return (End::Gone, shell.text()),
        }
        if let Some((text, status)) = shell.ended() {
            return (End::Status(status), text);
        }
        let text = shell.text();
        let complete = text.matches('\n').count();
        let line = text.rsplit('\n').next().unwrap_or_default();
        if let Some((prompt, keys)) = typed.peek()
            && complete >= from
            && line == *prompt
        {
            shell.type_line(keys);
            from = complete + 1;
            typed.next();
            continue;
        }
        let is_there = prompt_at_end.is_none_or(|prompt| line == prompt);
        let whole = &text[..text.len() - line.len()];
        if let Some(page) = stays
            && typed.peek().is_none()
            && complete >= from
            && lines(page, whole).len() >= page.len()
            && is_there
        {
            shell.forget(complete);
            return (End::Goes, whole.to_owned());
        }
        if last.elapsed() > patience {
            return (End::Hangs, text);
        }
    }
}
