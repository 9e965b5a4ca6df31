//! Tests that do what no test should; see `xtask/tests/runner.rs`.
#[test]
fn behaves() {}
