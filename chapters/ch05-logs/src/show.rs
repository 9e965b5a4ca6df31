//! Print a log's entries to the streams from which they came.

use std::io::{self, ErrorKind, IsTerminal, Read, Write};

use anyhow::Result;
use ch05_detach::{Entry, Stream};
use common::step::Step;
use jiff::Timestamp;

use crate::queries::Queries;

/// Whether the output has a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputState {
    /// The reader is there.
    Open,
    /// The reader has closed the output.
    Closed,
}

/// The options for printing, and the state between two reads.
pub(crate) struct Show {
    timestamps: bool,
    since: Option<Timestamp>,
    /// For each stream, whether the current line is shown.
    shown: [bool; 2],
    /// Bytes that were read but are not a complete entry yet.
    rest: Vec<u8>,
    /// Output that is not yet written to `stream`.
    pending: Vec<u8>,
    stream: Stream,
    /// For each stream that leads to a terminal.
    queries: [Option<Queries>; 2],
}

/// The number of bytes per read(2).
const CHUNK: usize = 64 << 10;

impl Show {
    pub(crate) fn new(timestamps: bool, since: Option<Timestamp>) -> Show {
        let (rest, pending) = (Vec::new(), Vec::new());
        let (shown, stream) = ([false; 2], Stream::Out);
        let terminals = [io::stdout().is_terminal(), io::stderr().is_terminal()];
        let queries = terminals.map(|is| is.then(Queries::default));
        Show { timestamps, since, shown, rest, pending, stream, queries }
    }

    /// Start in the middle of a line, and show the rest of this line too. The program
    /// still waits for the answers of the terminal, so nothing is left out.
    pub(crate) fn amid_a_line() -> Show {
        Show { shown: [true; 2], queries: [None, None], ..Show::new(false, None) }
    }

    /// Show all entries up to the current end of the log.
    pub(crate) fn all(&mut self, log: &mut impl Read) -> Result<OutputState> {
        let mut bytes = vec![0; CHUNK];
        loop {
            let count = match log.read(&mut bytes) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                count => count.untraced(|| "read(2) of the log")?,
            };
            if count == 0 {
                return self.flush();
            }
            self.rest.extend_from_slice(&bytes[..count]);
            if self.entries()? == OutputState::Closed {
                return Ok(OutputState::Closed);
            }
        }
    }

    /// Show an incomplete entry at the end of the log. Its writer was killed while
    /// it wrote the entry.
    pub(crate) fn end(&mut self) -> Result<()> {
        let rest = std::mem::take(&mut self.rest);
        self.line(&rest, false)?;
        if self.flush()? == OutputState::Open
            && let Some(queries) = &mut self.queries[self.stream as usize]
        {
            let rest = queries.rest();
            self.write(&rest)?;
        }
        Ok(())
    }

    fn entries(&mut self) -> Result<OutputState> {
        let mut rest = std::mem::take(&mut self.rest);
        let mut from = 0;
        while let Some(length) = rest[from..].iter().position(|b| *b == b'\n') {
            if self.line(&rest[from..from + length], true)? == OutputState::Closed {
                return Ok(OutputState::Closed);
            }
            from += length + 1;
        }
        rest.drain(..from);
        self.rest = rest;
        Ok(OutputState::Open)
    }

    // ANCHOR: line
    /// Show one line of the log. A damaged line is skipped.
    fn line(&mut self, line: &[u8], whole: bool) -> Result<OutputState> {
        let Some(entry) = Entry::parse(line) else { return Ok(OutputState::Open) };
        let shown = &mut self.shown[entry.stream as usize];
        if self.since.is_some_and(|since| entry.time < since) {
            *shown = false;
            return Ok(OutputState::Open);
        }
        *shown |= entry.begins;
        if !*shown {
            return Ok(OutputState::Open);
        }
        // Both streams may go to the same terminal or file, so flush before the
        // stream changes to preserve the order.
        if entry.stream != self.stream || self.pending.len() > CHUNK {
            if self.flush()? == OutputState::Closed {
                return Ok(OutputState::Closed);
            }
            self.stream = entry.stream;
        }
        if self.timestamps && entry.begins {
            self.pending.extend_from_slice(format!("{:.9} ", entry.time).as_bytes());
        }
        self.pending.extend_from_slice(entry.text);
        if entry.ends && whole {
            self.pending.push(b'\n');
        }
        Ok(OutputState::Open)
    }
    // ANCHOR_END: line

    fn flush(&mut self) -> Result<OutputState> {
        let pending = std::mem::take(&mut self.pending);
        match &mut self.queries[self.stream as usize] {
            Some(queries) => {
                let shown = queries.without(&pending);
                self.write(&shown)
            }
            None => self.write(&pending),
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<OutputState> {
        let written = match self.stream {
            Stream::Out => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Stream::Err => io::stderr().lock().write_all(bytes),
        };
        match written {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(OutputState::Closed),
            written => written.untraced(|| "write(2)").map(|()| OutputState::Open),
        }
    }
}
