//! `ps`: list containers, for people and for programs.

use std::borrow::Cow;
use std::iter::repeat_n;

use anyhow::Result;
use clap::Args;
use common::cli::plain::on_one_line;
use common::cli::table::age;
use common::cli::{Context, Execute};
use common::hints::quoted;
use common::images::now;
use common::state::{Name, Status};
use common::{Exit, output};
use serde_json::{Value, json};

use crate::list::{Damaged, Listed, listed};
use crate::ports::{self, ranges};
use crate::words::{phrase, word};

/// List running containers
#[derive(Args, Debug)]
#[group(skip)]
pub struct Ps {
    /// Also list containers that have ended
    #[arg(short, long)]
    pub all: bool,

    /// Print only IDs
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,

    /// Print JSON with all data of each container
    ///
    /// The output is one array of objects: id, name (or null), image, command (an
    /// array), status (starting, running, ending, exited, dead), pid (null unless
    /// running), code (null unless exited), signal (null unless a signal ended the
    /// program), created and ended (seconds since 1970; ended is null unless
    /// exited), ports (an array of objects: protocol, address, host, guest).
    #[arg(long)]
    pub json: bool,

    /// Do not truncate the command
    #[arg(long)]
    pub no_trunc: bool,
}

impl Execute for Ps {
    fn execute(self, context: &Context) -> Result<Exit> {
        let (all, damaged) = listed(&context.state, self.all)?;
        let warnings: Vec<_> = damaged.into_iter().map(Damaged::warning).collect();
        output::print_and_warn(&self.text(&all, now())?, &warnings)
    }
}

impl Ps {
    fn text(&self, all: &[Listed], now: u64) -> Result<String> {
        if self.quiet {
            return Ok(all.iter().map(|it| format!("{}\n", it.record.id)).collect());
        }
        if self.json {
            let all: Vec<Value> = all.iter().map(object).collect();
            return Ok(serde_json::to_string_pretty(&all)? + "\n");
        }
        Ok(table(all, now, self.no_trunc))
    }
}

/// A container as `ps --json` prints it.
#[must_use]
pub fn object(it: &Listed) -> Value {
    let Listed { record, status, ports } = it;
    let pid =
        if let Status::Running(it) = status { Some(it.pid.as_raw()) } else { None };
    let end = if let Status::Exited(end) = status {
        Some((end.how, end.at))
    } else {
        None
    };
    let signal = match end {
        Some((Exit::Signal(signal), _)) => Some(signal.as_str()),
        _ => None,
    };
    json!({
        "id": record.id.as_str(),
        "name": record.name.as_ref().map(|name| name.as_str()),
        "image": record.image,
        "command": record.command,
        "status": word(status),
        "pid": pid,
        "code": end.map(|(how, _)| how.code()),
        "signal": signal,
        "created": record.created,
        "ended": end.map(|(_, at)| at),
        "ports": ports.iter().map(ports::object).collect::<Vec<_>>(),
    })
}

/// The maximum number of characters of a command in the table.
const COMMAND: usize = 20;

