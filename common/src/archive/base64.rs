//! Base64, in which libarchive writes the values of extended attributes.

const DIGITS: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Decode. `None` if the text is not base64; padding at its end is optional.
///
/// # Source
/// RFC 4648, section 4
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
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
    fn text_is_decoded_with_and_without_padding() {
        let known: [(&[u8], &[u8]); 4] =
            [(b"", b""), (b"f", b"Zg"), (b"fo", b"Zm8"), (b"foob", b"Zm9vYg")];
        for (bytes, text) in known {
            assert_eq!(decode(text).unwrap(), bytes);
        }
        assert_eq!(decode(b"Zg==").unwrap(), b"f");
        assert_eq!(decode(b"Z"), None);
        assert_eq!(decode(b"Z!"), None);
    }
}
