//! `commit`: create an image from a container.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use ch02_union::Driver;
use ch04_image::Store;
use common::images::{Image, Reference};
use common::state::{Record, State};
use oci::{RootFs, Runtime};

use crate::as_root::become_root;
use crate::draft::Draft;
use crate::layer;
use crate::locked_container::LockedContainer;
use crate::new_image::NewImage;

// ANCHOR: commit
/// Create an image from a container. It has the layers of the container's image,
/// with a copy of the write layer above them.
///
/// # Errors
/// The container is not found; the name is reserved or already in use; the disk is
/// full; a system call fails. After an error, no image exists.
pub fn commit(
    state: &State,
    container: &str,
    name: Reference,
    no_replace: bool,
) -> Result<Image> {
    let user_namespace = become_root()?;
    let store = Store::open(state)?;
    let locked = LockedContainer::new(state, container)?;
    let record = &locked.record;
    let source = format!("container {} of {}", record.id, record.image);
    let mut new = NewImage { no_replace, ..NewImage::new(name, source) };
    new.check_name(&store)?;
    let below = record
        .image_id
        .parse()
        .and_then(|id| Image::by_id(state, &id))?
        .with_context(|| format!("the image {} is missing", record.image))?;
    new.above(&store, &below)?;
    new.created_by = record.command.join(" ");
    keep_changes(record, &mut new.config.config);

    let driver = Driver::named(&record.driver)?;
    // With the driver `copy`, the write layer is the complete tree, so it needs no
    // layers below.
    if driver == Driver::Copy {
        let kind = new.config.rootfs.kind.clone();
        new.config.rootfs = RootFs { kind, diff_ids: Vec::new() };
        new.config.history.clear();
        new.below.clear();
    } else {
        new.size = below.size;
    }
    let draft = Draft::begin(&store)?;
    new.size += {
        let _frozen = locked.freeze()?;
        let (from, to) = (locked.upper(), &draft.path);
        let own_files = record.home(state).etc().exists();
        locked.check_complete(layer::copy(
            &from,
            to,
            driver,
            own_files,
            user_namespace,
        ))?
    };
    new.publish(&store, draft)
}
// ANCHOR_END: commit

/// Variables that the parts of the container set, not the caller.
const SET_BY_PARTS: [&str; 3] = ["HOSTNAME", "PATH", "TERM"];

/// Store the options of `run` in the image: variables, the working directory, the
/// user.
fn keep_changes(record: &Record, config: &mut Runtime) {
    let split = |word: &String| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        (key.to_owned(), value.to_owned())
    };
    let mut variables: BTreeMap<String, String> =
        config.env.iter().map(split).collect();
    for (key, value) in &record.environment {
        // A configuration is UTF-8 text, so other variables are left out.
        let (Some(key), Some(value)) = (key.to_str(), value.to_str()) else {
            continue;
        };
        if variables.get(key).is_some_and(|known| known == value)
            || (SET_BY_PARTS.contains(&key) && !variables.contains_key(key))
        {
            continue;
        }
        variables.insert(key.to_owned(), value.to_owned());
        config.env.retain(|word| split(word).0 != key);
        config.env.push(format!("{key}={value}"));
    }
    if record.directory != Path::new("/") || !config.working_dir.is_empty() {
        config.working_dir = record.directory.to_string_lossy().into_owned();
    }
    if let Some(user) = &record.user {
        config.user.clone_from(user);
    }
}

#[cfg(test)]
mod tests {
    use common::state::Id;

    use super::*;

    #[test]
    fn an_image_keeps_the_options_of_the_caller() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        let mut record = Record {
            id: Id::new().unwrap(),
            name: None,
            image: "a".into(),
            image_id: String::new(),
            layers: Vec::new(),
            command: Vec::new(),
            created: 1,
            driver: "overlay".into(),
            environment: BTreeMap::new(),
            directory: "/".into(),
            user: None,
            stop_signal: None,
            mounts: Vec::new(),
        };
        let mut config = Runtime {
            env: words(&["A=1", "PATH=/own", "B=2"]),
            user: "image".into(),
            ..Runtime::default()
        };
        for (key, value) in [
            ("A", "1"),
            ("B", "changed"),
            ("C", "x=y"),
            ("HOSTNAME", "h"),
            ("PATH", "/n"),
        ] {
            record.environment.insert(key.into(), value.into());
        }
        keep_changes(&record, &mut config);
        let expected: Vec<String> = words(&["A=1", "B=changed", "C=x=y", "PATH=/n"]);
        assert_eq!(config.env, expected);
        assert_eq!(
            (config.working_dir.as_str(), config.user.as_str()),
            ("", "image")
        );

        record.directory = "/srv".into();
        record.user = Some("7:8".into());
        keep_changes(&record, &mut config);
        assert_eq!(
            (config.working_dir.as_str(), config.user.as_str()),
            ("/srv", "7:8")
        );
        record.directory = "/".into();
        keep_changes(&record, &mut config);
        assert_eq!(config.working_dir, "/");
    }
}
