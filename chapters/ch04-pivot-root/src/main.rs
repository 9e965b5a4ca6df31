//! Chapter.
fn main() {}
