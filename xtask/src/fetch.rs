//! `cargo xtask fetch`: fetches the busybox image.

use anyhow::Result;
use common::state::State;
use provision::busybox;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fetch the image again even if it exists; no container may be using it
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let state = State::locate()?;
    let image = if args.force {
        busybox::fetch(&state, true)?
    } else {
        busybox::image(&state)?
    };
    for layer in image.directories(&state) {
        eprintln!("layer   {}", layer.display());
    }
    eprintln!("source  {}\nsha256  {}", image.source, image.sha256);
    Ok(())
}
