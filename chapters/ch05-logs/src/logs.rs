//! The command `logs`: select the log, its first entry, and how long to follow it.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use common::Exit;
use common::cli::{Context, Execute};
use common::state::{Record, State, Status};
use common::step::Step;

use crate::follow::Follow;
use crate::show::{OutputState, Show};
use crate::since::Since;
use crate::tail::tail;

/// Show the output of a container
#[derive(Args, Debug)]
pub struct Logs {
    /// Follow the output until the container ends
    #[arg(short, long)]
    follow: bool,

    /// Show only the last N lines
    #[arg(long, value_name = "N")]
    tail: Option<usize>,

    /// Show the time of each line before the line
    #[arg(short, long)]
    timestamps: bool,

    /// Show only output since this time: 2026-11-21T22:00:00Z, or 10m for the last
    /// ten minutes
    #[arg(long, value_name = "TIME|DURATION")]
    since: Option<Since>,

    /// Name, ID, or unique ID prefix of the container
    container: String,
}

impl Execute for Logs {
    fn execute(self, context: &Context) -> Result<Exit> {
        self.show(&context.state)?;
        Ok(Exit::Code(0))
    }
}

impl Logs {
    fn show(self, state: &State) -> Result<()> {
        let record = Record::find(state, &self.container)?;
        let home = record.home(state);
        let path = ch05_detach::path(&home);
        let mut log = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let called = record.display_name();
                bail!("container {called} has no log: {}", why(state, &record));
            }
            log => log.untraced(|| format!("open(2) {}", path.display()))?,
        };
        if let Some(lines) = self.tail {
            let from = tail(&log, lines)
                .with_context(|| format!("read {}", path.display()))?;
            log.seek(SeekFrom::Start(from))
                .untraced(|| format!("lseek(2) {}", path.display()))?;
        }
        let mut show = Show::new(self.timestamps, self.since.map(|since| since.0));
        if self.follow {
            return Follow::new(&home, log, show)?.until_the_end();
        }
        match show.all(&mut log)? {
            OutputState::Open => show.end(),
            // The reader closed the output: this is not an error.
            OutputState::Closed => Ok(()),
        }
    }
}

/// Why a container has no log.
fn why(state: &State, record: &Record) -> &'static str {
    match Status::of(&record.home(state)) {
        Ok(None) => "it was removed",
        Ok(Some(Status::Starting)) => "it is being started",
        _ => "it was started by a chapter before ch05-detach",
    }
}
