//! An image that is being made: layers of another image, and a new one above them.

use anyhow::{Result, bail};
use ch04_image::Store;
use common::archive::pack_layer;
use common::hints;
use common::images::{Digest, Image, Reference, now};
use common::step::Hint;
use oci::{
    Blobs, Config, Descriptor, Document, History, LARGEST, Manifest, media, record,
};
use provision::busybox;

use crate::draft::Draft;

/// What an image will be, but for its topmost layer.
#[derive(Debug)]
pub struct NewImage {
    /// Its name.
    pub name: Reference,
    /// The name must not be in use.
    pub no_replace: bool,
    /// The configuration, with the layers below.
    pub config: Config,
    /// The blobs of the layers below, the lowest first.
    pub below: Vec<Descriptor>,
    /// How the topmost layer was made.
    pub created_by: String,
    /// Where the image comes from, for the reader.
    pub source: String,
    /// Bytes of all files of all layers.
    pub size: u64,
}

impl NewImage {
    /// An image without layers.
    #[must_use]
    pub fn new(name: Reference, source: String) -> NewImage {
        NewImage {
            name,
            no_replace: false,
            config: Config::new(),
            below: Vec::new(),
            created_by: String::new(),
            source,
            size: 0,
        }
    }

    /// Begin with the configuration and the layers of an image.
    ///
    /// # Errors
    /// A blob is missing or damaged.
    pub fn above(&mut self, store: &Store, image: &Image) -> Result<()> {
        let blobs = Blobs::of(store.state());
        let text = blobs.read(&image.manifest, LARGEST)?;
        self.below = Manifest::read(&text)?.layers;
        self.config = Config::read(&blobs.read(&image.id, LARGEST)?)?;
        Ok(())
    }

    /// Check that the name may be used.
    ///
    /// # Errors
    /// It is busybox's; it is in use, and must not be replaced.
    pub fn check_name(&self, store: &Store) -> Result<()> {
        refuse_busybox(&self.name)?;
        if self.no_replace
            && let Some(image) = Image::find(store.state(), &self.name)?
        {
            bail!(
                "the name {} is already in use by image {}: choose another name, or \
                 leave out --no-replace",
                self.name.short(),
                image.id.short()
            );
        }
        Ok(())
    }

    // ANCHOR: publish
    /// The draft becomes the topmost layer. The image that had the name before is
    /// removed, if it has no other name and no container uses it.
    ///
    /// # Errors
    /// Those of write(2), syncfs(2), rename(2) and fsync(2). No image is made then.
    pub fn publish(self, store: &Store, draft: Draft) -> Result<Image> {
        let image = self.write_blobs(store, &draft)?;
        // Everything is on the disk before a name leads to it.
        store.sync()?;
        let _change = store.layout().change()?;
        self.check_name(store)?;
        let added = store
            .place_layer(&draft.path, &image.layers[0])
            .and_then(|()| store.add(&image, std::slice::from_ref(&self.name)));
        drop(draft);
        // The layers that the name meant before may be unused now; or the new one, if the
        // name was not written. An error of the write is reported before one of the
        // sweep.
        let _ = store.sweep();
        added.map(|()| image)
    }
    // ANCHOR_END: publish

    // ANCHOR: blobs
    /// Write the layer, the configuration and the manifest as blobs.
    fn write_blobs(&self, store: &Store, draft: &Draft) -> Result<Image> {
        let blobs = Blobs::of(store.state());
        let mut tar = blobs.writer()?;
        pack_layer(&draft.path, &mut tar).hint(hints::state)?;
        let (diff_id, size) = tar.finish()?;

        let created = Some(oci::time(now())?);
        let mut config = self.config.clone();
        config.created.clone_from(&created);
        // Uncompressed: the digest of the blob is the digest of the tar.
        config.rootfs.diff_ids.push(diff_id.clone());
        let created_by = self.created_by.clone();
        config.history.push(History { created, created_by, ..History::default() });
        let config_text = config.text()?;
        let id = blobs.write(&config_text)?;

        let mut layers = self.below.clone();
        layers.push(Descriptor::new(media::LAYER, diff_id, size));
        let config_size = config_text.len() as u64;
        let about_config = Descriptor::new(media::CONFIG, id, config_size);
        let manifest = Manifest::new(about_config, layers);
        let digest: Digest = blobs.write(&manifest.text()?)?;
        let image = record(digest, &manifest, &config)?;
        let (source, name) = (self.source.clone(), self.name.short());
        Ok(Image { name, source, size: self.size, ..image })
    }
    // ANCHOR_END: blobs
}

/// Refuse the name of the image that is fetched when it is missing.
///
/// # Errors
/// It is that name.
pub fn refuse_busybox(name: &Reference) -> Result<()> {
    if *name == busybox::reference()? {
        bail!("busybox is the image that fetches itself: choose another name");
    }
    Ok(())
}
