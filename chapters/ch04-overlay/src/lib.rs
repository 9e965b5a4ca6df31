//! A union mount: the image below, read-only, and a layer to write on above.

#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Result;
use ch02_union::{Driver, Union};
use ch04_pivot_root::adopt;
use clap::Args;
use common::state::Name;
use common::state::{Home, remove_tree};
use common::step::{Hint, Step};
use common::{Lifetime, Part, Plan, Running, Up, hints};
use nix::errno::Errno;

/// Flags of this part.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub struct Flags {
    /// A name for the container [default: its id]
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,

    /// Print where the layers lie, and how to look at the merged tree from outside
    #[arg(long)]
    pub show_layers: bool,

    /// Who merges image and write layer
    #[arg(long, value_enum, default_value_t)]
    pub driver: Driver,
}

/// The image's layers and one write layer, merged by one of ch02-union's drivers. What
/// the container writes lands in the write layer, which goes when the container goes.
#[derive(Debug)]
pub struct Overlay {
    lower: Vec<PathBuf>,
    driver: Driver,
    show: bool,
}

/// What lies in a container's own directory: the write layer, and the driver's
/// working place.
const OWN: [&str; 2] = ["upper", "work"];

impl Overlay {
    /// Over these layers, the topmost first.
    #[must_use]
    pub fn new(lower: Vec<PathBuf>, flags: &Flags) -> Overlay {
        Overlay { lower, driver: flags.driver, show: flags.show_layers }
    }

    /// The layers, and the container's own directories.
    fn union(&self, plan: &Plan) -> Union {
        let [upper, work] = OWN.map(|name| plan.home.dir().join(name));
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
        let own = OWN.map(|name| plan.home.dir().join(name));
        for directory in &own {
            fs::create_dir(directory)
                .step(|| format!("mkdir(2) {}", directory.display()))
                .hint(hints::state)?;
        }
        // The write layer's own mode is that of the container's `/`, whatever the
        // caller's umask.
        let upper = &own[0];
        fs::set_permissions(upper, fs::Permissions::from_mode(0o755))
            .look(|| format!("chmod(2) {}", upper.display()))?;
        self.driver.check(&self.union(plan))?;
        // The merged tree covers the container's own directory, for the container.
        let place = plan.home.dir();
        adopt(plan, place);
        Ok(())
    }

    fn enter(&self, plan: &Plan, _up: &Up) -> Result<()> {
        let root = plan.root.assembled()?;
        let mounted = self.driver.mount(&self.union(plan), root, plan);
        // What EPERM means the driver has said.
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
            lines += &format!("merged  /proc/{}/root/\n", running.pid());
            // Somebody who asked for it and then closed stderr loses nothing.
            let _ = std::io::stderr().write_all(lines.as_bytes());
        }
        Ok(())
    }

    fn removed(&self, home: &Home) -> Result<()> {
        // What overlayfs has left, most often. Anything else is looked for.
        let work = home.dir().join("work/work");
        let _ = fs::remove_file(work.join("incompat/volatile/dirty"));
        for made in ["incompat/volatile", "incompat", ""] {
            let _ = fs::remove_dir(work.join(made));
        }
        OWN.iter().try_for_each(|name| remove_tree(&home.dir().join(name)))
    }
}
// ANCHOR_END: part
