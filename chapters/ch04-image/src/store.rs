//! The images' directory: who may change it, what is made in it, what is swept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use common::hints;
use common::images::Image;
use common::state::record::{self, Record};
use common::state::{Id, Name, State, Table, remove_tree};
use common::step::{Hint, Step};
use provision::busybox;

/// Images and layers, and the rules by which they come and go.
///
/// Everything is made under a name that begins with a dot, brought to the disk, and
/// renamed. The layer comes first, then the record that names it; what is between the
/// two when somebody is killed is a layer without a name, which the next change
/// removes.
#[derive(Clone, Debug)]
pub struct Store {
    state: State,
}

/// The lock on all images, shared or not; dropped, it is let go.
#[derive(Debug)]
pub struct Hold(File);

impl Drop for Hold {
    fn drop(&mut self) {
        // A child that was cloned meanwhile has the same lock: it goes for both.
        let _ = self.0.unlock();
    }
}

/// How the names of layers begin that a commit or an import is making.
pub const DRAFT: &str = ".layer-";

impl Store {
    /// Open it, made if it isn't there.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub fn open(state: &State) -> Result<Store> {
        state.make(state.images())?;
        let layers = state.make(state.layers())?;
        let about = fs::metadata(&layers)
            .look(|| format!("stat(2) {}", layers.display()))?;
        // Setuid programs in a layer are not for other users of the host.
        if about.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(&layers, Permissions::from_mode(0o700))
                .step(|| format!("chmod(2) {}", layers.display()))
                .hint(hints::state)?;
        }
        Ok(Store { state: state.clone() })
    }

    /// No image and no layer goes as long as this is held. Many may hold it at once.
    ///
    /// # Errors
    /// Those of open(2) and flock(2).
    pub fn hold(&self) -> Result<Hold> {
        self.lock(File::lock_shared)
    }

    /// The same alone: to change something.
    ///
    /// # Errors
    /// Those of open(2) and flock(2).
    pub fn change(&self) -> Result<Hold> {
        self.lock(File::lock)
    }

    /// The state directory.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    fn lock(&self, how: impl Fn(&File) -> io::Result<()>) -> Result<Hold> {
        let images = self.state.images();
        let file =
            File::open(&images).look(|| format!("open(2) {}", images.display()))?;
        loop {
            match how(&file) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                locked => {
                    locked.look(|| format!("flock(2) {}", images.display()))?;
                    return Ok(Hold(file));
                }
            }
        }
    }

    /// The image of this name; busybox fetches itself.
    ///
    /// # Errors
    /// There is none; its record is damaged.
    pub fn find(&self, name: &str) -> Result<Image> {
        // Before it is a path.
        let name: Name = name.parse().context("the image's name")?;
        if name.as_str() == busybox::NAME {
            return busybox::image(&self.state);
        }
        let found = Image::find(&self.state, name.as_str())?;
        found.with_context(|| {
            format!(
                "there is no image {name}: `images` lists those that are here, `import` \
                 and `commit` make one"
            )
        })
    }

    /// The image, and a hold on its layers.
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn take(&self, name: &str) -> Result<(Image, Hold)> {
        // A fetch may take long, and changes nothing that is there.
        self.find(name)?;
        let hold = self.hold()?;
        Ok((self.find(name)?, hold))
    }

    /// All images, by name. A record that cannot be read is an error in its place.
    ///
    /// # Errors
    /// Those of readdir(3).
    pub fn images(&self) -> Result<Vec<Result<Image>>> {
        let images = self.state.images();
        let mut names = Vec::new();
        let step = || format!("readdir(3) {}", images.display());
        for entry in fs::read_dir(&images).look(step)? {
            // If one were left out, a sweep would remove its layers.
            let file = entry.look(step)?.file_name();
            let name = file.to_str().filter(|name| !name.starts_with('.'));
            names.extend(name.map(str::to_owned));
        }
        names.sort();
        let found = names.iter().map(|name| Image::find(&self.state, name));
        Ok(found.filter_map(Result::transpose).collect())
    }

    /// Forget an image, and remove the layers that nobody else has.
    ///
    /// # Errors
    /// There is none; a container uses it. Dead containers are swept by the table first;
    /// one that the table cannot undo goes on using its image.
    pub fn remove(&self, name: &str, table: Table) -> Result<()> {
        let name: Name = name.parse().context("the image's name")?;
        // A dead container that was not to be kept must not hold its image.
        let mut unknown = BTreeMap::new();
        for dead in self.state.dead()? {
            match dead.check(table) {
                Ok(()) => dead.sweep(table)?,
                Err(reason) => drop(unknown.insert(dead.home.id.clone(), reason)),
            }
        }
        let _change = self.change()?;
        let image = Image::find(&self.state, name.as_str())?
            .with_context(|| format!("there is no image {name}"))?;
        if let Some((id, user)) = self.user(&image)? {
            let used = format!("image {name} is used by container {user}");
            return Err(match unknown.remove(&id) {
                Some(reason) => reason.context(used),
                None => anyhow!("{used}: remove that first"),
            });
        }
        let path = Image::path(&self.state, name.as_str());
        fs::remove_file(&path).step(|| format!("unlink(2) {}", path.display()))?;
        self.sync(&self.state.images())?;
        self.sweep()
    }

    /// A container of this image: its ID, and how the user calls it.
    fn user(&self, image: &Image) -> Result<Option<(Id, String)>> {
        let mut recorded = BTreeSet::new();
        for record in Record::all(&self.state)? {
            if record.layers == image.layers {
                let called = record.called().to_owned();
                return Ok(Some((record.id, called)));
            }
            recorded.insert(record.id);
        }
        // Containers of earlier chapters have no record. Their image is busybox.
        if image.name == busybox::NAME {
            let mut ids = self.state.kept_ids()?.into_iter();
            let id = ids.find(|id| !recorded.contains(id));
            return Ok(id.map(|id| (id.clone(), id.to_string())));
        }
        Ok(None)
    }

    /// Remove what nobody uses: layers that are no image's, what was being made.
    ///
    /// # Errors
    /// Those of flock(2), unlink(2) and rmdir(2).
    pub fn tidy(&self) -> Result<()> {
        let _change = self.change()?;
        self.sweep()
    }

    // ANCHOR: sweep
    /// Remove what nobody uses: drafts of the dead, layers of no image and no
    /// container, what a killed removal left of a container. The caller holds the
    /// lock.
    ///
    /// # Errors
    /// Those of unlink(2) and rmdir(2).
    pub fn sweep(&self) -> Result<()> {
        let layers = self.state.layers();
        let used = self.used();
        // Who fetches busybox has a layer before it has a name for it.
        let fetches = File::open(self.state.root().join("fetch.lock"));
        let fetches = fetches.is_ok_and(|file| file.try_lock().is_err());
        for name in names(&layers) {
            let path = layers.join(&name);
            let unused = if name.starts_with(DRAFT) {
                File::open(&path).is_ok_and(|draft| draft.try_lock().is_ok())
            } else {
                let used = used.as_ref().is_none_or(|used| used.contains(&name));
                !used && !name.starts_with('.') && !fetches
            };
            if unused {
                remove_tree(&path)?;
            }
        }
        for name in names(&self.state.images()) {
            let own = format!(".{}.new", busybox::NAME);
            if name.starts_with('.') && name.ends_with(".new") && name != own {
                let path = self.state.images().join(name);
                fs::remove_file(&path)
                    .step(|| format!("unlink(2) {}", path.display()))?;
            }
        }
        for id in names(&self.state.containers()) {
            // The lock file is there before the directory, and goes after it.
            let directory = self.state.containers().join(&id);
            let lock = self.state.running().join(&id);
            if record::is_missing(&directory)
                && lock.try_exists().is_ok_and(|is| !is)
            {
                remove_tree(&directory)?;
            }
        }
        Ok(())
    }
    // ANCHOR_END: sweep

    /// The layers that an image or a container uses; `None` if a record cannot be read,
    /// so that they are not known.
    fn used(&self) -> Option<BTreeSet<String>> {
        let images: Result<Vec<Image>> = self.images().ok()?.into_iter().collect();
        let images = images.ok()?.into_iter().flat_map(|image| image.layers);
        let records = Record::all(&self.state).ok()?;
        Some(images.chain(records.into_iter().flat_map(|r| r.layers)).collect())
    }

    fn sync(&self, directory: &Path) -> Result<()> {
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .step(|| format!("fsync(2) {}", directory.display()))
    }
}

/// What lies in a directory, as far as it has names that are text.
fn names(directory: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}
