//! Compute the SHA-256 of a stream while it is read or written.

use std::io::{self, Read, Write};

use common::images::Digest;
use sha2::Digest as _;
use sha2::Sha256;

/// The digest of these bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(&Sha256::digest(bytes).into())
}

/// A stream that computes the digest and the number of the bytes that pass through
/// it.
#[derive(Clone, Debug)]
pub struct Hashing<T> {
    inner: T,
    hash: Sha256,
    size: u64,
}

impl<T> Hashing<T> {
    /// Start to compute the digest of this stream at its current position.
    #[must_use]
    pub fn new(inner: T) -> Hashing<T> {
        Hashing { inner, hash: Sha256::new(), size: 0 }
    }

    /// The stream.
    pub(crate) fn inner(&self) -> &T {
        &self.inner
    }

    /// The number of bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The stream, the digest and the number of bytes.
    #[must_use]
    pub fn finish(self) -> (T, Digest, u64) {
        (self.inner, Digest::from_bytes(&self.hash.finalize().into()), self.size)
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.add(&into[..count]);
        Ok(count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.add(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

// ANCHOR: chain
/// The chain IDs of layers, the lowest first. Each chain ID identifies a layer
/// together with all layers below it.
///
/// # Source
/// OCI image specification, config.md, "Layer ChainID"
#[must_use]
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::new();
    for diff_id in diff_ids {
        chain.push(match chain.last() {
            None => diff_id.clone(),
            Some(below) => sha256(format!("{below} {diff_id}").as_bytes()),
        });
    }
    chain
}
// ANCHOR_END: chain

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_id_depends_on_all_layers_below() {
        // By hand: printf 'sha256:AAA… sha256:BBB…' | sha256sum
        let [a, b] = ["a", "b"].map(|c| Digest::from_hex(&c.repeat(64)).unwrap());
        let one = chain_ids(&[a.clone(), b.clone()]);
        let expected =
            "ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c";
        assert_eq!((one[0].clone(), one[1].hex()), (a.clone(), expected));
        assert_ne!(chain_ids(&[b, a])[1], one[1]);
        assert!(chain_ids(&[]).is_empty());
    }

    #[test]
    fn data_are_hashed_while_they_pass() {
        let mut out = Hashing::new(Vec::new());
        out.write_all(b"ab").unwrap();
        out.write_all(b"c").unwrap();
        let (bytes, digest, size) = out.finish();
        assert_eq!((bytes.as_slice(), size), (&b"abc"[..], 3));
        assert_eq!(digest, sha256(b"abc"));
        // The first test vector of FIPS 180-2.
        assert!(digest.hex().starts_with("ba7816bf8f01cfea"));
        let mut from = Hashing::new(&b"abc"[..]);
        io::copy(&mut from, &mut io::sink()).unwrap();
        assert_eq!(from.finish().1, digest);
    }
}
