//! An HTTP server whose behaviour a test defines, including misbehaviour. Tests of
//! chapter 7 include this file, too.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]
#![allow(unreachable_pub, reason = "each test program has a copy of this module")]

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// GET, HEAD, ...
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The fields of the header. Their names are in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, if the header states its length.
    pub body: Vec<u8>,
}

impl Asked {
    /// A field of the header; empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The first byte of the range in the field Range.
    #[must_use]
    pub fn range(&self) -> Option<usize> {
        let range = self.header("range").strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }
}

/// A socket, with or without TLS.
pub trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

type Handler = dyn Fn(&Asked, &mut dyn Stream) -> io::Result<()> + Send + Sync;

/// A server on a free port of 127.0.0.1. It ends when it is dropped.
pub struct Server {
    /// The address on which it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Start a server that calls this function for each request.
    pub fn new(
        handler: impl Fn(&Asked, &mut dyn Stream) -> io::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Server {
        Server::wrapped(|stream| Box::new(stream), handler)
    }

    /// Start a server whose connections are wrapped by this function, in TLS for
    /// example.
    pub fn wrapped(
        wrap: impl Fn(TcpStream) -> Box<dyn Stream> + Send + Sync + 'static,
        handler: impl Fn(&Asked, &mut dyn Stream) -> io::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let handler: Arc<Handler> = Arc::new(handler);
        let wrap = Arc::new(wrap);
        let (log, stopped) = (asked.clone(), stop.clone());
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (log, handler, wrap) =
                    (log.clone(), handler.clone(), wrap.clone());
                // If the client closes the connection early, the thread ends.
                thread::spawn(move || serve(&mut *wrap(stream), &log, &*handler));
            }
        });
        Server { address, asked, stop, thread: Some(thread) }
    }

    /// `127.0.0.1:PORT`
    #[must_use]
    pub fn name(&self) -> String {
        self.address.to_string()
    }

    /// All requests so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // This connection makes accept(2) return.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    stream: &mut dyn Stream,
    log: &Mutex<Vec<Asked>>,
    handler: &Handler,
) -> io::Result<()> {
    let asked = match read(stream) {
        // The client uses TLS. Its bytes are read so that it receives the answer.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            answer(stream, 400, &[], b"")?;
            return io::copy(stream, &mut io::sink()).map(drop);
        }
        asked => asked?,
    };
    log.lock().unwrap().push(asked.clone());
    handler(&asked, stream)?;
    stream.flush()
}

fn read(stream: &mut dyn Stream) -> io::Result<Asked> {
    let mut lines = BufReader::with_capacity(1, stream);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) =
        (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length") {
        body.resize(length.parse().unwrap(), 0);
        lines.read_exact(&mut body)?;
    }
    Ok(Asked { method, path, headers, body })
}

/// Send an answer with these header fields.
pub fn answer(
    to: &mut dyn Stream,
    status: u16,
    fields: &[(&str, &str)],
    body: &[u8],
) -> io::Result<()> {
    start(to, status, fields, body.len())?;
    to.write_all(body)
}

/// Send the header of an answer that announces `length` bytes.
pub fn start(
    to: &mut dyn Stream,
    status: u16,
    fields: &[(&str, &str)],
    length: usize,
) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} Reason\r\nConnection: close\r\n");
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Content-Length: {length}\r\n\r\n");
    to.write_all(text.as_bytes())
}
