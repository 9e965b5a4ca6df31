//! The client with the distribution's docker-registry, and images that skopeo pushes.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

#[path = "../../../tests/src/registry.rs"]
mod registry;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use registry::{Registry, sh};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An OCI image layout with an index `latest` of two platforms, made of files and
/// sha256sum(1) alone.
fn layout(directory: &Path) {
    sh(
        directory,
        r#"
        mkdir -p l/blobs/sha256 t; cd l
        echo '{"imageLayoutVersion":"1.0.0"}' > oci-layout
        blob() { # FILE: move it to its digest, and print digest and size
            s=$(wc -c < "$1"); d=$(sha256sum < "$1" | cut -d' ' -f1)
            mv "$1" blobs/sha256/$d; printf '"digest":"sha256:%s","size":%s' $d $s
        }
        image() { # ARCHITECTURE
            echo "$1" > ../t/arch; tar -C ../t -cf layer.tar arch
            diff=$(sha256sum < layer.tar | cut -d' ' -f1); gzip -n layer.tar
            layer=$(blob layer.tar.gz)
            printf '{"architecture":"%s","os":"linux","config":{"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $1 $diff > config
            config=$(blob config); o=application/vnd.oci.image
            printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json",%s},"layers":[{"mediaType":"%s.layer.v1.tar+gzip",%s}]}' $o $o "$config" $o "$layer" > manifest
            printf '{"mediaType":"%s.manifest.v1+json",%s,"platform":{"os":"linux","architecture":"%s"}}' $o "$(blob manifest)" $1
        }
        printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s,%s]}' "$(image amd64)" "$(image arm64)" > index
        printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json",%s,"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}' "$(blob index)" > index.json
        "#,
    );
}

fn client(registry: &Registry, config: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ch07-registry"));
    command.args(words).env("DOCKER_CONFIG", config).env("HOME", config);
    command.env("MYDOCKER_ROOT", config.join(registry.name()));
    command
}

/// What the command prints, or its error.
fn run(
    registry: &Registry,
    config: &Path,
    words: &[&str],
) -> Result<String, String> {
    let out = client(registry, config, words).output().unwrap();
    match out.status.success() {
        true => Ok(String::from_utf8(out.stdout).unwrap()),
        false => Err(String::from_utf8(out.stderr).unwrap()),
    }
}

#[test]
fn the_manifest_of_the_platform_is_the_one_that_skopeo_sees() {
    let Some(registry) = Registry::start(false) else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    layout(at);
    let from = format!("oci:{}:latest", at.join("l").display());
    registry.push(&from, "two/platforms", &["--all"]);
    let image = format!("{}/two/platforms", registry.name());
    let skopeo = |digest: &str| {
        let url = format!("docker://{image}{digest}");
        registry.skopeo(&["inspect", "--raw", "--tls-verify=false", &url])
    };
    let index: serde_json::Value = serde_json::from_str(&skopeo("")).unwrap();
    assert_eq!(index["mediaType"], INDEX);
    for (at_index, platform) in ["linux/amd64", "linux/arm64"].iter().enumerate() {
        let words = ["manifest", "--platform", platform, &image];
        let digest = index["manifests"][at_index]["digest"].as_str().unwrap();
        let found = run(&registry, at, &words).unwrap();
        assert_eq!(found.trim_end(), skopeo(&format!("@{digest}")).trim_end());
        // By its digest, without an index.
        let pinned = format!("{image}@{digest}");
        assert_eq!(run(&registry, at, &["manifest", &pinned]).unwrap(), found);
    }
    let words = ["manifest", "--platform", "linux/riscv64", &image];
    let error = run(&registry, at, &words).unwrap_err();
    assert!(error.contains("There are: linux/amd64, linux/arm64."), "{error}");
}

#[test]
fn manifests_of_docker_and_compression_by_zstd_are_read() {
    let Some(registry) = Registry::start(false) else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    layout(at);
    let from = format!("oci:{}:latest", at.join("l").display());
    registry.push(&from, "a:v2s2", &["--format", "v2s2"]);
    registry.push(
        &from,
        "a:zstd",
        &["--dest-compress-format", "zstd", "--dest-compress"],
    );
    let image = |tag: &str| format!("{}/a:{tag}", registry.name());
    let docker = run(&registry, at, &["manifest", &image("v2s2")]).unwrap();
    assert!(docker.contains("vnd.docker.distribution.manifest.v2+json"), "{docker}");
    run(&registry, at, &["manifest", &image("zstd")]).unwrap();
}

#[test]
fn an_unknown_name_and_an_unknown_tag_are_explained() {
    let Some(registry) = Registry::start(false) else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    layout(at);
    let from = format!("oci:{}:latest", at.join("l").display());
    registry.push(&from, "a", &[]);
    for (name, code) in
        [("a:none", "MANIFEST_UNKNOWN"), ("none", "MANIFEST_UNKNOWN")]
    {
        let image = format!("{}/{name}", registry.name());
        let error = run(&registry, at, &["manifest", &image]).unwrap_err();
        assert!(error.contains("not found: check the name and the tag"), "{error}");
        assert!(error.contains(code), "{error}");
    }
}

#[test]
fn a_login_is_shared_with_skopeo() {
    let Some(registry) = Registry::start(true) else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    layout(at);
    let from = format!("oci:{}:latest", at.join("l").display());
    registry.push(&from, "a", &["--dest-creds", "me:secret"]);
    let image = format!("{}/a", registry.name());
    let error = run(&registry, at, &["manifest", &image]).unwrap_err();
    assert!(error.contains(&format!("run `login {}`", registry.name())), "{error}");
    let login = |password: &str| {
        let words = ["login", "-u", "me", "--password-stdin", &registry.name()];
        let mut command = client(&registry, at, &words);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, password.as_bytes()).unwrap();
        drop(stdin);
        child.wait().unwrap().success()
    };
    assert!(!login("wrong"));
    assert!(login("secret"));
    run(&registry, at, &["manifest", &image]).unwrap();
    // skopeo reads the same file.
    let file = at.join("config.json");
    let (file, url) = (file.to_str().unwrap(), format!("docker://{image}"));
    registry.skopeo(&[
        "inspect",
        "--raw",
        "--tls-verify=false",
        "--authfile",
        file,
        &url,
    ]);
    // And a login of skopeo is read.
    fs::remove_file(file).unwrap();
    let words = ["login", "--tls-verify=false", "--authfile", file, "-u", "me"];
    let host = registry.name();
    let words = [&words[..], &["-p", "secret", &host]].concat();
    registry.skopeo(&words);
    run(&registry, at, &["manifest", &image]).unwrap();
    run(&registry, at, &["logout", &registry.name()]).unwrap();
    assert!(run(&registry, at, &["manifest", &image]).is_err());
}
