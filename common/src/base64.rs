//! Base64 without padding, in which libarchive writes extended attributes.

const DIGITS: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encode.
///
/// # Source
/// RFC 4648, section 4
#[must_use]
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for three in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..three.len()].copy_from_slice(three);
        let word = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        let digits = [18, 12, 6, 0].map(|by| DIGITS[(word >> by) as usize & 63]);
        text.extend(&digits[..=three.len()]);
    }
    text
}

/// Decode; `None` if that is none.
#[must_use]
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let mut bytes = Vec::new();
    for four in text.chunks(4) {
        let mut word = 0;
        for at in 0..4 {
            let digit = match four.get(at) {
                Some(byte) => DIGITS.iter().position(|digit| digit == byte)?,
                None => 0,
            };
            word = word << 6 | digit as u32;
        }
        bytes.extend(&word.to_be_bytes()[1..four.len()]);
    }
    (text.len() % 4 != 1).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let known: [(&[u8], &[u8]); 4] =
            [(b"", b""), (b"f", b"Zg"), (b"fo", b"Zm8"), (b"foob", b"Zm9vYg")];
        for (bytes, text) in known {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).unwrap(), bytes);
        }
        assert_eq!(decode(b"Zg==").unwrap(), b"f");
        assert_eq!(decode(b"Z"), None);
        assert_eq!(decode(b"Z!"), None);
    }
}
