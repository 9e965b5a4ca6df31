//! Frames on a serial line: orders and events as JSON, streams as raw bytes.
//!
//! | byte 0 | bytes 1 to 4 | then |
//! |---|---|---|
//! | `J` | length, little endian | an [`Order`](crate::Order) or [`Event`](crate::Event) |
//! | `I`, `O`, `E` | length | bytes of standard input, output, error; no bytes: end of the stream |

use std::io::{self, ErrorKind, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The maximum length of a frame. A longer frame is noise on the line.
const LONGEST: usize = 1 << 20;

/// A standard stream of a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stream {
    /// Standard input.
    Input,
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// A received frame.
#[derive(Debug, PartialEq)]
pub enum Frame<T> {
    /// An order or event.
    Message(T),
    /// Part of a stream.
    Bytes(Stream, Vec<u8>),
}

/// Send an order or event.
///
/// # Errors
/// write(2) fails.
pub fn send(line: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    frame(line, b'J', &serde_json::to_vec(message)?)
}

/// Send a part of a stream, or its end.
///
/// # Errors
/// write(2) fails.
pub fn send_bytes(
    line: &mut impl Write,
    stream: Stream,
    bytes: &[u8],
) -> io::Result<()> {
    let kind = match stream {
        Stream::Input => b'I',
        Stream::Output => b'O',
        Stream::Error => b'E',
    };
    frame(line, kind, bytes)
}

fn frame(line: &mut impl Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(5 + payload.len());
    bytes.push(kind);
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(payload);
    // One write(2), because two threads may share the line.
    line.write_all(&bytes)?;
    line.flush()
}

/// Wait for the next frame; `None` at the end of the line.
///
/// # Errors
/// read(2) fails; the line ends inside a frame; the bytes are not a frame.
pub fn receive<T: DeserializeOwned>(
    line: &mut impl Read,
) -> io::Result<Option<Frame<T>>> {
    let mut head = [0; 5];
    loop {
        match line.read(&mut head[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    line.read_exact(&mut head[1..])?;
    let [kind, length @ ..] = head;
    let length = u32::from_le_bytes(length) as usize;
    let noise = |what: String| io::Error::new(ErrorKind::InvalidData, what);
    if length > LONGEST {
        return Err(noise(format!("a frame of {length} bytes")));
    }
    let mut payload = vec![0; length];
    line.read_exact(&mut payload)?;
    Ok(Some(match kind {
        b'J' => Frame::Message(serde_json::from_slice(&payload)?),
        b'I' => Frame::Bytes(Stream::Input, payload),
        b'O' => Frame::Bytes(Stream::Output, payload),
        b'E' => Frame::Bytes(Stream::Error, payload),
        _ => return Err(noise(format!("a frame of kind {kind}"))),
    }))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::Order;

    #[test]
    fn frames_arrive_as_they_were_sent() {
        let words = vec![OsString::from_vec(b"a \xff\n".to_vec())];
        let order = Order::Session { words, terminal: None };
        let mut line = Vec::new();
        send(&mut line, &order).unwrap();
        send_bytes(&mut line, Stream::Input, b"\0\x03").unwrap();
        send_bytes(&mut line, Stream::Input, b"").unwrap();
        let mut line = line.as_slice();
        let expected = [
            Frame::Message(order),
            Frame::Bytes(Stream::Input, b"\0\x03".into()),
            Frame::Bytes(Stream::Input, Vec::new()),
        ];
        for frame in expected {
            assert_eq!(receive(&mut line).unwrap(), Some(frame));
        }
        assert_eq!(receive::<Order>(&mut line).unwrap(), None);
    }

    #[test]
    fn other_bytes_and_partial_frames_are_errors() {
        for bytes in [&b"login: root"[..], b"J\x05\0\0\0{}", b"J\x02\0\0\0no", b"J"]
        {
            receive::<Order>(&mut { bytes }).unwrap_err();
        }
    }
}
