//! Images as OCI describes them: blobs, which are named by their SHA-256, and three kinds
//! of JSON documents among them.
//!
//! ```text
//! index     the manifests of an image, one per platform
//! manifest  the blobs of an image: one configuration, and the layers
//! config    how a container is started, and the digests of the unpacked layers
//! ```
//!
//! # Source
//! OCI image specification, <https://github.com/opencontainers/image-spec>

#![forbid(unsafe_code)]

mod blobs;
mod config;
mod download;
mod hashing;
pub mod media;
mod platform;
mod record;
mod text;
mod wire;

pub use blobs::{Blobs, Writer};
pub use config::{Config, History, RootFs, Runtime};
pub use download::Download;
pub use hashing::{Hashing, chain_ids, sha256};
pub use platform::Platform;
pub use record::record;
pub use text::{Descriptor, Document, Index, LARGEST, Manifest, seconds, time};
