//! Targets for a ratio of times: the current one, and a stricter one for later.

/// The maximum of our time divided by another program's time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Aim {
    /// The target of today.
    pub(super) today: f64,
    /// The target of a later version.
    pub(super) stricter: f64,
}

impl Aim {
    pub(super) const fn of(today: f64, stricter: f64) -> Aim {
        Aim { today, stricter }
    }

    /// Both targets, each with whether this ratio meets it.
    pub(super) fn judged(self, ratio: f64) -> String {
        let one =
            |aim| format!("<= {aim} {}", if ratio <= aim { "met" } else { "not" });
        format!("{}, {}", one(self.today), one(self.stricter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_is_judged_separately() {
        let aim = Aim::of(1.15, 1.1);
        assert_eq!(aim.judged(1.12), "<= 1.15 met, <= 1.1 not");
        assert_eq!(aim.judged(1.1), "<= 1.15 met, <= 1.1 met");
        assert_eq!(aim.judged(1.2), "<= 1.15 not, <= 1.1 not");
    }
}
