//! The test programs that `cargo xtask test` runs by a word before the tests' names.

/// The test program with the pages of the book.
pub(crate) const BOOK: &str = "book";

/// The common name of the chapters' test programs that create topologies of network
/// namespaces.
pub(crate) const NETWORKS: &str = "networks";
pub(crate) const NETWORK_PROGRAMS: [&str; 2] = ["namespaces", "paths"];

/// The chapters, and groups of tests, for `--machine-dependent`.
pub(crate) const MACHINE_DEPENDENT: [&str; 19] = [
    "ch02_cgroups",
    "ch02_mount",
    "ch02_net",
    "ch02_setns",
    "ch02_union",
    "ch02_user",
    "ch03_limits",
    "ch04_overlay",
    "ch04_pivot_root",
    "ch05_env",
    "ch05_exec",
    "ch05_init",
    "ch05_rm",
    "ch05_stop",
    "ch06_connect",
    "ch06_ports",
    "doctor",
    "host_binary",
    "terminal_filter",
];

/// The test program about cgroups that systemd delegates.
pub(crate) const SYSTEMD: &str = "systemd";

/// The word before the options that selects this test program.
pub(super) fn word(program: &str) -> &str {
    match program {
        NETWORKS => "networks ",
        SYSTEMD => "systemd ",
        _ => "",
    }
}
