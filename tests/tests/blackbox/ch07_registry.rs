//! ch07-registry: logins, tokens, proxies, and manifests from a registry.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

use blackbox::server::{Asked, Server, Stream, answer};
use blackbox::{Lab, Terminal};
use insta::assert_snapshot;
use serial_test::file_serial;

const BIN: &str = "ch07-registry";
const TYPE: (&str, &str) =
    ("Content-Type", "application/vnd.oci.image.manifest.v1+json");
const DIGEST: &str =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// `me:secret`
const RIGHT: &str = "Basic bWU6c2VjcmV0";

/// The certificate of an authority that no server uses. A small system has no authorities,
/// and https needs at least one before it connects.
const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBdjCCARugAwIBAgIUcsBT0vvzQ4qTQeFpu00Dc/z+aGcwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjkxMDQ5NDJaGA8yMTI2MTEwNTEwNDk0
MlowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFCH
+PCjuBr+N+4DceedKl6DoJrldMedhEC2R+W4RXt7RLxAROFz+xc/pG1Pk48pTBbO
6n+5aYYh4YQ/jXOOl2+jUzBRMB0GA1UdDgQWBBRQWbA31V9gUssl/Z5hPm7mknqT
0zAfBgNVHSMEGDAWgBRQWbA31V9gUssl/Z5hPm7mknqT0zAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0kAMEYCIQCtv+4jH5Scr/106rbMfo3lkvQ2J/70TQ1V
N0sBzngV9AIhAM9PQodmMJZQdvkfN7eYjI8tXUIvbeJ7EAoIgUzuVQJj
-----END CERTIFICATE-----
";

fn manifest() -> String {
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{DIGEST}","size":0}},"layers":[]}}"#
    )
}

fn run(lab: &Lab, words: &[&str]) -> assert_cmd::Command {
    let mut command = lab.chapter(BIN);
    command.args(words).env("DOCKER_CONFIG", lab.dir().join("docker"));
    command
}

