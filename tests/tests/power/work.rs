//! The work: images are created and removed. After each command, a mark is written to the
//! disk.

use std::fs;
use std::path::Path;

use blackbox::copy_tree;
use blackbox::server::Server;
use tar::{Builder, EntryType, Header};
use vm_init::place;

use crate::disk::{attach, format, mark, named};
use crate::plan::{Step, large, steps};
use crate::{STATE, chapter};

pub(crate) fn work(rounds: u64) {
    let disk = named("state");
    format(&disk);
    attach(&disk).expect("mount(2)");
    // Only synced data are written to the disk.
    fs::write("/proc/sys/vm/dirty_writeback_centisecs", "0").unwrap();
    copy_tree(Path::new(place::STATE), Path::new(STATE));
    must(&["images"]);
    nix::unistd::sync();
    mark(&disk, 0);
    let steps = steps(rounds);
    let server = registry(&steps);
    let pulled = |name: &str| format!("{}/{name}", server.name());
    for (step, number) in steps.iter().zip(1..) {
        match step {
            Step::Run(content) => {
                // The first round has no container to remove.
                let _ = chapter(&["rm", "box"]);
                let script = script(*content);
                must(&["run", "--name", "box", "busybox", "sh", "-c", &script]);
            }
            Step::Commit(name, _) => must(&["commit", "box", name]),
            Step::Import(name, content) => {
                fs::write("/run/tar", tar(*content)).unwrap();
                must(&["import", "/run/tar", name]);
            }
            Step::Pull(name, _) => must(&["pull", &pulled(name)]),
            Step::Remove(name) if name.starts_with('p') => {
                must(&["rmi", &pulled(name)]);
            }
            Step::Remove(name) => must(&["rmi", name]),
        }
        mark(&disk, number);
    }
}

/// A registry with all the images of the pull steps.
pub(crate) fn registry(steps: &[Step]) -> Server {
    blackbox::images::serve(steps.iter().filter_map(|step| match step {
        Step::Pull(name, content) => Some((name.clone(), tar(*content))),
        _ => None,
    }))
}

fn must(words: &[&str]) {
    if let Err(error) = chapter(words) {
        panic!("{error}");
    }
}

/// The script of a container that is committed.
fn script(content: u64) -> String {
    format!(
        "mkdir /d; echo {content} > /d/number; ln /d/number /d/link; rm /etc/hosts; \
         yes {content} | head -c 100000 > /large"
    )
}

/// The same files as a tar.
pub(crate) fn tar(content: u64) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let number = format!("{content}\n").into_bytes();
    for (name, data) in [("d/number", number), ("large", large(content))] {
        let mut header = header(EntryType::Regular, data.len() as u64);
        builder.append_data(&mut header, name, &data[..]).unwrap();
    }
    let mut link = header(EntryType::Link, 0);
    builder.append_link(&mut link, "d/link", "d/number").unwrap();
    builder.into_inner().unwrap()
}

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
