//! A user name with its secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A user name with its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub user: String,
    /// The secret of this user.
    pub secret: Secret,
}

/// The secret that proves the identity of a user.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A password, which the registry accepts.
    Password(String),
    /// An identity token. A token server issues access tokens for it.
    IdentityToken(String),
}

impl std::fmt::Debug for Credentials {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Credentials of {:?}", self.user)
    }
}

impl Credentials {
    /// A user name and a password.
    #[must_use]
    pub fn of_password(user: &str, password: &str) -> Credentials {
        let secret = Secret::Password(password.to_owned());
        Credentials { user: user.to_owned(), secret }
    }

    /// The value of the field Authorization, for the scheme Basic.
    pub(crate) fn basic(&self) -> String {
        let (Secret::Password(secret) | Secret::IdentityToken(secret)) =
            &self.secret;
        format!("Basic {}", STANDARD.encode(format!("{}:{secret}", self.user)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_in_debug_output() {
        let text = format!("{:?}", Credentials::of_password("me", "secret"));
        assert!(!text.contains("secret"));
    }
}
