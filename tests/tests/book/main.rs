//! The pages of the book and the README as tests: `cargo xtask test book`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use blackbox::book::{self, Page};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match book::pages(&root()) {
        Ok(pages) => {
            let trials = pages.into_iter().flat_map(trials).collect();
            libtest_mimic::run(&arguments, trials).exit_code()
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The checkout, or its copy in the VM.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let given = env::var_os("MYDOCKER_SOURCE").map(PathBuf::from);
    given.unwrap_or_else(|| here.parent().unwrap_or(here).to_owned())
}

/// A test for each machine on which blocks of the page run.
fn trials(page: Page) -> Vec<Trial> {
    let trial = |lane: Option<book::Lane>| {
        let page = page.clone();
        let name = match &lane {
            None => format!("book::{}", page.name),
            Some(lane) => format!("book::{}::{}", page.name, lane),
        };
        Trial::test(name, move || {
            book::run(&page, lane.as_ref()).map_err(libtest_mimic::Failed::from)
        })
    };
    page.lanes().into_iter().map(trial).collect()
}
