//! Packages of Debian and its children, downloaded and not installed, without root.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::{Said, run};
use crate::room::room;
use common::step::Step;

/// As long as a package manager may take: lists of 20 MB over a slow line.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Room for the lists: Debian 12's take 28 MB at the peak, compressed.
const ROOM: u64 = 64 << 20;

/// apt-get, with a directory to work in.
///
/// The machine's own package lists are tried first; a fresh machine has none, so
/// after that it reads lists of its own.
pub struct Apt<'a> {
    path: OsString,
    work: PathBuf,
    own_lists: Cell<bool>,
    say: &'a dyn Fn(&str),
}

impl<'a> Apt<'a> {
    /// Use the apt-get on this PATH, and tell the reader what is done by `say`.
    ///
    /// # Errors
    /// There is none; those of mkdir(2) and write(2).
    pub fn new(path: &OsStr, work: &Path, say: &'a dyn Fn(&str)) -> Result<Apt<'a>> {
        let apt = Apt {
            path: path.to_owned(),
            work: work.to_owned(),
            own_lists: Cell::new(false),
            say,
        };
        apt.run(Command::new("apt-get").arg("--version"))?;
        for directory in ["lists/partial", "cache/archives/partial"] {
            make(&work.join(directory))?;
        }
        let conf = apt.conf();
        fs::write(&conf, CONF).step(|| format!("write(2) {}", conf.display()))?;
        Ok(apt)
    }

    /// Download a package; its file.
    ///
    /// # Errors
    /// No list has it, or nothing can be reached: what apt-get says.
    pub fn download(&self, package: &str) -> Result<PathBuf> {
        (self.say)(&format!("downloading {package} with apt-get"));
        // A directory for each, so that the file in it is the package.
        let got = make(&self.work.join("got").join(package))?;
        let download = || {
            let mut command = self.command("apt-get");
            command.arg("download").arg(package).current_dir(&got);
            self.run(&mut command)
        };
        if download().is_err() {
            let warning = self.update()?;
            download().map_err(|error| match warning {
                Some(warning) => error.context(warning),
                None => error,
            })?;
        }
        only_file(&got)
    }

    /// The names of all packages that start like this.
    ///
    /// # Errors
    /// Those of apt-cache.
    pub fn names(&self, start: &str) -> Result<Vec<String>> {
        let names = || {
            let mut command = self.command("apt-cache");
            let said = self.run(command.args(["pkgnames", start]))?;
            let text = String::from_utf8_lossy(&said.out).into_owned();
            Ok(text.lines().map(str::to_owned).collect())
        };
        let found: Vec<String> = names()?;
        if found.is_empty() && !self.own_lists.get() {
            self.update()?;
            return names();
        }
        Ok(found)
    }

    /// The versions of packages that would be downloaded, a line for each package.
    ///
    /// # Errors
    /// No list has one of them; those of apt-cache.
    pub fn versions(&self, packages: &[&str]) -> Result<String> {
        let versions = || {
            let mut command = self.command("apt-cache");
            command.args(["show", "--no-all-versions"]).args(packages);
            let said = self.run(&mut command)?;
            let text = String::from_utf8_lossy(&said.out).into_owned();
            let values = |key: &str| {
                let lines = text.lines().filter_map(|line| line.strip_prefix(key));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            let (names, versions) = (values("Package: "), values("Version: "));
            for package in packages {
                ensure!(
                    names.iter().any(|it| it == package),
                    "no package {package}"
                );
            }
            let mut lines: Vec<String> = names
                .iter()
                .zip(versions)
                .map(|(name, version)| format!("{name} {version}\n"))
                .collect();
            lines.sort();
            Ok(lines.concat())
        };
        match versions() {
            Err(_) if !self.own_lists.get() => {
                self.update()?;
                versions()
            }
            versions => versions,
        }
    }

    /// Unpack a package into a directory.
    ///
    /// # Errors
    /// Those of dpkg-deb.
    pub fn unpack(&self, package: &Path, tree: &Path) -> Result<()> {
        let mut command = Command::new("dpkg-deb");
        self.run(command.arg("-x").arg(package).arg(tree)).map(drop)
    }

    /// Read lists of our own. A source that doesn't answer is only a warning: what
    /// the others have is enough. When it is not, the warning is the reason.
    fn update(&self) -> Result<Option<String>> {
        if self.own_lists.replace(true) {
            return Ok(None);
        }
        room(&self.work, ROOM, "package lists")?;
        (self.say)("reading package lists with apt-get, once");
        let mut command = self.command("apt-get");
        let updated = self.run(command.args(["-oAcquire::Retries=0", "update"]))?;
        Ok(updated.last("W: Failed to fetch").map(str::to_owned))
    }

    fn conf(&self) -> PathBuf {
        self.work.join("conf")
    }

    fn command(&self, program: &str) -> Command {
        let option = |name: &str, directory: &str| {
            format!("-o{name}={}", self.work.join(directory).display())
        };
        let mut command = Command::new(program);
        command.arg("-qq").arg("-c").arg(self.conf());
        command.arg(option("Dir::Cache", "cache"));
        if self.own_lists.get() {
            command.arg(option("Dir::State::Lists", "lists"));
        }
        command
    }

    fn run(&self, command: &mut Command) -> Result<Said> {
        run(command.env("PATH", &self.path), PATIENCE)
    }
}

/// What apt-get reads after the machine's own settings.
///
/// Root would download as the user `_apt`, who can't write here. The machine's hooks
/// belong to its own lists: Debian's container images have one that empties the
/// machine's package cache. Of the lists only `Packages` is wanted, and compressed.
///
/// # Source
/// apt.conf(5), "#clear"; acquire-additional-files.txt of apt's documentation
const CONF: &str = r#"
APT::Sandbox::User "";
#clear APT::Update;
#clear Acquire::IndexTargets;
Acquire::IndexTargets::deb::Packages {
  MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
  flatMetaKey "Packages";
  ShortDescription "Packages";
  Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages";
  Optional "false";
};
Acquire::GzipIndexes "true";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "10";
Acquire::https::Timeout "10";
"#;

/// The file that a package manager was to put into this directory.
pub(crate) fn only_file(directory: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(directory)?;
    Ok(entries.next().context("nothing was downloaded")??.path())
}

fn make(directory: &Path) -> Result<PathBuf> {
    fs::create_dir_all(directory)
        .step(|| format!("mkdir(2) {}", directory.display()))?;
    Ok(directory.to_owned())
}
