//! What networks are made of, tried in a network namespace that goes with the child.

use crate::Who;
use crate::child::attempt;
use crate::report::Check;

/// What, and the kernel's module for it.
const DEVICES: [(&str, &str, &str); 3] = [
    ("veth", "veth", "a pair of devices can be made"),
    ("bridge", "bridge", "a bridge can be made"),
    ("nftables", "nf_tables", "the kernel has a rule set to be written"),
];

pub(crate) fn checks(who: Who) -> Vec<Check> {
    let tried = DEVICES.into_iter().map(|(id, module, fine)| {
        let outcome = attempt(&[id, who.word()]);
        match &outcome.error {
            None => Check::ok(id, fine),
            Some(error) if error.starts_with("unshare(2)") => {
                let fix = "first the net namespace: see namespace-net";
                Check::unknown(id, error, fix)
            }
            Some(error) => Check::warn(
                id,
                error,
                format!("modprobe {module}; ch02-net pair needs veth, no more"),
            ),
        }
    });
    tried.collect()
}
