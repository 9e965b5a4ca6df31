//! Sizes and ages, as tables show them.

/// A number of bytes, rounded to one decimal place.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0 => "?".to_owned(),
        1..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// The time since `then`, in the largest unit that fits.
#[must_use]
pub fn age(then: u64, now: u64) -> String {
    if then == 0 {
        return "?".to_owned();
    }
    let seconds = now.saturating_sub(then);
    let units = [("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)];
    let unit = units.iter().find(|(_, length)| seconds >= *length);
    let Some((name, length)) = unit else { return "just now".to_owned() };
    match seconds / length {
        1 => format!("1 {name} ago"),
        many => format!("{many} {name}s ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_have_one_unit() {
        for (bytes, text) in
            [(0, "?"), (999, "999 B"), (1000, "1.0 kB"), (2_345_678, "2.3 MB")]
        {
            assert_eq!(size(bytes), text);
        }
        for (then, text) in [
            (0, "?"),
            (100_000, "just now"),
            (99_999, "1 second ago"),
            (99_900, "1 minute ago"),
            (90_000, "2 hours ago"),
            (1, "1 day ago"),
        ] {
            assert_eq!(age(then, 100_000), text);
        }
    }
}
