//! `pull` from servers that behave badly: the pull fails, no image is left, the use of
//! the disk is limited, and the next attempt continues.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

#[path = "../../../tests/src/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use oci::{Hashing, sha256};
use rustix::process::{Pid, Signal, kill_process};
use server::{Asked, Server, Stream, answer, start};
use tar::{Builder, EntryType, Header};

const OCI: &str = "application/vnd.oci.image";

/// The blobs of an image, and its manifest.
struct Image {
    manifest: String,
    blobs: BTreeMap<String, Vec<u8>>,
    /// The digests of the layers.
    layers: Vec<String>,
}

/// A layer, compressed, and the digest that the configuration states.
type Layer = (Vec<u8>, String);

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A tar with one file.
fn tar_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    // Write the bytes directly: the setter of the library refuses "..".
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    builder.append(&header, content).unwrap();
    builder.into_inner().unwrap()
}

fn layer(name: &str, content: &[u8]) -> Layer {
    let tar = tar_of(name, content);
    (gzip(&tar), sha256(&tar).to_string())
}

/// Bytes that do not compress, so that a layer is large.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        // xorshift
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

fn image(layers: &[Layer]) -> Image {
    let diff_ids: Vec<String> =
        layers.iter().map(|(_, diff_id)| format!("\"{diff_id}\"")).collect();
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = format!(
        r#"{{"architecture":"{arch}","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let mut blobs = BTreeMap::new();
    let mut descriptor = |kind: &str, bytes: &[u8]| {
        let digest = sha256(bytes).to_string();
        blobs.insert(digest.clone(), bytes.to_vec());
        format!(
            r#"{{"mediaType":"{OCI}.{kind}","digest":"{digest}","size":{}}}"#,
            bytes.len()
        )
    };
    let config = descriptor("config.v1+json", config.as_bytes());
    let all: Vec<String> = layers
        .iter()
        .map(|(bytes, _)| descriptor("layer.v1.tar+gzip", bytes))
        .collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI}.manifest.v1+json","config":{config},"layers":[{}]}}"#,
        all.join(",")
    );
    let layers = layers.iter().map(|(bytes, _)| sha256(bytes).to_string()).collect();
    Image { manifest, blobs, layers }
}

impl Image {
    /// Answer as a good registry does.
    fn answer(&self, asked: &Asked, to: &mut dyn Stream) -> io::Result<()> {
        if asked.path.contains("/manifests/") {
            let kind = format!("{OCI}.manifest.v1+json");
            return answer(
                to,
                200,
                &[("Content-Type", &kind)],
                self.manifest.as_bytes(),
            );
        }
        let digest = asked.path.rsplit('/').next().unwrap();
        match (self.blobs.get(digest), asked.range()) {
            (None, _) => answer(to, 404, &[], b""),
            (Some(blob), None) => answer(to, 200, &[], blob),
            (Some(blob), Some(from)) => {
                let range =
                    format!("bytes {from}-{}/{}", blob.len() - 1, blob.len());
                answer(to, 206, &[("Content-Range", &range)], &blob[from..])
            }
        }
    }

    /// The blob of the first layer.
    fn first(&self) -> Vec<u8> {
        self.blobs[&self.layers[0]].clone()
    }

    fn is_first(&self, asked: &Asked) -> bool {
        asked.path.ends_with(&self.layers[0])
    }
}

/// A state directory, and the server whose image is pulled.
struct Case {
    directory: tempfile::TempDir,
    server: Server,
}

