//! What is done, and what there is to be after it.

use std::collections::BTreeMap;

/// A change of the images, or a new container. Its number tells what the image holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Nothing of it is promised to last; but it must be in nobody's way.
    Run(u64),
    Commit(String, u64),
    Import(String, u64),
    Pull(String, u64),
    Remove(String),
}

/// What a pulled image has is nothing that an imported one has: all of it is downloaded.
const PULLED: u64 = 1000;

/// An image's content, and how many layers it has.
pub(crate) type Images = BTreeMap<String, (u64, usize)>;

/// Each round makes two images of one container, one of them by a name that is taken
/// already, imports one, pulls one, and removes those of the round before. The container is new,
/// and not on the disk yet, when an image is removed, which syncs a directory and no
/// more.
pub(crate) fn steps(rounds: u64) -> Vec<Step> {
    let mut all = vec![Step::Run(0)];
    for round in 0..rounds {
        all.push(Step::Commit("same".to_owned(), round));
        all.push(Step::Commit(format!("c{round}"), round));
        all.push(Step::Import(format!("t{round}"), round));
        all.push(Step::Pull(format!("p{round}"), round + PULLED));
        all.push(Step::Run(round + 1));
        if round > 0 {
            all.push(Step::Remove(format!("t{}", round - 1)));
            all.push(Step::Remove(format!("c{}", round - 1)));
            all.push(Step::Remove(format!("p{}", round - 1)));
        }
    }
    all
}

/// What there is after these.
pub(crate) fn after(steps: &[Step]) -> Images {
    let mut images = Images::new();
    for step in steps {
        match step {
            Step::Run(_) => {}
            Step::Commit(name, content) => {
                images.insert(name.clone(), (*content, 2));
            }
            Step::Import(name, content) | Step::Pull(name, content) => {
                images.insert(name.clone(), (*content, 1));
            }
            Step::Remove(name) => {
                images.remove(name);
            }
        }
    }
    images
}

/// The large file of an image.
pub(crate) fn large(content: u64) -> Vec<u8> {
    format!("{content}\n").repeat(100_000).into_bytes()[..100_000].to_vec()
}
