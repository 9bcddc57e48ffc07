//! User names and passwords with which a session authenticates.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::lock;

/// Text that neither `Debug` nor a log line shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Returns the text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for Secret {
    fn from(text: T) -> Secret {
        Secret(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// User name and password. Clones share the password, so that it can be replaced while a session uses it.
#[derive(Clone, Debug)]
pub struct Credentials {
    user: String,
    password: Arc<Mutex<Secret>>,
}

impl Credentials {
    /// Returns credentials for `user`. A name that contains a colon is not valid with scheme `digest`.
    pub fn new(user: impl Into<String>, password: impl Into<Secret>) -> Credentials {
        Credentials { user: user.into(), password: Arc::new(Mutex::new(password.into())) }
    }

    /// Returns the user name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Replaces the password. The next session uses it; the current session keeps the old one, also for its
    /// reconnects.
    pub fn set_password(&self, password: impl Into<Secret>) {
        *lock(&self.password) = password.into();
    }

    pub(super) fn password(&self) -> Secret {
        lock(&self.password).clone()
    }

    /// Returns the data of an `addauth` request of scheme `digest`.
    pub(super) fn digest(&self) -> String {
        format!("{}:{}", self.user, self.password().expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_password() {
        let credentials = Credentials::new("fleet", "s3cret-word");
        assert!(!format!("{credentials:?}").contains("s3cret-word"), "{credentials:?}");
        assert!(!format!("{:?}", Secret::from("s3cret-word")).contains("s3cret-word"));
    }

    #[test]
    fn clones_share_a_replaced_password() {
        let credentials = Credentials::new("fleet", "old");
        let clone = credentials.clone();
        credentials.set_password("new");
        assert_eq!(clone.digest(), "fleet:new");
    }
}
