//! The values of the flags, read from text.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};

/// A number of bytes: digits and one of b, k, m, g, t, by 1024 each.
///
/// # Errors
/// Anything else, nothing, and zero.
pub(crate) fn size(text: &str) -> Result<u64> {
    let form = "a number and b, k, m, g or t, as 100m";
    let lower = text.to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (digits, unit) = lower.split_at(end);
    let power = match unit {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => bail!("{text:?} is no size: {form}"),
    };
    let number: u64 = digits.parse().with_context(|| format!("{text:?}: {form}"))?;
    match number.checked_mul(1024_u64.pow(power)) {
        Some(0) => bail!("a size of nothing: {form}"),
        Some(bytes) if i64::try_from(bytes).is_ok() => Ok(bytes),
        _ => bail!("{text:?} is more than the kernel can count"),
    }
}

/// Numbers of processors: `0`, `0-1`, `0,2-3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List(Vec<(u32, u32)>);

impl List {
    /// Each of them.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|&(first, last)| first..=last)
    }
}

impl FromStr for List {
    type Err = Error;

    fn from_str(text: &str) -> Result<List> {
        let form = "numbers and ranges, as 0,2-3";
        let wrong = || format!("{text:?} is no list of processors: {form}");
        let mut ranges = Vec::new();
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |digits: &str| {
                // parse() takes a plus sign too.
                let all = digits.bytes().all(|byte| byte.is_ascii_digit());
                let number = all.then(|| digits.parse::<u32>().ok()).flatten();
                number.filter(|number| *number < 8192).with_context(wrong)
            };
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                bail!("{text:?}: the range {range} runs backwards");
            }
            ranges.push((first, last));
        }
        Ok(List(ranges))
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let text = |&(first, last): &(u32, u32)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        let ranges: Vec<String> = self.0.iter().map(text).collect();
        f.write_str(&ranges.join(","))
    }
}

/// Processor time, in processors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cpus(f64);

impl Cpus {
    /// Of so many microseconds the group gets its quota.
    pub(crate) const PERIOD: u64 = 100_000;

    /// Microseconds of processor time a period.
    pub(crate) fn quota(self) -> u64 {
        (self.0 * Cpus::PERIOD as f64).round() as u64
    }
}

impl FromStr for Cpus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Cpus> {
        let form = "0.01 to 8192, as 0.5";
        let number: f64 = text.parse().with_context(|| form)?;
        // The kernel's shortest quota is a millisecond.
        if !(0.01..=8192.0).contains(&number) {
            bail!("{text} is not a number of processors: {form}");
        }
        Ok(Cpus(number))
    }
}

/// Limits of one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Io {
    /// Its device file.
    pub disk: PathBuf,
    /// What is limited, and to how much a second.
    pub limits: Vec<(Key, u64)>,
}

/// What of a disk's traffic is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Bytes read.
    Rbps,
    /// Bytes written.
    Wbps,
    /// Reads.
    Riops,
    /// Writes.
    Wiops,
}

impl Key {
    const ALL: [Key; 4] = [Key::Rbps, Key::Wbps, Key::Riops, Key::Wiops];

    /// v1's file.
    pub(crate) fn v1(self) -> &'static str {
        match self {
            Key::Rbps => "blkio.throttle.read_bps_device",
            Key::Wbps => "blkio.throttle.write_bps_device",
            Key::Riops => "blkio.throttle.read_iops_device",
            Key::Wiops => "blkio.throttle.write_iops_device",
        }
    }

    /// v2's key in io.max.
    pub(crate) fn v2(self) -> &'static str {
        match self {
            Key::Rbps => "rbps",
            Key::Wbps => "wbps",
            Key::Riops => "riops",
            Key::Wiops => "wiops",
        }
    }
}

impl FromStr for Io {
    type Err = Error;

    fn from_str(text: &str) -> Result<Io> {
        let form = "DISK:KEY=NUMBER, with rbps, wbps, riops or wiops";
        // A path may hold a colon; what follows it holds none.
        let (disk, limits) = text
            .rsplit_once(':')
            .with_context(|| format!("no \":\" in {text:?}: {form}"))?;
        if disk.is_empty() {
            bail!("no disk before the \":\": {form}");
        }
        let mut found = Vec::new();
        for limit in limits.split(',') {
            let (name, number) = limit
                .split_once('=')
                .with_context(|| format!("no \"=\" in {limit:?}: {form}"))?;
            let key = Key::ALL.into_iter().find(|key| key.v2() == name);
            let key = key.with_context(|| format!("{name:?} is no key: {form}"))?;
            if found.iter().any(|(known, _)| *known == key) {
                bail!("{name} is given twice: {form}");
            }
            let most = size(number)?;
            // The kernel keeps these in 32 bits: v1 would cut off the rest without a
            // word, and 4g operations would be none.
            if matches!(key, Key::Riops | Key::Wiops) && u32::try_from(most).is_err()
            {
                bail!("{number:?} operations are more than the kernel can count");
            }
            found.push((key, most));
        }
        Ok(Io { disk: disk.into(), limits: found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_typing_errors_have_none() {
        for (text, bytes) in [
            ("100", 100),
            ("7b", 7),
            ("512k", 512 << 10),
            ("100m", 100 << 20),
            ("100M", 100 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in [
            "",
            "m",
            "emroy",
            "-1",
            "1.5g",
            "1 m",
            "0",
            "0m",
            "1x",
            "99999999999999t",
        ] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lists_of_processors_read_back() {
        for text in ["0", "0-1", "0,2-3", "7,1"] {
            assert_eq!(text.parse::<List>().unwrap().to_string(), text);
        }
        let numbers: Vec<u32> = "0,2-4".parse::<List>().unwrap().numbers().collect();
        assert_eq!(numbers, [0, 2, 3, 4]);
        for text in ["", "a", "0-", "-1", "1-0", "0,,1", "+1", "0 1", "9999"] {
            assert!(text.parse::<List>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn processors_become_a_quota() {
        for (text, quota) in [("0.5", 50_000), ("2", 200_000), ("0.01", 1000)] {
            assert_eq!(text.parse::<Cpus>().unwrap().quota(), quota);
        }
        for text in ["", "0", "-1", "0.001", "NaN", "inf", "1e9", "x"] {
            assert!(text.parse::<Cpus>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn limits_of_disks_are_read_in_both_versions_words() {
        let io: Io = "/dev/a:b:rbps=1m,wiops=5".parse().unwrap();
        assert_eq!(io.disk, PathBuf::from("/dev/a:b"));
        assert_eq!(io.limits, [(Key::Rbps, 1 << 20), (Key::Wiops, 5)]);
        for text in ["", "/dev/a", ":rbps=1", "/dev/a:", "/dev/a:x=1", "/dev/a:rbps"]
        {
            assert!(text.parse::<Io>().is_err(), "{text:?}");
        }
        assert!("/dev/a:riops=4g".parse::<Io>().is_err());
        assert!("/dev/a:rbps=4g".parse::<Io>().is_ok());
    }
}
