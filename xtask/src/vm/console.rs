//! What the VM's console shows: the end of it is kept.

use std::io::Read;
use std::sync::Mutex;

use crate::mutex::lock;

/// Of the console so much is kept: its end.
const CONSOLE: usize = 64 << 10;

/// How the kernel begins to say that it can't go on.
const PANIC: &str = "Kernel panic - not syncing";

/// The end of what the console showed.
#[derive(Default)]
pub(super) struct Console {
    tail: Vec<u8>,
    pub(super) total: usize,
}

impl Console {
    /// Whether the kernel said that it can't go on.
    pub(super) fn panicked(&self) -> bool {
        self.text().contains(PANIC)
    }

    /// The last lines; after a panic of the kernel the first that tell of it.
    pub(super) fn last_lines(&self, count: usize) -> String {
        let text = self.text();
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect();
        let last = lines.len().saturating_sub(count);
        let panic = lines.iter().position(|line| line.contains(PANIC));
        let start = panic.map_or(last, |at| at.min(last));
        lines[start..].iter().take(count).copied().collect::<Vec<_>>().join("\n")
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }
}

/// Read what the console shows, to its end.
pub(super) fn keep(mut source: impl Read, console: &Mutex<Console>) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = source.read(&mut bytes) {
        let mut console = lock(console);
        console.total += count;
        console.tail.extend(&bytes[..count]);
        let excess = console.tail.len().saturating_sub(CONSOLE);
        console.tail.drain(..excess);
    }
}
