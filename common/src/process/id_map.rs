//! The ID map of this process's user namespace: the users and groups that exist in
//! it.
//!
//! # Source
//! user_namespaces(7), "Defining user and group ID mappings"

use std::fs;

/// Whether this group exists in the user namespace of this process.
#[must_use]
pub fn maps_group(group: u32) -> bool {
    let text = fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    ranges(&text).any(|(first, last)| (first..=last).contains(&group.into()))
}

/// The users that exist in the user namespace of this process, as text: `0,
/// 1000-1999`.
#[must_use]
pub fn users() -> String {
    in_words(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default())
}

/// The groups that exist in the user namespace of this process, as text.
#[must_use]
pub fn groups() -> String {
    in_words(&fs::read_to_string("/proc/self/gid_map").unwrap_or_default())
}

fn in_words(text: &str) -> String {
    let word = |(first, last)| match first == last {
        true => format!("{first}"),
        false => format!("{first}-{last}"),
    };
    ranges(text).map(word).collect::<Vec<_>>().join(", ")
}

/// The first and the last ID inside, for each line `INSIDE OUTSIDE COUNT`.
fn ranges(text: &str) -> impl Iterator<Item = (u64, u64)> {
    text.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse);
        let first: u64 = numbers.next()?.ok()?;
        let count: u64 = numbers.nth(1)?.ok()?;
        Some((first, first.checked_add(count)?.checked_sub(1)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_of_a_map_are_read() {
        let text =
            "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(in_words(text), "0, 1-65536");
        assert_eq!(in_words(""), "");
        assert_eq!(in_words("0 0 0\n"), "");
        assert_eq!(in_words("         0          0 4294967295\n"), "0-4294967294");
    }
}
