//! The exercises of chapter 6.

use crate::Entry;
use crate::outcome::{Outcome, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("ch06-network-1", "with_f_a_missing_network_is_no_error", missing, "'-f'"),
    ("ch06-network-2", "a_dry_run_tells_and_makes_nothing", dry_run, "'--dry-run'"),
    ("ch06-network-3", "the_room_of_a_network_is_counted", free, "'free'"),
];

fn missing(room: &mut Room) -> Outcome {
    room.words(&["network", "remove", "-f", "nowhere"]).end()?.succeeds()?;
    let refused = room.words(&["network", "remove", "nowhere"]).end()?;
    refused.so(refused.code != 0, "an error without -f")
}

fn dry_run(room: &mut Room) -> Outcome {
    let words =
        ["network", "create", "--dry-run", "--subnet", "198.18.10.0/24", "web"];
    room.words(&words).end()?.prints("198.18.10.0/24 198.18.10.1\n")?;
    let made = std::fs::exists("/sys/class/net/web").unwrap_or(true);
    so(!made, "no bridge", "a bridge web")?;
    room.words(&["network", "list", "-q"]).end()?.prints("")
}

fn free(room: &mut Room) -> Outcome {
    let subnets = [("198.18.10.0/29", "5\n"), ("198.18.10.8/31", "1\n")];
    subnets.into_iter().try_for_each(|(subnet, count)| {
        let create = ["network", "create", "--subnet", subnet, "web"];
        room.words(&create).end()?.succeeds()?;
        let counted = room.words(&["network", "free", "web"]).end();
        room.words(&["network", "remove", "web"]).end()?.succeeds()?;
        counted?.prints(count)
    })
}
