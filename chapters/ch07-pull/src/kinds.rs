//! The media types of what an image may contain.

use oci::media::{
    CONFIG, DOCKER_CONFIG, DOCKER_LAYER, LAYER, LAYER_GZIP, LAYER_ZSTD,
};

/// Layers of Docker's kind without compression, and by zstd, which other tools push.
const DOCKER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";
const DOCKER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// Whether this is the configuration of a container image. A registry also keeps other
/// things, which have the same manifests.
pub(crate) fn is_config(media_type: &str) -> bool {
    [CONFIG, DOCKER_CONFIG].contains(&media_type)
}

/// Whether this is a layer that can be unpacked.
pub(crate) fn is_layer(media_type: &str) -> bool {
    let known =
        [LAYER, LAYER_GZIP, LAYER_ZSTD, DOCKER_LAYER, DOCKER_TAR, DOCKER_ZSTD];
    known.contains(&media_type)
}
