//! Download packages of Debian and its derivatives. Nothing is installed, and root
//! is not required.

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

/// The time limit of a package manager. It may download lists of 20 MB over a slow
/// connection.
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// The disk space for the package lists. The compressed lists of Debian 12 need up
/// to 28 MB.
const ROOM: u64 = 64 << 20;

/// apt-get, with a directory to work in.
///
/// The machine's own package lists are tried first. A fresh machine has none, so
/// apt-get then downloads its own lists.
pub struct Apt<'a> {
    path: OsString,
    work: PathBuf,
    own_lists: Cell<bool>,
    say: &'a dyn Fn(&str),
}

impl<'a> Apt<'a> {
    /// Use the apt-get in this PATH, and report progress by `say`.
    ///
    /// # Errors
    /// apt-get is missing; mkdir(2) or write(2) fails.
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

    /// Download a package and return its path.
    ///
    /// # Errors
    /// No list contains the package, or the server cannot be reached. The error
    /// contains the message of apt-get.
    pub fn download(&self, package: &str) -> Result<PathBuf> {
        (self.say)(&format!("downloading {package} with apt-get"));
        // A directory for each package, so that its only file is the package.
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

    /// The names of all packages that start with `start`.
    ///
    /// # Errors
    /// apt-cache fails.
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

    /// The versions that [`Apt::download`] would get, one line for each package.
    ///
    /// # Errors
    /// No list contains one of the packages; apt-cache fails.
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
    /// dpkg-deb fails.
    pub fn unpack(&self, package: &Path, tree: &Path) -> Result<()> {
        let mut command = Command::new("dpkg-deb");
        self.run(command.arg("-x").arg(package).arg(tree)).map(drop)
    }

    /// Download separate package lists. A source that does not answer causes only a
    /// warning, because the other sources may be enough. The warning is returned,
    /// and explains a later error.
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
        run(command.env("PATH", &self.path), TIMEOUT)
    }
}

/// Settings that apt-get reads after the machine's own settings.
///
/// Root would download as the user `_apt`, which cannot write here. The machine's
/// hooks must not run: Debian's container images have a hook that empties the
/// machine's package cache. Only the `Packages` lists are needed, compressed.
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

/// The file that a package manager saved in this directory.
pub(crate) fn only_file(directory: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(directory)?;
    Ok(entries.next().context("nothing was downloaded")??.path())
}

fn make(directory: &Path) -> Result<PathBuf> {
    fs::create_dir_all(directory)
        .step(|| format!("mkdir(2) {}", directory.display()))?;
    Ok(directory.to_owned())
}
