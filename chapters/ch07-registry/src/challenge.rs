//! The header field WWW-Authenticate: the authentication that a server requires.

/// The authentication that a server requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token of a token server.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    /// User name and password.
    Basic,
}

impl Challenge {
    /// The challenge of a response with these fields. If the server accepts a token
    /// or a password, the token is chosen.
    ///
    /// # Source
    /// RFC 9110, section 11.6.1; the distribution specification's token authentication
    pub(crate) fn read<'a>(
        fields: impl Iterator<Item = &'a str>,
    ) -> Option<Challenge> {
        let mut basic = None;
        for field in fields {
            for (scheme, parameters) in challenges(field) {
                let value = |key: &str| {
                    let found = parameters.iter().find(|(name, _)| name == key);
                    found.map(|(_, value)| value.clone())
                };
                match (scheme.as_str(), value("realm")) {
                    ("bearer", Some(realm)) => {
                        let (service, scope) = (value("service"), value("scope"));
                        return Some(Challenge::Bearer { realm, service, scope });
                    }
                    ("basic", _) => basic = Some(Challenge::Basic),
                    _ => {}
                }
            }
        }
        basic
    }
}

type Parameters = Vec<(String, String)>;

/// The challenges in one field: each a scheme and its parameters, in lower case.
fn challenges(field: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut rest = field;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return found;
        }
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let value = after.trim_start().strip_prefix('=');
        let Some(value) = value else {
            found.push((word.to_ascii_lowercase(), Vec::new()));
            rest = after;
            continue;
        };
        let (value, after) = value_of(value.trim_start());
        if let Some((_, parameters)) = found.last_mut() {
            parameters.push((word.to_ascii_lowercase(), value));
        }
        // This also removes a "=" without a word before it, so the loop ends.
        rest = after;
    }
}

/// A value, quoted or not, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[&str]) -> Option<Challenge> {
        Challenge::read(fields.iter().copied())
    }

    #[test]
    fn the_challenge_of_a_token_is_read() {
        let scope = "repository:library/a:pull,push";
        let field = format!(
            "Bearer realm=\"https://auth/token\",service=\"x y\",scope=\"{scope}\""
        );
        let wanted = Challenge::Bearer {
            realm: "https://auth/token".into(),
            service: Some("x y".into()),
            scope: Some(scope.into()),
        };
        assert_eq!(read(&[&field]), Some(wanted.clone()));
        let both = format!("Basic realm=\"r\", {field}");
        assert_eq!(read(&[&both]), Some(wanted.clone()));
        assert_eq!(read(&["Basic realm=r", &field]), Some(wanted));
    }

    #[test]
    fn basic_is_a_challenge_and_other_schemes_are_not() {
        assert_eq!(read(&["Basic realm=\"a, b\""]), Some(Challenge::Basic));
        assert_eq!(read(&["basic"]), Some(Challenge::Basic));
        for field in
            ["", "Digest realm=\"x\"", "Bearer", "=", "Bearer ==,=", "\"", ","]
        {
            assert_eq!(read(&[field]), None, "{field}");
        }
    }

    #[test]
    fn quotes_and_escapes_are_removed() {
        let (value, rest) = value_of(r#""a\"b\\", x=y"#);
        assert_eq!((value.as_str(), rest), (r#"a"b\"#, ", x=y"));
        assert_eq!(value_of("\"open"), ("open".into(), ""));
    }
}
