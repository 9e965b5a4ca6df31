//! Sealing: the steps between the last `enter` and execve(2). Only this order works.
//!
//! Parts contribute values; this file decides when each step runs. Each step gives
//! up a right that no later step may need. (Two processes of this program do not run
//! these steps: the init process and the process that joins for `exec`. They install
//! the filter of step 1 themselves.)
//!
//! | step | why here |
//! |---|---|
//! | 1 seccomp, without no_new_privs: [`terminal_filter`] | seccomp(2) needs CAP_SYS_ADMIN, which step 5 drops |
//! | 2 bounding set | PR_CAPBSET_DROP needs CAP_SETPCAP |
//! | 3 supplementary groups | setgroups(2) needs CAP_SETGID |
//! | 4 group, streams, user | fchown(2) of a stream needs CAP_CHOWN; setuid(2) to another user clears the capabilities |
//! | 5 capabilities | the last step that needs one has run |
//! | 6 working directory | chdir(2) checks the rights of the program's user |
//! | 7 close-on-exec, PDEATHSIG | the kernel clears PDEATHSIG at each change of credentials |
//! | 8 no_new_privs | after this step, execve(2) grants no privileges |
//!
//! A filter that is installed after no_new_privs would be the ninth step, because it
//! may forbid every call above. No part has such a filter yet.

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, chdir, geteuid, setgid, setgroups, setuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set,
    set_capabilities,
};

use crate::cli::step::{Hint, Step};
use crate::engine::plan::{Credentials, OnParentDeath, Plan, Root, Seal, Users};
use crate::engine::streams;
use crate::process::channel::Channel;
use crate::process::signals::die_with_parent;
use crate::process::{id_map, sys, terminal_filter};

// ANCHOR: seal
/// Run all steps, in the table's order. Only the message to the parent and execve(2)
/// follow.
///
/// # Errors
/// The system call of a step fails.
pub(crate) fn seal(plan: &Plan, seal: &Seal, channel: &Channel) -> Result<()> {
    guard_terminals(plan)?;
    drop_from_bounding_set(seal)?;
    set_groups(plan, seal)?;
    set_user(plan, seal, channel)?;
    if let Some(set) = seal.capabilities {
        let sets =
            CapabilitySets { effective: set, permitted: set, inheritable: set };
        set_capabilities(None, sets).step(|| format!("capset(2) {set:?}"))?;
    }
    chdir(&plan.directory)
        .step(|| format!("chdir(2) {}", plan.directory.display()))?;
    sys::close_on_exec_from(3).step(|| "close_range(2) from 3, CLOEXEC")?;
    match plan.on_parent_death {
        OnParentDeath::Kill => die_with_parent(),
        OnParentDeath::Continue => {
            prctl::set_pdeathsig(None).step(|| "prctl(2) PR_SET_PDEATHSIG none")
        }
    }?;
    if seal.no_new_privs {
        prctl::set_no_new_privs().step(|| "prctl(2) PR_SET_NO_NEW_PRIVS")?;
    }
    Ok(())
}
// ANCHOR_END: seal

/// Install the filter that denies input injection into any terminal.
fn guard_terminals(plan: &Plan) -> Result<()> {
    match terminal_filter::install() {
        // The first chapters also run without any privilege. Their program has the
        // same rights on the host as every other program of the ordinary user, so
        // there is no isolation to protect.
        Err(error)
            if plan.root == Root::Host
                && errno_of(&error) == Some(Errno::EACCES) =>
        {
            Ok(())
        }
        installed => installed,
    }
}

fn errno_of(error: &anyhow::Error) -> Option<Errno> {
    error.root_cause().downcast_ref().copied()
}

fn drop_from_bounding_set(seal: &Seal) -> Result<()> {
    let Some(kept) = seal.bounding else { return Ok(()) };
    for capability in (CapabilitySet::all() - kept).iter() {
        match remove_capability_from_bounding_set(capability) {
            // This kernel is older than the capability.
            Err(rustix::io::Errno::INVAL) => {}
            dropped => {
                dropped
                    .step(|| format!("prctl(2) PR_CAPBSET_DROP {capability:?}"))?;
            }
        }
    }
    Ok(())
}

fn set_groups(plan: &Plan, seal: &Seal) -> Result<()> {
    let groups = seal.credentials.iter().flat_map(|it| &it.groups);
    let groups: Vec<Gid> = groups.map(|group| Gid::from_raw(*group)).collect();
    match setgroups(&groups) {
        // In a user namespace that an ordinary user created, setgroups(2) is always
        // denied: dropping a group may grant access that is denied to that group.
        Err(Errno::EPERM) if plan.users == Users::Nested => Ok(()),
        // The first chapters also run without any privilege.
        Err(Errno::EPERM) if plan.root == Root::Host && groups.is_empty() => Ok(()),
        set => set.step(|| format!("setgroups(2) {groups:?}")).hint(|errno| {
            let numbers: Vec<_> = groups.iter().map(|it| it.as_raw()).collect();
            unmapped(errno, plan, "groups", &numbers)
        }),
    }
}

fn set_user(plan: &Plan, seal: &Seal, channel: &Channel) -> Result<()> {
    let Some(Credentials { user, group, .. }) = seal.credentials else {
        // Root of a joined user namespace is not the user that opened the streams.
        let joined = matches!(plan.root, Root::Joined(_));
        if joined && plan.users == Users::Nested {
            streams::give_to(geteuid(), &seal.streams, channel)?;
        }
        return Ok(());
    };
    setgid(Gid::from_raw(group))
        .step(|| format!("setgid(2) {group}"))
        .hint(|errno| unmapped(errno, plan, "groups", &[group]))?;
    let id = Uid::from_raw(user);
    streams::give_to(id, &seal.streams, channel)?;
    // setuid(2) from UID 0 clears the capabilities.
    setuid(id)
        .step(|| format!("setuid(2) {user}"))
        .hint(|errno| unmapped(errno, plan, "users", &[user]))
}

/// The meaning of EINVAL for these IDs.
///
/// # Source
/// setuid(2), setgroups(2); user_namespaces(7), "Unmapped user and group IDs"
fn unmapped(errno: Errno, plan: &Plan, kind: &str, ids: &[u32]) -> Option<String> {
    if errno != Errno::EINVAL {
        return None;
    }
    if ids.contains(&u32::MAX) {
        return Some(format!(
            "invalid ID {}: the largest ID is {}",
            u32::MAX,
            u32::MAX - 1
        ));
    }
    let there = match kind {
        "users" => id_map::users(),
        _ => id_map::groups(),
    };
    (plan.users == Users::Nested).then(|| {
        format!(
            "the container's user namespace maps only these {kind}: {there}; a \
             container that the host's root starts maps all"
        )
    })
}