fn ok(lab: &Lab, words: &[&str]) -> String {
    let out = run(lab, words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

fn error(lab: &Lab, words: &[&str]) -> String {
    let out = run(lab, words).assert().failure().code(125);
    assert_eq!(String::from_utf8_lossy(&out.get_output().stdout), "");
    String::from_utf8(out.get_output().stderr.clone()).unwrap()
}

/// A registry with one image, for the user `me` only, with tokens.
fn registry() -> Server {
    Server::new(|asked, to| {
        let authorization = asked.header("authorization");
        if asked.path.starts_with("/token") {
            return match authorization {
                RIGHT => answer(to, 200, &[], b"{\"token\":\"for-me\"}"),
                "" => answer(to, 200, &[], b"{\"token\":\"for-anyone\"}"),
                _ => answer(to, 401, &[], b""),
            };
        }
        match (authorization, asked.path.as_str()) {
            ("Bearer for-me", "/v2/") => answer(to, 200, &[], b"{}"),
            ("Bearer for-me", "/v2/a/manifests/latest") => {
                answer(to, 200, &[TYPE], manifest().as_bytes())
            }
            ("Bearer for-me", _) => answer(to, 404, &[], b""),
            _ => demand(asked, to),
        }
    })
}

fn demand(asked: &Asked, to: &mut dyn Stream) -> io::Result<()> {
    let realm = format!("http://{}/token", asked.header("host"));
    let field = format!("Bearer realm=\"{realm}\",service=\"s\"");
    answer(to, 401, &[("WWW-Authenticate", &field)], b"")
}

#[test]
#[file_serial(machine)]
fn a_login_gives_access_to_a_private_image() {
    let lab = Lab::new();
    let server = registry();
    let host = server.name();
    let image = format!("{host}/a");
    let refused = error(&lab, &["manifest", &image]);
    let wanted = format!(
        "access to {image}:latest is denied: the repository does not exist, or it \
         requires a login: run `login {host}`"
    );
    assert!(refused.contains(&wanted), "{refused}");
    let login = ["login", "--username", "me", "--password-stdin", &host];
    let wrong = run(&lab, &login).write_stdin("other\n").assert().failure();
    let wrong = String::from_utf8_lossy(&wrong.get_output().stderr).into_owned();
    assert!(wrong.contains("incorrect user name or password"), "{wrong}");
    assert!(!lab.dir().join("docker").exists());
    let right = run(&lab, &login).write_stdin("secret\n").assert().success();
    let right = right.get_output();
    assert_eq!(String::from_utf8_lossy(&right.stdout), "Login Succeeded\n");
    let warning = String::from_utf8_lossy(&right.stderr).into_owned();
    assert!(warning.contains("stored unencrypted in"), "{warning}");
    let file = lab.dir().join("docker/config.json");
    let stored = fs::read_to_string(&file).unwrap();
    assert!(stored.contains(&host) && stored.contains("bWU6c2VjcmV0"), "{stored}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(ok(&lab, &["manifest", &image]), manifest() + "\n");
    let none = error(&lab, &["manifest", &format!("{image}:none")]);
    assert!(none.contains("a:none not found"), "{none}");
    let text = format!("Removing login credentials for {host}\n");
    assert_eq!(ok(&lab, &["logout", &host]), text);
    assert_eq!(ok(&lab, &["logout", &host]), format!("Not logged in to {host}\n"));
    error(&lab, &["manifest", &image]);
    assert_eq!(lab.close(), Vec::<String>::new());
}

#[test]
#[file_serial(machine)]
fn credentials_stay_with_the_server_of_the_registry() {
    let lab = Lab::new();
    let storage =
        Server::new(|_, to| answer(to, 200, &[TYPE], manifest().as_bytes()));
    let location = format!("http://{}/signed", storage.name());
    let server = Server::new(move |asked, to| match asked.header("authorization") {
        RIGHT => answer(to, 307, &[("Location", &location)], b""),
        _ => answer(to, 401, &[("WWW-Authenticate", "Basic realm=\"x\"")], b""),
    });
    let docker = lab.dir().join("docker");
    fs::create_dir(&docker).unwrap();
    let login =
        format!(r#"{{"auths":{{"{}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#, server.name());
    fs::write(docker.join("config.json"), login).unwrap();
    let image = format!("{}/a", server.name());
    assert_eq!(ok(&lab, &["manifest", &image]), manifest() + "\n");
    let asked = storage.asked();
    assert_eq!(asked[0].path, "/signed");
    assert_eq!(asked[0].header("authorization"), "");
}

#[test]
#[file_serial(machine)]
fn a_password_is_typed_and_not_shown() {
    let lab = Lab::new();
    let server = registry();
    let mut command = lab.command(&[], BIN);
    command.args(["login", &server.name()]);
    let mut terminal = Terminal::run(command);
    terminal.see("Username: ");
    terminal.type_keys("me\n");
    terminal.see("Password: ");
    terminal.type_keys("secret\n");
    let shown = terminal.see("Login Succeeded");
    assert!(!shown.contains("secret"), "{shown}");
    // Without DOCKER_CONFIG, the file is in the home directory.
    assert!(lab.dir().join(".docker/config.json").exists());
}

#[test]
#[file_serial(machine)]
fn a_configured_credential_helper_stores_the_secret() {
    let lab = Lab::new();
    let server = registry();
    let host = server.name();
    let (docker, bin) = (lab.dir().join("docker"), lab.dir().join("bin"));
    fs::create_dir(&docker).unwrap();
    fs::create_dir(&bin).unwrap();
    let config = docker.join("config.json");
    fs::write(&config, r#"{"credsStore":"test"}"#).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let missing = error(&lab, &["manifest", &format!("{host}/a")]);
    assert!(missing.contains("docker-credential-test not found"), "{missing}");
    let helper = bin.join("docker-credential-test");
    let kept = lab.dir().join("kept");
    // The helper keeps one secret in a file.
    let script = format!(
        "#!/bin/sh\nkept={}\ncase $1 in\nstore) cat > $kept ;;\nerase) rm $kept ;;\n\
         get) test -e $kept && exec cat $kept\n\
         echo 'credentials not found in native keychain'; exit 1 ;;\nesac\n",
        kept.display()
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let with_helper = |words: &[&str]| {
        let mut command = run(&lab, words);
        command.env("PATH", &path);
        command
    };
    let login = ["login", "-u", "me", "--password-stdin", &host];
    let out = with_helper(&login).write_stdin("secret").assert().success();
    assert_eq!(String::from_utf8_lossy(&out.get_output().stderr), "");
    let stored = fs::read_to_string(&config).unwrap();
    assert!(stored.contains(&host) && !stored.contains("bWU6"), "{stored}");
    assert!(fs::read_to_string(&kept).unwrap().contains("\"secret\""));
    with_helper(&["manifest", &format!("{host}/a")]).assert().success();
    with_helper(&["logout", &host]).assert().success();
    assert!(!kept.exists());
    with_helper(&["manifest", &format!("{host}/a")]).assert().failure();
}

#[test]
#[file_serial(machine)]
fn images_of_docker_hub_come_from_a_mirror_without_credentials() {
    let lab = Lab::new();
    let server = Server::new(|asked, to| match asked.path.as_str() {
        "/v2/library/a/manifests/1.0" => {
            answer(to, 200, &[TYPE], manifest().as_bytes())
        }
        _ => answer(to, 404, &[], b""),
    });
    let docker = lab.dir().join("docker");
    fs::create_dir(&docker).unwrap();
    let login =
        r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6c2VjcmV0"}}}"#;
    fs::write(docker.join("config.json"), login).unwrap();
    let mirror = format!("http://{}", server.name());
    let flag = ["manifest", "--registry-mirror", &mirror, "a:1.0"];
    assert_eq!(ok(&lab, &flag), manifest() + "\n");
    let mut command = run(&lab, &["manifest", "docker.io/library/a:1.0"]);
    command.env("MYDOCKER_REGISTRY_MIRROR", &mirror).assert().success();
    for asked in server.asked() {
        assert_eq!(asked.header("authorization"), "");
    }
}

#[test]
#[file_serial(machine)]
fn a_proxy_is_used_for_other_machines_only() {
    let lab = Lab::new();
    let proxy = Server::new(|_, to| answer(to, 403, &[], b""));
    let url = format!("http://{}", proxy.name());
    let authority = lab.dir().join("authority.pem");
    fs::write(&authority, AUTHORITY).unwrap();
    let with_proxy = |image: &str, exceptions: &str| {
        let mut command = run(&lab, &["manifest", image]);
        command.env("SSL_CERT_FILE", &authority);
        command.env("HTTPS_PROXY", &url).env("HTTP_PROXY", &url);
        let out = command.env("NO_PROXY", exceptions).assert();
        String::from_utf8_lossy(&out.get_output().stderr).into_owned()
    };
    let refused = with_proxy("registry.invalid/a", "");
    assert!(refused.contains("the proxy refused"), "{refused}");
    let asked = proxy.asked();
    assert_eq!(asked[0].method, "CONNECT");
    assert_eq!(asked[0].path, "registry.invalid:443");
    let direct = with_proxy("registry.invalid/a", "invalid");
    assert!(direct.contains("host registry.invalid not found"), "{direct}");
    let server = registry();
    with_proxy(&format!("{}/a", server.name()), "");
    assert!(!server.asked().is_empty());
    assert_eq!(proxy.asked().len(), asked.len());
}

#[test]
#[file_serial(machine)]
fn invalid_arguments_are_reported_before_any_request() {
    let lab = Lab::new();
    for (words, wanted) in [
        (["manifest", "A"].as_slice(), "lower case"),
        (&["manifest", "--platform", "linux", "a"], "expected OS/ARCHITECTURE"),
    ] {
        let out = run(&lab, words).assert().code(2);
        let text = String::from_utf8_lossy(&out.get_output().stderr).into_owned();
        assert!(text.contains(wanted), "{text}");
    }
    let mirror = ["manifest", "--registry-mirror", "mirror.example", "a"];
    let text = error(&lab, &mirror);
    assert!(text.contains("--registry-mirror: invalid URL"), "{text}");
    let text = error(&lab, &["login", "-u", "a:b", "-p", "x", "localhost:1"]);
    assert!(text.contains("must not contain \":\""), "{text}");
    let text = error(&lab, &["logout", "a/b"]);
    assert!(text.contains("\"a/b\" is not a registry"), "{text}");
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    assert_snapshot!("ch07-registry-help", ok(&lab, &["--help"]));
    assert_snapshot!("ch07-registry-login-help", ok(&lab, &["login", "--help"]));
    assert_snapshot!(
        "ch07-registry-manifest-help",
        ok(&lab, &["manifest", "--help"])
    );
}
