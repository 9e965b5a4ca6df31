//! Requests to one repository of a registry, with the authorization that it requires.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use ureq::http::StatusCode;
use ureq::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};

use crate::answer::{check_temporary, error_text};
use crate::challenge::Challenge;
use crate::credentials::Credentials;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::token;
use crate::transport::{Content, Request, Response, Transport};
use crate::url::Url;

/// What a client does in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It only reads.
    Pull,
    /// It also writes.
    Push,
}

/// A client of one repository. Threads share it.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    settings: Settings,
    registry: String,
    repository: String,
    base: Url,
    scopes: Vec<String>,
    credentials: Option<Credentials>,
    /// The value of the field Authorization, once a server has demanded one.
    authorization: Mutex<Option<String>>,
}

impl Client {
    /// A client of this repository. No connection is made yet.
    ///
    /// # Errors
    /// The registry's name is not a host.
    pub fn new(
        settings: &Settings,
        registry: &str,
        repository: &str,
        access: Access,
        credentials: Option<Credentials>,
    ) -> Result<Client> {
        let transport = Transport::new(settings);
        let base = transport.base(registry)?;
        let actions = if access == Access::Push { "pull,push" } else { "pull" };
        Ok(Client {
            transport,
            settings: settings.clone(),
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            base,
            scopes: vec![format!("repository:{repository}:{actions}")],
            credentials,
            authorization: Mutex::default(),
        })
    }

    /// A client of the same repository in a mirror. It has no credentials.
    #[must_use]
    pub fn of_mirror(settings: &Settings, mirror: &Url, repository: &str) -> Client {
        Client {
            transport: Transport::new(settings),
            settings: settings.clone(),
            registry: mirror.authority().to_owned(),
            repository: repository.to_owned(),
            base: mirror.clone(),
            scopes: vec![format!("repository:{repository}:pull")],
            credentials: None,
            authorization: Mutex::default(),
        }
    }

    /// A client that only logs in: it asks for no repository.
    ///
    /// # Errors
    /// The registry's name is not a host.
    pub(crate) fn for_login(
        settings: &Settings,
        registry: &str,
        credentials: Credentials,
    ) -> Result<Client> {
        let client =
            Client::new(settings, registry, "", Access::Pull, Some(credentials))?;
        Ok(Client { scopes: Vec::new(), ..client })
    }

    /// Also ask for the right to read this repository, so that its blobs can be
    /// mounted.
    #[must_use]
    pub fn and_read(mut self, repository: &str) -> Client {
        self.scopes.push(format!("repository:{repository}:pull"));
        self
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The registry's host.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// A URL in this repository: `manifests/latest`, `blobs/sha256:...`.
    ///
    /// # Errors
    /// The URL is not absolute, does not begin with http or https, or contains a
    /// user name.
    pub fn url(&self, path: &str) -> Result<Url> {
        self.base.join(&format!("{}/{path}", self.repository))
    }

    /// The URL at which the registry's API begins.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    // ANCHOR: send
    /// Send a request. If the server demands an authorization, get one and send the
    /// request again. A token that has expired is replaced in the same way.
    ///
    /// A stream cannot be sent twice. In this case, the failure is transient, and
    /// the next attempt has the authorization.
    ///
    /// # Errors
    /// There is no connection; a timeout; a redirect from https to http; too many
    /// redirects; no authorization was given. A response with the
    /// status 429, or 500 and above, is a transient failure. Every other response is
    /// returned, even if it reports an error.
    pub fn send(
        &self,
        request: &Request,
        content: Content,
    ) -> Result<Response, Failure> {
        let again = match &content {
            Content::Empty => Some(Content::Empty),
            Content::Bytes(bytes) => Some(Content::Bytes(bytes)),
            Content::Stream(_) => None,
        };
        let sent = self.authorization();
        let response = self.send_with(request, content, sent.as_deref())?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.check_temporary(request, response);
        }
        let Some(authorization) = self.authorize(&response, sent)? else {
            return Ok(response);
        };
        match again {
            Some(content) => {
                let response =
                    self.send_with(request, content, Some(&authorization))?;
                self.check_temporary(request, response)
            }
            None => Err(Failure::Transient(anyhow!("the token has expired"), None)),
        }
    }
    // ANCHOR_END: send

    fn send_with(
        &self,
        request: &Request,
        content: Content,
        authorization: Option<&str>,
    ) -> Result<Response, Failure> {
        let mut request = request.clone();
        // Another server than the registry gets no authorization, even if the registry
        // redirects the client to that server.
        if let Some(value) = authorization
            && request.url.same_server(&self.base)
        {
            request = request.with(AUTHORIZATION, value);
        }
        self.transport.send(&request, content)
    }

    fn authorization(&self) -> Option<String> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Get the authorization that this response requires, unless another thread has got
    /// one in the meantime. `None` if no other authorization than `sent` is available.
    fn authorize(
        &self,
        response: &Response,
        sent: Option<String>,
    ) -> Result<Option<String>, Failure> {
        let mut current =
            self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != sent {
            return Ok(current.clone());
        }
        let fields = response.headers().get_all(WWW_AUTHENTICATE);
        let fields = fields.iter().filter_map(|field| field.to_str().ok());
        let new = match Challenge::read(fields) {
            Some(Challenge::Bearer { realm, service, scope }) => {
                let scopes = match (scope, self.scopes.is_empty()) {
                    (Some(scope), true) => vec![scope],
                    _ => self.scopes.clone(),
                };
                let question = token::TokenRequest {
                    realm: self
                        .base
                        .join(&realm)
                        .context("the realm of the token")?,
                    service,
                    scopes,
                };
                let token = question.ask(
                    &self.transport,
                    &self.registry,
                    self.credentials.as_ref(),
                )?;
                format!("Bearer {token}")
            }
            Some(Challenge::Basic) => match &self.credentials {
                Some(credentials) => credentials.basic(),
                None => return Ok(None),
            },
            None => return Ok(None),
        };
        // The same password again would be refused again.
        if sent.as_ref() == Some(&new) && new.starts_with("Basic") {
            return Ok(None);
        }
        *current = Some(new.clone());
        Ok(Some(new))
    }

    fn check_temporary(
        &self,
        request: &Request,
        response: Response,
    ) -> Result<Response, Failure> {
        check_temporary(
            &self.registry,
            self.credentials.is_some(),
            request,
            response,
        )
    }

    /// Return a successful response. Turn any other response into an error with the
    /// registry's message. `what` names the requested object in the error.
    ///
    /// # Errors
    /// The response is not a success.
    pub fn expect(
        &self,
        response: Response,
        what: &str,
    ) -> Result<Response, Failure> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let said = error_text(response);
        let registry = &self.registry;
        let error = match (status, &self.credentials) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(it)) => anyhow!(
                "access to {what} is denied for the user {}: check the name, or log in \
                 to {registry} as another user{said}",
                it.user.escape_debug()
            ),
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => anyhow!(
                "access to {what} is denied: the repository does not exist, or it \
                 requires a login: run `login {registry}`{said}"
            ),
            (StatusCode::NOT_FOUND, _) => {
                anyhow!("{what} not found: check the name and the tag{said}")
            }
            _ => anyhow!("{what}: the registry answered {status}{said}"),
        };
        Err(Failure::Final(error))
    }
}
