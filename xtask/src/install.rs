//! Installing packages, if this process is privileged.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use provision::command::run;

/// The name of a package for each package manager; empty if there is no such
/// package.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// For apt-get.
    pub apt: &'static str,
    /// For apk.
    pub apk: &'static str,
    /// For dnf.
    pub dnf: &'static str,
}

impl Package {
    /// A package that has the same name everywhere.
    pub const fn named(name: &'static str) -> Package {
        Package { apt: name, apk: name, dnf: name }
    }
}

/// The command of a package manager, and the field with its name for a package.
type Manager = (&'static [&'static str], fn(&Package) -> &'static str);

const MANAGERS: [Manager; 3] = [
    (&["apt-get", "install", "--yes", "--no-install-recommends"], |p| p.apt),
    (&["apk", "add"], |p| p.apk),
    (&["dnf", "install", "--assumeyes"], |p| p.dnf),
];

/// The time limit of an installation.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);

/// The command that installs packages on this machine.
#[derive(Debug)]
pub struct Installer(Vec<&'static str>);

impl Installer {
    /// The command for these packages; `None` if no package manager has them all.
    pub fn of(packages: &[Package]) -> Option<Installer> {
        let here = |(words, _): &&Manager| on_path(words[0]).is_some();
        words(MANAGERS.iter().find(here)?, packages).map(Installer)
    }

    /// The command as text.
    pub fn line(&self) -> String {
        self.0.join(" ")
    }

    /// Run the command.
    ///
    /// # Errors
    /// The package manager fails.
    pub fn run(&self) -> Result<()> {
        let install = || {
            let mut install = Command::new(self.0[0]);
            install.args(&self.0[1..]).env("DEBIAN_FRONTEND", "noninteractive");
            run(&mut install, INSTALL_TIMEOUT)
        };
        if install().is_err() {
            // A fresh machine has no package lists.
            if self.0[0] == "apt-get" {
                run(Command::new("apt-get").arg("update"), INSTALL_TIMEOUT)
                    .context("read package lists")?;
            }
            install()?;
        }
        Ok(())
    }
}

fn words(manager: &Manager, packages: &[Package]) -> Option<Vec<&'static str>> {
    let (command, name) = manager;
    let names = packages.iter().map(name);
    let mut words = command.to_vec();
    for name in names {
        words.push(Some(name).filter(|name| !name.is_empty())?);
    }
    Some(words)
}

/// The path of a program in PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_manager_gets_its_own_names() {
        let both = [Package { apt: "a", apk: "b", dnf: "" }, Package::named("c")];
        let line = |at: usize| words(&MANAGERS[at], &both).map(|all| all.join(" "));
        let apt = "apt-get install --yes --no-install-recommends a c";
        assert_eq!(line(0).as_deref(), Some(apt));
        assert_eq!(line(1).as_deref(), Some("apk add b c"));
        assert_eq!(line(2), None);
    }
}
