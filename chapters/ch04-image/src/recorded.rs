//! The part that records a container, so that other commands know it.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use anyhow::Result;
use ch02_union::Driver;
use common::images::{Hold, Image, now};
use common::state::record::{self, Record};
use common::{Exit, Home, Lifetime, Part, Plan, Running};
use nix::unistd::Pid;

/// The part that writes a container's record, and at its end how that was.
#[derive(Debug)]
pub struct Recorded {
    image: Image,
    driver: Driver,
    /// It protects the image's layers from removal until the record names them.
    hold: Option<Hold>,
    /// As far as it is known.
    record: Option<Record>,
    /// It is removed when its program ends.
    goes: bool,
}

impl Recorded {
    /// A container of this image, whose layers are held until the record is written.
    #[must_use]
    pub fn new(image: &Image, driver: Driver, hold: Hold) -> Recorded {
        let (image, hold) = (image.clone(), Some(hold));
        Recorded { image, driver, hold, record: None, goes: false }
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
        };
        record.write(&plan.home)?;
        self.record = Some(record);
        self.hold = None;
        Ok(())
    }

    fn attach(&mut self, plan: &Plan, _child: Pid) -> Result<()> {
        let Some(record) = &mut self.record else { return Ok(()) };
        // By now all parts have said what the program gets.
        record.environment = plan.environment.clone();
        if !plan.home_is_set {
            record.environment.remove(OsStr::new("HOME"));
        }
        record.directory = plan.directory.clone();
        record.user = plan.user.clone();
        self.goes = plan.lifetime != Lifetime::UntilRemoved;
        record.write(&plan.home)
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        // One that stays is joined in any case.
        if self.goes {
            running.let_join();
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
