//! Uploads: one blob to a registry.

use std::io::Read;

use anyhow::{Context, Result, anyhow};
use ch07_registry::{Client, Content, Failure, Request, Response, Url};
use oci::{Blobs, Descriptor};
use ureq::http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use ureq::http::{Method, StatusCode};

use crate::progress::Layer;

/// Uploads of blobs to one repository.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uploads<'a> {
    pub(crate) client: &'a Client,
    pub(crate) blobs: &'a Blobs,
    /// A repository of the same registry that may have the blobs.
    pub(crate) mount: Option<&'a str>,
}

impl Uploads<'_> {
    // ANCHOR: send
    /// Upload a blob, unless the repository has it.
    ///
    /// # Errors
    /// The user has no right to write; the registry refuses the blob.
    ///
    /// # Source
    /// OCI distribution specification, "Pushing blobs"
    pub(crate) fn send(&self, blob: &Descriptor, layer: &Layer) -> Result<()> {
        let backoff = self.client.settings().backoff;
        if backoff.retry(|_| self.exists(blob))? {
            layer.end("Layer already exists");
            return Ok(());
        }
        let mounted = backoff.retry(|_| self.attempt(blob, layer))?;
        match (mounted, self.mount) {
            (true, Some(from)) => layer.end(&format!("Mounted from {from}")),
            _ => layer.end("Pushed"),
        }
        Ok(())
    }
    // ANCHOR_END: send

    fn exists(&self, blob: &Descriptor) -> Result<bool, Failure> {
        let url = self.client.url(&format!("blobs/{}", blob.digest))?;
        let request = Request::new(Method::HEAD, url);
        let response = self.client.send(&request, Content::Empty)?;
        Ok(response.status().is_success())
    }

    /// Upload a blob from its start. Returns true if the registry has mounted the blob
    /// from the other repository instead.
    fn attempt(&self, blob: &Descriptor, layer: &Layer) -> Result<bool, Failure> {
        let what = format!("upload of {}", blob.digest);
        let mut url = self.client.url("blobs/uploads/")?;
        if let Some(from) = self.mount {
            url = url.with_query("mount", blob.digest.as_str())?;
            url = url.with_query("from", from)?;
        }
        let request =
            Request::new(Method::POST, url.clone()).with(CONTENT_LENGTH, "0");
        let response = self.client.send(&request, Content::Empty)?;
        if response.status() == StatusCode::CREATED {
            return Ok(true);
        }
        let response = self.client.expect(response, &what)?;
        let place = location(&response, &url)?;
        let place = place.with_query("digest", blob.digest.as_str())?;
        layer.transfers("Pushing", blob.size);
        let mut counted =
            Counted { file: self.blobs.open(&blob.digest)?, count: 0, layer };
        let request = Request::new(Method::PUT, place)
            .with(CONTENT_TYPE, "application/octet-stream")
            .with(CONTENT_LENGTH, blob.size.to_string());
        let response = self.client.send(&request, Content::Stream(&mut counted))?;
        self.client.expect(response, &what)?;
        Ok(false)
    }
}

/// The URL at which the upload continues.
fn location(response: &Response, url: &Url) -> Result<Url> {
    let location = response.headers().get(LOCATION).context("no Location")?;
    let location = String::from_utf8_lossy(location.as_bytes());
    url.join(&location)
        .map_err(|error| error.context(anyhow!("Location of an upload")))
}

/// A file whose reads are shown as progress.
struct Counted<'a> {
    file: std::fs::File,
    count: u64,
    layer: &'a Layer<'a>,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(into)?;
        self.count += count as u64;
        self.layer.at(self.count);
        Ok(count)
    }
}
