//! How much an image may unpack to: a few megabytes of a hostile image can unpack to a full
//! disk.

use std::io::{self, Read};

use oci::Descriptor;

/// An image may always unpack to so many bytes.
const SMALL: u64 = 1 << 30;
/// And to so many times the size of its blobs, if that is more. gzip reaches a ratio of
/// 1000, but only with bytes that are all the same; programs and texts reach 3 to 10.
const RATIO: u64 = 100;

/// The bytes to which all layers of one image may unpack together.
#[derive(Debug)]
pub struct Allowance {
    left: u64,
    whole: u64,
}

impl Allowance {
    /// For an image with these layers.
    #[must_use]
    pub fn of(layers: &[Descriptor]) -> Allowance {
        let size = layers.iter().fold(0, |sum: u64, it| sum.saturating_add(it.size));
        let whole = size.saturating_mul(RATIO).max(SMALL);
        Allowance { left: whole, whole }
    }

    /// A layer, of which no more is read than is left.
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
    fn all_layers_together_have_one_allowance() {
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
