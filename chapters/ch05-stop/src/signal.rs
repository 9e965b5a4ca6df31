//! Parse signals on the command line.

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

/// Parse a signal: its name, with or without SIG, in upper or lower case, or its
/// number.
///
/// # Errors
/// There is no such signal, or it is a real-time signal, which has no name.
pub fn parse(text: &str) -> Result<Signal> {
    let found = match text.parse::<i32>() {
        Ok(number) => Signal::try_from(number).ok(),
        Err(_) => {
            let name = text.to_ascii_uppercase();
            let name = name.strip_prefix("SIG").unwrap_or(&name);
            format!("SIG{name}").parse().ok()
        }
    };
    found.with_context(|| {
        format!(
            "invalid signal {text:?}: expected a name such as TERM, or a number \
             from 1 to 31"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_a_name_in_any_case_or_a_number() {
        for text in ["TERM", "term", "SIGTERM", "SigTerm", "15"] {
            assert_eq!(parse(text).unwrap(), Signal::SIGTERM, "{text}");
        }
        for text in ["", "0", "-1", "-15", "32", "64", "SIG", "SIGSIGTERM", "TERM "]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
