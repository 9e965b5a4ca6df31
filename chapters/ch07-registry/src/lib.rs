//! A client of image registries: HTTP, tokens, logins, manifests.

#![forbid(unsafe_code)]

mod answer;
mod challenge;
mod client;
mod credentials;
mod failure;
mod helper;
mod login;
mod logins;
mod manifest;
mod prompt;
mod proxy;
mod roots;
mod settings;
mod show;
mod token;
mod transport;
mod url;

pub use answer::read_whole;
pub use client::{Access, Client};
pub use credentials::{Credentials, Secret};
pub use failure::{Backoff, Failure};
pub use login::{Login, Logout};
pub use logins::{Logins, SecretStore};
pub use manifest::{FetchedManifest, fetch};
pub use settings::{ConnectionFlags, Flags, Settings};
pub use show::ShowManifest;
pub use transport::{Content, Request, Response, Transport, get};
pub use url::{Url, is_local};
