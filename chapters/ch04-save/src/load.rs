//! `load`: images from an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use ch04_image::Listed;
use ch04_tar::compression::Compression;
use common::images::Reference;
use oci::{Descriptor, Document, Index, Manifest, Platform, media};

use crate::add::Adder;
use crate::archive::Archive;
use crate::legacy::{self, Entry};

/// The annotations with an image's name: containerd's has the whole name; OCI's has the
/// whole name or only the tag.
///
/// # Source
/// OCI image specification, annotations.md; containerd, "AnnotationImageName"
pub(crate) const NAMES: [&str; 2] =
    ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// An image in an archive: its manifest, the media type, its names.
type FoundImage = (Vec<u8>, String, Vec<Reference>);

// ANCHOR: load
/// Add all images of an archive: an OCI image layout, or an archive of `docker save`. With
/// a name, the archive must contain one image, which gets that name. Returns the images,
/// each with the names that it got.
///
/// # Errors
/// The input is not an archive of images, is damaged, or is not trustworthy; an image
/// has no name; the disk is full; another system call fails.
pub fn load(
    adder: &Adder,
    from: impl Read + Send,
    source: &str,
    name: Option<&Reference>,
) -> Result<Vec<Listed>> {
    let archive = Archive::unpack(adder.store(), from)?;
    let legacy = archive.text(legacy::FILE)?;
    let entries = legacy.as_deref().map_or(Ok(Vec::new()), Entry::read)?;
    let found = match archive.text("index.json")? {
        Some(index) => oci_images(&archive, &Index::read(&index)?, &entries)?,
        None if legacy.is_some() => legacy_images(&archive, &entries)?,
        None => bail!(
            "it has neither an index.json nor a manifest.json, so it is not an archive of \
             images: use `import` to make an image of a root filesystem"
        ),
    };
    ensure!(!found.is_empty(), "it has no image for this machine");
    ensure!(
        name.is_none() || found.len() == 1,
        "it has {} images: --name requires an archive with one image",
        found.len()
    );
    let mut images = Vec::new();
    for (manifest, media_type, names) in &found {
        let names = name.map_or(&**names, std::slice::from_ref);
        ensure!(
            !names.is_empty(),
            "an image of the archive has no name: add --name"
        );
        let image = adder.add(manifest, media_type, names, source, Vec::new())?;
        images.push(Listed { image, names: names.to_vec() });
    }
    Ok(images)
}
// ANCHOR_END: load

/// The images of an OCI image layout.
fn oci_images(
    archive: &Archive,
    index: &Index,
    entries: &[Entry],
) -> Result<Vec<FoundImage>> {
    let mut found: Vec<FoundImage> = Vec::new();
    for entry in &index.manifests {
        let Some((text, media_type)) = manifest(archive, entry)? else { continue };
        let manifest = Manifest::read(&text)?;
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            let (digest, ..) = archive.blob(&path(blob))?;
            ensure!(
                digest == blob.digest,
                "the blob {} of the archive is damaged: its digest is {digest}",
                blob.digest
            );
        }
        let mut names = BTreeSet::new();
        let config = manifest.config.digest.hex();
        for entry in entries.iter().filter(|entry| entry.config.contains(config)) {
            names.extend(tags(entry)?);
        }
        names.extend(annotated(&entry.annotations, names.is_empty()));
        // An image with several names has one entry for each name.
        match found.iter_mut().find(|(known, ..)| *known == text) {
            Some((_, _, known)) => known.extend(names),
            None => found.push((text, media_type, names.into_iter().collect())),
        }
    }
    Ok(found)
}

/// The names in an entry's annotations. OCI's annotation is a tag ("latest", "1.2") or a
/// name without a tag ("busybox"). Such a word is taken as a name only if the image is
/// `nameless` without it, and if it is not "latest" and starts with a letter.
fn annotated(
    notes: &BTreeMap<String, String>,
    nameless: bool,
) -> BTreeSet<Reference> {
    let named =
        |name: &String| Some(name.parse::<Reference>().ok()?.with_default_tag());
    let given = NAMES.iter().filter_map(|key| notes.get(*key));
    let (whole, words): (Vec<&String>, Vec<&String>) =
        given.partition(|name| name.contains([':', '/']));
    let mut names: BTreeSet<Reference> =
        whole.into_iter().filter_map(named).collect();
    if nameless && names.is_empty() {
        let is_name = |word: &&String| {
            *word != "latest" && word.starts_with(|c: char| c.is_ascii_alphabetic())
        };
        names.extend(words.into_iter().filter(is_name).filter_map(named));
    }
    names
}

/// The manifest of an entry. If the entry is an index, the index's manifest for this
/// machine.
fn manifest(
    archive: &Archive,
    entry: &Descriptor,
) -> Result<Option<(Vec<u8>, String)>> {
    let text = archive.text(&path(entry))?;
    let text = text.with_context(|| format!("blob {} is missing", entry.digest))?;
    let found = oci::sha256(&text);
    ensure!(
        found == entry.digest,
        "the blob {} of the archive is damaged: its digest is {found}",
        entry.digest
    );
    if media::is_manifest(&entry.media_type) {
        return Ok(Some((text, entry.media_type.clone())));
    }
    if !media::is_index(&entry.media_type) {
        return Ok(None);
    }
    match Index::read(&text)?.choose(&Platform::host()) {
        Some(entry) => manifest(archive, entry),
        None => Ok(None),
    }
}

fn path(blob: &Descriptor) -> String {
    format!("blobs/sha256/{}", blob.digest.hex())
}

/// The images in a list of `docker save`. Their layers become blobs.
fn legacy_images(archive: &Archive, entries: &[Entry]) -> Result<Vec<FoundImage>> {
    let found = entries.iter().map(|entry| -> Result<FoundImage> {
        let (digest, size, _) = archive.blob(&entry.config)?;
        let config = Descriptor::new(media::CONFIG, digest, size);
        let layers: Result<Vec<Descriptor>> = entry
            .layers
            .iter()
            .map(|layer| {
                let (digest, size, head) = archive.blob(layer)?;
                let media_type = match Compression::detect(&head)? {
                    Compression::Plain => media::LAYER,
                    Compression::Gzip => media::LAYER_GZIP,
                    Compression::Zstd => media::LAYER_ZSTD,
                };
                Ok(Descriptor::new(media_type, digest, size))
            })
            .collect();
        let manifest = Manifest::new(config, layers?);
        Ok((manifest.text()?, media::MANIFEST.to_owned(), tags(entry)?))
    });
    found.collect()
}

fn tags(entry: &Entry) -> Result<Vec<Reference>> {
    let tags = entry.repo_tags.iter().flatten();
    tags.map(|tag| Ok(tag.parse::<Reference>()?.with_default_tag())).collect()
}
