//! Values as JSON has them: a digest is a string, and null stands for an empty value.

use std::fmt::Display;
use std::str::FromStr;

use common::images::Digest;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn write_digest<S: Serializer>(
    digest: &Digest,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.serialize_str(digest.as_str())
}

pub(crate) fn read_digest<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Digest, D::Error> {
    parse(&String::deserialize(from)?)
}

pub(crate) fn write_digests<S: Serializer>(
    digests: &[Digest],
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_seq(digests.iter().map(Digest::as_str))
}

pub(crate) fn read_digests<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<Digest>, D::Error> {
    let words: Option<Vec<String>> = Option::deserialize(from)?;
    words.unwrap_or_default().iter().map(|word| parse(word)).collect()
}

fn parse<T: FromStr<Err: Display>, E: Error>(word: &str) -> Result<T, E> {
    // The reason as well as the value.
    word.parse().map_err(|error| E::custom(format!("{error:#}")))
}

/// Docker writes null for an empty list or map.
pub(crate) fn or_default<
    'de,
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
