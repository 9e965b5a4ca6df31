//! `save`: write images as an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use ch04_image::Store;
use ch04_tar::compression::{self, Compression};
use common::cli::slow::Counted;
use common::images::{Digest, Image, Reference};
use common::step::Step;
use oci::{Blobs, Descriptor, Document, Index, LARGEST, Manifest, media};
use tar::{Builder, EntryType, Header};

use crate::legacy::{self, Entry};
use crate::load::NAMES;

// ANCHOR: save
/// Write images as an archive: an OCI image layout, with the list that `docker load`
/// needs. The same images always give the same bytes. If `to` is `-`, the archive goes
/// to standard output.
///
/// # Errors
/// There is no such image; `to` is a terminal, or has the extension of a compression
/// that is not supported; a blob is missing; write(2) fails.
pub fn save(store: &Store, images: &[String], to: &Path) -> Result<()> {
    let method = Compression::by_extension(to)?;
    // No blob is removed until the archive is complete. The lock on the images would
    // block other commands for as long as the reader of a pipe needs.
    let lease = store.layout().lease()?;
    let contents = Contents::new(store, images)?;
    compression::file(to, |out| {
        compression::compress(method, out, |out| contents.write(out))
    })?;
    drop(lease);
    // Another command may have left files because of our lease. Remove them now. An
    // error is ignored, because the next change tries again.
    let _ = store.lock_and_sweep();
    Ok(())
}
// ANCHOR_END: save

/// What an archive contains.
struct Contents {
    blobs: Blobs,
    /// Digests and sizes.
    files: BTreeMap<Digest, u64>,
    index: Index,
    list: Vec<Entry>,
}

impl Contents {
    fn new(store: &Store, images: &[String]) -> Result<Contents> {
        let index = Index {
            schema_version: 2,
            media_type: Some(media::INDEX.to_owned()),
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
            other: serde_json::Map::new(),
        };
        let blobs = Blobs::of(store.state());
        let mut all =
            Contents { blobs, files: BTreeMap::new(), index, list: Vec::new() };
        let mut named: BTreeMap<Digest, (Image, BTreeSet<Reference>)> =
            BTreeMap::new();
        for text in images {
            let (name, image) = store.resolve(text)?;
            let entry = named.entry(image.id.clone());
            let (_, names) = entry.or_insert((image, BTreeSet::new()));
            names.extend(name.filter(|name| name.tag.is_some()));
        }
        for (image, names) in named.into_values() {
            all.add(&image, &names)?;
        }
        Ok(all)
    }

    fn add(&mut self, image: &Image, names: &BTreeSet<Reference>) -> Result<()> {
        let text = self.blobs.read(&image.manifest, LARGEST)?;
        let manifest = Manifest::read(&text)?;
        let size = text.len() as u64;
        self.files.insert(image.manifest.clone(), size);
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            self.files.insert(blob.digest.clone(), blob.size);
        }
        let mut entry =
            Descriptor::new(&image.media_type, image.manifest.clone(), size);
        for name in names {
            let tag = name.tag.clone().unwrap_or_default();
            let whole = format!("{}/{}:{tag}", name.registry(), name.path());
            for (key, value) in NAMES.iter().zip([whole, name.to_string()]) {
                entry.annotations.insert((*key).to_owned(), value);
            }
            self.index.manifests.push(entry.clone());
        }
        if names.is_empty() {
            self.index.manifests.push(entry);
        }
        let path = |digest: &Digest| format!("{DIRECTORY}{}", digest.hex());
        self.list.push(Entry {
            config: path(&image.id),
            repo_tags: Some(names.iter().map(Reference::to_string).collect()),
            layers: image.blobs.iter().map(path).collect(),
        });
        Ok(())
    }

    fn write(&self, out: &mut dyn Write) -> Result<()> {
        let mut tar = Builder::new(out);
        let mut add = |name: &str, size: u64, data: &mut dyn Read| -> Result<()> {
            let mut header = Header::new_ustar();
            let (kind, mode) = match name.ends_with('/') {
                true => (EntryType::Directory, 0o755),
                false => (EntryType::Regular, 0o644),
            };
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(size);
            let added = tar.append_data(&mut header, name, data);
            added.step(|| format!("write(2) {name} to the archive"))
        };
        let list = serde_json::to_vec(&self.list)?;
        for (name, text) in [
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json", self.index.text()?),
            (legacy::FILE, list),
            ("blobs/", Vec::new()),
            (DIRECTORY, Vec::new()),
        ] {
            add(name, text.len() as u64, &mut &text[..])?;
        }
        for (digest, size) in &self.files {
            let name = format!("{DIRECTORY}{}", digest.hex());
            let file = self.blobs.open(digest).context("the image is damaged")?;
            add(&name, *size, &mut Counted(file))?;
        }
        tar.into_inner().and_then(|out| out.flush()).step(|| "write(2) the archive")
    }
}

/// The directory of the blobs.
const DIRECTORY: &str = "blobs/sha256/";
