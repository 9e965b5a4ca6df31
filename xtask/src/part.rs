//! A part of a lane that is too long to run whole each time.

use std::str::FromStr;

/// `2/4` is the second of four parts: each fourth test, beginning with the second. All
/// parts together are the whole lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Counted from 1.
    number: usize,
    of: usize,
}

impl Part {
    /// The tests that belong to this part.
    pub(crate) fn of<T>(self, tests: Vec<T>) -> Vec<T> {
        tests.into_iter().skip(self.number - 1).step_by(self.of).collect()
    }

    /// The minimum of this part, if this is the minimum of the whole lane.
    pub(crate) fn minimum(self, whole: usize) -> usize {
        whole / self.of
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Part, String> {
        let (number, of) = text.split_once('/').unwrap_or((text, ""));
        match (number.parse(), of.parse()) {
            (Ok(number), Ok(of)) if (1..=of).contains(&number) => {
                Ok(Part { number, of })
            }
            _ => Err("a part has the form 2/4: the second of four parts".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_together_contain_all_tests() {
        let mut all = Vec::new();
        for number in 1..=4 {
            let part = Part { number, of: 4 };
            let tests = part.of((0..10).collect());
            assert!(tests.len() >= part.minimum(10), "{tests:?}");
            all.extend(tests);
        }
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn wrong_parts_are_refused() {
        assert_eq!("2/4".parse(), Ok(Part { number: 2, of: 4 }));
        for wrong in ["", "2", "0/4", "5/4", "1/0", "-1/4", "a/b", "1/2/3"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }
}
