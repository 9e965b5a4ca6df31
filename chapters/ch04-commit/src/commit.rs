//! `commit`: what a container has written becomes an image.

use anyhow::{Result, bail};
use ch02_union::Driver;
use ch04_image::Store;
use common::images::{Image, now};
use common::state::{Name, State};
use provision::busybox;

use crate::as_root::become_root;
use crate::draft::Draft;
use crate::held::Held;
use crate::layer;

// ANCHOR: commit
/// Make an image of a container: its image's layers, and a copy of its write layer
/// above them.
///
/// # Errors
/// No such container; a full disk, and other system calls'. No image is made then.
pub fn commit(state: &State, container: &str, name: &Name) -> Result<Image> {
    refuse_busybox(name)?;
    let user_namespace = become_root()?;
    let store = Store::open(state)?;
    let held = Held::new(state, container)?;
    let record = &held.record;
    let driver = Driver::named(&record.driver)?;
    let below = Image::find(state, &record.image)?.unwrap_or_default();
    let draft = Draft::begin(&store)?;
    let bytes = {
        let _frozen = held.freeze()?;
        let (from, to) = (held.upper(), &draft.path);
        let own_files = record.home(state).etc().exists();
        held.whole(layer::copy(&from, to, driver, own_files, user_namespace))?
    };
    // A tree that was copied as a whole needs nothing below.
    let (layers, base) = match driver {
        Driver::Copy => (Vec::new(), 0),
        _ => (record.layers.clone(), below.size),
    };
    let image = Image {
        name: name.to_string(),
        layers,
        source: format!("container {} of {}", record.id, record.image),
        command: below.command,
        environment: below.environment,
        created: now(),
        size: base + bytes,
        ..Image::default()
    };
    draft.publish(&store, image)
}
// ANCHOR_END: commit

/// The name of the image that fetches itself is refused.
///
/// # Errors
/// It is that name.
pub fn refuse_busybox(name: &Name) -> Result<()> {
    if name.as_str() == busybox::NAME {
        bail!("busybox is the image that fetches itself: choose another name");
    }
    Ok(())
}
