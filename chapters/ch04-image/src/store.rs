//! Find and remove images, by name or by ID.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use common::hints;
use common::images::{Digest, Image, Layout, LockGuard, Reference, Stray};
use common::state::fields::is_newer;
use common::state::{Home, Id, Record, State, Status, Table};
use common::step::{Hint, Step};
use provision::busybox;

use crate::directory::names;

/// Images and layers, and the rules by which they are added and removed.
///
/// Each file is written under a name that begins with a dot, synced, and renamed. The
/// blobs and the layers come first, then the record that lists them, then the name. If
/// a process is killed between these steps, it leaves files that nothing uses. The next
/// change removes these files.
#[derive(Clone, Debug)]
pub struct Store {
    state: State,
    layout: Layout,
}

/// An image, and all its names.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The image.
    pub image: Image,
    /// Its names, in order. An image that only a container uses has no names.
    pub names: Vec<Reference>,
}

/// An image whose record cannot be read.
#[derive(Debug)]
pub struct Damaged {
    /// The ID.
    pub id: Digest,
    /// Its names, in order.
    pub names: Vec<Reference>,
    /// The reason why the record cannot be read.
    pub error: Error,
}

impl Store {
    /// Open the store, and create it if it is missing.
    ///
    /// # Errors
    /// An older version created the images; mkdir(2) or chmod(2) fails.
    pub fn open(state: &State) -> Result<Store> {
        let layout = Layout::of(state);
        layout.make()?;
        let layers = state.make_layers()?;
        let about = fs::metadata(&layers)
            .untraced(|| format!("stat(2) {}", layers.display()))?;
        // Other users of the host must not execute a layer's setuid programs.
        if about.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(&layers, Permissions::from_mode(0o700))
                .step(|| format!("chmod(2) {}", layers.display()))
                .hint(hints::state)?;
        }
        Ok(Store { state: state.clone(), layout })
    }

    /// The state directory.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The directory of the images.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    // ANCHOR: find
    /// The image with this name, this ID, or this unique prefix of an ID. busybox is
    /// downloaded if it is missing.
    ///
    /// # Errors
    /// There is no such image, or its record is damaged.
    pub fn find(&self, text: &str) -> Result<Image> {
        self.resolve(text).map(|(_, image)| image)
    }

    /// Like [`Store::find`]. If `text` is a name, the name is also returned.
    ///
    /// # Errors
    /// There is no such image, or its record is damaged.
    pub fn resolve(&self, text: &str) -> Result<(Option<Reference>, Image)> {
        if let Some(digits) = text.strip_prefix("sha256:") {
            return Ok((None, self.by_id(digits)?.with_context(|| missing(text))?));
        }
        let name = text.parse().map(Reference::with_default_tag);
        if let Ok(name) = &name {
            let found = match *name == busybox::reference()? {
                true => Some(busybox::image(&self.state)?),
                false => Image::find(&self.state, name)?,
            };
            if let Some(image) = found {
                return Ok((Some(name.clone()), image));
            }
        }
        match self.by_id(text)? {
            Some(image) => Ok((None, image)),
            // A text that is not a valid name is not a valid ID either. The error of
            // the name explains what is wrong.
            None => name.and_then(|_| bail!(missing(text))),
        }
    }
    // ANCHOR_END: find

    /// The image whose ID begins with these digits.
    fn by_id(&self, digits: &str) -> Result<Option<Image>> {
        match self.id_of(digits)? {
            Some(id) => Image::by_id(&self.state, &id),
            None => Ok(None),
        }
    }

    /// The ID that begins with these digits.
    fn id_of(&self, digits: &str) -> Result<Option<Digest>> {
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if digits.is_empty() || !digits.chars().all(hex) {
            return Ok(None);
        }
        let records = names(&self.layout.records());
        let begins = |id: &Digest| id.hex().starts_with(digits);
        let mut found: Vec<Digest> =
            records.filter_map(|id| Digest::from_hex(&id).ok()).collect();
        found.retain(begins);
        ensure!(
            found.len() < 2,
            "the image ID prefix {digits:?} is ambiguous ({} images): give more \
             characters",
            found.len()
        );
        Ok(found.pop())
    }

    /// Find an image, and protect its layers from removal while the returned lock
    /// exists.
    ///
    /// # Errors
    /// There is no such image; its record is damaged; an errno of flock(2).
    pub fn take(&self, name: &str) -> Result<(Image, LockGuard)> {
        // Download busybox before taking the lock: a download may take a long time,
        // and it removes nothing.
        self.find(name)?;
        let lock = self.layout.lock_shared()?;
        Ok((self.find(name)?, lock))
    }

    /// All images, in the order of their names, each with its names.
    ///
    /// # Errors
    /// readdir(3) fails.
    pub fn images(&self) -> Result<Vec<Result<Listed, Damaged>>> {
        let mut by_id: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
        for (name, id) in self.layout.all_names()? {
            by_id.entry(id).or_default().push(name);
        }
        let mut all = Vec::new();
        let records = self.layout.records();
        let step = || format!("readdir(3) {}", records.display());
        for entry in fs::read_dir(&records).untraced(step)? {
            // No image may be skipped after an error: a sweep would remove its layers.
            let file = entry.untraced(step)?.file_name();
            let Some(Ok(id)) = file.to_str().map(Digest::from_hex) else { continue };
            let names = by_id.remove(&id).unwrap_or_default();
            match Image::by_id(&self.state, &id) {
                Ok(None) => {}
                Ok(Some(image)) => {
                    all.push((names.clone(), Ok(Listed { image, names })))
                }
                Err(error) => {
                    all.push((names.clone(), Err(Damaged { id, names, error })))
                }
            }
        }
        // Images without a name come last.
        all.sort_by(|(a, _), (b, _)| (a.is_empty(), a).cmp(&(b.is_empty(), b)));
        Ok(all.into_iter().map(|(_, listed)| listed).collect())
    }

    /// Give a name to an image. The caller must have the exclusive lock, and the
    /// image's record must be on the disk.
    ///
    /// # Errors
    /// symlink(2), rename(2), fsync(2) or write(2) fails.
    pub fn name(&self, name: &Reference, id: &Digest) -> Result<()> {
        self.layout.set_name(name, id)?;
        self.layout.write_index()
    }

    /// Remove a name. If it is the last tag of a repository, also remove the digests
    /// of this repository. If the image has no other name, also remove the image and
    /// the layers that no other image uses. If `text` is an ID, remove all names of
    /// the image. Without `force`, the image may then have only one tag.
    ///
    /// Dead containers are swept first, with the clean-up table. A dead container
    /// that this table cannot undo still uses its image.
    ///
    /// # Errors
    /// There is no such image. Without `force`: a container uses the image, or
    /// `text` is the ID of an image with several tags.
    pub fn remove(&self, text: &str, force: bool, table: Table) -> Result<()> {
        // A dead container that should have been removed at its end must not prevent
        // the removal of its image.
        let mut unknown = BTreeMap::new();
        for dead in self.state.dead()? {
            match dead.check(table) {
                Ok(()) => dead.sweep(table)?,
                Err(reason) => drop(unknown.insert(dead.home.id.clone(), reason)),
            }
        }
        let _lock = self.layout.lock_exclusive()?;
        let found = match self.present(text) {
            Ok((name, image)) => Some((name, image.id)),
            Err(error) if is_newer(&error) => return Err(error),
            Err(error) => match self.salvaged(text)? {
                None if self.remove_strays(text)? > 0 => None,
                None => return Err(error),
                found => found,
            },
        };
        let Some((name, id)) = found else { return self.layout.write_index() };
        let all = self.layout.all_names()?;
        let names: Vec<Reference> =
            all.into_iter().filter(|it| it.1 == id).map(|it| it.0).collect();
        let tags = names.iter().filter(|name| name.tag.is_some()).count();
        if name.is_none() && tags > 1 && !force {
            let names: Vec<String> = names.iter().map(Reference::short).collect();
            bail!(
                "the image {text} has several names: give one of {}, or use --force to \
                 remove all of them",
                names.join(", ")
            );
        }
        let (going, staying): (Vec<&Reference>, Vec<&Reference>) =
            names.iter().partition(|it| {
                name.as_ref().is_none_or(|name| goes_with(it, name, &names))
            });
        if going.is_empty() && !names.is_empty() {
            let names: Vec<String> = names.iter().map(Reference::short).collect();
            bail!(
                "{text} is not a name of its image: give one of {}",
                names.join(", ")
            );
        }
        if !staying.is_empty() {
            for name in going {
                self.layout.remove_name(name)?;
            }
            return self.layout.write_index();
        }
        if !force && let Some((user_id, user)) = self.user(&id)? {
            let called = match &name {
                Some(name) => name.short(),
                None => id.short().to_owned(),
            };
            let used = format!("image {called} is used by container {user}");
            return Err(match unknown.remove(&user_id) {
                Some(reason) => reason.context(used),
                None => {
                    anyhow!("{used}: remove the container first, or use --force")
                }
            });
        }
        for name in &names {
            self.layout.remove_name(name)?;
        }
        self.layout.write_index()?;
        self.sweep()
    }

    /// Like [`Store::resolve`], but nothing is downloaded.
    ///
    /// # Errors
    /// There is no such image, or its record is damaged.
    pub fn present(&self, text: &str) -> Result<(Option<Reference>, Image)> {
        let name = text.parse().map(Reference::with_default_tag);
        match name {
            Ok(name) if name == busybox::reference()? => {
                let found = Image::find(&self.state, &name)?;
                Ok((Some(name), found.with_context(|| missing(text))?))
            }
            _ => self.resolve(text),
        }
    }

    /// The image with a damaged record that has this name, this ID, or this unique prefix
    /// of an ID.
    fn salvaged(&self, text: &str) -> Result<Option<(Option<Reference>, Digest)>> {
        if let Ok(name) = text.parse().map(Reference::with_default_tag)
            && let Some(id) = self.layout.id_of(&name)
            && self.layout.record(&id).exists()
        {
            return Ok(Some((Some(name), id)));
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        Ok(self.id_of(digits)?.map(|id| (None, id)))
    }

    /// Remove the stray files with this name. Returns the number of removed files.
    /// The caller must have the exclusive lock.
    fn remove_strays(&self, text: &str) -> Result<usize> {
        let whole = text.parse().map(Reference::with_default_tag);
        let whole = whole.map(|name| name.file_name());
        let called = |stray: &Stray| {
            let name = stray.name();
            name == text || whole.as_ref().is_ok_and(|whole| *whole == name)
        };
        let mut strays = self.layout.strays()?;
        strays.retain(called);
        strays.iter().try_for_each(Stray::remove)?;
        Ok(strays.len())
    }

    /// A container of this image: its ID, and its name if it has one.
    fn user(&self, image: &Digest) -> Result<Option<(Id, String)>> {
        let mut recorded = Vec::new();
        let (records, damaged) = Record::all(&self.state)?;
        for (id, error) in damaged {
            if is_newer(&error) {
                return Err(error);
            }
            // A damaged container that has ended cannot be started again, so it
            // needs no image. If such a container is running, it is not known which
            // image it uses.
            let home = Home::salvaged(&self.state, id.clone())?;
            if Status::by_lock(&home)?.is_held() {
                return Err(error.context(format!(
                    "container {id} is running, and it is not known which image it uses: \
                     remove it first (`rm -f {id}`)"
                )));
            }
            recorded.push(id);
        }
        for record in records {
            if record.image_id == image.as_str() {
                let called = record.display_name().to_owned();
                return Ok(Some((record.id, called)));
            }
            recorded.push(record.id);
        }
        // Containers of earlier chapters have no record. Their image is busybox.
        if self.layout.id_of(&busybox::reference()?).as_ref() == Some(image) {
            let mut ids = self.state.kept_ids()?.into_iter();
            let id = ids.find(|id| !recorded.contains(id));
            return Ok(id.map(|id| (id.clone(), id.to_string())));
        }
        Ok(None)
    }
}

/// Whether `name` is removed together with `removed`, another name of the same
/// image. With the last tag of a repository, its digests are removed too.
fn goes_with(name: &Reference, removed: &Reference, names: &[Reference]) -> bool {
    if removed.digest.is_some() {
        // In a name with a digest, the tag is ignored.
        return name.digest == removed.digest
            && name.repository == removed.repository;
    }
    let beside = |it: &&Reference| it.repository == removed.repository;
    let mut tags = names.iter().filter(beside).filter(|it| it.tag.is_some());
    let last = tags.all(|it| it == removed);
    name == removed || (last && name.tag.is_none() && beside(&name))
}

fn missing(text: &str) -> String {
    format!(
        "there is no image {text}: `images` lists the images; `import` and `commit` \
         create one"
    )
}
