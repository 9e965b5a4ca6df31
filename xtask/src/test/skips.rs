//! The skips that a lane expects: a test may be skipped only if the kernel is known
//! to lack the tested feature.

use super::PACKAGED;
use crate::vm::Cgroup;

/// One expected skip.
struct Skip {
    /// The kernel as the user names it; `None` means any kernel.
    kernel: Option<&'static str>,
    /// The cgroup layout; `None` means any layout.
    cgroup: Option<Cgroup>,
    /// The name of a test, or of a module of tests if it ends with `::`.
    test: &'static str,
    reason: &'static str,
}

/// Whether a test is expected to be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The test must run.
    No,
    /// The test must be skipped, for this reason.
    Yes(&'static str),
    /// The test may be skipped, for this reason: the features of the user's own
    /// kernel are not known.
    Perhaps(&'static str),
}

/// aufs was never part of Linux, and Debian's kernels do not include it.
const fn no_aufs(kernel: &'static str) -> Skip {
    Skip {
        kernel: Some(kernel),
        cgroup: None,
        test: "ch02_union::aufs::",
        reason: "this kernel has no aufs",
    }
}

/// ufw(8) is written in Python, which the VM does not have.
const fn no_ufw(kernel: &'static str) -> Skip {
    Skip {
        kernel: Some(kernel),
        cgroup: None,
        test: "paths::ufw::ufw_is_opened_and_stays_open_when_it_is_reloaded",
        reason: NO_PROGRAM,
    }
}

/// Linux 6.12 has no v1 hierarchy of memory and cpuset: the mount is refused.
const fn no_v1(test: &'static str) -> Skip {
    Skip {
        kernel: Some(PACKAGED[1]),
        cgroup: Some(Cgroup::V1),
        test,
        reason: "this kernel has no cgroup v1 memory and cpuset",
    }
}

/// It is not known whether the user's machine has the feature.
const fn perhaps_here(test: &'static str, reason: &'static str) -> Skip {
    Skip { kernel: Some(HERE), cgroup: None, test, reason }
}

/// The reason why a test does not change its machine.
const LOCKED: &str = "this machine's settings may not be changed";

/// The reason why a test of another program's firewall does not run.
const NO_PROGRAM: &str = "the firewall's program is not installed";

/// Each kernel has v1 hierarchies in these layouts.
const fn not_delegated(cgroup: Cgroup) -> Skip {
    Skip { kernel: None, cgroup: Some(cgroup), test: DELEGATED, reason: V1_ALONE }
}

/// The test of a delegated group, and the reason why it does not run.
const DELEGATED: &str =
    "ch03_limits::the_containers_group_is_created_in_the_delegated_group";
const V1_ALONE: &str = "cgroup v1 cannot be delegated";

/// The name of this machine's kernel.
const HERE: &str = "here";

const EXPECTED: [Skip; 23] = [
    Skip {
        kernel: None,
        cgroup: None,
        test: "skips_as_expected",
        reason: "the runner's own test of a skip",
    },
    no_aufs(PACKAGED[0]),
    no_aufs(PACKAGED[1]),
    perhaps_here(
        "ch03_limits::io_limits_the_read_rate_of_a_disk",
        "there is no disk that may be read",
    ),
    perhaps_here(
        "ch02_union::concurrent_first_mounts_all_wait_until_the_module_is_loaded",
        "overlay is no module here, or in use",
    ),
    not_delegated(Cgroup::V1),
    not_delegated(Cgroup::Hybrid),
    perhaps_here(DELEGATED, V1_ALONE),
    perhaps_here(
        "doctor::doctor_names_the_sysctl_that_disables_user_namespaces",
        LOCKED,
    ),
    perhaps_here(
        "doctor::doctor_names_a_disabled_kind_of_namespace_and_its_sysctl",
        LOCKED,
    ),
    no_ufw(PACKAGED[0]),
    no_ufw(PACKAGED[1]),
    perhaps_here("paths::foreign::a_drop_policy_of_nft_is_opened", NO_PROGRAM),
    perhaps_here(
        "paths::foreign::an_input_policy_does_not_close_published_ports",
        NO_PROGRAM,
    ),
    perhaps_here("paths::foreign::iptables_shows_our_rules_as_its_own", NO_PROGRAM),
    perhaps_here(
        "paths::foreign::the_printed_commands_open_a_legacy_firewall",
        NO_PROGRAM,
    ),
    no_v1("ch02_cgroups::set_writes_the_values_of_the_group"),
    no_v1("ch02_cgroups::a_process_may_use_only_the_cpus_of_the_cpuset"),
    no_v1("ch02_cgroups::two_groups_share_one_cpu_in_proportion_to_their_weights"),
    no_v1(
        "ch02_cgroups::a_process_that_exceeds_the_memory_limit_of_an_outer_group_is_killed",
    ),
    no_v1("ch03_limits::this_and_later_chapters_apply_the_limits"),
    no_v1(
        "chapters::ch03_limits::the_next_run_removes_the_group_of_a_run_killed_at_any_system_call",
    ),
    no_v1(
        "ch03_limits::the_containers_group_has_its_id_and_limits_and_is_removed_with_it",
    ),
];

/// Whether a skip of this test is expected.
pub(crate) fn expected(
    kernel: &str,
    cgroup: Option<Cgroup>,
    test: &str,
) -> Expected {
    let fits = |skip: &&Skip| {
        let named = match skip.test.strip_suffix("::") {
            Some(_) => test.starts_with(skip.test),
            None => skip.test == test,
        };
        named && skip.cgroup.is_none_or(|wanted| Some(wanted) == cgroup)
    };
    let mut skips = EXPECTED.iter().filter(fits);
    let sure = |skip: &&Skip| {
        skip.kernel.is_none_or(|wanted| wanted == kernel && wanted != HERE)
    };
    match skips.clone().find(sure) {
        Some(skip) => Expected::Yes(skip.reason),
        None if PACKAGED.contains(&kernel) => Expected::No,
        // A feature that a packaged kernel lacks may be missing here too.
        None => skips.next().map_or(Expected::No, |s| Expected::Perhaps(s.reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_skipped_on_packaged_kernels_and_perhaps_on_others() {
        let of = |kernel, test| expected(kernel, None, test);
        let (aufs, reason) = ("ch02_union::aufs::x", "this kernel has no aufs");
        assert_eq!(of("6.1", aufs), Expected::Yes(reason));
        assert_eq!(of("6.12", aufs), Expected::Yes(reason));
        assert_eq!(of("/boot/vmlinuz", aufs), Expected::Perhaps(reason));
        assert_eq!(of("here", aufs), Expected::Perhaps(reason));
        assert_eq!(of("6.1", "ch02_union::overlay::x"), Expected::No);
        let disk = "ch03_limits::io_limits_the_read_rate_of_a_disk";
        let reason = "there is no disk that may be read";
        assert_eq!(of("here", disk), Expected::Perhaps(reason));
        assert_eq!(of("6.1", disk), Expected::No);
        assert_eq!(of("here", "ch02_union::aufs"), Expected::No);
    }
}
