//! A time on the command line.

use std::str::FromStr;

use anyhow::{Context, Error, Result, ensure};
use jiff::{SignedDuration, Timestamp};

/// A time, given as a time or as a duration before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since(pub Timestamp);

impl FromStr for Since {
    type Err = Error;

    fn from_str(text: &str) -> Result<Since> {
        if let Ok(time) = text.parse() {
            return Ok(Since(time));
        }
        let ago: SignedDuration = text.parse().ok().with_context(|| {
            format!(
                "{text:?} is neither a time such as 2026-11-21T22:00:00Z nor a \
                 duration such as 90s, 10m or 1h30m"
            )
        })?;
        ensure!(
            !ago.is_negative(),
            "{text:?} is in the future: remove the minus sign"
        );
        let then = Timestamp::now().checked_sub(ago);
        Ok(Since(then.with_context(|| format!("{text:?} is too long ago"))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_be_in_any_time_zone() {
        let expected = Timestamp::new(1_795_298_400, 0).unwrap();
        for text in ["2026-11-21T22:00:00Z", "2026-11-21 23:00:00+01:00"] {
            assert_eq!(text.parse::<Since>().unwrap().0, expected, "{text}");
        }
    }

    #[test]
    fn a_duration_is_relative_to_now() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5400)] {
            let then = text.parse::<Since>().unwrap().0;
            let ago = Timestamp::now().as_second() - then.as_second();
            assert!((seconds..seconds + 10).contains(&ago), "{text}: {ago}");
        }
    }

    #[test]
    fn texts_that_are_neither_are_refused() {
        for text in ["", "yesterday", "10", "2026-11-21T22:00:00", "-10m"] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }
}
