//! Tokens: a separate server decides which requests a user may send to the registry.

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{Method, StatusCode};

use crate::answer::{check_temporary, error_text, read_whole};
use crate::credentials::{Credentials, Secret};
use crate::failure::Failure;
use crate::transport::{Content, Request, Transport, get};
use crate::url::Url;

/// The maximum number of bytes of a response with a token.
const MAX_RESPONSE: u64 = 1 << 20;

/// A request for a token.
#[derive(Debug)]
pub(crate) struct TokenRequest {
    /// The token server.
    pub(crate) realm: Url,
    /// The name that the token server uses for the registry.
    pub(crate) service: Option<String>,
    /// The rights, such as `repository:library/busybox:pull`.
    pub(crate) scopes: Vec<String>,
}

impl TokenRequest {
    /// Get a token: as an anonymous user, with name and password, or with an
    /// identity token.
    ///
    /// # Errors
    /// The credentials are wrong; the answer has no token.
    ///
    /// # Source
    /// The distribution project's "Token Authentication Specification" and "OAuth2 Token
    /// Authentication"
    pub(crate) fn ask(
        &self,
        transport: &Transport,
        registry: &str,
        credentials: Option<&Credentials>,
    ) -> Result<String, Failure> {
        let form;
        let (request, content) = match credentials {
            Some(credentials) => match &credentials.secret {
                Secret::Password(_) => {
                    let basic = credentials.basic();
                    let request = get(self.url()?, &[]).with(AUTHORIZATION, basic);
                    (request, Content::Empty)
                }
                Secret::IdentityToken(token) => {
                    form = self.form(token);
                    let request = Request::new(Method::POST, self.realm.clone());
                    let kind = "application/x-www-form-urlencoded";
                    (
                        request.with(CONTENT_TYPE, kind),
                        Content::Bytes(form.as_bytes()),
                    )
                }
            },
            None => (get(self.url()?, &[]), Content::Empty),
        };
        let response = transport.send(&request, content)?;
        let logged_in = credentials.is_some();
        let response = check_temporary(registry, logged_in, &request, response)?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(refused(registry, credentials).into());
        }
        if !status.is_success() {
            let said = error_text(response);
            return Err(anyhow!("{}: no token: {status}{said}", self.realm).into());
        }
        let body = read_whole(response, MAX_RESPONSE)?;
        let from = || format!("the answer of {}", self.realm);
        Ok(token_of(&body).with_context(from)?)
    }

    /// The URL of the realm, with the service and the scopes in its query.
    fn url(&self) -> Result<Url> {
        let mut url = self.realm.clone();
        if let Some(service) = &self.service {
            url = url.with_query("service", service)?;
        }
        for scope in &self.scopes {
            url = url.with_query("scope", scope)?;
        }
        Ok(url)
    }

    /// The request as a form, for an identity token.
    fn form(&self, token: &str) -> String {
        use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", "mydocker"),
            ("refresh_token", token),
            ("service", self.service.as_deref().unwrap_or_default()),
            ("scope", &self.scopes.join(" ")),
        ];
        let encoded = fields.map(|(key, value)| {
            format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
        });
        encoded.join("&")
    }
}

fn refused(registry: &str, credentials: Option<&Credentials>) -> anyhow::Error {
    match credentials {
        Some(credentials) => anyhow!(
            "incorrect user name or password for {registry} (user {}): run `login \
             {registry}` again",
            credentials.user.escape_debug()
        ),
        None => anyhow!("access is denied: run `login {registry}`"),
    }
}

fn token_of(body: &[u8]) -> Result<String> {
    let value: Value = serde_json::from_slice(body).context("expected JSON")?;
    let keys = ["token", "access_token"];
    let token = keys.iter().find_map(|key| value[key].as_str()).unwrap_or_default();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("expected a field \"token\" or \"access_token\"");
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_have_two_field_names_and_no_line_breaks() {
        assert_eq!(token_of(br#"{"token":"a.b"}"#).unwrap(), "a.b");
        assert_eq!(token_of(br#"{"access_token":"c"}"#).unwrap(), "c");
        for body in ["", "{}", "[]", r#"{"token":""}"#, r#"{"token":"a\r\nX: y"}"#] {
            assert!(token_of(body.as_bytes()).is_err(), "{body}");
        }
    }
}
