//! The stages of a program that the learner types from an empty file.

/// A mark of the book's excerpts: whether it begins one, and the name.
fn mark(line: &str) -> Option<(bool, &str)> {
    let line = line.trim();
    let begins = line.strip_prefix("// ANCHOR: ").map(|name| (true, name));
    begins.or_else(|| line.strip_prefix("// ANCHOR_END: ").map(|name| (false, name)))
}

/// The program at this stage: the text without the blocks of later stages, and without the
/// marks. Empty lines that would follow each other become one.
pub(super) fn text(text: &str, stage: usize) -> String {
    let mut later = 0_usize;
    let mut found: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some((begins, name)) = mark(line) {
            let number = name.strip_prefix("stage").and_then(|it| it.parse().ok());
            if number.is_some_and(|number: usize| number > stage) {
                later = if begins { later + 1 } else { later.saturating_sub(1) };
            }
        } else if later == 0
            && !(line.is_empty() && found.last().is_some_and(|it| it.is_empty()))
        {
            found.push(line);
        }
    }
    found.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_has_no_blocks_of_later_stages() {
        let block = |name: &str, lines: &str| {
            format!("// ANCHOR: {name}\n{lines}// ANCHOR_END: {name}\n")
        };
        let second = block("stage2", &format!("b\n{}d\n", block("stage3", "c\n")));
        let book = &block("all", &format!("a\n\n{second}\ne\n"));
        assert_eq!(text(book, 1), "a\n\ne\n");
        assert_eq!(text(book, 2), "a\n\nb\nd\n\ne\n");
        assert_eq!(text(book, 3), "a\n\nb\nc\nd\n\ne\n");
    }
}
