//! Layers that were made on this machine are not compressed. `push` compresses them
//! before it uploads them.

use std::io;

use anyhow::{Result, ensure};
use ch04_tar::compression::{Compression, compress};
use common::hints;
use common::step::{Hint, Step};
use oci::{Blobs, Descriptor, Hashing, media};

// ANCHOR: compressed
/// Compress the layer by gzip into a new blob. A layer that is compressed already is
/// returned unchanged. The same layer always gives the same bytes.
///
/// The caller holds a lease, because no image uses the new blob yet.
///
/// # Errors
/// The blob is missing or damaged; write(2) fails.
pub(crate) fn compressed(blobs: &Blobs, layer: &Descriptor) -> Result<Descriptor> {
    let Some(media_type) = media::compressed(&layer.media_type) else {
        return Ok(layer.clone());
    };
    let mut tar = Hashing::new(blobs.open(&layer.digest)?);
    let mut blob = blobs.writer()?;
    let written = compress(Compression::Gzip, &mut blob, |out| {
        let copied = io::copy(&mut tar, out);
        copied.map(drop).untraced(|| format!("compress the layer {}", layer.digest))
    });
    written.hint(hints::state)?;
    let (_, found, _) = tar.finish();
    ensure!(
        found == layer.digest,
        "the blob {} is damaged: its digest is {found}",
        layer.digest
    );
    let (digest, size) = blob.finish()?;
    Ok(Descriptor::new(media_type, digest, size))
}
// ANCHOR_END: compressed
