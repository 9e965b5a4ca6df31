//! The distribution's `docker-registry` on this machine, and `skopeo`. Tests of
//! chapter 7 include this file.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]
#![allow(unreachable_pub, reason = "each test program has a copy of this module")]

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A registry on a free port of 127.0.0.1. It ends when this is dropped.
pub struct Registry {
    port: u16,
    child: Child,
    directory: tempfile::TempDir,
}

/// `me` and `secret`, as htpasswd(1) stores them with bcrypt.
const HTPASSWD: &str =
    "me:$2a$05$pdWoWPGI6gZv21.lXE/i..6f733ym6STmgo9gJG8xPrbVxKisBk.6\n";

impl Registry {
    /// Start a registry; with `login`, only the user `me` with the password `secret`
    /// has access. `None` if the program is not on this machine: then the test is
    /// counted as skipped.
    #[must_use]
    pub fn start(login: bool) -> Option<Registry> {
        for program in ["docker-registry", "skopeo"] {
            let found = Command::new(program).arg("--version").output();
            if found.is_err() {
                skip(&format!("{program} is not installed"));
                return None;
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let path = |name: &str| directory.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage:\n  filesystem: {{rootdirectory: {}}}\n\
             http: {{addr: \"127.0.0.1:{port}\", secret: test}}\n",
            path("data")
        );
        if login {
            fs::write(path("htpasswd"), HTPASSWD).unwrap();
            config += &format!(
                "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
                path("htpasswd")
            );
        }
        fs::write(path("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .stdout(Stdio::null())
            .stderr(fs::File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        let mut registry = Registry { port, child, directory };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = fs::read_to_string(registry.directory.path().join("log"));
            let ended = registry.child.try_wait().unwrap();
            assert!(
                ended.is_none() && begun.elapsed() < Duration::from_secs(120),
                "docker-registry does not listen: {ended:?} {log:?}"
            );
            sleep(Duration::from_millis(20));
        }
        Some(registry)
    }

    /// `127.0.0.1:PORT`
    #[must_use]
    pub fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Run skopeo with these arguments; returns its output.
    pub fn skopeo(&self, words: &[&str]) -> String {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "--command-timeout", "60s"]);
        let out = command.args(words).output().unwrap();
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "skopeo {words:?}: {errors}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// Push an image from a local source in skopeo's notation (`oci:DIR:TAG`), with
    /// further options.
    pub fn push(&self, from: &str, name: &str, flags: &[&str]) {
        let to = format!("docker://{}/{name}", self.name());
        let words = ["copy", "--dest-tls-verify=false"];
        let words = [&words[..], flags, &[from, &to]].concat();
        self.skopeo(&words);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // The process may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Count a test that this machine cannot run.
fn skip(reason: &str) {
    if let Some(path) = std::env::var_os("MYDOCKER_SKIP_FILE") {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        writeln!(file.unwrap(), "{reason}").unwrap();
    }
    eprintln!("skipped: {reason}");
}

/// Run sh in a directory.
pub fn sh(directory: &Path, script: &str) -> String {
    let out =
        Command::new("sh").args(["-ec", script]).current_dir(directory).output();
    let out = out.unwrap();
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{script}: {errors}");
    String::from_utf8(out.stdout).unwrap()
}
