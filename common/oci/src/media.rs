//! Media types: the formats of blobs.
//!
//! # Source
//! OCI image specification, media-types.md; Docker's types are in the distribution
//! project, manifest-v2-2

/// A manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An index: manifests for several platforms.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// A configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer as a tar.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer as a tar, compressed by gzip.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer as a tar, compressed by zstd.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// Docker's manifest.
pub const DOCKER_MANIFEST: &str =
    "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's index.
pub const DOCKER_LIST: &str =
    "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's layer, compressed by gzip.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Docker's layer without compression, which other tools push.
const DOCKER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker's layer, compressed by zstd, which other tools push.
const DOCKER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// The documents to which the name of an image may lead: manifests and indexes.
pub const DOCUMENTS: [&str; 4] = [MANIFEST, DOCKER_MANIFEST, INDEX, DOCKER_LIST];

/// Whether this is a manifest.
#[must_use]
pub fn is_manifest(media_type: &str) -> bool {
    [MANIFEST, DOCKER_MANIFEST].contains(&media_type)
}

/// Whether this is an index.
#[must_use]
pub fn is_index(media_type: &str) -> bool {
    [INDEX, DOCKER_LIST].contains(&media_type)
}

/// Whether this is the configuration of a container image. A registry also keeps other
/// things, which have the same manifests.
#[must_use]
pub fn is_config(media_type: &str) -> bool {
    [CONFIG, DOCKER_CONFIG].contains(&media_type)
}

/// Whether this is a layer that can be unpacked.
#[must_use]
pub fn is_layer(media_type: &str) -> bool {
    let known =
        [LAYER, LAYER_GZIP, LAYER_ZSTD, DOCKER_LAYER, DOCKER_TAR, DOCKER_ZSTD];
    known.contains(&media_type)
}

/// The media type that a layer without compression has after a compression by gzip;
/// `None` if it is compressed already.
#[must_use]
pub fn compressed(media_type: &str) -> Option<&'static str> {
    match media_type {
        LAYER => Some(LAYER_GZIP),
        DOCKER_TAR => Some(DOCKER_LAYER),
        _ => None,
    }
}
