//! The exercises of chapter 7.

use std::fs;
use std::io;

use blackbox::server::{Server, answer};

use crate::Entry;
use crate::outcome::{Outcome, Trouble, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("ch07-registry-1", "digest_prints_only_the_digest", digest, "'--digest'"),
    (
        "ch07-registry-2",
        "layers_prints_the_sizes_of_the_layers",
        layers,
        "'--layers'",
    ),
    ("ch07-registry-3", "logout_all_removes_all_logins", all, "'--all'"),
    ("ch07-pull-1", "dry_run_lists_the_missing_layers", dry_run, "'--dry-run'"),
    ("ch07-pull-2", "max_size_refuses_a_large_image", max_size, "'--max-size'"),
    ("ch07-pull-3", "pull_accepts_several_names", several, "two tags"),
    ("ch07-system-1", "version_short_prints_only_the_version", version, "'--short'"),
    (
        "ch07-system-2",
        "df_verbose_prints_a_line_for_each_image",
        verbose,
        "'--verbose'",
    ),
    ("ch07-system-3", "defaults_none_has_no_network", none, "'none'"),
];

/// The digest of an empty blob.
const EMPTY: &str =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A registry with one image of two layers.
fn registry() -> Server {
    Server::new(|_, to| {
        let blob = |size: u32| {
            format!(r#"{{"mediaType":"x","digest":"{EMPTY}","size":{size}}}"#)
        };
        let text = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{},{}]}}"#,
            blob(1),
            blob(2),
            blob(3)
        );
        let kind = "application/vnd.oci.image.manifest.v1+json";
        answer(to, 200, &[("Content-Type", kind)], text.as_bytes())
    })
}

fn digest(room: &mut Room) -> Outcome {
    let server = registry();
    let name = format!("{}/a", server.name());
    // sha256sum(1) of the text of the registry.
    let expected =
        "sha256:2b593055b7ffdbbfa4b3337da792102235f4f926b775d5a56a242f54befb56e5\n";
    room.words(&["manifest", "--digest", &name]).end()?.prints(expected)
}

fn layers(room: &mut Room) -> Outcome {
    let server = registry();
    let name = format!("{}/a", server.name());
    let expected = format!("{EMPTY} 2\n{EMPTY} 3\n");
    room.words(&["manifest", "--layers", &name]).end()?.prints(&expected)
}

fn all(room: &mut Room) -> Outcome {
    let directory = room.lab.dir().join(".docker");
    let failed = |error: io::Error| Trouble::error("config.json", error.to_string());
    fs::create_dir_all(&directory).map_err(failed)?;
    let file = directory.join("config.json");
    let text = r#"{"auths":{"a.b":{"auth":"YTpi"},"c:1":{"auth":"YTpi"}},"x":1}"#;
    fs::write(&file, text).map_err(failed)?;
    room.words(&["logout", "--all"]).end()?.succeeds()?;
    let left = fs::read_to_string(&file).unwrap_or_default();
    so(!left.contains("YTpi") && left.contains("\"x\""), "no logins, x kept", &left)
}

/// A layer without files: the end mark of a tar, of 1,024 bytes.
const LAYER: &str =
    "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// The configuration of an image with this layer, and its digest.
const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"]}}"#;
const CONFIG_DIGEST: &str =
    "sha256:83656ea199d8d74b56ef7fe4a0bef9dd10aa412ec632f8ccdf3e0c903471c0a2";

/// A registry in which each name is an image with this layer.
fn images() -> Server {
    Server::new(|asked, to| {
        if asked.path.ends_with(LAYER) {
            return answer(to, 200, &[], &[0; 1024]);
        }
        if asked.path.ends_with(CONFIG_DIGEST) {
            return answer(to, 200, &[], CONFIG.as_bytes());
        }
        let oci = "application/vnd.oci.image";
        let kind = format!("{oci}.manifest.v1+json");
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{{"mediaType":"{oci}.config.v1+json","digest":"{CONFIG_DIGEST}","size":{}}},"layers":[{{"mediaType":"{oci}.layer.v1.tar","digest":"{LAYER}","size":1024}}]}}"#,
            CONFIG.len()
        );
        answer(to, 200, &[("Content-Type", &kind)], text.as_bytes())
    })
}

fn dry_run(room: &mut Room) -> Outcome {
    let server = images();
    let name = format!("{}/a:1", server.name());
    let expected = format!("{LAYER}\n");
    room.words(&["pull", "-q", "--dry-run", &name]).end()?.prints(&expected)?;
    let asked = server.asked();
    let count = asked.iter().filter(|it| it.path.ends_with(LAYER)).count();
    so(count == 0, "no layer is asked for", format!("{count} requests"))
}

fn max_size(room: &mut Room) -> Outcome {
    let server = images();
    let name = format!("{}/a:1", server.name());
    let pull = |room: &mut Room, most: &str| {
        room.words(&["pull", "-q", "--max-size", most, &name]).end()
    };
    let refused = pull(room, "1023")?;
    refused
        .so(refused.code != 0 && refused.err.contains("1024"), "1024 in an error")?;
    pull(room, "1024")?.succeeds()?;
    room.words(&["rmi", &name]).end()?.succeeds()
}

fn several(room: &mut Room) -> Outcome {
    let server = images();
    let names = ["a:1", "b:1"].map(|name| format!("{}/{name}", server.name()));
    let [one, two] = &names;
    room.words(&["pull", "-q", one, two]).end()?.succeeds()?;
    room.words(&["rmi", one, two]).end()?.succeeds()
}

fn version(room: &mut Room) -> Outcome {
    let whole = room.words(&["version"]).end()?;
    whole.succeeds()?;
    let first = whole.out.lines().next().unwrap_or_default();
    let number = first.split(' ').next_back().unwrap_or_default();
    room.words(&["version", "--short"]).end()?.prints(&format!("{number}\n"))
}

fn verbose(room: &mut Room) -> Outcome {
    let inspected = room.words(&["image", "inspect", "busybox"]).end()?;
    inspected.succeeds()?;
    let id = inspected.out.split("sha256:").nth(1).unwrap_or_default();
    let id = &id[..id.len().min(12)];
    let table = room.words(&["system", "df", "--verbose"]).end()?;
    table.succeeds()?;
    let lines: Vec<&str> =
        table.out.lines().filter(|line| line.starts_with(id)).collect();
    let size = lines.first().and_then(|line| line.split_whitespace().nth(1));
    let size: u64 = size.and_then(|word| word.parse().ok()).unwrap_or(0);
    table
        .so(lines.len() == 1 && size > 100_000, "one line, and the bytes of busybox")
}

fn none(room: &mut Room) -> Outcome {
    let run = ["run", "--rm", "busybox", "ls", "/sys/class/net"];
    let run = room.words(&[&["--defaults", "none"][..], &run].concat()).end()?;
    run.succeeds()?;
    run.so(!run.out.contains("eth0"), "no device but lo")
}