impl Case {
    fn new(
        handler: impl Fn(&Asked, &mut dyn Stream) -> io::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Case {
        Case {
            directory: tempfile::tempdir().unwrap(),
            server: Server::new(handler),
        }
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ch07-pull"));
        command.args(words).env("MYDOCKER_ROOT", self.root().join("state"));
        command.env("DOCKER_CONFIG", self.root().join("docker"));
        command
    }

    fn name(&self) -> String {
        format!("{}/a", self.server.name())
    }

    fn pull(&self) -> Output {
        self.command(&["pull", &self.name()]).output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self) -> String {
        let out = self.pull();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// The error of a pull, after which there is no image and no layer.
    #[track_caller]
    fn fails(&self) -> String {
        let out = self.pull();
        assert!(!out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
        let images = self.command(&["images", "-q"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&images.stdout), "");
        assert_eq!(self.entries("layers"), 0, "a layer is left");
        String::from_utf8(out.stderr).unwrap()
    }

    fn entries(&self, name: &str) -> usize {
        let directory = self.root().join("state").join(name);
        fs::read_dir(directory).map_or(0, Iterator::count)
    }

    /// The bytes of all downloads.
    fn downloaded(&self) -> u64 {
        let directory = self.root().join("state/images/downloads");
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.metadata().unwrap().len()).sum()
    }
}

#[test]
fn pull_prints_the_same_states_of_layers_as_docker() {
    let image = image(&[layer("a", b"1"), layer("b", b"2")]);
    let [one, two] = [0, 1].map(|at| image.layers[at][7..19].to_owned());
    let case = Case::new(move |asked, to| image.answer(asked, to));
    let out = case.succeeds();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "Using default tag: latest");
    assert_eq!(lines[1], "latest: Pulling from a");
    for id in [&one, &two] {
        for state in ["Pulling fs layer", "Download complete", "Pull complete"] {
            assert!(lines.contains(&format!("{id}: {state}").as_str()), "{out}");
        }
    }
    let name = case.name();
    let end =
        format!("Status: Downloaded newer image for {name}:latest\n{name}:latest\n");
    assert!(out.ends_with(&end), "{out}");
    let again = case.succeeds();
    assert!(again.contains("Status: Image is up to date for"), "{again}");
    let asked = case.server.asked();
    // The second pull asked for the manifest only.
    assert!(asked.last().unwrap().path.contains("/manifests/latest"));
    assert_eq!(asked.len(), 5);
    let quiet = case.command(&["pull", "-q", &name]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&quiet.stdout), format!("{name}:latest\n"));
}

#[test]
fn a_layer_with_another_digest_is_not_used_and_is_downloaded_again() {
    let image = image(&[layer("a", &noise(100_000, 1))]);
    let count = AtomicUsize::new(0);
    let case = Case::new(move |asked, to| {
        if image.is_first(asked) && count.fetch_add(1, Ordering::SeqCst) == 0 {
            let mut wrong = image.first();
            wrong[50_000] ^= 1;
            return answer(to, 200, &[], &wrong);
        }
        image.answer(asked, to)
    });
    let error = case.fails();
    assert!(error.contains("has the digest sha256:"), "{error}");
    case.succeeds();
}

#[test]
fn an_endless_blob_uses_no_more_disk_than_its_size() {
    let image = image(&[layer("a", &noise(100_000, 2))]);
    let size = image.first().len() as u64;
    let case = Case::new(move |asked, to| {
        if !image.is_first(asked) {
            return image.answer(asked, to);
        }
        // A response without a length that never ends.
        to.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        to.write_all(&image.first())?;
        loop {
            to.write_all(&[0; 4096])?;
        }
    });
    let error = case.fails();
    assert!(error.contains(&format!("more than {size} bytes")), "{error}");
    assert!(case.downloaded() <= size + 1000, "{}", case.downloaded());
}

#[test]
fn a_content_length_that_differs_from_the_manifest_is_refused() {
    let image = image(&[layer("a", &noise(1000, 3))]);
    let case = Case::new(move |asked, to| match image.is_first(asked) {
        true => answer(to, 200, &[], &vec![0; 1 << 20]),
        false => image.answer(asked, to),
    });
    let error = case.fails();
    assert!(error.contains("announces 1048576 bytes, but the manifest"), "{error}");
}

