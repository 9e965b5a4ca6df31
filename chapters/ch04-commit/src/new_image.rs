//! An image that is being created: the layers of another image, and a new layer
//! above them.

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

/// All data of a new image except its topmost layer.
#[derive(Debug)]
pub struct NewImage {
    /// Its name.
    pub name: Reference,
    /// Whether it is an error if the name is already in use.
    pub no_replace: bool,
    /// The configuration, with the layers below.
    pub config: Config,
    /// The blobs of the layers below, lowest first.
    pub below: Vec<Descriptor>,
    /// The command that created the topmost layer.
    pub created_by: String,
    /// The origin of the image, as text for the user.
    pub source: String,
    /// The size of all files of all layers, in bytes.
    pub size: u64,
}

impl NewImage {
    /// Create an image without layers.
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
    /// The name is reserved for busybox; or it is already in use and `no_replace` is
    /// set.
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
    /// Make the draft the topmost layer, and give the image its name. An image that
    /// had this name before is removed if it has no other name and no container uses
    /// it.
    ///
    /// # Errors
    /// An errno of write(2), syncfs(2), rename(2) or fsync(2). After an error, no
    /// image exists.
    pub fn publish(self, store: &Store, draft: Draft) -> Result<Image> {
        let image = self.write_blobs(store, &draft)?;
        // Everything is on the disk before a name leads to it.
        store.sync()?;
        let _lock = store.layout().lock_exclusive()?;
        self.check_name(store)?;
        let added = store
            .place_layer(&draft.path, &image.layers[0])
            .and_then(|()| store.add(&image, std::slice::from_ref(&self.name)));
        drop(draft);
        // Sweep, because the layers of the earlier image may be unused now, or the
        // new layer if the name was not written. An error of the sweep is ignored:
        // the error of `added` is the one to report.
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

/// Refuse the name of the image that is fetched automatically.
///
/// # Errors
/// The name is `busybox`.
pub fn refuse_busybox(name: &Reference) -> Result<()> {
    if *name == busybox::reference()? {
        bail!(
            "the name busybox is reserved for the image that this program \
             downloads: choose another name"
        );
    }
    Ok(())
}
