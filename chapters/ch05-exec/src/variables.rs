//! `-e KEY=VALUE`: variables for the program.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, bail};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

/// Flags for the program's environment.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Variables {
    /// Set an environment variable; without a value, copy the caller's variable, if
    /// it is set
    #[arg(
        short = 'e',
        long = "env",
        value_name = "KEY[=VALUE]",
        value_parser = OsStringValueParser::new().try_map(|text| Variable::parse(&text)),
    )]
    variables: Vec<Variable>,
}

/// An environment variable. Its value may be any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    key: OsString,
    value: Option<OsString>,
}

impl Variable {
    /// Parse `KEY=VALUE`, or `KEY` for the caller's value.
    ///
    /// # Errors
    /// The key is empty.
    pub fn parse(text: &OsStr) -> Result<Variable> {
        let bytes = text.as_bytes();
        let at = bytes.iter().position(|&byte| byte == b'=');
        let (key, value) = match at {
            Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
            None => (bytes, None),
        };
        if key.is_empty() {
            bail!("a variable needs a name: KEY=VALUE");
        }
        let owned = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        Ok(Variable { key: owned(key), value: value.map(owned) })
    }

    /// Add the variable to an environment.
    pub fn put(&self, environment: &mut BTreeMap<OsString, OsString>) {
        let value = self.value.clone().or_else(|| env::var_os(&self.key));
        if let Some(value) = value {
            environment.insert(self.key.clone(), value);
        }
    }
}

impl Variables {
    /// Add the variables to an environment. The last one with the same name wins.
    pub fn put(&self, environment: &mut BTreeMap<OsString, OsString>) {
        self.variables.iter().for_each(|variable| variable.put(environment));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_variables_are_kept_unchanged() {
        let mut found = BTreeMap::new();
        for word in [&b"A=1"[..], b"A= b=c ", b"E=", b"B=\xff\n", b"NO_SUCH_ONE"] {
            let word = Variable::parse(OsStr::from_bytes(word)).unwrap();
            word.put(&mut found);
        }
        let value = |key: &str| found.get(OsStr::new(key)).map(|v| v.as_bytes());
        assert_eq!(value("A"), Some(&b" b=c "[..]));
        assert_eq!(value("E"), Some(&b""[..]));
        assert_eq!(value("B"), Some(&b"\xff\n"[..]));
        assert_eq!(found.len(), 3);
        Variable::parse(OsStr::new("=x")).unwrap_err();
        Variable::parse(OsStr::new("")).unwrap_err();
    }
}
