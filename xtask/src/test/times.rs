//! The duration of each test in its last run.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::report::Report;
use crate::vm;

/// The duration of each test in its last run, in milliseconds. Long tests start
/// first, so that all VMs finish at about the same time.
pub(super) struct Times(std::cell::RefCell<BTreeMap<String, u64>>);

impl Times {
    fn path() -> PathBuf {
        vm::directory().join("times.json")
    }

    pub(super) fn read() -> Times {
        let text = fs::read(Times::path()).unwrap_or_default();
        Times(serde_json::from_slice(&text).unwrap_or_default())
    }

    pub(super) fn longest_first(&self, tests: &[String]) -> Vec<String> {
        let mut tests = tests.to_vec();
        let times = self.0.borrow();
        // New tests, and tests of about the same duration, keep the book's order.
        let seconds = |name: &String| times.get(name).map_or(0, |time| time / 2000);
        tests.sort_by_key(|name| std::cmp::Reverse(seconds(name)));
        tests
    }

    pub(super) fn add(&self, reports: &[Report]) {
        let mut times = self.0.borrow_mut();
        for report in reports {
            times.insert(report.name.clone(), report.milliseconds);
        }
    }

    pub(super) fn write(&self) {
        // The file only determines an order, so an error does not matter.
        if let Ok(text) = serde_json::to_vec(&*self.0.borrow()) {
            let _ = fs::write(Times::path(), text);
        }
    }
}
