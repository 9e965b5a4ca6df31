//! Downloads: one blob, resumed after a break, and checked while it arrives.

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Error, Result, anyhow};
use ch07_registry::{Client, Content, Failure, Response, get};
use common::hints;
use common::step::{Hint, Step};
use oci::{Blobs, Descriptor, Download};
use ureq::http::StatusCode;
use ureq::http::header::{CONTENT_RANGE, RANGE};

use crate::progress::Layer;

/// The bytes that are read at once.
const PIECE: usize = 64 << 10;

/// The bytes that count as progress: after them, the attempts are counted from the start.
const PROGRESS: u64 = 1 << 20;

/// Downloads of blobs from one repository.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Downloads<'a> {
    pub(crate) client: &'a Client,
    pub(crate) blobs: &'a Blobs,
    /// Another download has failed: this one ends, too.
    pub(crate) stop: &'a AtomicBool,
}

impl Downloads<'_> {
    // ANCHOR: fetch
    /// Download a blob, unless it is there already. What an earlier process has written
    /// is kept, unless a power failure has damaged it.
    ///
    /// # Errors
    /// The registry does not have it, or sends other bytes than the descriptor says; the
    /// disk is full. The file of the download stays, so that the next attempt continues.
    pub(crate) fn fetch(&self, blob: &Descriptor, layer: &Layer) -> Result<()> {
        let mut may_restart = true;
        loop {
            if self.blobs.has(&blob.digest, blob.size) {
                return Ok(());
            }
            // `None`: another process has downloaded it while this one waited.
            let download = self.blobs.download(&blob.digest, blob.size)?;
            let Some(mut download) = download else { return Ok(()) };
            let resumed = download.offset() > 0;
            let backoff = self.client.settings().backoff;
            backoff.retry(|progress| {
                let before = download.offset();
                let done = self.attempt(blob, &mut download, layer);
                *progress = download.offset() >= before + PROGRESS;
                done
            })?;
            layer.say("Verifying Checksum");
            match download.finish() {
                // A file with another digest is removed: now from its start.
                Err(_) if resumed && may_restart => may_restart = false,
                done => return done,
            }
        }
    }
    // ANCHOR_END: fetch

    /// One request, from where the download is.
    fn attempt(
        &self,
        blob: &Descriptor,
        download: &mut Download,
        layer: &Layer,
    ) -> Result<(), Failure> {
        let Descriptor { digest, size, .. } = blob;
        if download.offset() == *size {
            return Ok(());
        }
        let mut request = get(self.client.url(&format!("blobs/{digest}"))?, &[]);
        if download.offset() > 0 {
            request = request.with(RANGE, format!("bytes={}-", download.offset()));
        }
        let response = self.client.send(&request, Content::Empty)?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            download.restart()?;
            let error = anyhow!("blob {digest}: the registry refused to continue");
            return Err(Failure::Transient(error, None));
        }
        let response = self.client.expect(response, &format!("blob {digest}"))?;
        // A server without ranges sends all of it.
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => range_start(&response).unwrap_or(0),
            _ => 0,
        };
        if start != download.offset() {
            download.restart()?;
            if start != 0 {
                let error =
                    anyhow!("blob {digest}: the registry sent another range");
                return Err(Failure::Transient(error, None));
            }
        }
        if let Some(length) = response.body().content_length()
            && length != size - start
        {
            return Err(anyhow!(
                "blob {digest}: the registry announces {length} bytes, but the manifest \
                 says {}",
                size - start
            )
            .into());
        }
        self.copy(response, blob, download, layer)
    }

    // ANCHOR: copy
    /// Write what arrives. The download refuses more bytes than the descriptor says.
    fn copy(
        &self,
        response: Response,
        blob: &Descriptor,
        download: &mut Download,
        layer: &Layer,
    ) -> Result<(), Failure> {
        let mut body = response.into_body().into_reader();
        let mut piece = vec![0; PIECE];
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(anyhow!("stopped").into());
            }
            let count = match body.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    let text =
                        format!("blob {}: the download broke off", blob.digest);
                    let error = Error::from(error).context(text);
                    return Err(Failure::Transient(error, None));
                }
            };
            let written = download.write_all(&piece[..count]);
            let step = || format!("write(2) the download of {}", blob.digest);
            written.look(step).hint(hints::state)?;
            layer.at(download.offset());
        }
        if download.offset() < blob.size {
            let error = anyhow!(
                "blob {}: the download ended after {} of {} bytes",
                blob.digest,
                download.offset(),
                blob.size
            );
            return Err(Failure::Transient(error, None));
        }
        Ok(())
    }
    // ANCHOR_END: copy
}

/// Where the range of an answer starts.
fn range_start(response: &Response) -> Result<u64> {
    let range = response.headers().get(CONTENT_RANGE).context("no Content-Range")?;
    let range = range.to_str()?.strip_prefix("bytes ").context("not in bytes")?;
    Ok(range.split('-').next().unwrap_or_default().trim().parse()?)
}
