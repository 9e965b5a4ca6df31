//! The configuration of an image.

use std::collections::BTreeMap;

use common::images::{Digest, Settings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::platform::Platform;
use crate::text::Document;
use crate::wire::{or_default, read_digests, write_digests};

/// The configuration of an image: how a container is started, and the list of
/// layers. The digest of the configuration is the image's ID.
///
/// # Source
/// OCI image specification, config.md
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The time, in the format of RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The name of the architecture in Go: `amd64`.
    pub architecture: String,
    /// The name of the operating system in Go: `linux`.
    pub os: String,
    /// How a container is started.
    #[serde(default, deserialize_with = "or_default")]
    pub config: Runtime,
    /// The layers.
    pub rootfs: RootFs,
    /// How each layer was made, the lowest first.
    #[serde(default, deserialize_with = "or_default")]
    pub history: Vec<History>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The digests of the layers' tars, uncompressed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The lowest first.
    #[serde(serialize_with = "write_digests", deserialize_with = "read_digests")]
    pub diff_ids: Vec<Digest>,
}

/// How a container is started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Runtime {
    /// `USER[:GROUP]`, by name or number.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// `PORT/PROTOCOL`; the values are empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[serde(deserialize_with = "or_default")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// `KEY=VALUE`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The program and its first arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// The arguments after the entrypoint, if the caller gives no command.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Paths; the values are empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[serde(deserialize_with = "or_default")]
    pub volumes: BTreeMap<String, Value>,
    /// The working directory.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// `SIGTERM`, or a number.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[serde(deserialize_with = "or_default")]
    pub stop_signal: String,
    /// Unknown fields, such as labels.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How a layer was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// The time, in the format of RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(deserialize_with = "or_default")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// A note.
    #[serde(deserialize_with = "or_default")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step only changed the configuration, and created no layer.
    #[serde(skip_serializing_if = "is_false")]
    pub empty_layer: bool,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Document for Config {
    const KIND: &'static str = "configuration";
}

impl Config {
    /// The configuration of an image for this machine, without layers.
    #[must_use]
    pub fn new() -> Config {
        let Platform { architecture, os, .. } = Platform::host();
        Config {
            created: None,
            architecture,
            os,
            config: Runtime::default(),
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() },
            history: Vec::new(),
            other: Map::new(),
        }
    }

    /// The platform for which the image was made.
    #[must_use]
    pub fn platform(&self) -> Platform {
        let variant = self.other.get("variant").and_then(Value::as_str);
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            variant: variant.map(str::to_owned),
            other: Map::new(),
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}

impl Runtime {
    /// The settings in the form of an image's record.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            entrypoint: self.entrypoint.clone(),
            command: self.cmd.clone(),
            environment: self.env.clone(),
            directory: self.working_dir.clone(),
            user: self.user.clone(),
            stop_signal: self.stop_signal.clone(),
            ports: self.exposed_ports.keys().cloned().collect(),
            volumes: self.volumes.keys().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_nulls_are_read_and_labels_and_health_checks_are_preserved() {
        let text = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":null},"history":null,
            "config":{"User":"7","Env":null,"Entrypoint":null,"Cmd":["sh"],"ExposedPorts":{"80/tcp":{}},"Volumes":null,
            "Labels":{"a":"b"},"Healthcheck":{"Test":["CMD","false"]},"StopSignal":"SIGQUIT","WorkingDir":"/w"},"docker_version":"1"}"#;
        let config = Config::read(text).unwrap();
        let expected = Settings {
            command: vec!["sh".to_owned()],
            directory: "/w".to_owned(),
            user: "7".to_owned(),
            stop_signal: "SIGQUIT".to_owned(),
            ports: vec!["80/tcp".to_owned()],
            ..Settings::default()
        };
        assert_eq!(config.config.settings(), expected);
        let again = String::from_utf8(config.text().unwrap()).unwrap();
        assert!(again.contains(r#""Labels":{"a":"b"}"#), "{again}");
        assert!(again.contains(r#""docker_version":"1""#), "{again}");
        assert!(again.contains(r#""Healthcheck":{"#), "{again}");
        assert_eq!(Config::read(again.as_bytes()).unwrap(), config);
    }

    #[test]
    fn a_configuration_states_its_platform() {
        let text = |more: &str| {
            format!(
                r#"{{"architecture":"arm","os":"linux"{more},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
            )
        };
        for (more, expected) in
            [("", "linux/arm"), (r#","variant":"v6""#, "linux/arm/v6")]
        {
            let config = Config::read(text(more).as_bytes()).unwrap();
            assert_eq!(config.platform().to_string(), expected);
        }
        assert_eq!(Config::new().platform().os, "linux");
    }
}
