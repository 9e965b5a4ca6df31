//! The outcome of a check.

use vm_init::grade::Status;

/// Success, or the reason for the failure.
pub(crate) type Outcome = Result<(), Trouble>;

/// The reason for a failure.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) status: Status,
    pub(crate) expected: String,
    pub(crate) actual: String,
}

impl Trouble {
    pub(crate) fn fail(
        expected: impl Into<String>,
        actual: impl Into<String>,
    ) -> Trouble {
        let (expected, actual) = (expected.into(), actual.into());
        Trouble { status: Status::Fail, expected, actual }
    }

    pub(crate) fn error(
        expected: impl Into<String>,
        actual: impl Into<String>,
    ) -> Trouble {
        Trouble { status: Status::Error, ..Trouble::fail(expected, actual) }
    }

    pub(crate) fn skip(reason: &str) -> Trouble {
        Trouble { status: Status::Skip, ..Trouble::fail("", reason) }
    }
}

/// Success if the condition holds.
pub(crate) fn so(holds: bool, expected: &str, actual: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(Trouble::fail(expected, actual)) }
}