#[test]
fn ten_gigabytes_of_zeros_in_ten_megabytes_are_not_unpacked() {
    // The header of a file of 10 GiB, then the same compressed zeros again and again.
    let mut header = Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(10 << 30);
    header.set_cksum();
    let mut bomb = gzip(header.as_bytes());
    let mut zeros = GzEncoder::new(Vec::new(), Compression::best());
    zeros.write_all(&vec![0; 16 << 20]).unwrap();
    let zeros = zeros.finish().unwrap();
    (0..640).for_each(|_| bomb.extend_from_slice(&zeros));
    assert!((9 << 20..11 << 20).contains(&bomb.len()), "{}", bomb.len());
    let size = bomb.len() as u64;
    let image = image(&[(bomb, sha256(b"").to_string())]);
    let case = Case::new(move |asked, to| image.answer(asked, to));
    let error = case.fails();
    assert!(error.contains("the image unpacks to more than"), "{error}");
    assert!(case.downloaded() <= size + 1000);
}

#[test]
fn the_size_limit_applies_to_all_layers_together() {
    // A tar with 700 MiB of zeros behind its end: they are read, and written nowhere.
    let mut zeros = GzEncoder::new(Vec::new(), Compression::best());
    zeros.write_all(&vec![0; 28 << 20]).unwrap();
    let zeros = zeros.finish().unwrap();
    let padded = |name: &str| {
        let tar = tar_of(name, b"1");
        let mut bytes = gzip(&tar);
        (0..25).for_each(|_| bytes.extend_from_slice(&zeros));
        let mut whole = Hashing::new(io::sink());
        whole.write_all(&tar).unwrap();
        (0..25).for_each(|_| whole.write_all(&vec![0; 28 << 20]).unwrap());
        (bytes, whole.finish().1.to_string())
    };
    let [one, two] = ["a", "b"].map(padded);
    for (layers, refused) in [(vec![one.clone()], false), (vec![one, two], true)] {
        let image = image(&layers);
        let case = Case::new(move |asked, to| image.answer(asked, to));
        if refused {
            let error = case.fails();
            let text = "the image unpacks to more than 1073741824 bytes";
            assert!(error.contains(text), "{error}");
        } else {
            case.succeeds();
        }
    }
}

#[test]
fn a_path_that_leads_out_of_the_layer_is_refused() {
    for name in ["../evil", "a/../../evil"] {
        let image = image(&[layer(name, b"evil")]);
        let case = Case::new(move |asked, to| image.answer(asked, to));
        let error = case.fails();
        assert!(error.contains("\"..\""), "{error}");
        assert!(!case.root().join("evil").exists());
        assert!(!case.root().join("state/evil").exists());
    }
}

#[test]
fn a_layer_that_unpacks_to_another_digest_is_removed() {
    let (bytes, _) = layer("a", b"content");
    let image =
        image(&[layer("b", b"first"), (bytes, sha256(b"other").to_string())]);
    let case = Case::new(move |asked, to| image.answer(asked, to));
    let error = case.fails();
    assert!(error.contains("the digest of the uncompressed layer is"), "{error}");
}

#[test]
fn an_interrupted_body_is_continued_in_the_same_pull() {
    let image = image(&[layer("a", &noise(300_000, 4))]);
    let count = AtomicUsize::new(0);
    let case = Case::new(move |asked, to| {
        if image.is_first(asked) && count.fetch_add(1, Ordering::SeqCst) == 0 {
            let blob = image.first();
            start(to, 200, &[], blob.len())?;
            return to.write_all(&blob[..200_000]);
        }
        image.answer(asked, to)
    });
    case.succeeds();
    let asked = case.server.asked();
    let ranges: Vec<usize> = asked.iter().filter_map(Asked::range).collect();
    assert_eq!(ranges, [200_000]);
}