fn table(all: &[Listed], now: u64, whole: bool) -> String {
    // If no container has published ports, the title is empty too, and the column is
    // invisible.
    let published = all.iter().any(|it| !it.ports.is_empty());
    let ports = if published { "PORTS" } else { "" };
    let titles = ["ID", "NAME", "PID", "STATUS", "COMMAND", "CREATED", ports];
    let mut rows = vec![titles.map(Cow::from)];
    rows.extend(all.iter().map(|it| row(it, now, whole)));
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            text.push_str(cell);
            text.extend(repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// The cells of one container. Text that exists already is borrowed, because there
/// may be hundreds of rows.
fn row(it: &Listed, now: u64, whole: bool) -> [Cow<'_, str>; 7] {
    let Listed { record, status, ports } = it;
    let pid = match status {
        Status::Running(it) => it.pid.to_string().into(),
        _ => Cow::from("-"),
    };
    let command = shown(&record.command);
    [
        record.id.as_str().into(),
        record.name.as_ref().map_or("-", Name::as_str).into(),
        pid,
        phrase(status, record.created, now).into(),
        if whole { command } else { shortened(command, COMMAND) }.into(),
        age(record.created, now).into(),
        ranges(ports).into(),
    ]
}

/// A command, quoted for a shell. Control characters are escaped, so that
/// they cannot move the cursor or begin a new line.
fn shown(command: &[String]) -> String {
    let mut line = String::new();
    for word in command {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&on_one_line(&quoted(word)));
    }
    line
}

fn shortened(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use common::state::{End, Protocol, Published, Summary};

    use super::*;

    fn one(name: Option<&str>, command: &[&str], status: Status) -> Listed {
        let record = Summary {
            id: "aaaa00000000".parse().unwrap(),
            name: name.map(|name| name.parse().unwrap()),
            image: "busybox".into(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            created: 40,
        };
        Listed { record, status, ports: vec![] }
    }

    #[test]
    fn columns_are_as_wide_as_their_content() {
        let all = [
            one(
                Some("web"),
                &["sh", "-c", "exit 3"],
                Status::Exited(End { how: Exit::Code(3), at: 99 }),
            ),
            one(None, &["printf", "a\nb\x1b[31m and more of it"], Status::Dead),
        ];
        let seen = table(&all, 100, false);
        let lines: Vec<&str> = seen.lines().collect();
        let columns = "ID            NAME  PID  STATUS                   COMMAND";
        assert_eq!(lines[0], format!("{columns}               CREATED"));
        let first =
            "aaaa00000000  web   -    Exited (3) 1 second ago  sh -c 'exit 3'";
        assert_eq!(lines[1], format!("{first}        1 minute ago"));
        let second = "aaaa00000000  -     -    Dead                     printf ";
        assert_eq!(lines[2], format!("{second}'a\\nb\\u{{1b}}[…  1 minute ago"));
        let whole = table(&all, 100, true);
        assert!(whole.contains("'a\\nb\\u{1b}[31m and more of it'"), "{whole}");
    }

    #[test]
    fn published_ports_are_the_last_column_if_there_are_any() {
        let mut web = one(Some("web"), &["sh"], Status::Starting);
        let other = one(None, &["sh"], Status::Dead);
        let without = table(&[web], 100, false);
        assert!(without.starts_with("ID            NAME  PID  STATUS    COMMAND  "));
        assert_eq!(
            without.lines().next().unwrap().rsplit(' ').next(),
            Some("CREATED")
        );
        web = one(Some("web"), &["sh"], Status::Starting);
        let port = |host, guest| Published {
            protocol: Protocol::Tcp,
            address: None,
            host,
            guest,
        };
        web.ports = vec![port(8000, 80), port(8001, 81)];
        let value = object(&web);
        assert_eq!(
            value["ports"][1],
            json!({
                "protocol": "tcp", "address": "0.0.0.0", "host": 8001, "guest": 81,
            })
        );
        let seen = table(&[web, other], 100, false);
        let lines: Vec<&str> = seen.lines().collect();
        assert!(lines[0].ends_with("  CREATED       PORTS"), "{seen}");
        assert!(
            lines[1].ends_with("  1 minute ago  0.0.0.0:8000-8001->80-81/tcp"),
            "{seen}"
        );
        assert!(lines[2].ends_with("  1 minute ago"), "{seen}");
    }

    #[test]
    fn the_json_object_has_every_field_in_each_state() {
        let how = Status::Exited(End {
            how: Exit::Signal(nix::sys::signal::Signal::SIGTERM),
            at: 99,
        });
        let value = object(&one(None, &["true"], how));
        assert_eq!(
            value,
            json!({
                "id": "aaaa00000000", "name": null, "image": "busybox",
                "command": ["true"], "status": "exited", "pid": null, "code": 143,
                "signal": "SIGTERM", "created": 40, "ended": 99, "ports": [],
            })
        );
        let dead = object(&one(Some("web"), &["true"], Status::Dead));
        assert_eq!((&dead["code"], &dead["ended"]), (&Value::Null, &Value::Null));
        assert_eq!(dead.as_object().unwrap().len(), 11);
    }
}
