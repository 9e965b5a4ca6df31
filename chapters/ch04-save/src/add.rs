//! Adding an image from an archive or a registry: its layers are checked and unpacked,
//! and then the image gets its names.

use anyhow::{Context, Result, ensure};
use ch04_commit::{Draft, become_root};
use ch04_image::Store;
use ch04_tar::compression::decompress;
use common::archive::{Keep, OPAQUE_ATTRIBUTES, unpack_stream};
use common::images::{Digest, Image, Reference, tree_size};
use common::state::State;
use oci::{
    Blobs, Config, Descriptor, Document, Hashing, LARGEST, Manifest, chain_ids,
    media, record, sha256,
};

use crate::allowance::Allowance;

/// Adds images whose blobs are in the store already.
#[derive(Clone, Debug)]
pub struct Adder {
    store: Store,
    user_namespace: bool,
}

/// An unpacked layer that no image uses yet. Its directory is removed when this value
/// is dropped.
#[derive(Debug)]
pub struct Unpacked {
    chain_id: Digest,
    draft: Draft,
}

impl Adder {
    /// An adder for this state directory. The process must have only one thread,
    /// because the process of an ordinary user enters a user namespace here.
    ///
    /// # Errors
    /// An older version created the images; mkdir(2) or chmod(2) fails; the user
    /// namespace cannot be read.
    pub fn new(state: &State) -> Result<Adder> {
        let user_namespace = become_root()?;
        Ok(Adder { store: Store::open(state)?, user_namespace })
    }

    /// The images.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    // ANCHOR: unpack
    /// Unpack a layer whose blob is in the store; `None` if the layer is unpacked
    /// already.
    ///
    /// # Errors
    /// The blob is not a tar archive, or is not trustworthy; it exceeds the
    /// allowance; the digest of the uncompressed layer is not `diff_id`; the disk is
    /// full; another system call fails.
    pub fn unpack(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
        chain_id: &Digest,
        allowance: &mut Allowance,
    ) -> Result<Option<Unpacked>> {
        if self.store.state().layers().join(chain_id.hex()).is_dir() {
            return Ok(None);
        }
        let draft = Draft::begin(&self.store)?;
        let blob = Blobs::of(self.store.state()).open(&layer.digest)?;
        let keep = Keep {
            owners: !self.user_namespace,
            attributes: true,
            whiteouts: Some(OPAQUE_ATTRIBUTES[usize::from(self.user_namespace)]),
        };
        decompress(blob, |tar| {
            let mut tar = Hashing::new(allowance.limit(tar));
            unpack_stream(&mut tar, &draft.path, keep)?;
            let (_, found, _) = tar.finish();
            ensure!(
                found == *diff_id,
                "the digest of the uncompressed layer is {found}, expected {diff_id}: \
                 the image is damaged"
            );
            Ok(())
        })
        .with_context(|| format!("unpack layer {}", layer.digest))?;
        Ok(Some(Unpacked { chain_id: chain_id.clone(), draft }))
    }
    // ANCHOR_END: unpack

    /// Add the image with this manifest, and give it these names. Its blobs are in the
    /// store, or are complete downloads. Missing layers are unpacked; `layers` has the
    /// layers that the caller has unpacked already.
    ///
    /// # Errors
    /// A blob is missing or damaged; [`Adder::unpack`], write(2) or rename(2) fails.
    /// After an error, no image is added.
    pub fn add(
        &self,
        manifest_text: &[u8],
        media_type: &str,
        names: &[Reference],
        source: &str,
        mut layers: Vec<Unpacked>,
    ) -> Result<Image> {
        ensure!(
            media::is_manifest(media_type),
            "a manifest of type {media_type:?} is not supported"
        );
        let blobs = Blobs::of(self.store.state());
        // From here on, no sweep removes the blobs and layers of this image.
        let lease = self.store.layout().lease()?;
        let manifest = Manifest::read(manifest_text)?;
        let config = Config::read(&blobs.read(&manifest.config.digest, LARGEST)?)?;
        let mut image = record(sha256(manifest_text), &manifest, &config)?;
        media_type.clone_into(&mut image.media_type);
        source.clone_into(&mut image.source);

        let diff_ids = &config.rootfs.diff_ids;
        let chain = chain_ids(diff_ids);
        let mut allowance = Allowance::of(&manifest.layers);
        for ((layer, diff_id), chain_id) in
            manifest.layers.iter().zip(diff_ids).zip(&chain)
        {
            if !layers.iter().any(|unpacked| unpacked.chain_id == *chain_id) {
                let new = self.unpack(layer, diff_id, chain_id, &mut allowance)?;
                layers.extend(new);
            }
            blobs.adopt(&layer.digest, layer.size)?;
        }
        blobs.adopt(&manifest.config.digest, manifest.config.size)?;
        blobs.write(manifest_text)?;
        self.store.sync()?;

        let _lock = self.store.layout().lock_exclusive()?;
        // An image that is in the store already keeps its origin, even if it gets
        // another name.
        if let Ok(Some(known)) = Image::by_id(self.store.state(), &image.id) {
            (image.source, image.created) = (known.source, known.created);
        }
        for Unpacked { chain_id, draft } in &layers {
            self.store.place_layer(&draft.path, chain_id.hex())?;
        }
        for layer in image.directories(self.store.state()) {
            image.size += tree_size(&layer)?;
        }
        let added = self.store.add(&image, names);
        drop((layers, lease));
        // An error of the sweep is ignored: the next change sweeps again.
        let _ = self.store.sweep();
        added.map(|()| image)
    }
}
