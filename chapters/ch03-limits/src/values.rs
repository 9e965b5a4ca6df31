//! The values of the flags, parsed from text.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};

/// A number of bytes: digits and an optional unit b, k, m, g or t, in steps of 1024.
///
/// # Errors
/// The text has another form, the number is 0, or the kernel cannot represent it.
pub(crate) fn size(text: &str) -> Result<u64> {
    let form = "expected a number with b, k, m, g or t, such as 100m";
    let lower = text.to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (digits, unit) = lower.split_at(end);
    let power = match unit {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => bail!("invalid size {text:?}: {form}"),
    };
    let number: u64 =
        digits.parse().with_context(|| format!("invalid size {text:?}: {form}"))?;
    match number.checked_mul(1024_u64.pow(power)) {
        Some(0) => bail!("the size must not be 0: {form}"),
        Some(bytes) if i64::try_from(bytes).is_ok() => Ok(bytes),
        _ => bail!("the size {text:?} is larger than the kernel can represent"),
    }
}

/// A list of CPU numbers: `0`, `0-1`, `0,2-3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List(Vec<(u32, u32)>);

impl List {
    /// Each number, in the order of the list.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|&(first, last)| first..=last)
    }
}

impl FromStr for List {
    type Err = Error;

    fn from_str(text: &str) -> Result<List> {
        let form = "expected numbers and ranges, such as 0,2-3";
        let wrong = || format!("invalid list of CPUs {text:?}: {form}");
        let mut ranges = Vec::new();
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |digits: &str| {
                // parse() would accept a plus sign.
                let all = digits.bytes().all(|byte| byte.is_ascii_digit());
                let number = all.then(|| digits.parse::<u32>().ok()).flatten();
                number.filter(|number| *number < 8192).with_context(wrong)
            };
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                bail!(
                    "invalid list of CPUs {text:?}: the range {range} is backwards"
                );
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

/// CPU time, in number of CPUs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cpus(f64);

impl Cpus {
    /// The period of the quota, in microseconds.
    pub(crate) const PERIOD: u64 = 100_000;

    /// Microseconds of CPU time in each period.
    pub(crate) fn quota(self) -> u64 {
        (self.0 * Cpus::PERIOD as f64).round() as u64
    }
}

impl FromStr for Cpus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Cpus> {
        let form = "expected 0.01 to 8192, such as 0.5";
        let number: f64 = text.parse().with_context(|| form)?;
        // The kernel accepts no quota below one millisecond.
        if !(0.01..=8192.0).contains(&number) {
            bail!("invalid number of CPUs {text}: {form}");
        }
        Ok(Cpus(number))
    }
}

/// Limits for one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Io {
    /// The device file of the disk.
    pub disk: PathBuf,
    /// Each limited quantity with its maximum per second.
    pub limits: Vec<(Key, u64)>,
}

/// A quantity of disk traffic.
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

    /// The name of the file in cgroup v1.
    pub(crate) fn v1(self) -> &'static str {
        match self {
            Key::Rbps => "blkio.throttle.read_bps_device",
            Key::Wbps => "blkio.throttle.write_bps_device",
            Key::Riops => "blkio.throttle.read_iops_device",
            Key::Wiops => "blkio.throttle.write_iops_device",
        }
    }

    /// The key in the file io.max of cgroup v2.
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
        let form = "expected DISK:KEY=NUMBER, with rbps, wbps, riops or wiops";
        // The path may contain a colon. The limits contain none.
        let (disk, limits) = text
            .rsplit_once(':')
            .with_context(|| format!("no \":\" in {text:?}: {form}"))?;
        if disk.is_empty() {
            bail!("empty disk before the \":\": {form}");
        }
        let mut found = Vec::new();
        for limit in limits.split(',') {
            let (name, number) = limit
                .split_once('=')
                .with_context(|| format!("no \"=\" in {limit:?}: {form}"))?;
            let key = Key::ALL.into_iter().find(|key| key.v2() == name);
            let key =
                key.with_context(|| format!("unknown key {name:?}: {form}"))?;
            if found.iter().any(|(known, _)| *known == key) {
                bail!("duplicate key {name}: {form}");
            }
            let most = size(number)?;
            // The kernel stores these in 32 bits. v1 drops the upper bits silently:
            // 4g operations would become 0.
            if matches!(key, Key::Riops | Key::Wiops) && u32::try_from(most).is_err()
            {
                bail!(
                    "{number:?} operations are more than the kernel can represent"
                );
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
    fn a_size_is_a_number_with_a_unit() {
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
    fn a_list_of_cpus_is_printed_unchanged() {
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
    fn a_number_of_cpus_becomes_a_quota() {
        for (text, quota) in [("0.5", 50_000), ("2", 200_000), ("0.01", 1000)] {
            assert_eq!(text.parse::<Cpus>().unwrap().quota(), quota);
        }
        for text in ["", "0", "-1", "0.001", "NaN", "inf", "1e9", "x"] {
            assert!(text.parse::<Cpus>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn limits_of_a_disk_are_parsed() {
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
