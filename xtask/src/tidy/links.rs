//! Links have existing targets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{Checkout, File, Finding, plain};

/// A link within the checkout refers to an existing file and to an existing heading.
pub(super) fn dead(checkout: &Checkout) -> Vec<Finding> {
    let mut found = Vec::new();
    for page in checkout.pages() {
        for (at, target) in links(page) {
            if let Some(what) = broken(checkout, page, &target) {
                let remedy = "link to an existing file, or to an existing heading";
                found.push(page.finding(page.line(at), what, remedy));
            }
        }
    }
    found
}

/// The fault of a link, if any. Links out of the checkout are not checked.
fn broken(checkout: &Checkout, page: &File, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = match target.split_once('#') {
        Some((path, heading)) => (path, Some(heading)),
        None => (target, None),
    };
    let directory = page.path.parent().unwrap_or(Path::new(""));
    let path: PathBuf = match path {
        "" => page.path.clone(),
        path => plain(&directory.join(path)),
    };
    if !checkout.exists(&path) {
        return Some(format!(
            "{target} refers to {}, which does not exist",
            path.display()
        ));
    }
    let heading = heading?;
    let headings = checkout.file(&path).map(headings).unwrap_or_default();
    if headings.iter().any(|it| it == heading) {
        return None;
    }
    Some(format!("{target}: {} has no heading #{heading}", path.display()))
}

fn parse(page: &File) -> impl Iterator<Item = (Event<'_>, std::ops::Range<usize>)> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_HEADING_ATTRIBUTES;
    Parser::new_ext(&page.text, options).into_offset_iter()
}

/// The positions and targets of links, in Markdown and in HTML.
fn links(page: &File) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (event, range) in parse(page) {
        match event {
            Event::Start(
                Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. },
            ) => {
                found.push((range.start, dest_url.into_string()));
            }
            Event::Html(text) | Event::InlineHtml(text) => {
                for key in ["href=\"", "src=\""] {
                    for (at, _) in text.match_indices(key) {
                        let target = text[at + key.len()..].split('"').next();
                        let target = target.unwrap_or_default().to_owned();
                        found.push((range.start + at, target));
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// The IDs of a page's headings.
///
/// # Source
/// mdbook-core, `id_from_content` and `unique_id`
fn headings(page: &File) -> Vec<String> {
    let mut found = Vec::new();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut heading: Option<String> = None;
    for (event, _) in parse(page) {
        match event {
            Event::Start(Tag::Heading { id: Some(id), .. }) => {
                found.push(id.into_string())
            }
            Event::Start(Tag::Heading { id: None, .. }) => {
                heading = Some(String::new())
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let Some(text) = heading.take() else { continue };
                let id = id(&text);
                let count = times.entry(id.clone()).or_default();
                found.push(if *count == 0 { id } else { format!("{id}-{count}") });
                *count += 1;
            }
            _ => {}
        }
    }
    found
}

fn id(heading: &str) -> String {
    let letter = |letter: char| match letter {
        letter if letter.is_alphanumeric() || "_-".contains(letter) => {
            Some(letter.to_ascii_lowercase())
        }
        letter if letter.is_whitespace() => Some('-'),
        _ => None,
    };
    heading.trim().chars().filter_map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{made_up, said};
    use super::*;

    fn found(link: &str) -> String {
        let text = format!("# A\n\nSee {link}.\n");
        let other = "# B, `run -ti`\n\n## Twice\n\n## Twice\n";
        let files = [
            ("book/src/a.md", text.as_str()),
            ("book/src/d/b.md", other),
            ("x/y.rs", ""),
        ];
        said(&dead(&made_up(&files)))
    }

    #[test]
    fn a_link_with_an_existing_target_is_accepted() {
        for link in [
            "[b](d/b.md)",
            "[b](d/b.md#b-run--ti)",
            "[b](d/b.md#twice-1)",
            "[a](#a)",
            "[y](../../x/y.rs)",
            "[web](https://example.org/none)",
            "`[code](none.md)`",
            "<a href=\"d/b.md\">b</a>",
        ] {
            assert_eq!(found(link), "", "{link}");
        }
    }

    #[test]
    fn a_dead_link_is_found() {
        for link in [
            "[b](b.md)",
            "[b](d/b.md#twice-2)",
            "[b](d/b.md#run)",
            "[a](#b)",
            "[y](../x/y.rs)",
            "![image](none.svg)",
            "<img src=\"none.svg\">",
        ] {
            let found = found(link);
            assert!(found.starts_with("book/src/a.md:3: "), "{link}: {found}");
        }
        let readme = made_up(&[("README.md", "[x](.ci/none)\n")]);
        assert!(said(&dead(&readme)).contains(".ci/none, which does not exist"));
    }
}
