//! `pull`: from a name in a registry to an image in the state directory.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ch04_save::{Adder, Allowance, Unpacked};
use ch07_registry::{Access, Client, FetchedManifest, Logins, Settings, fetch};
use common::images::{Digest, HUB, Image, Reference};
use common::state::State;
use common::step::{report, warn};
use oci::{
    Blobs, Config, Descriptor, Document, LARGEST, Manifest, Platform, chain_ids,
    media, sha256,
};

use crate::download::Downloads;
use crate::progress::{Layer, Progress};
use crate::room;

/// How many layers are downloaded at once, as with Docker.
const PARALLEL: usize = 3;

/// The image to pull, and the settings.
#[derive(Clone, Debug)]
pub struct Pulling {
    /// The name.
    pub reference: Reference,
    /// The platform; `None` means the platform of this machine.
    pub platform: Option<Platform>,
    /// The settings of the registry client.
    pub settings: Settings,
}

// ANCHOR: pull
/// Pull an image, unless its newest version is in the store already.
///
/// # Errors
/// There is no such image; access is denied; a file does not match its digest; the disk
/// is full. After an error, no image is created or changed. Complete downloads are kept
/// for the next attempt.
pub fn pull(state: &State, pull: &Pulling, progress: &Progress) -> Result<Image> {
    let reference = &pull.reference;
    // This must come before the start of a second thread: the process of an ordinary
    // user enters a user namespace here.
    let adder = Adder::new(state)?;
    // From here on, no process removes blobs and layers that no image uses yet.
    let _lease = adder.store().layout().lease()?;
    let (client, found) = pull.find(progress)?;
    let named = &found.named;
    let names = names(reference, named)?;
    if let Some(image) = present(state, &names, &found)? {
        let config = Config::read(&Blobs::of(state).read(&image.id, LARGEST)?)?;
        pull.check_platform(&config)?;
        report_status(reference, named, "Image is up to date for", progress);
        return Ok(image);
    }
    let manifest = &found.manifest;
    let blobs = Blobs::of(state);
    let stop = AtomicBool::new(false);
    let downloads = Downloads { client: &client, blobs: &blobs, stop: &stop };
    let config = pull.config(&downloads, manifest)?;
    room::check(state, &blobs, &manifest.layers)?;
    let unpacked = layers(&adder, &downloads, manifest, &config, progress)?;
    let source = format!("{}/{}", client.registry(), client.repository());
    let (bytes, kind) = (&found.bytes, &found.media_type);
    let image = adder.add(bytes, kind, &names, &source, unpacked)?;
    report_status(reference, named, "Downloaded newer image for", progress);
    Ok(image)
}
// ANCHOR_END: pull

/// The names under which the image is found: with its tag, and with its digest.
fn names(reference: &Reference, named: &Digest) -> Result<Vec<Reference>> {
    let digest = reference.with_digest(named.clone())?;
    let tag = reference.digest.is_none().then(|| reference.clone());
    Ok(tag.into_iter().chain([digest]).collect())
}

/// The image, if all these names belong to it and it has this manifest already.
fn present(
    state: &State,
    names: &[Reference],
    found: &FetchedManifest,
) -> Result<Option<Image>> {
    let manifest = sha256(&found.bytes);
    let mut image = None;
    for name in names {
        match Image::find(state, name)? {
            Some(it) if it.manifest == manifest => image = Some(it),
            _ => return Ok(None),
        }
    }
    Ok(image)
}

fn report_status(
    reference: &Reference,
    named: &Digest,
    status: &str,
    progress: &Progress,
) {
    progress.line(&format!("Digest: {named}"));
    progress.line(&format!("Status: {status} {reference}"));
}

impl Pulling {
    /// The manifest, and a client of the registry that has it. For an image of Docker
    /// Hub, the mirror is asked first.
    fn find(&self, progress: &Progress) -> Result<(Client, FetchedManifest)> {
        let reference = &self.reference;
        let path = reference.path();
        let wanted = reference.wanted();
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        let begins = || progress.line(&format!("{wanted}: Pulling from {path}"));
        let what = reference.to_string();
        let hub = reference.registry() == HUB;
        if let Some(mirror) = self.settings.mirror.as_ref().filter(|_| hub) {
            let client = Client::of_mirror(&self.settings, mirror, &path);
            match fetch(&client, &what, wanted, &platform) {
                Ok(found) => {
                    begins();
                    return Ok((client, found));
                }
                Err(error) => warn(&format!(
                    "the mirror {mirror} is not used: {}",
                    report(&error)
                )),
            }
        }
        let login = Logins::find_or_warn(reference.registry())?;
        let registry = reference.registry();
        let client =
            Client::new(&self.settings, registry, &path, Access::Pull, login)?;
        let found = fetch(&client, &what, wanted, &platform)?;
        begins();
        Ok((client, found))
    }

