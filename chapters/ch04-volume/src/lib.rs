//! Volumes: directories and files of the host inside the container.

#![forbid(unsafe_code)]

mod spec;

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use common::guest::{GuestFile, GuestRoot, Kind};
use common::step::Step;
use common::{Exit, Home, OwnFile, ParentLink, Part, Plan, mount_read_only};
use nix::mount::{MsFlags, mount};

pub use spec::Spec;

/// Flags of this part.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub struct Flags {
    /// Mount a directory or file of the host in the container; may be repeated
    ///
    /// Missing directories of the host and the path in the container are created.
    /// Data written to the volume stays on the host. ":ro" makes the volume
    /// read-only.
    #[arg(
        short = 'v',
        long = "volume",
        value_name = "HOST:GUEST[:ro]",
        value_parser = OsStringValueParser::new().try_map(|text| Spec::parse(&text)),
    )]
    pub volumes: Vec<Spec>,
}

/// The part that bind-mounts files and directories of the host in the container.
///
/// # Source
/// mount(2), "Creating a bind mount"
#[derive(Debug)]
pub struct Volumes {
    volumes: Vec<(Spec, Kind)>,
    /// Directories of the host that this part created.
    made: Vec<PathBuf>,
}

impl Volumes {
    /// Create the part for these volumes, sorted by depth: `/a` is mounted before
    /// `/a/b`, so that it does not cover the other.
    #[must_use]
    pub fn new(flags: Flags) -> Volumes {
        let mut specs = flags.volumes;
        specs.sort_by_key(|spec| spec.guest.components().count());
        let volumes = specs.into_iter().map(|spec| (spec, Kind::Directory));
        Volumes { volumes: volumes.collect(), made: Vec::new() }
    }
}

// ANCHOR: part
impl Part for Volumes {
    fn name(&self) -> &'static str {
        "volume"
    }

    fn prepare(&mut self, _plan: &mut Plan) -> Result<()> {
        refuse_doubles(&self.volumes)?;
        for (spec, kind) in &mut self.volumes {
            // A relative path starts at the caller's working directory.
            let host = std::path::absolute(&spec.host)
                .untraced(|| format!("find {}", spec.host.display()))?;
            make_directories(&host, &mut self.made)?;
            spec.host = host;
            let meta = fs::metadata(&spec.host)
                .untraced(|| format!("stat(2) {}", spec.host.display()))?;
            *kind = if meta.is_dir() { Kind::Directory } else { Kind::File };
        }
        Ok(())
    }

    fn enter(&self, plan: &Plan, link: &ParentLink) -> Result<()> {
        let root = GuestRoot::open(plan.root.assembled()?)?;
        for (file, OwnFile { guest, .. }) in
            link.take_files().iter().zip(&plan.files)
        {
            // Use the file descriptor: the new root may cover the path at this
            // moment.
            let host = format!("/proc/self/fd/{}", file.as_raw_fd());
            bind(host.as_ref(), &root.make_plain_file(guest)?, guest)?;
        }
        for (spec, kind) in &self.volumes {
            let Spec { host, guest, read_only } = spec;
            bind(host, &root.make(guest, *kind)?, guest)?;
            if *read_only {
                // Look up the path again: the earlier file descriptor refers to the
                // file below the new mount.
                let place = root.find(guest)?.context("the volume was removed")?;
                mount_read_only(&place).step(|| {
                    format!("mount_setattr(2) {} read-only", guest.display())
                })?;
            }
        }
        Ok(())
    }

    fn ended(&self, _home: &Home, how: Exit) -> Result<()> {
        // A start that failed leaves no empty directories behind; a container that
        // ran keeps them.
        if how == Exit::NotStarted {
            for directory in self.made.iter().rev() {
                // rmdir(2) fails if another process has used the directory in the
                // meantime. That is correct.
                let _ = fs::remove_dir(directory);
            }
        }
        Ok(())
    }
}
// ANCHOR_END: part

/// Bind-mount a file or directory of the host in the container, with all mounts
/// below it. In a user namespace this is required: the kernel refuses to reveal
/// files that a mount covers.
fn bind(host: &Path, place: &GuestFile, guest: &Path) -> Result<()> {
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(host), &place.path(), None::<&str>, bind, None::<&str>)
        .step(|| format!("mount(2) bind {} on {}", host.display(), guest.display()))
}

/// Refuse two volumes on the same path: the second would hide the first.
fn refuse_doubles(volumes: &[(Spec, Kind)]) -> Result<()> {
    for (at, (spec, _)) in volumes.iter().enumerate() {
        if volumes[..at].iter().any(|(other, _)| other.guest == spec.guest) {
            bail!(
                "two volumes are mounted on {}: remove one of them",
                spec.guest.display()
            );
        }
    }
    Ok(())
}

/// Like mkdir -p. Adds each directory that it creates to `made`.
fn make_directories(path: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directories(parent, made)?;
    }
    match fs::create_dir(path) {
        Ok(()) => made.push(path.to_owned()),
        // Another container has created it in the meantime.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => {
            return Err(e).step(|| format!("mkdir(2) {} for -v", path.display()));
        }
    }
    Ok(())
}
