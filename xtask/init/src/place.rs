//! Where in the VM things lie. The host packs them there.

/// The chapters' binaries, and the tests' helper.
pub const CHAPTERS: &str = "/usr/local/bin";
/// Test programs.
pub const TESTS: &str = "/usr/lib/tests";
/// A state directory with busybox, from which tests make their own.
pub const STATE: &str = "/usr/lib/state";
/// What tests read of the checkout: their snapshots, the book's pages.
pub const SOURCE: &str = "/usr/src";
/// What is graded: how it is run, and below `root` what lies outside of /usr.
pub const GRADE: &str = "/usr/lib/grade";
/// What lies on a disk, where there is one: all of the above.
pub const DISK: &str = "/usr";
/// The kernel's modules, where /lib/modules leads.
pub const MODULES: &str = "/usr/lib/modules";
/// The modules that it takes to read the disk, and a file for each bus that lists
/// those for it, in order.
pub const DRIVERS: &str = "/boot";
/// On the kernel's command line: the bus that the disk is attached to.
pub const BUS: &str = "mydocker.disk=";
/// The state directory that chapters use unless told otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/mydocker";
/// The serial port with the console.
pub const CONSOLE: &str = "/dev/ttyS0";
/// The serial port with orders and events.
pub const CHANNEL: &str = "/dev/ttyS1";
/// The user id of the VM's ordinary user.
pub const USER: u32 = 1500;
/// On the kernel's command line: which cgroup layout, `v1`, `hybrid` or `v2`.
pub const CGROUP: &str = "mydocker.cgroup=";
/// On the kernel's command line: stay on the initramfs root, where pivot_root(2)
/// fails.
pub const RAW_ROOT: &str = "mydocker.raw_root";
