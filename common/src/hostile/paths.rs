//! Property tests of guest paths in a tree full of symlinks, compared with a second
//! resolver.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::stat::fstat;
use proptest::collection::vec;
use proptest::prelude::*;

use super::config;
use crate::guest::{GuestFile, GuestRoot, Kind};

/// A node of the tree.
#[derive(Clone, Debug)]
enum Node {
    Directory,
    File,
    Link(String),
}

/// A host directory that contains the guest's root. Beside the root there are
/// directories with the same names as inside; they must not be changed.
struct Ground {
    host: tempfile::TempDir,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Ground {
    fn new(nodes: &[(String, Node)]) -> Ground {
        let host = tempfile::tempdir().unwrap();
        for name in NAMES {
            fs::create_dir(host.path().join(name)).unwrap();
        }
        let ground = Ground { host };
        fs::create_dir(ground.root()).unwrap();
        for (path, node) in nodes {
            ground.add(path, node);
        }
        ground
    }

    fn root(&self) -> PathBuf {
        self.host.path().join("root")
    }

    /// Add a node if its parents are directories or can be created.
    fn add(&self, path: &str, node: &Node) {
        let mut at = self.root();
        let names: Vec<&str> = path.split('/').collect();
        let (last, parents) = names.split_last().unwrap();
        for name in parents {
            at.push(name);
            let _ = fs::create_dir(&at);
            if !at.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
                return;
            }
        }
        at.push(last);
        let host = self.host.path().to_str().unwrap();
        let _ = match node {
            Node::Directory => fs::create_dir(&at),
            Node::File if at.symlink_metadata().is_err() => fs::write(&at, ""),
            Node::File => Ok(()),
            Node::Link(target) => symlink(target.replace("HOST", host), &at),
        };
    }

    /// The inodes below the root, and all paths outside the root.
    fn list(&self) -> (BTreeMap<(u64, u64), PathBuf>, Vec<PathBuf>) {
        let (mut inside, mut outside) = (BTreeMap::new(), Vec::new());
        let mut todo = vec![self.host.path().to_owned()];
        while let Some(path) = todo.pop() {
            let meta = path.symlink_metadata().unwrap();
            if meta.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            }
            if path.starts_with(self.root()) {
                inside.insert((meta.dev(), meta.ino()), path);
            } else {
                outside.push(path);
            }
        }
        outside.sort();
        (inside, outside)
    }

    /// path_resolution(7), with the root as `/`, above which `..` does not go.
    fn resolve(&self, guest: &str) -> Result<PathBuf, Errno> {
        let mut here = Vec::<String>::new();
        let path = |here: &[String]| {
            here.iter().fold(self.root(), |path, name| path.join(name))
        };
        let words =
            |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let mut todo = VecDeque::from(words(guest));
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            // Every component, even `.` or an empty one, requires a directory.
            if !path(&here).symlink_metadata().unwrap().is_dir() {
                return Err(Errno::ENOTDIR);
            }
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    here.pop();
                    continue;
                }
                _ => here.push(name),
            }
            let at = path(&here);
            let meta = at.symlink_metadata().map_err(|_| Errno::ENOENT)?;
            if meta.is_symlink() {
                links += 1;
                if links > 40 {
                    return Err(Errno::ELOOP);
                }
                let target = fs::read_link(&at).unwrap();
                let target = target.to_str().unwrap();
                here.pop();
                if target.starts_with('/') {
                    here.clear();
                }
                for word in words(target).into_iter().rev() {
                    todo.push_front(word);
                }
            }
        }
        Ok(path(&here))
    }
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        2 => Just(Node::Directory),
        1 => Just(Node::File),
        5 => link().prop_map(Node::Link),
    ]
}

fn link() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c", "d", "..", "..", "../.."]);
    let relative = vec(name, 1..4).prop_map(|names| names.join("/"));
    let start =
        prop::sample::select(vec!["", "", "/", "../", "HOST/", "../../HOST/"]);
    (start, relative).prop_map(|(start, rest)| format!("{start}{rest}"))
}

fn tree() -> impl Strategy<Value = Vec<(String, Node)>> {
    let path = vec(prop::sample::select(&NAMES[..]), 1..4).prop_map(|p| p.join("/"));
    vec((path, node()), 0..12)
}

fn query(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    vec(prop::sample::select(names), 1..6).prop_map(|names| names.join("/"))
}

fn identity(place: &GuestFile) -> (u64, u64) {
    let about = fstat(place.as_fd()).unwrap();
    (about.st_dev, about.st_ino)
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn a_path_is_resolved_as_the_guest_would_resolve_it(
        tree in tree(),
        guest in query(&["a", "b", "c", "d", "..", ".", ""]),
    ) {
        let ground = Ground::new(&tree);
        let root = GuestRoot::open(&ground.root()).unwrap();
        let guest = format!("/{guest}");
        let found = root.find(Path::new(&guest));
        // A user's path is normalized; a symlink's target is resolved by the
        // kernel's rules.
        let guest: PathBuf = Path::new(&guest).components().collect();
        match ground.resolve(guest.to_str().unwrap()) {
            Ok(path) => {
                let meta = path.symlink_metadata().unwrap();
                let place = found.unwrap().expect("the path exists");
                prop_assert_eq!(identity(&place), (meta.dev(), meta.ino()));
            }
            Err(Errno::ENOENT) => prop_assert!(found.unwrap().is_none()),
            Err(errno) => {
                let text = format!("{:#}", found.unwrap_err());
                prop_assert!(text.contains(&format!("{errno:?}")), "{text}");
            }
        }
    }

    #[test]
    fn a_created_path_is_below_the_root(
        tree in tree(),
        guest in query(&NAMES),
        is_file in any::<bool>(),
    ) {
        let ground = Ground::new(&tree);
        let root = GuestRoot::open(&ground.root()).unwrap();
        let (_, outside) = ground.list();
        let kind = if is_file { Kind::File } else { Kind::Directory };
        let guest = format!("/{guest}");
        let made = root.make(Path::new(&guest), kind);
        let (inside, now) = ground.list();
        prop_assert_eq!(now, outside);
        if let Ok(place) = made {
            // The guest's own lookup must find this file.
            let found = inside.get(&identity(&place)).expect("it is below the root");
            prop_assert_eq!(ground.resolve(&guest), Ok(found.clone()));
            prop_assert_eq!(place.is_directory().unwrap(), !is_file);
        }
    }
}

/// A process in the container changes the tree at the same time: a directory and a
/// symlink to the outside are swapped, over and over.
#[test]
fn a_tree_that_changes_concurrently_does_not_lead_out() {
    let nodes = [("a/b", Node::Directory), ("c", Node::Link("../../a".into()))]
        .map(|(path, node)| (path.to_owned(), node));
    let ground = Ground::new(&nodes);
    let root = GuestRoot::open(&ground.root()).unwrap();
    let (_, outside) = ground.list();
    let done = AtomicBool::new(false);
    let [one, other, aside] = ["a", "c", "x"].map(|name| ground.root().join(name));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (from, to) in [(&one, &aside), (&other, &one), (&aside, &other)]
                {
                    let _ = fs::rename(from, to);
                }
            }
        });
        for number in 0..2000 {
            // A path that is missing at this moment is an error.
            let path = format!("/a/b/../b/{}/{}", number % 7, number);
            if let Ok(place) = root.make(Path::new(&path), Kind::Directory) {
                assert!(place.is_directory().unwrap());
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let (_, now) = ground.list();
    assert_eq!(now, outside);
}