#[test]
fn a_server_without_ranges_sends_the_whole_blob_again() {
    for status in [200, 416] {
        let image = image(&[layer("a", &noise(300_000, 5))]);
        let count = AtomicUsize::new(0);
        let case = Case::new(move |asked, to| {
            let number = count
                .fetch_add(usize::from(image.is_first(asked)), Ordering::SeqCst);
            match (image.is_first(asked), number) {
                (true, 0) => {
                    start(to, 200, &[], image.first().len())?;
                    to.write_all(&image.first()[..1000])
                }
                (true, 1) if status == 416 => answer(to, 416, &[], b""),
                (true, _) => answer(to, 200, &[], &image.first()),
                _ => image.answer(asked, to),
            }
        });
        case.succeeds();
    }
}

/// A pull of one large layer whose server stops sending in the middle of the first
/// response, and the process of this pull after it has received the sent bytes.
fn interrupted() -> (Case, Child) {
    let image = image(&[layer("a", &noise(300_000, 6))]);
    let count = AtomicUsize::new(0);
    let case = Case::new(move |asked, to| {
        if image.is_first(asked) && count.fetch_add(1, Ordering::SeqCst) == 0 {
            start(to, 200, &[], image.first().len())?;
            to.write_all(&image.first()[..131_072])?;
            to.flush()?;
            sleep(Duration::from_secs(20));
        }
        image.answer(asked, to)
    });
    let mut pull = case.command(&["pull", &case.name()]);
    let pull = pull.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while case.downloaded() < 131_072 && begun.elapsed() < Duration::from_secs(20) {
        sleep(Duration::from_millis(5));
    }
    (case, pull)
}

/// Whether this process ignores the signal, and so does a program that it starts.
///
/// # Source
/// proc_pid_status(5), "SigIgn"
fn ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
    mask & (1 << (signal.as_raw() - 1)) != 0
}

#[test]
fn a_killed_pull_is_continued_by_the_next_pull() {
    let mut signals = vec![Signal::KILL, Signal::TERM];
    // A shell starts a background command with SIGINT ignored, and all processes that
    // this command starts ignore SIGINT, too.
    match ignored(Signal::INT) {
        true => {
            eprintln!("not tried: SIGINT, which the caller of this test ignores")
        }
        false => signals.push(Signal::INT),
    }
    for signal in signals {
        let (case, mut pull) = interrupted();
        kill_process(Pid::from_child(&pull), signal).unwrap();
        assert_eq!(pull.wait().unwrap().signal(), Some(signal.as_raw()));
        let mut said = String::new();
        pull.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "");
        let images = case.command(&["images", "-q"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&images.stdout), "");
        case.succeeds();
        let ranges: Vec<usize> =
            case.server.asked().iter().filter_map(Asked::range).collect();
        assert_eq!(ranges.len(), 1, "{signal:?}");
        assert!(ranges[0] >= 131_072, "{ranges:?}");
    }
}

#[test]
fn a_download_damaged_by_a_power_failure_is_downloaded_again() {
    for length in [131_072, 300_000] {
        let image = image(&[layer("a", &noise(300_000, 6))]);
        let hex = image.layers[0].strip_prefix("sha256:").unwrap().to_owned();
        let length = length.min(image.first().len());
        let case = Case::new(move |asked, to| image.answer(asked, to));
        // This command creates the directories.
        case.command(&["images"]).output().unwrap();
        let part = format!("state/images/downloads/{hex}.part");
        fs::write(case.root().join(part), vec![0; length]).unwrap();
        case.succeeds();
        assert_eq!(case.entries("images/downloads"), 0);
    }
}

