//! The steps of the work, and the images that must exist after them.

use std::collections::BTreeMap;

/// A change of the images, or a new container. The number identifies the content.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// A container may be lost, but it must not block other commands.
    Run(u64),
    Commit(String, u64),
    Import(String, u64),
    Pull(String, u64),
    Remove(String),
}

/// Numbers of pulled images start here. Their content differs from that of imported
/// images, so all of it is downloaded.
const PULLED: u64 = 1000;

/// The images by name: the number of the content, and the number of layers.
pub(crate) type Images = BTreeMap<String, (u64, usize)>;

/// Each round commits one container to two images, one of them with a name in use, imports
/// one image, pulls one image, and removes the images of the previous round. When an image
/// is removed, the container is new and not yet on the disk, because the removal syncs only
/// a directory.
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

/// The images that must exist after these steps.
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

/// The content of the large file of an image.
pub(crate) fn large(content: u64) -> Vec<u8> {
    format!("{content}\n").repeat(100_000).into_bytes()[..100_000].to_vec()
}
