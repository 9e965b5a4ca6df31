//! The parts of networks, tried in a network namespace that disappears with the
//! child.

use crate::Caller;
use crate::child::attempt;
use crate::report::Check;

/// The attempt, the kernel module for it, and the text if it succeeds.
const DEVICES: [(&str, &str, &str); 3] = [
    ("veth", "veth", "a pair of devices can be created"),
    ("bridge", "bridge", "a bridge can be created"),
    ("nftables", "nf_tables", "the kernel supports rule sets"),
];

pub(crate) fn checks(caller: Caller) -> Vec<Check> {
    let tried = DEVICES.into_iter().map(|(id, module, fine)| {
        let outcome = attempt(&[id, caller.word()]);
        match &outcome.error {
            None => Check::ok(id, fine),
            Some(error) if error.starts_with("unshare(2)") => {
                let fix = "fix the network namespace first: see namespace-net";
                Check::unknown(id, error, fix)
            }
            Some(error) => Check::warn(
                id,
                error,
                format!("modprobe {module}; ch02-net pair needs only veth"),
            ),
        }
    });
    tried.collect()
}
