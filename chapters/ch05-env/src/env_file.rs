//! `--env-file`: a file with one variable on each line.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ch05_exec::Variable;
use common::step::Step;

/// Add a file's variables to an environment. A line is `KEY=VALUE`, or `KEY` for the
/// caller's value. A line that begins with `#` is a comment. Quotes have no meaning:
/// they are part of the value.
///
/// # Errors
/// An errno of open(2) or read(2); a line has no valid name, or has a NUL byte. The
/// error names the file and the line.
pub(crate) fn put(
    file: &Path,
    environment: &mut BTreeMap<OsString, OsString>,
) -> Result<()> {
    let text = fs::read(file).untraced(|| format!("read(2) {}", file.display()))?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let place = || format!("{}:{}", file.display(), number + 1);
        if let Some(variable) = read(line).with_context(place)? {
            variable.put(environment);
        }
    }
    Ok(())
}

/// What some editors write before a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

fn read(line: &[u8]) -> Result<Option<Variable>> {
    if line.contains(&b'\0') {
        bail!("the file contains a NUL byte: it must be UTF-8 text, not UTF-16");
    }
    let line = line.trim_ascii_start();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line[0] == b'#' {
        return Ok(None);
    }
    let name = line.split(|&byte| byte == b'=').next().unwrap_or_default();
    if name.iter().any(u8::is_ascii_whitespace) {
        let name = String::from_utf8_lossy(name);
        bail!(
            "invalid name {name:?}: expected KEY=VALUE, without spaces in the name"
        );
    }
    Variable::parse(OsStr::from_bytes(line)).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_an_env_file_are_read_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let text = b"# A=0\n\n  A=1\nB=\"quoted\" # no comment\nE=\r\nC=\xff=\n#\n";
        fs::write(&file, text).unwrap();
        let mut found = BTreeMap::new();
        put(&file, &mut found).unwrap();
        let lines: Vec<Vec<u8>> = found
            .iter()
            .map(|(key, value)| [key.as_bytes(), b"=", value.as_bytes()].concat())
            .collect();
        assert_eq!(
            lines,
            [&b"A=1"[..], b"B=\"quoted\" # no comment", b"C=\xff=", b"E="]
        );
        fs::write(&file, b"\xef\xbb\xbfMARK=1\n\xef\xbb\xbf=2\n").unwrap();
        let mut marked = BTreeMap::new();
        put(&file, &mut marked).unwrap();
        let keys: Vec<&[u8]> = marked.keys().map(|key| key.as_bytes()).collect();
        assert_eq!(keys, [&b"MARK"[..], b"\xef\xbb\xbf"]);
        for bad in ["=x", "A B=1", "export A=1", "A=\0"] {
            fs::write(&file, format!("OK=1\n{bad}\n")).unwrap();
            let error = put(&file, &mut found).unwrap_err();
            assert!(format!("{error:#}").contains("file:2: "), "{error:#}");
        }
    }
}
