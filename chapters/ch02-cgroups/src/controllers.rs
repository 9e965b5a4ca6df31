//! The controllers: which ones the kernel has, where each is mounted, and which ones
//! a group is to have.

use std::fs::read_to_string;
use std::str::FromStr;

use anyhow::{Error, Result, bail};
use common::step::Step;

use crate::group::Group;
use crate::layout::{Hierarchy, Layout, Version};

/// The functions of v1 controllers that every v2 group has without a controller.
const IN_EACH_V2_GROUP: [&str; 3] = ["cpuacct", "freezer", "perf_event"];

/// A controller that the kernel was built with.
#[derive(Clone, Debug)]
pub struct Controller {
    /// The name in /proc/cgroups, which is the name in v1.
    pub name: String,
    /// The ID of its hierarchy; 0 for v2 and for a controller that is not mounted.
    pub id: String,
    /// The number of groups in that hierarchy.
    pub groups: String,
    /// Whether the kernel's command line left it enabled.
    pub enabled: bool,
    /// The hierarchy in which its files appear.
    pub mounted: Option<Hierarchy>,
}

impl Controller {
    /// The name where it is mounted: v2 calls blkio io.
    fn current_name(&self) -> &str {
        match &self.mounted {
            Some(found) if found.version == Version::V2 => v2_name(&self.name),
            _ => &self.name,
        }
    }
}

fn v2_name(name: &str) -> &str {
    if name == "blkio" { "io" } else { name }
}

/// All controllers that the kernel was built with.
///
/// # Errors
/// ENOENT if /proc is not mounted.
/// # Source
/// cgroups(7), "/proc/cgroups"
pub fn controllers(layout: &Layout) -> Result<Vec<Controller>> {
    let path = "/proc/cgroups";
    let table = read_to_string(path).untraced(|| format!("read(2) {path}"))?;
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    Ok(lines.filter_map(|line| controller(line, layout)).collect())
}

fn controller(line: &str, layout: &Layout) -> Option<Controller> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, id, groups, enabled] = words[..] else { return None };
    let enabled = enabled == "1";
    let v2 = || layout.hierarchies.iter().find(|h| h.version == Version::V2);
    let mounted = layout
        .of(name)
        .or_else(|| layout.of(v2_name(name)))
        .or_else(|| v2().filter(|_| enabled && IN_EACH_V2_GROUP.contains(&name)));
    let [name, id, groups] = [name, id, groups].map(str::to_owned);
    Some(Controller { name, id, groups, enabled, mounted: mounted.cloned() })
}

/// The names of controllers, as in `cpu,memory`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerNames(Vec<String>);

impl FromStr for ControllerNames {
    type Err = Error;

    fn from_str(text: &str) -> Result<ControllerNames> {
        let mut names: Vec<String> = Vec::new();
        for name in text.split(',') {
            if name.is_empty() {
                bail!(
                    "empty name: expected controllers separated by commas, such as \
                     cpu,memory"
                );
            }
            if names.iter().any(|known| known == name) {
                bail!("duplicate controller {name:?}: name it once");
            }
            names.push(name.to_owned());
        }
        Ok(ControllerNames(names))
    }
}

// ANCHOR: plan
impl Group {
    /// A group that has only these controllers. Nothing is created yet.
    ///
    /// In v1, other controllers that are mounted in the same hierarchy come with
    /// them.
    ///
    /// # Errors
    /// A controller is unknown, is not mounted, or has another name in the version
    /// that is mounted.
    pub fn with_controllers(
        layout: Layout,
        name: &str,
        wanted: &ControllerNames,
    ) -> Result<Group> {
        let all = controllers(&layout)?;
        let mut hierarchies = Vec::new();
        for wanted in &wanted.0 {
            hierarchies.push(hierarchy(&all, wanted)?);
        }
        let wanted: Vec<&str> = wanted.0.iter().map(String::as_str).collect();
        let mut group = Group::plan(layout, name, &wanted)?;
        for hierarchy in hierarchies {
            group.add_hierarchy(hierarchy, name)?;
        }
        Ok(group)
    }
}
// ANCHOR_END: plan

/// The hierarchy of the controller that a user asked for by this name.
fn hierarchy(all: &[Controller], wanted: &str) -> Result<Hierarchy> {
    let known = |c: &&Controller| c.name == wanted || v2_name(&c.name) == wanted;
    let Some(found) = all.iter().find(known) else {
        bail!("unknown controller {wanted:?}: {}", available(all));
    };
    let Some(mounted) = &found.mounted else {
        let name = &found.name;
        if !found.enabled {
            bail!(
                "the controller {wanted} is disabled in this kernel: boot with \
                   cgroup_enable={name}"
            );
        }
        bail!(
            "the controller {wanted} is not mounted: {}; as root, this mounts it: \
             mount -t cgroup -o {name} none DIRECTORY",
            available(all)
        );
    };
    if found.current_name() != wanted {
        bail!(
            "the controller {wanted} is called {0} here: use --controllers {0}",
            found.current_name()
        );
    }
    Ok(mounted.clone())
}

fn available(all: &[Controller]) -> String {
    let mounted = all.iter().filter(|controller| controller.mounted.is_some());
    let mut names: Vec<&str> = mounted.map(Controller::current_name).collect();
    names.sort_unstable();
    format!("available controllers are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn mounted(version: Version, controllers: &[&str]) -> Layout {
        let controllers =
            controllers.iter().map(|name| (*name).to_owned()).collect();
        let mount = PathBuf::from("/c");
        Layout { hierarchies: vec![Hierarchy { version, mount, controllers }] }
    }

    fn error(version: Version, controllers: &[&str], wanted: &str) -> String {
        let layout = mounted(version, controllers);
        let table = ["cpu 0 1 1", "blkio 0 1 1", "freezer 0 1 1", "rdma 0 1 0"];
        let all: Vec<_> =
            table.iter().filter_map(|line| controller(line, &layout)).collect();
        hierarchy(&all, wanted).map_or_else(|e| e.to_string(), |_| String::new())
    }

    #[test]
    fn a_list_of_controllers_has_no_empty_or_duplicate_names() {
        for text in ["cpu", "cpu,memory"] {
            assert!(text.parse::<ControllerNames>().is_ok(), "{text}");
        }
        for (text, reason) in
            [("", "empty"), ("cpu,", "empty"), ("cpu,cpu", "duplicate controller")]
        {
            let error = text.parse::<ControllerNames>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn an_unavailable_controller_is_named_with_the_available_ones() {
        let (v1, v2) = (Version::V1, Version::V2);
        for (version, controllers, wanted) in
            [(v1, &["cpu", "blkio"][..], "blkio"), (v2, &["io"], "io")]
        {
            assert_eq!(error(version, controllers, wanted), "");
        }
        // Every v2 group can be frozen.
        assert_eq!(error(v2, &["cpu"], "freezer"), "");
        for (version, wanted, expected) in [
            (v1, "gpu", "unknown controller \"gpu\": available controllers are cpu"),
            (v1, "freezer", "is not mounted: available controllers are cpu"),
            (v1, "io", "not mounted"),
            (v1, "rdma", "is disabled in this kernel"),
        ] {
            let error = error(version, &["cpu"], wanted);
            assert!(error.contains(expected), "{wanted}: {error}");
        }
        assert!(error(v2, &["io"], "blkio").contains("called io here"));
        assert!(error(v1, &["blkio"], "io").contains("called blkio here"));
    }
}
