//! A client of image registries: names, HTTP, tokens, logins, manifests.

#![forbid(unsafe_code)]

mod answer;
mod challenge;
mod client;
mod credentials;
mod digest;
mod failure;
mod helper;
mod login;
mod logins;
mod manifest;
mod platform;
mod prompt;
mod proxy;
mod reference;
mod roots;
mod settings;
mod show;
mod token;
mod transport;
mod url;

pub use answer::read_whole;
pub use client::{Access, Client};
pub use credentials::{Credentials, Secret};
pub use digest::Digest;
pub use failure::{Backoff, Failure};
pub use login::{Login, Logout};
pub use logins::{Logins, Place};
pub use manifest::{Descriptor, Found, Manifest, fetch};
pub use platform::Platform;
pub use reference::{HUB, Reference};
pub use settings::{ConnectionFlags, Flags, Settings};
pub use show::ShowManifest;
pub use transport::{Content, Request, Response, Transport, get};
pub use url::{Url, is_local};
