//! Transient failures of requests, and repeated attempts.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Error;

/// The number of attempts for one request.
pub(crate) const ATTEMPTS: u32 = 5;

/// The longest time that a server may ask to wait before the next attempt.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Why a request failed.
#[derive(Debug)]
pub enum Failure {
    /// The next attempt may succeed. The time is the wait that the server asked for, if
    /// any.
    Transient(Error, Option<Duration>),
    /// Each attempt fails in the same way.
    Final(Error),
}

impl Failure {
    /// Add context to the error.
    #[must_use]
    pub fn context(self, text: String) -> Failure {
        match self {
            Failure::Transient(error, wait) => {
                Failure::Transient(error.context(text), wait)
            }
            Failure::Final(error) => Failure::Final(error.context(text)),
        }
    }

    /// The error alone.
    #[must_use]
    pub fn into_error(self) -> Error {
        let (Failure::Transient(error, _) | Failure::Final(error)) = self;
        error
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Final(error)
    }
}

/// The pause before the next attempt. It doubles with each attempt.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
}

impl Backoff {
    /// Call `attempt` until it succeeds, returns a final failure, or has failed
    /// `ATTEMPTS` times. `attempt` sets its argument if it has made progress; the count
    /// then starts again.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub fn retry<T>(
        self,
        mut attempt: impl FnMut(&mut bool) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let mut failed = 0;
        loop {
            let mut progress = false;
            let (error, wait) = match attempt(&mut progress) {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Transient(error, wait)) => (error, wait),
            };
            failed = if progress { 1 } else { failed + 1 };
            let wait = wait.unwrap_or(self.first * 2_u32.pow(failed - 1));
            if failed == ATTEMPTS || wait > MAX_RETRY_AFTER {
                return Err(error);
            }
            sleep(wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    const QUICK: Backoff = Backoff { first: Duration::from_millis(1) };

    fn transient(wait: Option<Duration>) -> Result<(), Failure> {
        Err(Failure::Transient(anyhow!("passing"), wait))
    }

    #[test]
    fn a_transient_failure_is_tried_again_and_a_final_one_is_not() {
        let mut count = 0;
        let last = QUICK.retry(|_| {
            count += 1;
            if count == 3 { Ok(()) } else { transient(None) }
        });
        assert!(last.is_ok() && count == 3);
        let mut count = 0;
        let last = QUICK.retry(|_| -> Result<(), Failure> {
            count += 1;
            Err(anyhow!("final").into())
        });
        assert!(last.is_err() && count == 1);
    }

    #[test]
    fn attempts_end_unless_there_is_progress() {
        let mut count = 0;
        let last = QUICK.retry(|_| {
            count += 1;
            transient(None)
        });
        assert!(last.is_err());
        assert_eq!(count, ATTEMPTS);
        let mut count = 0;
        let last = QUICK.retry(|progress| {
            count += 1;
            *progress = count < 10;
            transient(None)
        });
        assert!(last.is_err());
        assert_eq!(count, 9 + ATTEMPTS - 1);
    }

    #[test]
    fn a_server_that_requests_a_long_wait_is_not_asked_again() {
        let mut count = 0;
        let last = QUICK.retry(|_| {
            count += 1;
            transient(Some(MAX_RETRY_AFTER + Duration::from_secs(1)))
        });
        assert!(last.is_err() && count == 1);
    }
}
