//! The settings that a container takes from its image: command, environment, working
//! directory and user.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ch02_union::Driver;
use clap::Args;
use common::cli;
use common::images::{Image, Settings};
use common::state::State;
use common::step::Step;
use common::{ParentLink, Part, Plan};

use crate::layer::hides;

/// The last arguments of `run` from this chapter on: the image, and then the program.
#[derive(Args, Debug)]
#[group(skip)]
pub struct ImageAndCommand {
    #[command(flatten)]
    trace: cli::Trace,

    /// Program to run instead of the image's entrypoint and command; "" means none
    ///
    /// The words after IMAGE are its arguments. With "", they are the program and its
    /// arguments.
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<OsString>,

    /// The image, and the program with its arguments [default: from the image]
    ///
    /// Options end at the first argument that is not an option; the remaining
    /// arguments are the command.
    #[arg(
        required = true,
        trailing_var_arg = true,
        num_args = 1..,
        value_name = "IMAGE [COMMAND]"
    )]
    pub words: Vec<OsString>,
}

impl ImageAndCommand {
    /// The image's name.
    ///
    /// # Errors
    /// The name is not valid UTF-8.
    pub fn image(&self) -> Result<&str> {
        let word = self.words.first().context("no image")?;
        let text = word.to_str();
        text.with_context(|| format!("the image name {word:?} is not valid UTF-8"))
    }

    /// A container of this image that runs the given command, without parts yet.
    /// `--trace` takes effect here.
    ///
    /// # Errors
    /// The working directory or the path of the state directory cannot be determined.
    pub fn plan(self, image: &Image) -> Result<Plan> {
        let command = command(self.entrypoint, self.words, &image.settings)?;
        cli::Run { trace: self.trace, command }.plan()
    }
}

/// The program and its arguments: the entrypoint, followed by the words after the
/// image. Without such words, the image's command follows.
fn command(
    entrypoint: Option<OsString>,
    words: Vec<OsString>,
    settings: &Settings,
) -> Result<Vec<OsString>> {
    let own = entrypoint.is_none();
    let mut command: Vec<OsString> = match entrypoint {
        None => settings.entrypoint.iter().map(Into::into).collect(),
        Some(program) => {
            Some(program).filter(|it| !it.is_empty()).into_iter().collect()
        }
    };
    if words.len() > 1 {
        command.extend(words.into_iter().skip(1));
    } else if own {
        // The image's command contains arguments for the image's own entrypoint.
        // Another entrypoint does not get them.
        command.extend(settings.command.iter().map(Into::into));
    }
    ensure!(
        !command.is_empty(),
        "no command: the image has none, so add a command after the image"
    );
    Ok(command)
}

/// The image's environment, working directory and user. This part also checks whether
/// the driver can read the image's layers. It comes after the part of the root
/// filesystem, because that part sets the working directory `/`.
#[derive(Debug)]
pub struct FromImage {
    settings: Settings,
    /// All layers except the lowest one.
    upper: Vec<PathBuf>,
    driver: Driver,
}

impl FromImage {
    /// The settings of this image, for a root filesystem of this driver.
    #[must_use]
    pub fn new(image: &Image, state: &State, driver: Driver) -> FromImage {
        let mut upper = image.directories(state);
        upper.pop();
        FromImage { settings: image.settings.clone(), upper, driver }
    }
}

impl Part for FromImage {
    fn name(&self) -> &'static str {
        "image"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        if self.driver == Driver::Aufs {
            for layer in &self.upper {
                if let Some(path) = hides(layer)? {
                    bail!(
                        "{} is a whiteout or an opaque directory of overlayfs, which aufs \
                         does not support: use --driver overlay or --driver copy",
                        path.display()
                    );
                }
            }
        }
        plan.set_variables(|environment| {
            for word in &self.settings.environment {
                let (key, value) = word.split_once('=').unwrap_or((word, ""));
                environment.insert(key.into(), value.into());
            }
            Ok(())
        })?;
        if !self.settings.directory.is_empty() {
            plan.directory = Path::new("/").join(&self.settings.directory);
        }
        plan.image_user =
            Some(self.settings.user.clone()).filter(|user| !user.is_empty());
        Ok(())
    }

    fn enter(&self, plan: &Plan, _link: &ParentLink) -> Result<()> {
        // The image's working directory may be missing in all its layers.
        let directory = &plan.directory;
        if self.settings.directory.is_empty() || directory.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(directory)
            .step(|| format!("mkdir(2) {}", directory.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entrypoint_option_replaces_entrypoint_and_command_of_the_image() {
        let words = |words: &[&str]| words.iter().map(Into::into).collect();
        let settings = Settings {
            entrypoint: vec!["/start".into(), "-q".into()],
            command: vec!["serve".into()],
            ..Settings::default()
        };
        for (entrypoint, after, wanted) in [
            (None, &[][..], &["/start", "-q", "serve"][..]),
            (None, &["-v"], &["/start", "-q", "-v"]),
            (Some("sh"), &[], &["sh"]),
            (Some("sh"), &["-c", "id"], &["sh", "-c", "id"]),
            (Some(""), &["id"], &["id"]),
        ] {
            let all = [&["image"], after].concat();
            let command =
                command(entrypoint.map(Into::into), words(&all), &settings);
            let wanted: Vec<OsString> = words(wanted);
            assert_eq!(command.unwrap(), wanted);
        }
        let none = command(Some("".into()), words(&["image"]), &settings);
        assert!(none.unwrap_err().to_string().starts_with("no command: "));
    }
}
