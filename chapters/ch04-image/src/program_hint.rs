//! The hint for `run sh`: the first argument is the image.

use common::images::Image;
use common::state::State;
use provision::busybox;

/// Shells that busybox does not have.
const SHELLS: [&str; 4] = ["bash", "dash", "fish", "zsh"];

/// The hint if the name of a missing image is the name of a program.
#[must_use]
pub fn program_hint(state: &State, name: &str) -> Option<String> {
    let first = "the first argument is the image, and its program follows";
    if SHELLS.contains(&name) {
        return Some(format!("{first}; busybox has no {name}: run busybox sh"));
    }
    let image = Image::find(state, &busybox::reference().ok()?).ok()??;
    let layers = image.directories(state);
    let is_program = !name.contains('/')
        && layers
            .iter()
            .any(|layer| layer.join("bin").join(name).symlink_metadata().is_ok());
    is_program.then(|| format!("{first}: run busybox {name}"))
}
