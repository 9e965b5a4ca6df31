//! The skips that a lane expects: a test is skipped only where the kernel lacks what
//! it is about, and that is known beforehand.

use crate::vm::Cgroup;

/// One skip.
struct Skip {
    /// The kernel as it is asked for, or any.
    kernel: Option<&'static str>,
    /// The cgroup layout, or any.
    cgroup: Option<Cgroup>,
    test: &'static str,
    reason: &'static str,
}

const EXPECTED: [Skip; 1] = [Skip {
    kernel: None,
    cgroup: None,
    test: "skips_as_expected",
    reason: "the runner's own test of a skip",
}];

/// Why a skip of this test is expected, if it is.
pub(crate) fn expected(
    kernel: &str,
    cgroup: Option<Cgroup>,
    test: &str,
) -> Option<&'static str> {
    let fits = |skip: &&Skip| {
        skip.test == test
            && skip.kernel.is_none_or(|wanted| wanted == kernel)
            && skip.cgroup.is_none_or(|wanted| Some(wanted) == cgroup)
    };
    EXPECTED.iter().find(fits).map(|skip| skip.reason)
}
