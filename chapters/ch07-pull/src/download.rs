//! Downloads: one blob, resumed after an interruption, and checked during the transfer.

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

/// The maximum number of bytes of one read.
const PIECE: usize = 64 << 10;

/// An attempt that transfers at least this number of bytes has made progress. After it,
/// the attempts are counted from the start again.
const PROGRESS: u64 = 1 << 20;

/// Downloads of blobs from one repository.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Downloads<'a> {
    pub(crate) client: &'a Client,
    pub(crate) blobs: &'a Blobs,
    /// Set when another download has failed. This download then ends, too.
    pub(crate) stop: &'a AtomicBool,
}

impl Downloads<'_> {
    // ANCHOR: fetch
    /// Download a blob, unless it is in the store already. The bytes that an earlier
    /// process has downloaded are used, unless a power failure has damaged them.
    ///
    /// # Errors
    /// The registry does not have the blob, or sends other bytes than the descriptor
    /// specifies; the disk is full. The file of the download stays, so that the next
    /// attempt continues.
    pub(crate) fn fetch(&self, blob: &Descriptor, layer: &Layer) -> Result<()> {
        let mut may_restart = true;
        loop {
            if self.blobs.has(&blob.digest, blob.size) {
                return Ok(());
            }
            // `None`: another process has downloaded the blob while this one waited.
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
                // `finish` has removed the file, because its digest is wrong. Download
                // the whole blob.
                Err(_) if resumed && may_restart => may_restart = false,
                done => return done,
            }
        }
    }
    // ANCHOR_END: fetch

    /// Send one request for the bytes that are still missing.
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
        // A server that does not support ranges sends the whole blob.
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => range_start(&response).unwrap_or(0),
            _ => 0,
        };
        if start != download.offset() {
            download.restart()?;
            if start != 0 {
                let error = anyhow!(
                    "blob {digest}: the registry sent a range that was not requested"
                );
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
    /// Write the body of the response to the file. The download refuses more bytes than
    /// the descriptor specifies.
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
                    let text = format!(
                        "blob {}: the download was interrupted",
                        blob.digest
                    );
                    let error = Error::from(error).context(text);
                    return Err(Failure::Transient(error, None));
                }
            };
            let written = download.write_all(&piece[..count]);
            let step = || format!("write(2) the download of {}", blob.digest);
            written.untraced(step).hint(hints::state)?;
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

/// The offset at which the range of a response starts.
fn range_start(response: &Response) -> Result<u64> {
    let range = response.headers().get(CONTENT_RANGE).context("no Content-Range")?;
    let range = range.to_str()?.strip_prefix("bytes ").context("not in bytes")?;
    Ok(range.split('-').next().unwrap_or_default().trim().parse()?)
}
