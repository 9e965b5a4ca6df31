//! The client against servers on this machine that behave well and badly.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

#[path = "../../../tests/src/server.rs"]
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use ch07_registry::{
    Access, Backoff, Client, Content, Credentials, Failure, Secret, Settings, fetch,
    get, read_whole,
};
use oci::Platform;
use oci::media::MANIFEST;
use server::{Asked, Server, Stream, answer};

fn settings() -> Settings {
    Settings {
        idle: Duration::from_secs(2),
        backoff: Backoff { first: Duration::from_millis(1) },
        ..Settings::default()
    }
}

fn client(server: &Server, credentials: Option<Credentials>) -> Client {
    Client::new(&settings(), &server.name(), "a/b", Access::Pull, credentials)
        .unwrap()
}

/// What the client gets at this path.
fn text(client: &Client, path: &str) -> Result<String> {
    let request = get(client.url(path)?, &[]);
    let attempt = || -> Result<String, Failure> {
        let response = client.send(&request, Content::Empty)?;
        let response = client.expect(response, "the thing")?;
        Ok(String::from_utf8_lossy(&read_whole(response, 1000)?).into_owned())
    };
    client.settings().backoff.retry(|_| attempt())
}

fn error(client: &Client, path: &str) -> String {
    format!("{:#}", text(client, path).unwrap_err())
}

/// A registry that gives numbered tokens, each of which is valid for `uses` requests.
fn with_tokens(uses: usize) -> Server {
    let (given, used) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Server::new(move |asked, to| {
        if asked.path.starts_with("/token") {
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            used.store(0, Ordering::SeqCst);
            return answer(
                to,
                200,
                &[],
                format!("{{\"token\":\"t{number}\"}}").as_bytes(),
            );
        }
        let valid = format!("Bearer t{}", given.load(Ordering::SeqCst));
        if asked.header("authorization") == valid
            && used.fetch_add(1, Ordering::SeqCst) < uses
        {
            return answer(to, 200, &[], b"content");
        }
        demand_token(asked, to)
    })
}

fn demand_token(asked: &Asked, to: &mut dyn Stream) -> std::io::Result<()> {
    let host = asked.header("host");
    let challenge =
        format!("Bearer realm=\"http://{host}/token\",service=\"the service\"");
    answer(to, 401, &[("WWW-Authenticate", &challenge)], b"")
}

#[test]
fn an_anonymous_user_gets_a_token_that_is_reused() {
    let server = with_tokens(100);
    let client = client(&server, None);
    assert_eq!(text(&client, "x").unwrap(), "content");
    assert_eq!(text(&client, "y").unwrap(), "content");
    let asked = server.asked();
    let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
    let question = "/token?service=the%20service&scope=repository%3Aa%2Fb%3Apull";
    assert_eq!(paths, ["/v2/a/b/x", question, "/v2/a/b/x", "/v2/a/b/y"]);
    assert_eq!(asked[1].header("authorization"), "");
}

#[test]
fn an_expired_token_is_replaced() {
    let server = with_tokens(2);
    let client = client(&server, None);
    for _ in 0..5 {
        assert_eq!(text(&client, "x").unwrap(), "content");
    }
    let tokens =
        server.asked().iter().filter(|it| it.path.starts_with("/token")).count();
    assert_eq!(tokens, 3);
}

#[test]
fn a_token_is_requested_with_name_and_password() {
    let server = with_tokens(100);
    let client = client(&server, Some(Credentials::of_password("me", "secret")));
    assert_eq!(text(&client, "x").unwrap(), "content");
    assert_eq!(server.asked()[1].header("authorization"), "Basic bWU6c2VjcmV0");
}

#[test]
fn a_token_is_requested_with_an_identity_token() {
    let server = with_tokens(100);
    let secret = Secret::IdentityToken("id&token".into());
    let credentials = Credentials { user: "me".into(), secret };
    let client = client(&server, Some(credentials));
    assert_eq!(text(&client, "x").unwrap(), "content");
    let asked = &server.asked()[1];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/token"));
    let form = String::from_utf8(asked.body.clone()).unwrap();
    assert!(form.contains("grant_type=refresh%5Ftoken"), "{form}");
    assert!(form.contains("refresh_token=id%26token"), "{form}");
}

#[test]
fn an_error_about_credentials_does_not_show_the_password() {
    let server = Server::new(|asked, to| match asked.path.starts_with("/token") {
        true => answer(to, 401, &[], b""),
        false => demand_token(asked, to),
    });
    let client = client(&server, Some(Credentials::of_password("me", "secret")));
    let error = error(&client, "x");
    assert!(error.contains("incorrect user name or password"), "{error}");
    assert!(error.contains("me") && !error.contains("secret"), "{error}");
}