#[test]
fn image_prune_removes_downloads_of_killed_pulls_only() {
    let (case, mut pull) = interrupted();
    let prune = || {
        let out = case.command(&["image", "prune"]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        case.downloaded()
    };
    assert!(prune() >= 131_072, "the pull still runs");
    pull.kill().unwrap();
    pull.wait().unwrap();
    assert_eq!(prune(), 0);
    assert_eq!(case.entries("images/downloads"), 0);
    case.succeeds();
    assert_eq!(case.server.asked().iter().filter_map(Asked::range).count(), 0);
}

#[test]
fn a_rate_limit_and_an_expired_token_do_not_end_a_pull() {
    let image = image(&[layer("a", b"1")]);
    let (tokens, uses, limited) =
        (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let case = Case::new(move |asked, to| {
        if asked.path.starts_with("/token") {
            let number = tokens.fetch_add(1, Ordering::SeqCst) + 1;
            uses.store(0, Ordering::SeqCst);
            return answer(
                to,
                200,
                &[],
                format!("{{\"token\":\"{number}\"}}").as_bytes(),
            );
        }
        let valid = format!("Bearer {}", tokens.load(Ordering::SeqCst));
        let used = uses.fetch_add(1, Ordering::SeqCst);
        if asked.header("authorization") != valid || used > 0 {
            let realm = format!("http://{}/token", asked.header("host"));
            let field = format!("Bearer realm=\"{realm}\"");
            return answer(to, 401, &[("WWW-Authenticate", &field)], b"");
        }
        if image.is_first(asked) && limited.fetch_add(1, Ordering::SeqCst) == 0 {
            return answer(to, 429, &[("Retry-After", "0")], b"");
        }
        image.answer(asked, to)
    });
    case.succeeds();
}

#[test]
fn no_more_than_three_layers_are_downloaded_at_once() {
    let layers: Vec<Layer> =
        (0..8).map(|at| layer(&format!("f{at}"), &noise(1000, at + 10))).collect();
    let image = image(&layers);
    let now = AtomicUsize::new(0);
    let most = std::sync::Arc::new(AtomicUsize::new(0));
    let seen = most.clone();
    let case = Case::new(move |asked, to| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        sleep(Duration::from_millis(100));
        now.fetch_sub(1, Ordering::SeqCst);
        image.answer(asked, to)
    });
    case.succeeds();
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    // Each file was requested once.
    assert_eq!(case.server.asked().len(), 1 + 1 + 8);
}

#[test]
fn layers_that_do_not_fit_on_the_disk_are_not_requested() {
    let image = image(&[layer("a", b"1")]);
    let size = format!("\"size\":{}", image.first().len());
    let mut manifest = image.manifest.clone();
    let at = manifest.rfind(&size).unwrap();
    manifest.replace_range(at..at + size.len(), "\"size\":1000000000000000");
    let image = Image { manifest, ..image };
    let first = image.layers[0].clone();
    let case = Case::new(move |asked, to| image.answer(asked, to));
    let error = case.fails();
    assert!(
        error.contains("the layers have 1000000000000000 bytes, but"),
        "{error}"
    );
    assert!(!case.server.asked().iter().any(|asked| asked.path.ends_with(&first)));
}

#[test]
fn an_artifact_that_is_not_a_container_image_is_refused() {
    let image = image(&[layer("a", b"1")]);
    let chart = image.manifest.replace(
        &format!("{OCI}.config.v1+json"),
        "application/vnd.cncf.helm.config.v1+json",
    );
    let other = image.manifest.replace("layer.v1.tar+gzip", "layer.v1.tar+xz");
    for (manifest, reason) in [
        (chart, "is not a container image: its configuration is of the type"),
        (other, "unknown type of layer: application/vnd.oci.image.layer.v1.tar+xz"),
    ] {
        let blobs = image.blobs.clone();
        let image = Image { manifest, blobs, layers: image.layers.clone() };
        let case = Case::new(move |asked, to| image.answer(asked, to));
        let error = case.fails();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn an_unknown_image_is_an_error_before_anything_is_printed() {
    let case = Case::new(|_, to| answer(to, 404, &[], b""));
    let out = case.pull();
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(error.contains("a:latest not found"), "{error}");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "Using default tag: latest\n");
}
