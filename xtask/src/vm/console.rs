//! The last output of the VM's console.

use std::io::Read;
use std::sync::Mutex;

use crate::mutex::lock;

/// The number of bytes that are kept.
const CONSOLE: usize = 64 << 10;

/// The beginning of the message of a kernel panic.
const PANIC: &str = "Kernel panic - not syncing";

/// The last output of the console.
#[derive(Default)]
pub(super) struct Console {
    tail: Vec<u8>,
    pub(super) total: usize,
}

impl Console {
    /// Whether the kernel has panicked.
    pub(super) fn panicked(&self) -> bool {
        self.text().contains(PANIC)
    }

    /// The last lines. After a kernel panic, the lines from its message on.
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

/// Read the console's output until QEMU closes it.
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
