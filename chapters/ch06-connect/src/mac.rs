//! The hardware address of a device.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};

/// A MAC address of 48 bits.
///
/// # Source
/// IEEE 802, "group" and "locally administered" bits of the first byte
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    // ANCHOR: of
    /// The MAC address of a container's device, derived from the IPv4 address. A
    /// host whose ARP cache has the previous container with this IPv4 address
    /// therefore sends to the right device.
    #[must_use]
    pub fn of(address: Ipv4Addr) -> Mac {
        // 02:42 and the four bytes. 02 means locally administered, and not a group
        // of devices.
        Mac(ch06_network::mac(address))
    }
    // ANCHOR_END: of
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Mac> {
        let shape = || {
            format!(
                "invalid MAC address {text:?}: expected six bytes as in \
                 02:42:c0:a8:0a:02"
            )
        };
        let words: Vec<&str> = text.split(':').collect();
        let byte = |word: &&str| match word.len() {
            // from_str_radix() would also accept a sign.
            2 if !word.starts_with('+') => u8::from_str_radix(word, 16).ok(),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = words.iter().map(byte).collect();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        let bytes: [u8; 6] = bytes.with_context(shape)?;
        if bytes == [0; 6] || bytes[0] & 1 == 1 {
            bail!(
                "MAC address {text} is not the address of one device: the lowest bit of \
                 the first byte must be 0, and not all bytes may be 0"
            );
        }
        Ok(Mac(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unicast_mac_address_is_read_and_written() {
        let mac: Mac = "02:42:C0:a8:0a:02".parse().unwrap();
        assert_eq!(mac, Mac::of(Ipv4Addr::new(192, 168, 10, 2)));
        assert_eq!(mac.to_string(), "02:42:c0:a8:0a:02");
        for text in [
            "",
            "02:42",
            "2:42:c0:a8:a:2",
            "02:42:c0:a8:0a:02:03",
            "02:42:c0:a8:0a:+2",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
