//! A union mount with the read-only image below and a write layer above.

#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Result;
use ch02_union::{Driver, Union};
use ch04_pivot_root::set_root;
use clap::Args;
use common::state::Name;
use common::state::{Home, remove_tree};
use common::step::{self, Hint, Step};
use common::{Lifetime, ParentLink, Part, Plan, Running, hints};
use nix::errno::Errno;

/// Flags of this part.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub struct Flags {
    /// Name of the container [default: its ID]
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,

    /// Print the paths of the layers, and the path of the merged tree on the host
    #[arg(long)]
    pub show_layers: bool,

    /// Driver that merges the image and the write layer
    #[arg(long, value_enum, default_value_t)]
    pub driver: Driver,
}

/// The part that merges the image's layers and one write layer by a driver of
/// ch02-union. The write layer receives all writes of the container, and is removed
/// with it.
#[derive(Debug)]
pub struct Overlay {
    lower: Vec<PathBuf>,
    driver: Driver,
    show: bool,
}

/// Entries of the container's directory: the write layer, and the driver's work
/// directory.
const OWN_ENTRIES: [&str; 2] = ["upper", "work"];

impl Overlay {
    /// Create the part for these layers, topmost first.
    #[must_use]
    pub fn new(lower: Vec<PathBuf>, flags: &Flags) -> Overlay {
        Overlay { lower, driver: flags.driver, show: flags.show_layers }
    }

    /// The union of the layers and the container's own directories.
    fn union(&self, plan: &Plan) -> Union {
        let [upper, work] = OWN_ENTRIES.map(|name| plan.home.dir().join(name));
        let elsewhere = "MYDOCKER_ROOT=/dev/shm/mydocker";
        let (lower, volatile) =
            (self.lower.clone(), plan.lifetime != Lifetime::UntilRemoved);
        Union { lower, upper, work, volatile, elsewhere }
    }
}

// ANCHOR: part
impl Part for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        let own = OWN_ENTRIES.map(|name| plan.home.dir().join(name));
        for directory in &own {
            fs::create_dir(directory)
                .step(|| format!("mkdir(2) {}", directory.display()))
                .hint(hints::state)?;
        }
        // The mode of the write layer is the mode of the container's `/`, so it must
        // not depend on the caller's umask.
        let upper = &own[0];
        fs::set_permissions(upper, fs::Permissions::from_mode(0o755))
            .untraced(|| format!("chmod(2) {}", upper.display()))?;
        self.driver.check(&self.union(plan))?;
        // In the container's mount namespace, the merged tree is mounted over the
        // container's directory.
        let place = plan.home.dir();
        set_root(plan, place);
        Ok(())
    }

    fn enter(&self, plan: &Plan, _link: &ParentLink) -> Result<()> {
        let root = plan.root.assembled()?;
        let mounted = self.driver.mount(&self.union(plan), root, plan);
        // For EPERM, the driver has already given a hint.
        mounted.hint(|errno| hints::state(errno).filter(|_| errno != Errno::EPERM))
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        if self.show {
            let mut lines = String::new();
            for layer in &self.lower {
                lines += &format!("image   {}\n", layer.display());
            }
            let upper = running.home().dir().join("upper");
            lines += &format!("write   {}\n", upper.display());
            lines += &format!("merged  /proc/{}/root/", running.pid());
            step::note(&lines);
        }
        Ok(())
    }

    fn removed(&self, home: &Home) -> Result<()> {
        // Remove the usual files of overlayfs directly. remove_tree() below handles
        // everything else.
        let work = home.dir().join("work/work");
        let _ = fs::remove_file(work.join("incompat/volatile/dirty"));
        for made in ["incompat/volatile", "incompat", ""] {
            let _ = fs::remove_dir(work.join(made));
        }
        OWN_ENTRIES.iter().try_for_each(|name| remove_tree(&home.dir().join(name)))
    }
}
// ANCHOR_END: part
