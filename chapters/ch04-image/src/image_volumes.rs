//! The volumes that an image declares.

use std::cell::RefCell;
use std::fs::{self, DirBuilder, File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use ch02_union::{CopyRules, EntryAction, TreeCopy, copy_attributes};
use common::guest::{GuestFile, GuestRoot, Kind};
use common::state::Home;
use common::step::{Hint, Step};
use common::{ParentLink, Part, Plan, Users, hints};
use nix::mount::{MsFlags, mount};

/// The directory in the container's own directory that holds the volumes.
const VOLUMES: &str = "volumes";

/// The volumes that the image declares, except those that a `-v` replaces. Each volume
/// is a directory in the container's own directory. At the first start, the files that
/// the image has at that path are copied into it. A volume is not part of the write
/// layer: `commit` and `export` leave it out, and a read-only root does not apply to
/// it. It is removed with the container.
#[derive(Debug)]
pub struct ImageVolumes {
    guests: Vec<PathBuf>,
    opened: Opened,
}

/// The part that opens the directories of the volumes. It comes before the part of the
/// root filesystem, because the root filesystem hides the container's own directory.
#[derive(Debug)]
pub struct OpenVolumes {
    count: usize,
    opened: Opened,
}

/// The open directories of the volumes, in the order of the volumes. The child opens
/// them, because the source of a bind mount must belong to the child's own mount
/// namespace.
type Opened = Rc<RefCell<Vec<File>>>;

impl ImageVolumes {
    /// The volumes at these paths of the image, without the paths at or below a path in
    /// `given`. `given` has the paths of the `-v` options.
    ///
    /// # Errors
    /// A path is the root, or contains "..".
    pub fn new<'a>(
        declared: &[String],
        given: impl Iterator<Item = &'a Path> + Clone,
    ) -> Result<ImageVolumes> {
        let mut guests = Vec::new();
        for path in declared {
            let guest: PathBuf = Path::new("/").join(path).components().collect();
            let is_up = |it: Component| it == Component::ParentDir;
            if guest.components().count() < 2 || guest.components().any(is_up) {
                bail!(
                    "the image declares the volume {path:?}: expected an absolute \
                     path below / without \"..\""
                );
            }
            if !given.clone().any(|volume| guest.starts_with(volume)) {
                guests.push(guest);
            }
        }
        // A volume inside another volume must be mounted after the outer volume.
        guests.sort();
        guests.dedup();
        Ok(ImageVolumes { guests, opened: Opened::default() })
    }

    /// Their paths in the container, in the order of their numbers.
    pub(crate) fn guests(&self) -> &[PathBuf] {
        &self.guests
    }

    /// The part that opens the directories of these volumes.
    #[must_use]
    pub fn opening(&self) -> OpenVolumes {
        OpenVolumes { count: self.guests.len(), opened: Rc::clone(&self.opened) }
    }
}

// ANCHOR: part
impl Part for ImageVolumes {
    fn name(&self) -> &'static str {
        "image-volume"
    }

    fn enter(&self, plan: &Plan, _link: &ParentLink) -> Result<()> {
        let root = GuestRoot::open(plan.root.assembled()?)?;
        for (guest, directory) in self.guests.iter().zip(self.opened.take()) {
            let place = root.make(guest, Kind::Directory)?;
            // The dot at the end makes lstat(2) and lchown(2) follow the symbolic link
            // of /proc.
            let host = format!("/proc/self/fd/{}/.", directory.as_raw_fd());
            let host = Path::new(&host);
            fill(&place, host, plan.users == Users::Nested)
                .with_context(|| format!("volume {}", guest.display()))
                .hint(hints::state)?;
            let (bind, none) = (MsFlags::MS_BIND, None::<&str>);
            mount(Some(host), &place.path(), none, bind, none)
                .step(|| format!("mount(2) bind on {}", guest.display()))?;
        }
        Ok(())
    }
}
// ANCHOR_END: part

impl Part for OpenVolumes {
    fn name(&self) -> &'static str {
        "open-volume"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        for number in 0..self.count {
            let directory = directory(&plan.home, number);
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&directory)
                .step(|| format!("mkdir(2) {}", directory.display()))
                .hint(hints::state)?;
        }
        Ok(())
    }

    fn enter(&self, plan: &Plan, _link: &ParentLink) -> Result<()> {
        for number in 0..self.count {
            let directory = directory(&plan.home, number);
            let file = File::open(&directory)
                .untraced(|| format!("open(2) {}", directory.display()))?;
            self.opened.borrow_mut().push(file);
        }
        Ok(())
    }
}

/// The container's directory for the volume with this number.
pub(crate) fn directory(home: &Home, number: usize) -> PathBuf {
    home.dir().join(VOLUMES).join(number.to_string())
}

/// Copy the files that the image has at the path of a volume into the volume, unless an
/// earlier start has done so.
fn fill(place: &GuestFile, to: &Path, user_namespace: bool) -> Result<()> {
    let mut entries =
        fs::read_dir(to).untraced(|| format!("readdir(3) {}", to.display()))?;
    if entries.next().is_some() {
        return Ok(());
    }
    let from = place.path().join(".");
    TreeCopy::new(CopyAll, user_namespace).tree(&from, to)?;
    let about =
        fs::metadata(&from).untraced(|| format!("stat(2) {}", from.display()))?;
    copy_attributes(&about, &from, to, user_namespace)
}

/// The rules of a copy that leaves nothing out.
struct CopyAll;

impl CopyRules for CopyAll {
    fn action(
        &self,
        _from: &Path,
        _about: &Metadata,
        _to: &Path,
    ) -> Result<EntryAction> {
        Ok(EntryAction::Copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guests(declared: &[&str], given: &[&str]) -> Result<Vec<PathBuf>> {
        let declared: Vec<String> =
            declared.iter().map(|it| (*it).to_owned()).collect();
        let given = given.iter().map(Path::new);
        Ok(ImageVolumes::new(&declared, given)?.guests)
    }

    #[test]
    fn volumes_of_the_caller_replace_those_of_the_image_at_and_below_their_path() {
        let declared = ["/b/c", "data/", "/b", "/b"];
        let all: Vec<PathBuf> = ["/b", "/b/c", "/data"].map(Into::into).into();
        assert_eq!(guests(&declared, &[]).unwrap(), all);
        let two = [all[0].clone(), all[2].clone()];
        assert_eq!(guests(&declared, &["/b/c"]).unwrap(), two);
        assert_eq!(guests(&declared, &["/b"]).unwrap(), all[2..]);
        // A volume of the caller below a volume of the image is mounted inside the
        // image's volume.
        assert_eq!(guests(&declared, &["/data/x"]).unwrap(), all);
    }

    #[test]
    fn a_volume_path_that_is_the_root_or_contains_dot_dot_is_refused() {
        for path in ["", "/", ".", "/a/../..", ".."] {
            let error = guests(&[path], &[]).unwrap_err().to_string();
            assert!(error.starts_with("the image declares the volume"), "{error}");
        }
    }
}
