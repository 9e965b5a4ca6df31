//! `cargo xtask mutants` checks that the tests can fail. Each patch in
//! tests/mutants/ breaks an important line, and names the test that must detect
//! this. A test that cannot fail proves nothing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use common::state::remove_tree;
use common::step::Step;
use serde_json::Value;

use crate::build::{Built, build, build_chapters};
use crate::checkout::{root, target};
use crate::minimum;
use crate::part::Part;
use crate::progress::Progress;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Test only mutants whose names contain one of these words [default: all]
    filter: Vec<String>,

    /// Test only a part of them, such as 2/4: the second of four parts
    #[arg(long, conflicts_with = "filter")]
    part: Option<Part>,
}

/// The files from which a chapter is built. The paths of directories have no
/// trailing slash.
pub const SOURCES: [&str; 7] =
    [".cargo", "Cargo.toml", "Cargo.lock", "chapters", "common", "tests", "xtask"];

/// A mutant, which is a patch.
#[derive(Debug, PartialEq)]
struct Mutant {
    /// The patch's file name.
    name: String,
    /// A line that describes what is broken.
    what: String,
    /// The test that must fail.
    test: String,
    /// The file that the patch changes.
    path: PathBuf,
    /// The unified diff.
    patch: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let all = mutants(&root().join("tests/mutants"))?;
    covered(&all)?;
    let fits =
        |mutant: &&Mutant| args.filter.iter().any(|word| mutant.name.contains(word));
    let chosen: Vec<&Mutant> = match args.filter.as_slice() {
        [] => all.iter().collect(),
        _ => all.iter().filter(fits).collect(),
    };
    let chosen = match args.part {
        Some(part) => part.of(chosen),
        None => chosen,
    };
    if chosen.is_empty() {
        bail!("no mutant has such a name: see tests/mutants");
    }
    let directory = target().join("mutants");
    let checkout = directory.join("checkout");
    let sound = build(&[])?;
    let mut survived = Vec::new();
    for (done, mutant) in chosen.iter().enumerate() {
        let begun = Instant::now();
        let Mutant { name, what, .. } = mutant;
        // cargo shows its own progress below.
        eprintln!("{name}: {what} ({} of {})", done + 1, chosen.len());
        // This also reverts the previous mutant.
        for source in SOURCES {
            sync(&root().join(source), &checkout.join(source))?;
        }
        mutant.apply(&checkout)?;
        let programs = mutant
            .build(&sound, &checkout, &directory)
            .with_context(|| format!("{} cannot be built", mutant.name))?;
        let progress = Progress::start(&mutant.test);
        let verdict = mutant.test(&programs, &directory)?;
        drop(progress);
        let seconds = begun.elapsed().as_secs_f64();
        let how = match verdict {
            None => format!("caught by {}", mutant.test),
            Some(verdict) => {
                survived.push(mutant.name.as_str());
                format!("SURVIVED: {} {verdict}", mutant.test)
            }
        };
        println!("{name}: {what} ... {how} ({seconds:.1}s)");
    }
    let caught = chosen.len() - survived.len();
    println!("\nmutants: {caught} caught, {} survived", survived.len());
    if args.filter.is_empty() {
        minimum::check_part("mutants", args.part, chosen.len(), 0)?;
    }
    match survived.as_slice() {
        [] => Ok(()),
        names => bail!("mutants not caught: {}", names.join(", ")),
    }
}

