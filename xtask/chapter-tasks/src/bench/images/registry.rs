//! The distribution's `docker-registry`.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::step::Step;

use xtask::registry_tools;

/// It listens within this time.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A registry on a free port of 127.0.0.1. It ends when this is dropped.
pub(super) struct Registry {
    port: u16,
    child: Child,
}

impl Registry {
    /// Start it, with its files in this directory.
    ///
    /// # Errors
    /// It is not installed and cannot be downloaded; it does not listen.
    pub(super) fn start(directory: &Path) -> Result<Registry> {
        let step = || format!("write(2) in {}", directory.display());
        fs::create_dir_all(directory).step(step)?;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let port = port.step(|| "bind(2)")?.port();
        let config = directory.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: \"{}\"}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\", secret: bench}}\n",
            directory.join("data").display()
        );
        fs::write(&config, text).step(step)?;
        let log = File::create(directory.join("log")).step(step)?;
        let mut command = Command::new("docker-registry");
        command.envs(registry_tools::environment()?).arg("serve").arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().context("docker-registry")?;
        let mut registry = Registry { port, child };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = registry.child.try_wait().step(|| "waitpid(2)")?;
            ensure!(
                ended.is_none() && begun.elapsed() < START_TIMEOUT,
                "docker-registry does not listen: see {}/log",
                directory.display()
            );
            sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }

    /// The name of an image in it.
    pub(super) fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}:1", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
