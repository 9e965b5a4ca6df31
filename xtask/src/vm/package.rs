//! Choosing the package of a kernel: the known one of its series, or the newest one.

use std::path::PathBuf;

use anyhow::Result;
use provision::apt::Apt;

use super::say;

/// The package of each series with which the tests are known to pass. If it does not
/// exist any more, the newest package of the series is taken.
const KNOWN: [(&str, &str); 2] = [
    ("6.1", "linux-image-6.1.0-47-cloud-amd64-unsigned"),
    ("6.12", "linux-image-6.12.117+deb12-cloud-amd64"),
];

/// Download the package of this series.
///
/// # Errors
/// The package manager has no kernel of this series. The error lists the available
/// ones.
pub(super) fn download(apt: &Apt, series: &str) -> Result<PathBuf> {
    let known = KNOWN.iter().find(|(name, _)| *name == series);
    let mut reason = None;
    if let Some((_, package)) = known {
        match apt.download(package) {
            Ok(file) => return Ok(file),
            Err(error) => reason = Some(error),
        }
    }
    let start = format!("linux-image-{series}");
    let names = apt.names(&start)?;
    let Some(newest) = newest(&names, &start) else {
        let others = apt.names("linux-image-")?;
        let mut others: Vec<&str> =
            others.iter().filter_map(|name| series_of(name)).collect();
        others.sort_by_key(|series| numbers(series));
        others.dedup();
        let error = reason.unwrap_or_else(|| anyhow::anyhow!("no such package"));
        if others.is_empty() {
            return Err(error.context(
                "the package manager cannot reach its packages; a package that was \
                 downloaded before needs no network, and --kernel accepts the path of \
                 a vmlinux or bzImage",
            ));
        }
        return Err(error.context(format!(
            "the package manager has no kernel {series}, only {}; use one of these \
             with --kernel, or the path of a vmlinux or bzImage",
            others.join(", ")
        )));
    };
    if known.is_some() {
        say(&format!("the known package does not exist any more: using {newest}"));
    }
    apt.download(newest)
}

/// The newest package of a series. A package for clouds comes first: it is the
/// smallest.
fn newest<'a>(names: &'a [String], start: &str) -> Option<&'a str> {
    let fits = |name: &&str| {
        let rest = name.strip_prefix(start);
        // A name without a number after the series is a metapackage, which
        // contains no kernel.
        let own = rest.is_some_and(|rest| {
            let rest = rest.strip_prefix(['.', '-']).unwrap_or_default();
            rest.starts_with(|first: char| first.is_ascii_digit())
        });
        let extra =
            ["-dbg", "-rt-", "-dbgsym"].iter().any(|word| name.contains(word));
        own && !extra && series_of(name).is_some()
    };
    let kind = |name: &str| {
        let kinds = ["-generic", "-amd64", "-virtual", "-kvm", "-cloud-amd64"];
        kinds.iter().rposition(|kind| name.contains(kind))
    };
    names
        .iter()
        .map(String::as_str)
        .filter(fits)
        .max_by_key(|name| (kind(name), numbers(name), name.len()))
}

/// The series in a package's name: `6.12` in
/// `linux-image-6.12.117+deb12-cloud-amd64`.
fn series_of(package: &str) -> Option<&str> {
    let rest = package.strip_prefix("linux-image-")?;
    let mut dots = rest.match_indices(['.', '-', '+']);
    let (_, (end, _)) = (dots.next()?, dots.next()?);
    let series = &rest[..end];
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let (major, minor) = series.split_once('.')?;
    (is_number(major) && is_number(minor)).then_some(series)
}

/// The numbers in a name, by which versions are ordered.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_of_a_series_is_selected() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-47-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64-dbg",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.1-cloud-amd64",
        ]
        .map(str::to_owned);
        let newest = newest(&names, "linux-image-6.1");
        assert_eq!(newest, Some("linux-image-6.1.0-47-cloud-amd64"));
        let twelve = super::newest(&names, "linux-image-6.12");
        assert_eq!(twelve, Some("linux-image-6.12.117+deb12-cloud-amd64"));
        assert_eq!(super::newest(&names, "linux-image-5.10"), None);
    }
}
