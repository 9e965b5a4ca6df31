//! `push`: from an image in the state directory to a name in a registry.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use anyhow::{Context, Result};
use ch04_image::Store;
use ch07_registry::{Access, Client, Content, Logins, Request, Settings};
use common::images::{Digest, Image, Reference};
use common::state::State;
use oci::{Blobs, Descriptor, Document, LARGEST, Manifest};
use ureq::http::Method;
use ureq::http::header::CONTENT_TYPE;

use crate::compress::compressed;
use crate::progress::Progress;
use crate::upload::Uploads;

/// How many blobs are uploaded at once.
const PARALLEL: usize = 3;

// ANCHOR: push
/// Push the image with this name. The blobs are uploaded first and the manifest last,
/// so the registry never has an incomplete image.
///
/// An image that was pulled is pushed unchanged: its digest stays the same. The layers
/// of other images are compressed first, and the image then keeps the compressed
/// layers.
///
/// # Errors
/// There is no such image; the user has no right to write; the registry refuses a blob;
/// the disk is full.
pub fn push(
    state: &State,
    reference: &Reference,
    settings: &Settings,
    progress: &Progress,
) -> Result<()> {
    let store = Store::open(state)?;
    let blobs = Blobs::of(state);
    // No blob is removed until the image has been pushed.
    let lease = store.layout().lease()?;
    let image = Image::find(state, reference)?.with_context(|| {
        format!("there is no image {reference}: give it this name with `tag` first")
    })?;
    let mut bytes = blobs.read(&image.manifest, LARGEST)?;
    let mut manifest = Manifest::read(&bytes)?;
    let names = store.layout().all_names()?.into_iter();
    let names: Vec<Reference> =
        names.filter(|(_, id)| *id == image.id).map(|(name, _)| name).collect();
    let tag = reference.wanted();
    let registry = reference.registry();
    let path = reference.path();
    let login = Logins::find_or_warn(registry)?;
    let mount = other_repository(&names, reference);
    let mut client = Client::new(settings, registry, &path, Access::Push, login)?;
    if let Some(from) = &mount {
        client = client.and_read(from);
    }
    progress.line(&format!("The push refers to repository [{registry}/{path}]"));
    let mount = mount.as_deref();
    let uploads = Uploads { client: &client, blobs: &blobs, mount };
    let pinned = names.iter().any(|name| name.digest.is_some());
    let layers = all(&uploads, &manifest.layers, pinned, progress)?;
    let quiet = Progress::quiet();
    uploads.send(&manifest.config, &quiet.layer("", 0)).context("configuration")?;
    if layers != manifest.layers {
        manifest.layers = layers;
        bytes = manifest.text()?;
    }
    put_manifest(&client, tag, &image.media_type, &bytes)?;
    let digest = pushed(&store, image, &manifest, &bytes, reference)
        .context("the image was pushed, but this was not recorded")?;
    drop(lease);
    // Remove the layers without compression, unless another image uses them. An error
    // is ignored, because the push has succeeded, and the next change removes these
    // layers.
    let _ = store.lock_and_sweep();
    progress.line(&format!("{tag}: digest: {digest} size: {}", bytes.len()));
    Ok(())
}
// ANCHOR_END: push

// ANCHOR: pushed
/// Record that the image now has the manifest that was pushed, and give it a name with
/// the digest of this manifest. The next push then finds all layers compressed, and a
/// pull finds that the image is up to date.
fn pushed(
    store: &Store,
    mut image: Image,
    manifest: &Manifest,
    bytes: &[u8],
    reference: &Reference,
) -> Result<Digest> {
    let digest = Blobs::of(store.state()).write(bytes)?;
    store.sync()?;
    let _lock = store.layout().lock_exclusive()?;
    // Another process may have removed the image in the meantime.
    if Image::by_id(store.state(), &image.id)?.is_some() {
        image.manifest = digest.clone();
        let layers = manifest.layers.iter();
        image.blobs = layers.map(|layer| layer.digest.clone()).collect();
        store.add(&image, &[reference.with_digest(digest.clone())?])?;
    }
    Ok(digest)
}
// ANCHOR_END: pushed

/// Another repository of the same registry from which the image was pulled, or to which
/// it was pushed.
fn other_repository(names: &[Reference], reference: &Reference) -> Option<String> {
    let mut others = names.iter().filter(|name| {
        name.registry() == reference.registry() && name.path() != reference.path()
    });
    others.next().map(Reference::path)
}

/// Compress the layers, unless they are pinned by a digest, and upload them, several at a
/// time.
fn all(
    uploads: &Uploads,
    layers: &[Descriptor],
    pinned: bool,
    progress: &Progress,
) -> Result<Vec<Descriptor>> {
    let shown = layers.iter().map(|blob| {
        let layer = progress.layer(blob.digest.short(), blob.size);
        layer.say("Preparing");
        (blob, layer)
    });
    let queue = shown.collect::<Vec<_>>().into_iter().enumerate();
    let queue = Mutex::new(queue);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let mut sent = thread::scope(|scope| {
        let work = || -> Result<Vec<(usize, Descriptor)>> {
            let mut sent = Vec::new();
            while let Some((at, (blob, layer))) = next() {
                let blob = match pinned {
                    true => blob.clone(),
                    false => {
                        layer.say_on_bar("Compressing");
                        compressed(uploads.blobs, blob)?
                    }
                };
                uploads.send(&blob, &layer)?;
                sent.push((at, blob));
            }
            Ok(sent)
        };
        let threads: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(work)).collect();
        let results = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let results: Result<Vec<_>> =
            results.collect::<Vec<_>>().into_iter().collect();
        results.map(|all| all.into_iter().flatten().collect::<Vec<_>>())
    })?;
    sent.sort_by_key(|(at, _)| *at);
    Ok(sent.into_iter().map(|(_, blob)| blob).collect())
}

fn put_manifest(client: &Client, tag: &str, kind: &str, bytes: &[u8]) -> Result<()> {
    let request =
        Request::new(Method::PUT, client.url(&format!("manifests/{tag}"))?)
            .with(CONTENT_TYPE, kind);
    client.settings().backoff.retry(|_| {
        let response = client.send(&request, Content::Bytes(bytes))?;
        client.expect(response, "the manifest").map(drop)
    })
}