    /// The configuration, and the checks that need it.
    fn config(&self, downloads: &Downloads, manifest: &Manifest) -> Result<Config> {
        let blob = &manifest.config;
        let what = &self.reference;
        ensure!(
            media::is_config(&blob.media_type),
            "{what} is not a container image: its configuration is of the type {}",
            blob.media_type.escape_debug()
        );
        ensure!(
            blob.size <= LARGEST,
            "{what}: the configuration has {} bytes, and the limit is {LARGEST}",
            blob.size
        );
        let quiet = Progress::quiet();
        downloads.fetch(blob, &quiet.layer("", 0)).context("configuration")?;
        let config = Config::read(&downloads.blobs.read(&blob.digest, LARGEST)?)
            .with_context(|| format!("{what}: configuration"))?;
        let (layers, diff_ids) =
            (manifest.layers.len(), config.rootfs.diff_ids.len());
        ensure!(
            layers == diff_ids,
            "{what}: the manifest has {layers} layers, but the configuration has \
             {diff_ids}"
        );
        ensure!(layers > 0, "{what}: the image has no layers");
        for layer in &manifest.layers {
            ensure!(
                media::is_layer(&layer.media_type),
                "{what}: unknown type of layer: {}",
                layer.media_type.escape_debug()
            );
        }
        self.check_platform(&config)?;
        Ok(config)
    }

    /// Check the platform of an image without an index. It has only one platform, and
    /// only its configuration states which one.
    fn check_platform(&self, config: &Config) -> Result<()> {
        let own = config.platform();
        let wanted = self.platform.clone().unwrap_or_else(Platform::host);
        if wanted.fits(&own).is_some() {
            return Ok(());
        }
        let text =
            format!("{} is an image for {own}, not for {wanted}", self.reference);
        match self.platform {
            Some(_) => bail!("{text}"),
            None => warn(&text),
        }
        Ok(())
    }
}

// ANCHOR: layers
/// Download the layers, several at a time, and unpack them in their order. A layer is
/// unpacked while the next ones are downloaded.
fn layers(
    adder: &Adder,
    downloads: &Downloads,
    manifest: &Manifest,
    config: &Config,
    progress: &Progress,
) -> Result<Vec<Unpacked>> {
    let (blobs, diff_ids) = (&manifest.layers, &config.rootfs.diff_ids);
    let shown: Vec<Layer> = blobs
        .iter()
        .map(|blob| {
            let layer = progress.layer(blob.digest.short(), blob.size);
            layer.say("Pulling fs layer");
            layer
        })
        .collect();
    let (sender, results) = channel();
    let next = AtomicUsize::new(0);
    let chain = chain_ids(diff_ids);
    let mut all = Vec::new();
    let mut allowance = Allowance::of(blobs);
    let done = thread::scope(|scope| {
        for _ in 0..PARALLEL.min(blobs.len()) {
            let (sender, next, shown) = (sender.clone(), &next, &shown);
            scope
                .spawn(move || download_all(downloads, blobs, shown, next, &sender));
        }
        drop(sender);
        let unpacked = unpack_in_order(&results, blobs.len(), |at| {
            shown[at].say_on_bar("Extracting");
            let (blob, diff_id) = (&blobs[at], &diff_ids[at]);
            all.extend(adder.unpack(blob, diff_id, &chain[at], &mut allowance)?);
            shown[at].end("Pull complete");
            Ok(())
        });
        // After an error, each download thread ends before its next read.
        downloads.stop.store(unpacked.is_err(), Ordering::Relaxed);
        unpacked
    });
    done.map(|()| all)
}
// ANCHOR_END: layers

/// Download the next blob that no thread has taken, until none is left.
fn download_all(
    downloads: &Downloads,
    blobs: &[Descriptor],
    shown: &[Layer],
    next: &AtomicUsize,
    results: &Sender<(usize, Result<()>)>,
) {
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(blob) = blobs.get(at) else { return };
        let layer = &shown[at];
        let done = match downloads.blobs.has(&blob.digest, blob.size) {
            true => {
                layer.end("Already exists");
                Ok(())
            }
            false => {
                layer.transfers("Downloading", blob.size);
                let done = downloads.fetch(blob, layer);
                if done.is_ok() {
                    layer.say("Download complete");
                }
                done
            }
        };
        let failed = done.is_err();
        // After an error of another layer, the receiver is gone.
        if results.send((at, done)).is_err() || failed {
            return;
        }
    }
}

/// Call `unpack` for each layer, the lowest first, as soon as the layer and all layers
/// below it have arrived.
fn unpack_in_order(
    results: &std::sync::mpsc::Receiver<(usize, Result<()>)>,
    count: usize,
    mut unpack: impl FnMut(usize) -> Result<()>,
) -> Result<()> {
    let mut arrived = vec![false; count];
    let mut next = 0;
    while next < count {
        let (at, done) =
            results.recv().map_err(|_| anyhow!("a download was lost"))?;
        done?;
        arrived[at] = true;
        while arrived.get(next) == Some(&true) {
            unpack(next)?;
            next += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn layers_are_unpacked_in_order_however_they_arrive() {
        let (sender, results) = channel();
        for at in [2, 0, 3, 1] {
            sender.send((at, Ok(()))).unwrap();
        }
        let seen = RefCell::new(Vec::new());
        let unpack = |at| {
            seen.borrow_mut().push(at);
            Ok(())
        };
        unpack_in_order(&results, 4, unpack).unwrap();
        assert_eq!(seen.into_inner(), [0, 1, 2, 3]);
    }

    #[test]
    fn the_first_error_ends_the_pull() {
        let (sender, results) = channel();
        sender.send((1, Ok(()))).unwrap();
        sender.send((0, Err(anyhow!("broken")))).unwrap();
        let error =
            unpack_in_order(&results, 2, |_| panic!("unpacked")).unwrap_err();
        assert_eq!(error.to_string(), "broken");
        drop(sender);
        assert!(unpack_in_order(&results, 1, |_| Ok(())).is_err());
    }
}
