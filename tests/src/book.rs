//! Executing the book: the commands on its pages are typed at a terminal, and the
//! output is compared.
//!
//! The `console` blocks are read from the page when they are run, so there is no
//! second copy. `book/src/vm.md` explains it to readers.

mod block;
mod compare;
mod machine;
mod page;
mod run;
mod screen;
mod shell;
mod varies;

pub use block::Lane;
pub use page::{Page, excused, pages};
pub use run::run;
