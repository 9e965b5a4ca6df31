//! ch02-net: nothing but lo, and that is down.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use blackbox::Lab;
use serial_test::file_serial;

#[test]
#[file_serial(machine)]
fn there_is_no_device_but_lo_and_it_is_down() {
    let lab = Lab::new();
    // The flags of an interface that is up have bit 0 set; ip(8) prints the same.
    let script = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; \
                  mount -t sysfs sysfs /sys && cat /sys/class/net/lo/flags";
    for mut run in [lab.chapter("ch02-net"), lab.as_user("ch02-net")] {
        run.args(["run", "sh", "-c", script]).assert().success().stdout("lo\n0x8\n");
    }
}
