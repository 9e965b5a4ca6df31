//! What the packages of others require: their licences, and the version of Rust.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use provision::command::run;
use serde::Deserialize;
use spdx::{Expression, LicenseItem, ParseMode};

use super::{Checkout, File, Finding};
use crate::checkout::root;

/// Licences that a program under the MIT licence may link, and be passed on with their
/// texts.
const ALLOWED: [&str; 8] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    rust_version: Option<String>,
    /// `None` for the packages of this checkout.
    source: Option<String>,
}

/// The packages that are built for this target. Others are in `Cargo.lock` only.
#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
}

/// Every package has an allowed licence, and can be built by the Rust of the README.
///
/// # Errors
/// `cargo metadata` fails. It needs no network, since the packages were built before.
pub(super) fn dependencies(checkout: &Checkout) -> Result<Vec<Finding>> {
    let Some(lock) = checkout.file(Path::new("Cargo.toml")) else {
        return Ok(Vec::new());
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["metadata", "--format-version", "1"]);
    cargo.args(["--locked", "--offline"]);
    cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let said = run(&mut cargo, Duration::from_secs(60))?;
    let metadata: Metadata =
        serde_json::from_slice(&said.out).context("cargo metadata")?;
    let mut found = unfit(lock, &metadata, env!("CARGO_PKG_RUST_VERSION"));
    let readme = checkout.file(Path::new("README.md"));
    found.extend(
        readme.and_then(|readme| claim(readme, env!("CARGO_PKG_RUST_VERSION"))),
    );
    Ok(found)
}

fn unfit(lock: &File, metadata: &Metadata, rust: &str) -> Vec<Finding> {
    let used: BTreeSet<&str> =
        metadata.resolve.nodes.iter().map(|node| node.id.as_str()).collect();
    let others = metadata.packages.iter();
    let others =
        others.filter(|it| it.source.is_some() && used.contains(it.id.as_str()));
    let mut found = Vec::new();
    for Package { name, version, license, rust_version, .. } in others {
        let license = license.as_deref().unwrap_or("no licence");
        if !is_allowed(license) {
            let what = format!("{name} {version} has the licence {license}");
            let remedy = "use another package, or allow the licence in \
                          xtask/src/tidy/dependencies.rs";
            found.push(lock.finding(1, what, remedy));
        }
        if let Some(needed) = rust_version
            && numbers(needed) > numbers(rust)
        {
            let what = format!("{name} {version} needs Rust {needed}");
            let remedy = format!(
                "use an older version, or raise rust-version, which is {rust}, and the \
                 README's"
            );
            found.push(lock.finding(1, what, &remedy));
        }
    }
    found
}

/// The README says the version that clippy's `incompatible_msrv` checks.
fn claim(readme: &File, rust: &str) -> Option<Finding> {
    let claim = format!("Rust {rust} or later");
    if readme.text.contains(&claim) {
        return None;
    }
    Some(readme.finding(1, "the minimum version of Rust is missing".into(), &claim))
}

/// Whether the allowed licences satisfy this SPDX expression. Old packages separate
/// alternatives by a slash.
fn is_allowed(license: &str) -> bool {
    let Ok(expression) = Expression::parse_mode(license, ParseMode::LAX) else {
        return false;
    };
    expression.evaluate(|required| {
        // `Apache-2.0+` is a requirement that no package has so far.
        matches!(required.license, LicenseItem::Spdx { or_later: false, .. })
            && ALLOWED.contains(&required.to_string().as_str())
    })
}

fn numbers(version: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> =
        version.split('.').map(|number| number.parse().unwrap_or(0)).collect();
    numbers.resize(3, 0);
    numbers
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::*;

    #[test]
    fn one_alternative_of_or_and_all_parts_of_and_must_be_allowed() {
        for license in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-2.0-only OR MIT",
            "Apache-2.0 AND ISC",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0-only",
        ] {
            assert!(is_allowed(license), "{license}");
        }
        for license in [
            "GPL-3.0-only",
            "MIT AND GPL-2.0-only",
            "MPL-2.0",
            "no licence",
            "",
            "Apache-2.0 WITH Classpath-exception-2.0",
        ] {
            assert!(!is_allowed(license), "{license}");
        }
    }

    #[test]
    fn each_used_package_is_checked_and_named_in_the_finding() {
        let package = |name: &str, license: &str, rust: Option<&str>| Package {
            id: name.to_owned(),
            name: name.to_owned(),
            version: "1.0".to_owned(),
            license: Some(license.to_owned()).filter(|it| !it.is_empty()),
            rust_version: rust.map(str::to_owned),
            source: Some("registry".to_owned()).filter(|_| name != "own"),
        };
        let packages = vec![
            package("good", "MIT", Some("1.89")),
            package("own", "", Some("1.99")),
            package("copyleft", "GPL-3.0-only", None),
            package("bare", "", None),
            package("new", "MIT", Some("1.89.1")),
            package("unused", "GPL-3.0-only", Some("1.99")),
        ];
        let nodes = packages.iter().filter(|it| it.name != "unused");
        let nodes = nodes.map(|it| Node { id: it.id.clone() }).collect();
        let metadata = Metadata { packages, resolve: Resolve { nodes } };
        let lock = File { path: "Cargo.toml".into(), text: String::new() };
        let found = said(&unfit(&lock, &metadata, "1.89"));
        let lines: Vec<&str> = found.lines().collect();
        assert_eq!(lines.len(), 3, "{found}");
        assert!(lines[0].contains("copyleft 1.0 has the licence GPL-3.0-only"));
        assert!(lines[1].contains("bare 1.0 has the licence no licence"));
        assert!(lines[2].contains("new 1.0 needs Rust 1.89.1"), "{found}");
    }

    #[test]
    fn the_readme_states_the_checked_version() {
        let readme =
            |text: &str| File { path: "README.md".into(), text: text.into() };
        assert!(claim(&readme("Rust 1.89 or later"), "1.89").is_none());
        assert!(claim(&readme("Rust 1.8 or later"), "1.89").is_some());
    }
}
