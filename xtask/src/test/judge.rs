//! The verdict on a test.

use vm_init::How;

use super::skips::Expected;

/// The verdict on a test.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The test ran and passed.
    Passed,
    /// The test was skipped, as expected for this kernel: the reasons.
    Skipped(String),
    /// Anything else: a short description.
    Failed(String),
}

/// Everything that is known about the end of a test.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) how: How,
    pub(crate) seconds: u64,
    pub(crate) output: String,
    pub(crate) skips: Vec<String>,
    /// The changes that it left in the VM.
    pub(crate) left: Vec<String>,
}

/// The verdict on this end; `expected` tells whether a skip is expected.
///
/// An exit status of 0 is not enough: the last line must be libtest's result line,
/// and it must report one passed test.
pub(crate) fn judge(end: &End, expected: Expected) -> Verdict {
    let failed = |text: String| Verdict::Failed(text);
    let last = end.output.lines().rfind(|line| !line.trim().is_empty());
    let closing = last.and_then(|line| line.strip_prefix("test result: "));
    match end.how {
        How::TimedOut => {
            return failed(format!("timed out after {} s", end.seconds));
        }
        How::Signal(signal) => return failed(format!("killed by signal {signal}")),
        How::Code(code) => match (code, closing) {
            (0, Some(closing)) if closing.starts_with("ok. 1 passed; 0 failed;") => {
            }
            (101, Some(closing)) if closing.starts_with("FAILED.") => {
                return failed("failed".into());
            }
            (0, Some(closing)) if closing.starts_with("ok. 0 passed;") => {
                return failed("did not run".into());
            }
            _ => return failed(format!("exited with {code} before its verdict")),
        },
    }
    if !end.left.is_empty() {
        return failed(format!("left behind: {}", end.left.join("; ")));
    }
    match (end.skips.join("; "), expected) {
        (none, Expected::Yes(reason)) if none.is_empty() => {
            failed(format!("ran, but a skip was expected: {reason}"))
        }
        (none, _) if none.is_empty() => Verdict::Passed,
        (skips, Expected::No) => failed(format!("skipped unexpectedly: {skips}")),
        (skips, _) => Verdict::Skipped(skips),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; \
                      0 failed; 0 ignored; 0 measured; 2 filtered out\n\n";

    fn end(how: How, output: &str) -> End {
        let output = output.to_owned();
        End { how, seconds: 5, output, skips: Vec::new(), left: Vec::new() }
    }

    fn failure(end: &End) -> String {
        match judge(end, Expected::No) {
            Verdict::Failed(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_result_line_of_a_passed_test_counts_as_passed() {
        assert_eq!(judge(&end(How::Code(0), OK), Expected::No), Verdict::Passed);
        let early = "exited with 0 before its verdict";
        assert_eq!(failure(&end(How::Code(0), "")), early);
        let forged = format!("{OK}and then some");
        assert_eq!(failure(&end(How::Code(0), &forged)), early);
        let none = OK.replace("1 passed", "0 passed");
        assert_eq!(failure(&end(How::Code(0), &none)), "did not run");
        assert_eq!(
            failure(&end(How::Code(3), OK)),
            "exited with 3 before its verdict"
        );
        assert_eq!(failure(&end(How::Signal(9), OK)), "killed by signal 9");
        assert_eq!(failure(&end(How::TimedOut, OK)), "timed out after 5 s");
        let bad = "test result: FAILED. 0 passed; 1 failed;\n";
        assert_eq!(failure(&end(How::Code(101), bad)), "failed");
    }

    #[test]
    fn a_skip_counts_only_where_it_is_expected() {
        let mut end = end(How::Code(0), OK);
        let (sure, perhaps) =
            (Expected::Yes("no aufs"), Expected::Perhaps("no aufs"));
        let stale = judge(&end, sure);
        assert!(matches!(stale, Verdict::Failed(text) if text.contains("no aufs")));
        assert_eq!(judge(&end, perhaps), Verdict::Passed);
        end.skips = vec!["no aufs here".into()];
        for expected in [sure, perhaps] {
            let skipped = Verdict::Skipped("no aufs here".into());
            assert_eq!(judge(&end, expected), skipped);
        }
        assert!(failure(&end).contains("skipped unexpectedly: no aufs here"));
    }

    #[test]
    fn leftovers_are_a_failure() {
        let mut end = end(How::Code(0), OK);
        end.left = vec!["mount: /x".into()];
        assert_eq!(failure(&end), "left behind: mount: /x");
    }
}
