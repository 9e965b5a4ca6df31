//! The part that records a container, so that other commands can find it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::Result;
use ch02_union::Driver;
use ch04_volume::Spec;
use common::images::{Image, LockGuard, now};
use common::state::record::{self, Mount, Record};
use common::step::Step;
use common::{Exit, Home, Lifetime, Part, Plan, Running};
use nix::unistd::Pid;

use crate::image_volumes::{self, ImageVolumes};

/// The part that writes a container's record, and its exit status when it ends.
#[derive(Debug)]
pub struct Recorded {
    image: Image,
    driver: Driver,
    /// The volumes that the caller gave.
    given: Vec<Spec>,
    /// The paths of the volumes that the image declares.
    declared: Vec<PathBuf>,
    /// Protects the image's layers from removal until the record names them.
    lock: Option<LockGuard>,
    /// The record, with the fields that are known so far.
    record: Option<Record>,
    /// Whether the container is removed when its program ends.
    removed_at_end: bool,
}

impl Recorded {
    /// A container of this image. `lock` keeps the image's layers until the record
    /// is written.
    #[must_use]
    pub fn new(image: &Image, driver: Driver, lock: LockGuard) -> Recorded {
        let (image, lock) = (image.clone(), Some(lock));
        let (given, declared) = (Vec::new(), Vec::new());
        Recorded {
            image,
            driver,
            given,
            declared,
            lock,
            record: None,
            removed_at_end: false,
        }
    }

    /// Also record these volumes of the caller and of the image.
    #[must_use]
    pub fn volumes(mut self, given: &[Spec], declared: &ImageVolumes) -> Recorded {
        self.given = given.to_vec();
        self.declared = declared.guests().to_vec();
        self
    }

    fn mounts(&self, home: &Home) -> Result<Vec<Mount>> {
        let declared = self.declared.iter().enumerate().map(|(number, guest)| {
            let host = image_volumes::directory(home, number);
            Ok(Mount { host, guest: guest.clone(), read_only: false })
        });
        let given = self.given.iter().map(|spec| {
            let host = std::path::absolute(&spec.host)
                .untraced(|| format!("find {}", spec.host.display()))?;
            Ok(Mount { host, guest: spec.guest.clone(), read_only: spec.read_only })
        });
        declared.chain(given).collect()
    }
}

// ANCHOR: part
impl Part for Recorded {
    fn name(&self) -> &'static str {
        "record"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        let lossy = |word: &std::ffi::OsString| word.to_string_lossy().into_owned();
        let record = Record {
            id: plan.home.id.clone(),
            name: plan.home.name.clone(),
            image: self.image.name.clone(),
            image_id: self.image.id.to_string(),
            layers: self.image.layers.clone(),
            command: plan.command.iter().map(lossy).collect(),
            created: now(),
            driver: self.driver.name(),
            environment: BTreeMap::new(),
            directory: "/".into(),
            user: None,
            stop_signal: Some(self.image.settings.stop_signal.clone())
                .filter(|signal| !signal.is_empty()),
            mounts: self.mounts(&plan.home)?,
        };
        record.write(&plan.home)?;
        self.record = Some(record);
        self.lock = None;
        Ok(())
    }

    fn attach(&mut self, plan: &Plan, _child: Pid) -> Result<()> {
        let Some(record) = &mut self.record else { return Ok(()) };
        // All parts are prepared now, so the program's environment, directory and user
        // are known.
        record.environment = plan.environment.clone();
        if !plan.home_is_set {
            record.environment.remove(OsStr::new("HOME"));
        }
        record.directory = plan.directory.clone();
        record.user = plan.user.clone();
        self.removed_at_end = plan.lifetime != Lifetime::UntilRemoved;
        record.write(&plan.home)
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        // This call decides only about a container that is removed at its end. Other
        // commands can always join a container that is kept.
        if self.removed_at_end {
            running.allow_join();
        }
        Ok(())
    }

    fn ended(&self, home: &Home, how: Exit) -> Result<()> {
        record::write_end(home, how)
    }

    fn removed(&self, home: &Home) -> Result<()> {
        record::forget(home)
    }
}
// ANCHOR_END: part
