//! The paths in the VM, as the host packs its files.

/// The chapters' binaries, and the tests' helper.
pub const CHAPTERS: &str = "/usr/local/bin";
/// Test programs.
pub const TESTS: &str = "/usr/lib/tests";
/// A state directory with busybox, from which tests make their own.
pub const STATE: &str = "/usr/lib/state";
/// The files of the checkout that tests read: snapshots and the book's pages.
pub const SOURCE: &str = "/usr/src";
/// The graded program and its description, and below `root` files from outside of
/// /usr.
pub const GRADE: &str = "/usr/lib/grade";
/// The mount point of the disk, if there is one: it contains all of the above.
pub const DISK: &str = "/usr";
/// The kernel's modules, to which /lib/modules is a symlink.
pub const MODULES: &str = "/usr/lib/modules";
/// The program that loads them. Linux calls it by this path.
pub const MODPROBE: &str = "/sbin/modprobe";
/// The modules that are required to read the disk, and for each bus a file that
/// lists its modules in order.
pub const DRIVERS: &str = "/boot";
/// On the kernel's command line: the bus that the disk is attached to.
pub const BUS: &str = "mydocker.disk=";
/// The state directory that chapters use unless told otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/mydocker";
/// The serial port with the console.
pub const CONSOLE: &str = "/dev/ttyS0";
/// The serial port with orders and events.
pub const CHANNEL: &str = "/dev/ttyS1";
/// The user ID of the VM's ordinary user.
pub const USER: u32 = 1500;
/// On the kernel's command line: the cgroup layout `v1`, `hybrid` or `v2`.
pub const CGROUP: &str = "mydocker.cgroup=";
/// On the kernel's command line: keep the initramfs as root filesystem, where
/// pivot_root(2) fails.
pub const RAW_ROOT: &str = "mydocker.raw_root";