fn mutants(directory: &Path) -> Result<Vec<Mutant>> {
    let step = || format!("readdir(3) {}", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).step(step)? {
        let path = entry.step(step)?.path();
        let text = fs::read_to_string(&path)
            .step(|| format!("read(2) {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let mutant = Mutant::parse(&name, &text);
        found.push(mutant.with_context(|| path.display().to_string())?);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Check that each chapter has a mutant.
fn covered(mutants: &[Mutant]) -> Result<()> {
    let broken: BTreeSet<OsString> = mutants
        .iter()
        .filter_map(|mutant| mutant.path.strip_prefix("chapters").ok())
        .filter_map(|path| path.components().next())
        .map(|first| first.as_os_str().to_owned())
        .collect();
    for entry in fs::read_dir(root().join("chapters"))? {
        let chapter = entry?.file_name();
        if !broken.contains(&chapter) {
            bail!(
                "no patch in tests/mutants/ breaks {}: add one",
                chapter.display()
            );
        }
    }
    Ok(())
}

impl Mutant {
    /// Parse a line that describes the mutant, a line `caught by: TEST`, and a
    /// unified diff of one file.
    fn parse(name: &str, text: &str) -> Result<Mutant> {
        let form = "expected a line on what is broken, a line \"caught by: TEST\", and \
                    a unified diff of one file";
        let (head, _) = text.split_once("--- ").context(form)?;
        let mut lines = head.lines();
        let what = lines.next().context(form)?.to_owned();
        let test = lines.find_map(|line| line.strip_prefix("caught by: "));
        let patch = text[head.len()..].to_owned();
        let path = patch.lines().find_map(|line| line.strip_prefix("+++ b/"));
        Ok(Mutant {
            name: name.to_owned(),
            what,
            test: test.context(form)?.to_owned(),
            path: path.context(form)?.into(),
            patch,
        })
    }

    fn apply(&self, checkout: &Path) -> Result<()> {
        let path = checkout.join(&self.path);
        let stale = || {
            let (name, path) = (&self.name, self.path.display());
            format!("{name} does not apply to {path}: regenerate the patch")
        };
        let patch = diffy::Patch::from_str(&self.patch).with_context(stale)?;
        let before = fs::read_to_string(&path)
            .step(|| format!("read(2) {}", path.display()))?;
        let after = diffy::apply(&before, &patch).with_context(stale)?;
        fs::write(&path, after).step(|| format!("write(2) {}", path.display()))
    }

    /// Build the programs that the test needs, from the checkout with the patch.
    /// Returns the directory of the programs.
    ///
    /// A test of one chapter gets that chapter with the patch, and all other
    /// programs without it, because linking thirty programs takes longer than a
    /// test. A program that an earlier mutant left in the build directory is never
    /// used.
    fn build(
        &self,
        sound: &Built,
        checkout: &Path,
        directory: &Path,
    ) -> Result<PathBuf> {
        let target = directory.join("target");
        let Some(chapter) = self.chapter(&sound.chapters) else {
            return build_chapters(checkout, &target, None);
        };
        let built = build_chapters(checkout, &target, Some(&chapter))?;
        let programs = directory.join("programs");
        if programs.exists() {
            remove_tree(&programs)?;
        }
        fs::create_dir_all(&programs)
            .step(|| format!("mkdir(2) {}", programs.display()))?;
        for path in &sound.chapters {
            let name = path.file_name().unwrap_or_default();
            let changed = built.join(&chapter);
            let from = if name == chapter.as_str() { &changed } else { path };
            fs::hard_link(from, programs.join(name))
                .step(|| format!("link(2) {}", from.display()))?;
        }
        Ok(programs)
    }

    /// The chapter of the test: the longest program name that is a prefix of the
    /// test's name, such as `ch02-net` for `ch02_net_by_hand::…`; `None` for a test
    /// of all chapters.
    fn chapter(&self, programs: &[PathBuf]) -> Option<String> {
        let names = programs.iter().filter_map(|path| path.file_name()?.to_str());
        let fits =
            names.filter(|name| self.test.starts_with(&name.replace('-', "_")));
        fits.max_by_key(|name| name.len()).map(str::to_owned)
    }

    /// Run the test on these broken programs, in a VM. Returns `None` if the test
    /// detected the mutant, and otherwise the test's verdict.
    fn test(&self, programs: &Path, directory: &Path) -> Result<Option<String>> {
        let results = directory.join("results.json");
        let _ = fs::remove_file(&results);
        let mut command = Command::new("/proc/self/exe");
        command.args(["test", "--bin-dir"]).arg(programs);
        command.arg("--json").arg(&results).arg(&self.test);
        let output =
            command.stdin(Stdio::null()).output().context("run the test")?;
        let Ok(text) = fs::read(&results) else {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("{}: the test could not be run: {}", self.name, said.trim());
        };
        let results: Value = serde_json::from_slice(&text)?;
        let mut tests = results["tests"].as_array().into_iter().flatten();
        let test = tests.find(|test| test["name"] == *self.test);
        let test = test.with_context(|| format!("test {} not found", self.test))?;
        Ok(match test["verdict"].as_str() {
            // An assertion of the test failed. The VM itself did not fail.
            Some("failed") if test["reason"] == "failed" => None,
            verdict => {
                let verdict = verdict.unwrap_or("has no verdict");
                let reason = test["reason"].as_str().unwrap_or_default();
                Some(format!("{verdict} {reason}").trim_end().to_owned())
            }
        })
    }
}

/// Make `to` equal to `from`. Unchanged files are not touched, because cargo detects
/// changes by the modification time.
pub fn sync(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        let bytes = fs::read(from).step(|| format!("read(2) {}", from.display()))?;
        if fs::read(to).ok().as_ref() != Some(&bytes) {
            fs::write(to, bytes).step(|| format!("write(2) {}", to.display()))?;
        }
        return Ok(());
    }
    fs::create_dir_all(to).step(|| format!("mkdir(2) {}", to.display()))?;
    let names = |directory: &Path| -> Result<BTreeSet<OsString>> {
        let step = || format!("readdir(3) {}", directory.display());
        let entries = fs::read_dir(directory).step(step)?;
        let names = entries.map(|entry| Ok(entry.step(step)?.file_name()));
        names.collect()
    };
    let there = names(from)?;
    for name in names(to)?.difference(&there) {
        remove_tree(&to.join(name))?;
    }
    there.iter().try_for_each(|name| sync(&from.join(name), &to.join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "the word is another\ncaught by: ch::test\n--- a/chapters/x\n\
                         +++ b/chapters/x\n@@ -1,2 +1,2 @@\n-one\n+two\n end\n";

    #[test]
    fn a_mutant_has_a_description_and_a_test() {
        let mutant = Mutant::parse("m", PATCH).unwrap();
        assert_eq!(mutant.what, "the word is another");
        assert_eq!(mutant.test, "ch::test");
        assert_eq!(mutant.path, Path::new("chapters/x"));
        for text in ["", "what\n--- a/x\n", "what\ncaught by: t\n--- a/x\n"] {
            assert!(Mutant::parse("m", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_test_belongs_to_the_longest_chapter_name_that_is_its_prefix() {
        let programs = ["x/ch02-net", "x/ch02-n", "x/ch02-uts"].map(PathBuf::from);
        let chapter = |test: &str| {
            let patch = PATCH.replace("ch::test", test);
            Mutant::parse("m", &patch).unwrap().chapter(&programs)
        };
        assert_eq!(chapter("ch02_net_by_hand::a").as_deref(), Some("ch02-net"));
        assert_eq!(chapter("terminal_filter::a"), None);
    }

    #[test]
    fn a_stale_patch_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("chapters")).unwrap();
        let file = dir.path().join("chapters/x");
        fs::write(&file, "one\nend\n").unwrap();
        let mutant = Mutant::parse("m", PATCH).unwrap();
        mutant.apply(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "two\nend\n");
        let error = mutant.apply(dir.path()).unwrap_err();
        assert!(error.to_string().contains("regenerate the patch"), "{error}");
    }

    #[test]
    fn every_mutant_applies_to_the_checkout() {
        for mutant in mutants(&root().join("tests/mutants")).unwrap() {
            let dir = tempfile::tempdir().unwrap();
            let copy = dir.path().join(&mutant.path);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(root().join(&mutant.path), copy).unwrap();
            mutant.apply(dir.path()).unwrap();
        }
    }

    #[test]
    fn a_copy_becomes_equal_to_its_source_and_only_changed_files_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("in")).unwrap();
        fs::write(from.join("in/same"), "a").unwrap();
        fs::write(from.join("in/other"), "b").unwrap();
        sync(&from, &to).unwrap();
        let time = || fs::metadata(to.join("in/same")).unwrap().modified().unwrap();
        let before = time();
        fs::write(to.join("in/other"), "changed").unwrap();
        fs::write(to.join("in/more"), "c").unwrap();
        sync(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("in/other")).unwrap(), "b");
        assert!(!to.join("in/more").exists());
        assert_eq!(time(), before);
    }
}
