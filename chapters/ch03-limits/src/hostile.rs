//! Values of the flags from arbitrary text: the parsers never panic, and a value
//! that they accept means what the text says.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::values::{Cpus, Io, List, size};

fn text(special: &'static str) -> impl Strategy<Value = String> {
    let letters: Vec<char> = special.chars().collect();
    let letter = prop_oneof![4 => prop::sample::select(letters), 1 => any::<char>()];
    vec(letter, 0..9).prop_map(|letters| letters.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        ..ProptestConfig::default()
    })]

    /// Compute the size by the same rule, in numbers that cannot overflow.
    #[test]
    fn sizes_have_the_value_of_their_digits_and_unit(
        digits in "[0-9]{1,25}",
        unit in prop::sample::select(vec!["", "b", "k", "kb", "MiB", "G", "t", "TB"]),
    ) {
        let power = match unit.chars().next().map(|c| c.to_ascii_lowercase()) {
            None | Some('b') => 0,
            Some('k') => 1,
            Some('m') => 2,
            Some('g') => 3,
            _ => 4,
        };
        let exact = digits.parse::<u128>().unwrap().checked_mul(1024_u128.pow(power));
        let fits = exact.filter(|n| *n > 0 && *n <= i64::MAX as u128);
        prop_assert_eq!(size(&format!("{digits}{unit}")).ok().map(u128::from), fits);
    }

    #[test]
    fn a_size_consists_of_digits_and_a_unit(text in prop_oneof!["[0-9+-]{1,3}[a-zA-Z]{0,3}", text("0123456789bBkKmMgGtTiI+-. e_")]) {
        if size(&text).is_ok() {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let unit = text[end..].to_ascii_lowercase();
            let units = ["", "b", "k", "kb", "kib", "m", "mb", "mib", "g", "gb", "gib",
                "t", "tb", "tib"];
            prop_assert!(end > 0 && units.contains(&unit.as_str()), "{text:?}");
        }
    }

    #[test]
    fn lists_read_back_and_have_the_kernels_meaning(text in text("0123456789,,--+ ")) {
        if let Ok(list) = text.parse::<List>() {
            prop_assert_eq!(&list.to_string().parse::<List>().unwrap(), &list);
            let own: BTreeSet<u32> = list.numbers().collect();
            prop_assert_eq!(own, kernel_list(&text).expect("the kernel takes it"));
        }
    }

    #[test]
    fn a_number_of_cpus_becomes_a_quota_that_the_kernel_accepts(
        text in text("0123456789..eE+-infa")
    ) {
        if let Ok(cpus) = text.parse::<Cpus>() {
            // At least one millisecond, and at most the time of 8192 CPUs.
            prop_assert!((1000..=819_200_000).contains(&cpus.quota()), "{text:?}");
        }
    }

    #[test]
    fn a_quota_is_exact_within_half_a_microsecond(number in 0.01..8192.0_f64) {
        let quota = number.to_string().parse::<Cpus>().unwrap().quota();
        prop_assert!((quota as f64 - number * 1e5).abs() <= 0.5);
    }

    #[test]
    fn limits_of_a_disk_read_back(
        disk in "[a-z/:=,]{1,12}",
        // Each key once, in any order.
        order in Just(vec![0, 1, 2, 3]).prop_shuffle(),
        numbers in vec(1..=u64::from(u32::MAX), 1..=4),
    ) {
        let keys = ["rbps", "wbps", "riops", "wiops"];
        let numbers = order.into_iter().zip(numbers);
        let limits = numbers.map(|(key, n): (usize, u64)| format!("{}={n}", keys[key]));
        let limits: Vec<String> = limits.collect();
        let io: Io = format!("{disk}:{}", limits.join(",")).parse().unwrap();
        prop_assert_eq!(io.disk, Path::new(&disk));
        let back = io.limits.iter().map(|(key, n)| format!("{}={n}", key.v2()));
        prop_assert_eq!(back.collect::<Vec<_>>(), limits);
    }

    #[test]
    fn a_limit_of_operations_fits_the_kernels_32_bits(text in text("/:=,riopswb0123456789kmgt")) {
        if let Ok(io) = format!("/d:riops={text}").parse::<Io>() {
            for (key, number) in io.limits {
                prop_assert!(!key.v2().ends_with("iops") || number <= u32::MAX.into());
            }
        }
    }
}

/// A model of bitmap_parselist() in lib/bitmap-str.c, for the lists that we accept.
fn kernel_list(text: &str) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for range in text.split(',') {
        let number = |digits: &str| {
            let plain =
                !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse::<u32>().ok()).flatten()
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(range)?, number(range)?),
        };
        if first > last {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}
