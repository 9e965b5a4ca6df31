//! The limit of an image's unpacked size. Without it, a few megabytes of a hostile
//! image could fill the disk.

use std::io::{self, Read};

use oci::Descriptor;

/// The smallest limit, in bytes. Every image may unpack to this size.
const SMALL: u64 = 1 << 30;
/// An image may unpack to this multiple of the size of its blobs, if that is more than
/// [`SMALL`]. gzip reaches a ratio of 1000, but only if all bytes are the same;
/// programs and texts reach 3 to 10.
const RATIO: u64 = 100;

/// The number of bytes to which all layers of one image together may unpack.
#[derive(Debug)]
pub struct Allowance {
    left: u64,
    whole: u64,
}

impl Allowance {
    /// The allowance of an image with these layers.
    #[must_use]
    pub fn of(layers: &[Descriptor]) -> Allowance {
        let size = layers.iter().fold(0, |sum: u64, it| sum.saturating_add(it.size));
        let whole = size.saturating_mul(RATIO).max(SMALL);
        Allowance { left: whole, whole }
    }

    /// A reader of a layer. It fails when the layer exceeds the rest of the allowance.
    pub(crate) fn limit<R: Read>(&mut self, inner: R) -> impl Read {
        Limited { inner, allowance: self }
    }
}

struct Limited<'a, R> {
    inner: R,
    allowance: &'a mut Allowance,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        let Allowance { left, whole } = self.allowance;
        match left.checked_sub(count as u64) {
            Some(less) => *left = less,
            None => {
                let text = format!(
                    "the image unpacks to more than {whole} bytes: it is not trustworthy"
                );
                return Err(io::Error::other(text));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use oci::{media, sha256};

    use super::*;

    #[test]
    fn all_layers_share_one_allowance() {
        let layer = |size| Descriptor::new(media::LAYER, sha256(b""), size);
        assert_eq!(Allowance::of(&[]).left, SMALL);
        assert_eq!(Allowance::of(&[layer(SMALL / 100), layer(1)]).left, SMALL + 76);
        assert_eq!(Allowance::of(&[layer(u64::MAX), layer(1)]).left, u64::MAX);
        let mut allowance = Allowance { left: 5, whole: 5 };
        let read = |allowance: &mut Allowance, bytes: &[u8]| {
            io::copy(&mut allowance.limit(bytes), &mut io::sink())
        };
        assert_eq!(read(&mut allowance, b"abc").unwrap(), 3);
        assert_eq!(read(&mut allowance, b"de").unwrap(), 2);
        let error = read(&mut allowance, b"f").unwrap_err().to_string();
        assert!(error.contains("more than 5 bytes"), "{error}");
    }
}
