//! The UTS namespace: a host name of one's own.

#![forbid(unsafe_code)]

use anyhow::Result;
use clap::Args;
use common::state::Name;
use common::step::Step;
use common::{Birth, Part, Plan, Up, setdomainname};
use nix::sched::CloneFlags;
use nix::unistd::sethostname;

/// Flags of this part.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub struct Flags {
    /// The host name inside [default: the container's id]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<Name>,

    /// The NIS domain name inside [default: as outside]
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<Name>,
}

/// A UTS namespace, and a host name and a domain name in it.
///
/// # Source
/// uts_namespaces(7), sethostname(2), setdomainname(2)
#[derive(Debug, Default)]
pub struct Uts {
    flags: Flags,
    hostname: String,
}

impl Uts {
    /// With the flags' host name, or the container's id.
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

    fn birth(&self, birth: &mut Birth) {
        birth.namespaces |= CloneFlags::CLONE_NEWUTS;
    }

    fn enter(&self, _plan: &Plan, _up: &Up) -> Result<()> {
        sethostname(&self.hostname)
            .step(|| format!("sethostname(2) {}", self.hostname))?;
        // The copy that the child was born with has the host's.
        match &self.flags.domainname {
            Some(name) => setdomainname(name.as_str())
                .step(|| format!("setdomainname(2) {name}")),
            None => Ok(()),
        }
    }
}
// ANCHOR_END: part
