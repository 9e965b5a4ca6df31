//! The book that can't lie: what its pages show is typed at a terminal, and compared.
//!
//! A page's `console` blocks are read from the page when they are run; nobody keeps a
//! second copy. `book/src/vm.md` tells readers how.

mod block;
mod compare;
mod page;
mod run;
mod screen;
mod shell;
mod varies;

pub use block::Lane;
pub use page::{Page, excused, pages};
pub use run::run;
