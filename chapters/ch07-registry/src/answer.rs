//! Responses of servers: their error messages, and bodies of limited size.

use std::io::Read;
use std::time::Duration;

use anyhow::{Error, anyhow};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::Value;
use ureq::http::StatusCode;
use ureq::http::header::RETRY_AFTER;

use crate::failure::Failure;
use crate::transport::{Request, Response};

/// The maximum number of bytes that are read from the body of an error.
const EXPLANATION: u64 = 64 << 10;

/// Turn a response that reports a temporary error into a transient failure.
pub(crate) fn check_temporary(
    registry: &str,
    logged_in: bool,
    request: &Request,
    response: Response,
) -> Result<Response, Failure> {
    let status = response.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        let after = retry_after(&response);
        let wait = after.map_or_else(String::new, |wait| {
            format!(": it asks to wait {} seconds (Retry-After)", wait.as_secs())
        });
        let remedy = match logged_in {
            true => "try again later",
            false => "try again later, or log in to get a higher limit",
        };
        let said = error_text(response);
        let error = anyhow!(
            "toomanyrequests: the registry {registry} limits the number of requests{wait}: \
             {remedy}{said}"
        );
        return Err(Failure::Transient(error, after));
    }
    if status.is_server_error() {
        let wait = retry_after(&response);
        let said = error_text(response);
        let error = anyhow!("{} {}: {status}{said}", request.method, request.url);
        return Err(Failure::Transient(error, wait));
    }
    Ok(response)
}

/// The time that the server asks to wait.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    read_wait(value, Timestamp::now())
}

/// A number of seconds, or a date; a date in the past means no wait.
///
/// # Source
/// RFC 9110, section 10.2.3, "Retry-After"
fn read_wait(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

/// The error messages of a server, as a text to append to our error; empty if there
/// are none.
///
/// # Source
/// OCI distribution specification, "Error Codes"
pub(crate) fn error_text(response: Response) -> String {
    let Ok(body) = read_whole(response, EXPLANATION) else { return String::new() };
    let Ok(value) = serde_json::from_slice::<Value>(&body) else {
        return String::new();
    };
    let errors = value["errors"].as_array().into_iter().flatten();
    let texts: Vec<String> = errors
        .take(3)
        .map(|error| {
            let text = |key: &str| error[key].as_str().unwrap_or_default();
            // Escape control characters: text from a server must not control the
            // terminal.
            let joined = format!("{}: {}", text("code"), text("message"));
            joined.escape_debug().take(300).collect()
        })
        .collect();
    match texts.is_empty() {
        true => String::new(),
        false => format!(" (the registry says: {})", texts.join("; ")),
    }
}

/// Read the body of a response, which may have at most `most` bytes.
///
/// # Errors
/// The body is longer; the connection breaks.
pub fn read_whole(response: Response, most: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut reader = response.into_body().into_reader().take(most + 1);
    let read = reader.read_to_end(&mut bytes);
    read.map_err(|error| {
        Failure::Transient(Error::from(error).context("reading the answer"), None)
    })?;
    if bytes.len() as u64 > most {
        return Err(anyhow!("the answer is longer than {most} bytes").into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_number_of_seconds_or_a_date() {
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        let wait = |value| read_wait(value, now).map(|wait| wait.as_secs());
        for (value, seconds) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("Sun, 29 Nov 2026 12:00:09 GMT", Some(9)),
            ("Sun, 29 Nov 2026 11:59:00 GMT", Some(0)),
            ("Tue, 01 Dec 2026 12:00:00 GMT", Some(2 * 24 * 3600)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(wait(value), seconds, "{value:?}");
        }
    }
}
