//! `rm` of this chapter: it removes containers and, as in bocker, images.

use anyhow::Result;
use ch04_image::Store;
use clap::Args;
use common::Exit;
use common::cli::{self, Context, Execute, step};
use common::state::FoundContainer;

/// Remove containers that have ended
///
/// If a name belongs to an image and not to a container, the image is removed, as in
/// bocker.
#[derive(Args, Debug)]
pub struct Rm {
    #[command(flatten)]
    rm: ch05_rm::Rm,
}

impl Execute for Rm {
    fn execute(mut self, context: &Context) -> Result<Exit> {
        let state = &context.state;
        let store = Store::open(state)?;
        let is_image = |word: &String| {
            FoundContainer::find(state, word).is_err() && store.present(word).is_ok()
        };
        let (images, containers): (Vec<String>, _) =
            self.rm.containers.into_iter().partition(is_image);
        self.rm.containers = containers;
        let removed = cli::each(&images, |word| {
            step::note(&format!("{word} is not a container: the image is removed"));
            store.remove(word, false, context.undo)
        });
        if self.rm.containers.is_empty() {
            return removed.map(|()| Exit::Code(0));
        }
        let ended = self.rm.execute(context);
        step::join_errors([removed, ended.map(|_| ())]).map(|()| Exit::Code(0))
    }
}
