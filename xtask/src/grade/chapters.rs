//! The capabilities of each chapter's container, and the pages about them.

use anyhow::{Result, bail};

/// All capabilities, in the order of the book.
pub(crate) const ALL: [&str; 16] = [
    "argv",
    "exit-code",
    "signals",
    "leak",
    "uts",
    "ipc",
    "pid",
    "mount",
    "user",
    "net",
    "proc",
    "tty",
    "limits",
    "pivot",
    "overlay",
    "volume",
];

/// The number of capabilities of each chapter's container, including those of
/// earlier chapters. (ch02-user has only a user namespace, which the other chapters
/// create for users without privileges.)
const CHAPTERS: [(&str, usize); 10] = [
    ("ch02-uts", 5),
    ("ch02-ipc", 6),
    ("ch02-pid", 7),
    ("ch02-mount", 8),
    ("ch02-net", 10),
    ("ch03-run", 12),
    ("ch03-limits", 13),
    ("ch04-pivot-root", 14),
    ("ch04-overlay", 15),
    ("ch04-volume", 16),
];

/// The capabilities of a chapter.
///
/// # Errors
/// The chapter is unknown or creates no container of its own.
pub(crate) fn capabilities(chapter: &str) -> Result<&'static [&'static str]> {
    match CHAPTERS.iter().find(|(name, _)| *name == chapter) {
        Some((_, count)) => Ok(&ALL[..*count]),
        None => {
            let names = CHAPTERS.map(|(name, _)| name).join(", ");
            bail!("{chapter} cannot be graded: expected one of {names}")
        }
    }
}

/// The page that explains a capability.
pub(crate) fn page(capability: &str) -> String {
    let name = match capability {
        "argv" | "exit-code" | "signals" | "leak" => "engine",
        "proc" | "tty" => "ch03-run",
        "limits" => "ch03-limits",
        "pivot" => "ch04-pivot-root",
        "overlay" => "ch04-overlay",
        "volume" => "ch04-volume",
        wall => return format!("book/src/ch02-{wall}.md"),
    };
    format!("book/src/{name}.md")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_has_a_page() {
        for capability in ALL {
            let page = page(capability);
            assert!(
                crate::checkout::root().join(&page).is_file(),
                "{capability}: {page}"
            );
        }
    }

    #[test]
    fn a_chapter_has_the_capabilities_of_the_earlier_chapters() {
        assert_eq!(capabilities("ch04-volume").unwrap(), ALL);
        assert_eq!(capabilities("ch02-uts").unwrap().last(), Some(&"uts"));
        assert!(capabilities("ch02-setns").is_err());
    }
}
