//! `push`: from an image in the state directory to a name in a registry.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use anyhow::{Context, Result};
use ch04_image::Store;
use ch07_registry::{Access, Client, Content, Logins, Request, Settings};
use common::images::{Image, Reference};
use common::state::State;
use oci::{Blobs, Descriptor, Document, LARGEST, Manifest};
use ureq::http::Method;
use ureq::http::header::CONTENT_TYPE;

use crate::progress::Progress;
use crate::upload::Uploads;

/// How many blobs are uploaded at once.
const PARALLEL: usize = 3;

// ANCHOR: push
/// Push the image of this name. The blobs go first and the manifest last, so the registry
/// never has an incomplete image.
///
/// # Errors
/// There is no such image; no right to write; the registry refuses a blob.
pub fn push(
    state: &State,
    reference: &Reference,
    settings: &Settings,
    progress: &Progress,
) -> Result<()> {
    let store = Store::open(state)?;
    let blobs = Blobs::of(state);
    // The image stays until it has been pushed.
    let _hold = store.layout().hold()?;
    let image = Image::find(state, reference)?.with_context(|| {
        format!("there is no image {reference}: give it this name with `tag` first")
    })?;
    let bytes = blobs.read(&image.manifest, LARGEST)?;
    let manifest = Manifest::read(&bytes)?;
    let tag = reference.wanted();
    let registry = reference.registry();
    let path = reference.path();
    let login = Logins::open()?.find(registry)?;
    let mount = other_repository(&store, &image, reference)?;
    let mut client = Client::new(settings, registry, &path, Access::Push, login)?;
    if let Some(from) = &mount {
        client = client.and_read(from);
    }
    progress.line(&format!("The push refers to repository [{registry}/{path}]"));
    let mount = mount.as_deref();
    let uploads = Uploads { client: &client, blobs: &blobs, mount };
    all(&uploads, &manifest.layers, progress)?;
    let quiet = Progress::quiet();
    uploads.send(&manifest.config, &quiet.layer("", 0)).context("configuration")?;
    put_manifest(&client, tag, &image.media_type, &bytes)?;
    let (digest, size) = (&image.manifest, bytes.len());
    progress.line(&format!("{tag}: digest: {digest} size: {size}"));
    Ok(())
}
// ANCHOR_END: push

/// Another repository of the same registry from which the image was pulled, or to which
/// it was pushed.
fn other_repository(
    store: &Store,
    image: &Image,
    reference: &Reference,
) -> Result<Option<String>> {
    let names = store.layout().all_names()?.into_iter();
    let mut others = names.filter(|(name, id)| {
        *id == image.id
            && name.registry() == reference.registry()
            && name.path() != reference.path()
    });
    Ok(others.next().map(|(name, _)| name.path()))
}

/// Upload all layers, several at a time.
fn all(uploads: &Uploads, layers: &[Descriptor], progress: &Progress) -> Result<()> {
    let shown = layers.iter().map(|blob| {
        let layer = progress.layer(blob.digest.short(), blob.size);
        layer.say("Preparing");
        (blob, layer)
    });
    let queue = Mutex::new(shown.collect::<Vec<_>>().into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        let work = || -> Result<()> {
            while let Some((blob, layer)) = next() {
                uploads.send(blob, &layer)?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(work)).collect();
        let results = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        results.collect::<Vec<_>>().into_iter().collect()
    })
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
