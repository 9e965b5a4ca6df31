//! What code may stand where. Code is read as tokens: comments and texts don't count.

use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

use super::{Checkout, File, Finding};

/// The one file of `common` with raw system calls. It gives chapters a safe function
/// where libraries have none, and calls none of them itself.
const RAW: &str = "common/src/process/sys.rs";

/// This file makes a namespace for a process of ours, and none for a container.
const OWN_NAMESPACE: &str = "common/src/process/safe_binary.rs";

/// Calls that build a wall or change one.
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

/// `unsafe` stands in `common` alone.
pub(super) fn unsafe_outside_common(checkout: &Checkout) -> Vec<Finding> {
    let places = ["chapters", "tests", "xtask"];
    let files = places.iter().flat_map(|place| checkout.below(place, "rs"));
    let mut found = Vec::new();
    for file in files {
        each(file, &mut found, &mut |word, found| {
            if word.name == "unsafe" {
                let what = "unsafe outside common".to_owned();
                let remedy = "use a library's safe function, or one of common's";
                found.push(file.finding(word.line, what, remedy));
            }
        });
    }
    found
}

/// `common` makes processes, chapters make walls. So in `common` no name of [`WALLS`]
/// is called, and no namespace's flag is set: it may be *asked for*, in
/// `flags.contains(…)`, as hints do to say what an errno means.
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
                let what = format!("a wall is built in common, by {}", word.name);
                let remedy = "build it in a chapter; common only makes processes";
                found.push(file.finding(word.line, what, remedy));
            }
        });
    }
    found
}

/// A word of code, and what is around it.
struct Word {
    name: String,
    line: usize,
    /// The word before it.
    before: String,
    /// It has arguments.
    is_called: bool,
    /// The word whose arguments it is in.
    within: String,
}

fn each(
    file: &File,
    found: &mut Vec<Finding>,
    look: &mut impl FnMut(&Word, &mut Vec<Finding>),
) {
    match file.text.parse::<TokenStream>() {
        Ok(tokens) => walk(tokens, "", found, look),
        Err(error) => {
            let line = error.span().start().line;
            let what = format!("this is not Rust, {error}");
            found.push(file.finding(line, what, "let cargo build it"));
        }
    }
}

fn walk(
    tokens: TokenStream,
    within: &str,
    found: &mut Vec<Finding>,
    look: &mut impl FnMut(&Word, &mut Vec<Finding>),
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
                look(&word, found);
                before = name;
            }
            TokenTree::Group(group) => {
                let called = at.checked_sub(1).and_then(|at| tokens.get(at));
                let called = match called {
                    Some(TokenTree::Ident(ident)) => ident.to_string(),
                    _ => String::new(),
                };
                walk(group.stream(), &called, found, look);
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
    fn unsafe_is_found_where_it_is_code() {
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
        assert!(found("tests/src/a.rs", "fn f() {").contains("this is not Rust"));
    }

    #[test]
    fn a_wall_in_common_is_found_and_asking_for_one_is_none() {
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
            "\nfn f() { birth.namespaces |= CloneFlags::CLONE_NEWUTS; }",
            "\nfn f() { namespaces.insert(CloneFlags::CLONE_NEWNS) }",
            "\nfn f() { if x { pivot_root(\".\", \".\")? } }",
            "\nuse nix::mount::MsFlags;",
            "\nfn f() { sethostname(\"box\") }",
        ] {
            let wanted = "common/src/process/child.rs:2: a wall is built in common";
            assert!(found(text).starts_with(wanted), "{text}: {}", found(text));
        }
    }
}
