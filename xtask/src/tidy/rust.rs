//! Rules about the place of certain code. Code is read as tokens, without comments
//! and string literals.

use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

use super::{Checkout, File, Finding};

/// The one file of `common` with raw system calls. It defines safe functions for
/// chapters where libraries have none, and does not call them itself.
const RAW: &str = "common/src/process/sys.rs";

/// This file creates a namespace for this program itself, not for a container.
const OWN_NAMESPACE: &str = "common/src/process/safe_binary.rs";

/// Functions that set up or change a container's isolation.
const WALLS: [&str; 22] = [
    "chroot",
    "fsmount",
    "fsopen",
    "mount",
    "mount_bind",
    "mount_change",
    "mount_move",
    "mount_read_only",
    "mount_remount",
    "mount_setattr",
    "move_into_link_name_space",
    "move_into_thread_name_spaces",
    "move_mount",
    "open_tree",
    "pivot_root",
    "set_hostname",
    "setdomainname",
    "sethostname",
    "setns",
    "umount",
    "umount2",
    "unshare",
];

/// `unsafe` code is only in `common`.
pub(super) fn unsafe_outside_common(checkout: &Checkout) -> Vec<Finding> {
    let places = ["chapters", "tests", "xtask"];
    let files = places.iter().flat_map(|place| checkout.below(place, "rs"));
    let mut found = Vec::new();
    for file in files {
        each(file, &mut found, &mut |word, found| {
            if word.name == "unsafe" {
                let what = "unsafe outside common".to_owned();
                let remedy = "use a safe function of a library or of common";
                found.push(file.finding(word.line, what, remedy));
            }
        });
    }
    found
}

/// `common` creates processes, chapters set up their isolation. Therefore `common`
/// calls no function of [`WALLS`], and sets no flag of a namespace. It may *check*
/// flags by `flags.contains(…)`, as hints do to explain an errno.
pub(super) fn walls_in_common(checkout: &Checkout) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in checkout.below("common/src", "rs") {
        if [RAW, OWN_NAMESPACE].iter().any(|exempt| file.path == Path::new(exempt)) {
            continue;
        }
        each(file, &mut found, &mut |word, found| {
            let is_call = WALLS.contains(&word.name.as_str())
                && word.is_called
                && word.before != "fn";
            let is_flag = word.name.starts_with("CLONE_NEW")
                && word.within != "contains"
                || word.name == "MsFlags";
            if is_call || is_flag {
                let what = format!("common sets up isolation by {}", word.name);
                let remedy = "move it to a chapter; common only creates processes";
                found.push(file.finding(word.line, what, remedy));
            }
        });
    }
    found
}

/// A word of code with its context.
struct Word {
    name: String,
    line: usize,
    /// The word before it.
    before: String,
    /// Whether it has arguments.
    is_called: bool,
    /// The word whose arguments contain it.
    within: String,
}

fn each(
    file: &File,
    found: &mut Vec<Finding>,
    visit: &mut impl FnMut(&Word, &mut Vec<Finding>),
) {
    match file.text.parse::<TokenStream>() {
        Ok(tokens) => walk(tokens, "", found, visit),
        Err(error) => {
            let line = error.span().start().line;
            let what = format!("the file cannot be parsed as Rust: {error}");
            found.push(file.finding(line, what, "fix the errors of cargo build"));
        }
    }
}

fn walk(
    tokens: TokenStream,
    within: &str,
    found: &mut Vec<Finding>,
    visit: &mut impl FnMut(&Word, &mut Vec<Finding>),
) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut before = String::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(ident) => {
                let next = tokens.get(at + 1);
                let is_called = matches!(next, Some(TokenTree::Group(_)));
                let name = ident.to_string();
                let word = Word {
                    name: name.clone(),
                    line: ident.span().start().line,
                    before,
                    is_called,
                    within: within.to_owned(),
                };
                visit(&word, found);
                before = name;
            }
            TokenTree::Group(group) => {
                let called = at.checked_sub(1).and_then(|at| tokens.get(at));
                let called = match called {
                    Some(TokenTree::Ident(ident)) => ident.to_string(),
                    _ => String::new(),
                };
                walk(group.stream(), &called, found, visit);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{made_up, said};
    use super::*;

    #[test]
    fn unsafe_code_is_found_but_not_its_mention_in_text() {
        let text = "// unsafe\n#![forbid(unsafe_code)]\nfn f() { g(\"unsafe\") }\n";
        let found =
            |path, text| said(&unsafe_outside_common(&made_up(&[(path, text)])));
        assert_eq!(found("chapters/a/src/lib.rs", text), "");
        let text = "fn f() {\n    unsafe { g() }\n}\n";
        for path in
            ["chapters/a/src/lib.rs", "tests/src/a.rs", "xtask/init/src/a.rs"]
        {
            let wanted = format!("{path}:2: unsafe outside common");
            assert!(found(path, text).starts_with(&wanted), "{}", found(path, text));
        }
        assert_eq!(found("common/src/process/sys.rs", text), "");
        assert!(
            found("tests/src/a.rs", "fn f() {")
                .contains("the file cannot be parsed as Rust")
        );
    }

    #[test]
    fn isolation_in_common_is_found_but_not_a_check_of_flags() {
        let found = |text| {
            let wall = ("common/src/process/child.rs", text);
            let raw = (RAW, "pub fn setdomainname() { libc::setdomainname() }");
            said(&walls_in_common(&made_up(&[wall, raw])))
        };
        for text in [
            "// mount(2)\nfn f() { g(\"mount(2)\"); part.mount; hints::mounted(x) }",
            "pub use sys::{mount_read_only, setdomainname};",
            "fn f(n: CloneFlags) { n.contains(CloneFlags::CLONE_NEWUSER); }",
            "fn f() { CloneFlags::CLONE_PARENT; CloneFlags::empty(); }",
            "trait T { fn mount(&self); }",
        ] {
            assert_eq!(found(text), "", "{text}");
        }
        for text in [
            "\nfn f() { nix::mount::mount(a, b) }",
            "\nfn f() { sys::mount_read_only(fd) }",
            "\nfn f() { args.namespaces |= CloneFlags::CLONE_NEWUTS; }",
            "\nfn f() { namespaces.insert(CloneFlags::CLONE_NEWNS) }",
            "\nfn f() { if x { pivot_root(\".\", \".\")? } }",
            "\nuse nix::mount::MsFlags;",
            "\nfn f() { sethostname(\"box\") }",
        ] {
            let wanted =
                "common/src/process/child.rs:2: common sets up isolation by";
            assert!(found(text).starts_with(wanted), "{text}: {}", found(text));
        }
    }
}
