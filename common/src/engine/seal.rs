//! Sealing: the steps between the last `enter` and execve(2), in the one order that
//! works.
//!
//! Parts contribute values; this file decides when each step runs. Each step takes away a
//! right that a later step must not need. (Two processes of ours that do not come here
//! install the filter of step 1 themselves: the init process, and the process that joins
//! for `exec`.)
//!
//! | step | why here |
//! |---|---|
//! | 1 seccomp, without no_new_privs: [`terminal_filter`] | seccomp(2) needs CAP_SYS_ADMIN, which step 5 takes |
//! | 2 bounding set | PR_CAPBSET_DROP needs CAP_SETPCAP |
//! | 3 supplementary groups | setgroups(2) needs CAP_SETGID |
//! | 4 group, streams, user | fchown(2) of a stream needs CAP_CHOWN; setuid(2) to another user clears the capabilities |
//! | 5 capabilities | the last step that needs one has run |
//! | 6 working directory | chdir(2) checks the rights of the program's user |
//! | 7 close-on-exec, PDEATHSIG | the kernel clears PDEATHSIG at each change of credentials |
//! | 8 no_new_privs | from here on execve(2) gives no rights |
//!
//! A filter that is installed with no_new_privs would be the ninth step, since it may
//! forbid every call above. No part has one yet.

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
/// Take all the steps, in the table's order. Only the message to the parent and
/// execve(2) follow.
///
/// # Errors
/// The first step that fails, with its system call.
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

/// No program of a container types into a terminal, whichever it gets hold of.
fn guard_terminals(plan: &Plan) -> Result<()> {
    match terminal_filter::install() {
        // The first chapters run for an ordinary user without any privilege. Their
        // program has the rights of that user on the host, as every other program in the
        // session: there is no container to come out of.
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
        // In a user namespace that an ordinary user made, setgroups(2) is denied for
        // good: dropping a group may open what is closed to that group.
        Err(Errno::EPERM) if plan.users == Users::Nested => Ok(()),
        // The first chapters run for an ordinary user without any privilege.
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
    // The capabilities go with UID 0.
    setuid(id)
        .step(|| format!("setuid(2) {user}"))
        .hint(|errno| unmapped(errno, plan, "users", &[user]))
}

/// What EINVAL means for these IDs.
///
/// # Source
/// setuid(2), setgroups(2); user_namespaces(7), "Unmapped user and group IDs"
fn unmapped(errno: Errno, plan: &Plan, kind: &str, ids: &[u32]) -> Option<String> {
    if errno != Errno::EINVAL {
        return None;
    }
    if ids.contains(&u32::MAX) {
        return Some(format!(
            "{} is no ID: the largest ID is {}",
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
            "the container's user namespace has only these {kind}: {there}; a \
             container that the host's root starts has all"
        )
    })
}
