//! The recipes of the images.

/// The recipe of an image.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) name: &'static str,
    /// The set of packages that mmdebstrap(1) installs in addition to `packages`.
    pub(super) variant: &'static str,
    pub(super) packages: &'static [&'static str],
    /// A script for /usr/local/bin: its name, and its text.
    pub(super) program: Option<(&'static str, &'static str)>,
    /// Commands that are executed in the tree after the packages are installed. They
    /// must not contain single quotes.
    pub(super) script: &'static str,
    /// Arguments of umoci-config(1).
    pub(super) config: &'static [&'static str],
}

/// The entrypoint of redis. As root, it gives the data to the user redis, then
/// becomes this user.
const START: &str = r#"#!/bin/sh
set -e
if [ "$(id -u)" = 0 ]; then
  chown -R redis:redis .
  exec setpriv --reuid redis --regid redis --init-groups "$0" "$@"
fi
exec "$@"
"#;

/// A package that the page installs in a container.
pub(super) const DEB: &str = "hello";

/// The base of the other images: Debian with bash and apt.
pub(super) const BASE: Image = Image {
    name: "debian",
    variant: "apt",
    packages: &["apt", "bash"],
    program: None,
    script: "",
    config: &[
        "--config.cmd=bash",
        "--config.env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "--author=mydocker",
    ],
};

/// The images that have a layer above the base.
pub(super) const IMAGES: [Image; 2] = [
    Image {
        name: "nginx",
        variant: "custom",
        packages: &["nginx-light"],
        program: None,
        // nginx writes its log to the output of the container.
        script: "ln -sf /dev/stdout /var/log/nginx/access.log; \
                 ln -sf /dev/stderr /var/log/nginx/error.log",
        config: &[
            "--clear=config.cmd",
            "--config.cmd=nginx",
            "--config.cmd=-g",
            "--config.cmd=daemon off;",
            "--config.exposedports=80/tcp",
            "--config.stopsignal=SIGQUIT",
        ],
    },
    Image {
        name: "redis",
        variant: "custom",
        packages: &["redis-server"],
        program: Some(("start", START)),
        script: "mkdir /data; chown redis:redis /data",
        config: &[
            "--clear=config.cmd",
            "--config.entrypoint=start",
            "--config.cmd=redis-server",
            "--config.cmd=--protected-mode",
            "--config.cmd=no",
            "--config.workingdir=/data",
            "--config.volume=/data",
            "--config.exposedports=6379/tcp",
        ],
    },
];

/// A registry. Its packages are unpacked, and not installed.
pub(super) const REGISTRY: Image = Image {
    name: "registry",
    variant: "",
    packages: &["libc6", "docker-registry"],
    program: None,
    // With the package's own configuration, the registry requires a password.
    script: "printf 'version: 0.1\\n\
             storage: {filesystem: {rootdirectory: /var/lib/docker-registry}}\\n\
             http: {addr: \":5000\", secret: mydocker}\\n' \
             > etc/docker/registry/config.yml",
    config: &[
        "--config.entrypoint=docker-registry",
        "--config.cmd=serve",
        "--config.cmd=/etc/docker/registry/config.yml",
        "--config.volume=/var/lib/docker-registry",
        "--config.exposedports=5000/tcp",
        "--author=mydocker",
    ],
};

/// Files that dpkg does not install, neither in the images nor later in the
/// containers.
pub(super) const LEFT_OUT: [&str; 7] = [
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/usr/share/zoneinfo/*",
    "/usr/share/bash-completion/*",
    "/usr/lib/x86_64-linux-gnu/gconv/*",
];

/// The paths that are left out of every layer.
pub(super) const VOLATILE: [&str; 10] = [
    "dev/*",
    "proc/*",
    "run/*",
    "sys/*",
    "tmp/*",
    "var/cache/*",
    "var/lib/dpkg/*-old",
    "var/log/alternatives.log",
    "var/log/apt/*",
    "var/log/dpkg.log",
];

/// The packages whose versions determine the images.
pub(super) fn packages() -> Vec<&'static str> {
    let images = [&BASE, &REGISTRY].into_iter().chain(&IMAGES);
    let mut all: Vec<&str> =
        images.flat_map(|image| image.packages).copied().collect();
    all.push(DEB);
    all
}