#[test]
fn a_server_may_demand_a_password() {
    let server = Server::new(|asked, to| match asked.header("authorization") {
        "Basic bWU6c2VjcmV0" => answer(to, 200, &[], b"content"),
        _ => answer(to, 401, &[("WWW-Authenticate", "Basic realm=\"x\"")], b""),
    });
    let right = client(&server, Some(Credentials::of_password("me", "secret")));
    assert_eq!(text(&right, "x").unwrap(), "content");
    let wrong = client(&server, Some(Credentials::of_password("me", "other")));
    let refused = error(&wrong, "x");
    assert!(refused.contains("denied for the user me"), "{refused}");
    // Two requests: the wrong password is not tried again and again.
    assert_eq!(server.asked().len(), 4);
    let none = error(&client(&server, None), "x");
    assert!(none.contains("run `login 127.0.0.1:"), "{none}");
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_server() {
    let other = Server::new(|_, to| answer(to, 200, &[], b"elsewhere"));
    let location = format!("http://{}/blob?signature=x", other.name());
    let server = Server::new(move |asked, to| {
        if asked.header("authorization").is_empty() {
            return answer(
                to,
                401,
                &[("WWW-Authenticate", "Basic realm=\"x\"")],
                b"",
            );
        }
        match asked.path.as_str() {
            "/v2/a/b/away" => answer(to, 307, &[("Location", &location)], b""),
            "/v2/a/b/here" => answer(to, 302, &[("Location", "there")], b""),
            _ => answer(to, 200, &[], b"content"),
        }
    });
    let client = client(&server, Some(Credentials::of_password("me", "secret")));
    assert_eq!(text(&client, "away").unwrap(), "elsewhere");
    let asked = other.asked();
    assert_eq!(asked[0].path, "/blob?signature=x");
    assert_eq!(asked[0].header("authorization"), "");
    // On the same server, they do.
    assert_eq!(text(&client, "here").unwrap(), "content");
    assert_eq!(server.asked().last().unwrap().path, "/v2/a/b/there");
}

#[test]
fn the_number_of_redirects_is_limited() {
    let server =
        Server::new(|_, to| answer(to, 302, &[("Location", "/again")], b""));
    let error = error(&client(&server, None), "x");
    assert!(error.contains("more than 5 redirects"), "{error}");
}

#[test]
fn http_to_other_machines_is_refused_also_in_redirects_and_realms() {
    let server = Server::new(|asked, to| match asked.path.as_str() {
        "/v2/a/b/token" => {
            let challenge = "Bearer realm=\"http://auth.example/token\"";
            answer(to, 401, &[("WWW-Authenticate", challenge)], b"")
        }
        _ => answer(to, 302, &[("Location", "http://blobs.example/x")], b""),
    });
    let client = client(&server, None);
    for path in ["redirect", "token"] {
        let error = error(&client, path);
        assert!(error.contains("refused to use http://"), "{error}");
        assert!(error.contains("--plain-http"), "{error}");
    }
    let client =
        Client::new(&settings(), "r.example", "a", Access::Pull, None).unwrap();
    assert_eq!(client.url("x").unwrap().to_string(), "https://r.example/v2/a/x");
}

#[test]
fn a_rate_limit_is_waited_for_or_explained() {
    let count = AtomicUsize::new(0);
    let server = Server::new(move |asked, to| {
        let long = asked.path.ends_with("long");
        let body = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#;
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => answer(to, 429, &[("Retry-After", "0")], body),
            _ if long => answer(to, 429, &[("Retry-After", "3600")], body),
            _ => answer(to, 200, &[], b"content"),
        }
    });
    let client = client(&server, None);
    assert_eq!(text(&client, "x").unwrap(), "content");
    let error = error(&client, "long");
    for part in ["toomanyrequests", "3600 seconds", "log in", "pull rate limit"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_request_to_a_failing_server_is_repeated() {
    let count = AtomicUsize::new(0);
    let server =
        Server::new(move |asked, to| match count.fetch_add(1, Ordering::SeqCst) {
            0 => answer(to, 503, &[], b""),
            // A connection that ends without an answer.
            1 => Ok(()),
            2 => to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ntrunc"),
            _ if asked.path.ends_with("never") => answer(to, 500, &[], b""),
            _ => answer(to, 200, &[], b"content"),
        });
    let client = client(&server, None);
    assert_eq!(text(&client, "x").unwrap(), "content");
    assert_eq!(server.asked().len(), 4);
    let error = error(&client, "never");
    assert!(error.contains("500"), "{error}");
    assert_eq!(server.asked().len(), 4 + 5);
}

#[test]
fn text_of_a_server_cannot_control_the_terminal() {
    let server = Server::new(|_, to| {
        let body = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"\\u001b[2J\"}]}";
        answer(to, 404, &[], body.as_bytes())
    });
    let error = error(&client(&server, None), "x");
    assert!(error.contains("the thing not found"), "{error}");
    assert!(error.contains("DENIED") && !error.contains('\u{1b}'), "{error:?}");
}

#[test]
fn an_endless_answer_uses_limited_memory() {
    let server = Server::new(|_, to| {
        server::start(to, 200, &[], usize::MAX)?;
        loop {
            to.write_all(&[b' '; 4096])?;
        }
    });
    let error = error(&client(&server, None), "x");
    assert!(error.contains("longer than 1000 bytes"), "{error}");
}

#[test]
fn an_endless_header_and_an_answer_that_is_not_http_are_errors() {
    let server = Server::new(|asked, to| match asked.path.ends_with("header") {
        true => loop {
            to.write_all(b"HTTP/1.1 200 OK\r\n")?;
            to.write_all(format!("X: {}\r\n", "x".repeat(1 << 20)).as_bytes())?;
        },
        false => to.write_all(b"220 a mail server\r\n\r\n"),
    });
    let client = client(&server, None);
    assert!(text(&client, "header").is_err());
    assert!(text(&client, "mail").is_err());
}

#[test]
fn a_silent_server_causes_a_timeout() {
    let server = Server::new(|asked, to| {
        if asked.path.ends_with("body") {
            server::start(to, 200, &[], 100)?;
            to.flush()?;
        }
        std::thread::sleep(Duration::from_secs(5));
        Ok(())
    });
    let settings = Settings { idle: Duration::from_millis(50), ..settings() };
    let client =
        Client::new(&settings, &server.name(), "a", Access::Pull, None).unwrap();
    for path in ["head", "body"] {
        let begun = Instant::now();
        let error = error(&client, path);
        assert!(error.contains("timeout"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(4));
    }
}

#[test]
fn a_registry_that_is_not_running_is_named() {
    let server = Server::new(|_, to| answer(to, 200, &[], b""));
    let client = client(&server, None);
    let name = server.name();
    drop(server);
    let error = error(&client, "x");
    assert!(error.contains(&format!("no connection to {name}")), "{error}");
}

#[test]
fn a_manifest_has_a_size_a_digest_and_a_type() {
    let server = Server::new(|asked, to| {
        let kind = [("Content-Type", MANIFEST)];
        let body = br#"{"schemaVersion":2,"config":{"mediaType":"c","digest":"sha256:00","size":1},"layers":[]}"#;
        match asked.path.rsplit('/').next().unwrap() {
            "large" => answer(to, 200, &kind, &vec![b' '; (4 << 20) + 1]),
            "html" => answer(to, 200, &[("Content-Type", "text/html")], b"<html>"),
            "damaged" => answer(to, 200, &kind, body),
            _ => answer(to, 200, &kind, b"{}"),
        }
    });
    let client = client(&server, None);
    let pinned = oci::sha256(b"other").to_string();
    for (wanted, reason) in [
        ("large", "longer than 4194304 bytes"),
        ("html", "expected a manifest"),
        ("damaged", "expected 64 hexadecimal digits in lower case after sha256:"),
        ("empty", "damaged manifest: read the manifest: missing field"),
        (pinned.as_str(), "wrong digest"),
    ] {
        let error = fetch(&client, "a/b", wanted, &Platform::host()).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(reason) && error.contains("a/b"), "{error}");
    }
}

/// A certificate for localhost, signed by an authority of this test: the directory with
/// the authority, and the server's configuration.
fn authority(name: &str) -> (tempfile::TempDir, Arc<rustls::ServerConfig>) {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair,
    };
    use rustls::pki_types::PrivatePkcs8KeyDer;
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let leaf =
        CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("own.crt"), root.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    (directory, Arc::new(config))
}

#[test]
fn https_trusts_only_the_authority_of_the_user() {
    let (directory, config) = authority("own");
    let wrap = move |stream| -> Box<dyn Stream> {
        let session = rustls::ServerConnection::new(config.clone()).unwrap();
        Box::new(rustls::StreamOwned::new(session, stream))
    };
    let server = Server::wrapped(wrap, |asked, to| match asked.path.as_str() {
        "/v2/a/away" => answer(to, 302, &[("Location", "http://127.0.0.1:1/")], b""),
        _ => answer(to, 200, &[], b"safe"),
    });
    let port = server.address.port();
    let client = |host: &str, cert_dir| {
        let settings = Settings { cert_dir, ..settings() };
        let registry = format!("{host}:{port}");
        Client::new(&settings, &registry, "a", Access::Pull, None).unwrap()
    };
    let own = Some(directory.path().to_owned());
    assert_eq!(text(&client("localhost", own.clone()), "x").unwrap(), "safe");
    // The certificate is for another host.
    let refused = error(&client("127.0.0.1", own.clone()), "x");
    assert!(refused.contains("TLS"), "{refused}");
    let refused = error(&client("localhost", own), "away");
    assert!(refused.contains("refused a redirect"), "{refused}");
    let (other, _) = authority("other");
    let refused = error(&client("localhost", Some(other.path().to_owned())), "x");
    assert!(refused.contains("unknown authority"), "{refused}");
    assert!(refused.contains("--cert-dir"), "{refused}");
}

#[test]
fn an_https_request_to_an_http_server_is_explained() {
    let (directory, _) = authority("own");
    let server = Server::new(|_, to| answer(to, 400, &[], b"http only"));
    let settings =
        Settings { cert_dir: Some(directory.path().to_owned()), ..settings() };
    let client =
        Client::new(&settings, &server.name(), "a", Access::Pull, None).unwrap();
    let error = error(&client, "x");
    assert!(error.contains("does not speak https"), "{error}");
}
