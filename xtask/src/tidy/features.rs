//! Every selection of packages uses the same features, so that cargo builds each package
//! once: `cargo build`, `cargo run -p CHAPTER` and `cargo xtask exercise`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use provision::command::run;

use super::{Checkout, File, Finding};
use crate::command::cargo;

/// A package in one selection alone: it has few dependencies, and a learner sees its
/// Cargo.toml.
const EXCEPT: [&str; 1] = ["ch01-fifty-lines"];

/// The features of each package of a selection. A package that is built for this machine
/// and for the compiler has two entries.
type Features = BTreeMap<String, Vec<String>>;

/// # Errors
/// `cargo tree` fails. It needs no network, since the packages were built before.
pub(super) fn features(checkout: &Checkout) -> Result<Vec<Finding>> {
    let Some(manifest) = checkout.file(Path::new("Cargo.toml")) else {
        return Ok(Vec::new());
    };
    let all = selection(&["--workspace", "--exclude", "blackbox"])?;
    let mut found = Vec::new();
    for name in packages(checkout) {
        if !EXCEPT.contains(&name.as_str()) {
            found.extend(different(
                manifest,
                &all,
                &name,
                &selection(&["-p", &name])?,
            ));
        }
    }
    Ok(found)
}

/// The names of the chapters, and of the programs that are built on their own.
fn packages(checkout: &Checkout) -> Vec<String> {
    let manifests = checkout.files.iter().filter_map(|file| {
        let name = file.path.strip_prefix("chapters").ok()?.parent()?.to_str()?;
        let is_manifest = file.path.ends_with(Path::new(name).join("Cargo.toml"));
        (is_manifest && !name.contains('/')).then(|| name.to_owned())
    });
    manifests.chain(["xtask", "vm-init"].map(str::to_owned)).collect()
}

fn selection(words: &[&str]) -> Result<Features> {
    let mut tree = cargo();
    tree.args(["tree", "--offline", "--edges", "normal,build", "--prefix", "none"]);
    tree.args(["--format", "{p}\t{f}"]).args(words);
    let said = run(&mut tree, Duration::from_secs(60))?;
    Ok(parsed(&String::from_utf8_lossy(&said.out)))
}

fn parsed(text: &str) -> Features {
    let mut features = Features::new();
    for line in text.lines() {
        let line = line.trim_end_matches(" (*)");
        let (package, of) = line.split_once('\t').unwrap_or((line, ""));
        let entries = features.entry(package.to_owned()).or_default();
        if !entries.iter().any(|entry| entry == of) {
            entries.push(of.to_owned());
        }
    }
    features
}

fn different(
    manifest: &File,
    all: &Features,
    name: &str,
    selected: &Features,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for (package, entries) in selected {
        let known = all.get(package).map_or(&[][..], Vec::as_slice);
        for features in entries.iter().filter(|entry| !known.contains(entry)) {
            let what = format!(
                "{package} has the features {features:?} for {name}, and {} for the \
                 workspace",
                known
                    .iter()
                    .map(|it| format!("{it:?}"))
                    .collect::<Vec<_>>()
                    .join(" and ")
            );
            let remedy = "list the features of the workspace in [workspace.dependencies], \
                          and the package in the Cargo.toml of the one that needs it";
            found.push(manifest.finding(1, what, remedy));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_features_than_those_of_the_workspace_are_found() {
        let manifest = File { path: "Cargo.toml".into(), text: String::new() };
        let all = parsed("a v1\tx,y\nb v2\tz\na v1\tx,y (*)\nb v2\t\n");
        let same = parsed("b v2\t (*)\na v1\tx,y\n");
        assert_eq!(different(&manifest, &all, "c", &same), []);
        let found = different(&manifest, &all, "c", &parsed("a v1\tx\nb v2\tz\n"));
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert!(
            finding
                .what
                .starts_with("a v1 has the features \"x\" for c, and \"x,y\"")
        );
    }

    #[test]
    fn every_chapter_is_examined() {
        let checkout = Checkout::read(&crate::checkout::root()).unwrap();
        let found = packages(&checkout);
        assert!(found.len() > 30, "{found:?}");
        assert!(found.contains(&"ch04-volume".to_owned()), "{found:?}");
    }
}
