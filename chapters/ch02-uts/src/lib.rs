//! The UTS namespace: the container's own hostname.

#![forbid(unsafe_code)]

use anyhow::Result;
use clap::Args;
use common::state::Name;
use common::step::Step;
use common::{CloneArgs, ParentLink, Part, Plan, setdomainname};
use nix::sched::CloneFlags;
use nix::unistd::sethostname;

/// Flags of this part.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub struct Flags {
    /// Hostname of the container [default: the container ID]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<Name>,

    /// NIS domain name of the container [default: the host's]
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<Name>,
}

/// A UTS namespace, with its own hostname and NIS domain name.
///
/// # Source
/// uts_namespaces(7), sethostname(2), setdomainname(2)
#[derive(Debug, Default)]
pub struct Uts {
    flags: Flags,
    hostname: String,
}

impl Uts {
    /// Create the part. The hostname comes from the flags; the default is the
    /// container ID.
    #[must_use]
    pub fn new(flags: Flags) -> Uts {
        Uts { flags, hostname: String::new() }
    }
}

// ANCHOR: part
impl Part for Uts {
    fn name(&self) -> &'static str {
        "uts"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        self.hostname = match &self.flags.hostname {
            Some(name) => name.to_string(),
            None => plan.home.id.to_string(),
        };
        plan.environment.insert("HOSTNAME".into(), self.hostname.clone().into());
        Ok(())
    }

    fn clone_args(&self, args: &mut CloneArgs) {
        args.namespaces |= CloneFlags::CLONE_NEWUTS;
    }

    fn enter(&self, _plan: &Plan, _link: &ParentLink) -> Result<()> {
        sethostname(&self.hostname)
            .step(|| format!("sethostname(2) {}", self.hostname))?;
        // The new namespace starts with a copy of the host's domain name, so without
        // the flag there is nothing to set.
        match &self.flags.domainname {
            Some(name) => setdomainname(name.as_str())
                .step(|| format!("setdomainname(2) {name}")),
            None => Ok(()),
        }
    }
}
// ANCHOR_END: part
