//! Server side of SASL DIGEST-MD5 (RFC 2831) for authentication only, as in Apache ZooKeeper.
//!
//! The server sends a challenge with a nonce, the client responds with a digest of its password, and the server
//! confirms with a digest of its own. User names and passwords are used unmodified, so they should be ASCII.

use std::collections::BTreeMap;
use std::fmt;

/// Realm, and host in the `digest-uri`, of Apache ZooKeeper.
const REALM: &str = "zk-sasl-md5";
/// The `digest-uri` of all clients of ZooKeeper.
const URI: &str = "zookeeper/zk-sasl-md5";

/// Names and passwords of the users.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Users(BTreeMap<String, String>);

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for Users {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(users: T) -> Self {
        Self(users.into_iter().collect())
    }
}

/// Returns the challenge of the server.
pub(crate) fn challenge(nonce: &str) -> String {
    format!(r#"realm="{REALM}",nonce="{nonce}",qop="auth",charset=utf-8,algorithm=md5-sess"#)
}

impl Users {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the user whose response this is, and the confirmation of the server. Returns the reason if the response
    /// is refused.
    pub(crate) fn verify(&self, nonce: &str, response: &[u8]) -> Result<(&str, String), &'static str> {
        let fields = parse(response).ok_or("the response is malformed")?;
        let field = |name: &str| fields.get(name).map(Vec::as_slice);
        let is_valid = field("nonce") == Some(nonce.as_bytes())
            && field("nc") == Some(b"00000001")
            && field("qop").is_none_or(|qop| qop == b"auth")
            && field("realm").is_none_or(|realm| realm.is_empty() || realm == REALM.as_bytes())
            && field("digest-uri") == Some(URI.as_bytes());
        let cnonce = field("cnonce").filter(|_| is_valid).ok_or("the response is for another challenge")?;
        let name = field("username").and_then(|name| str::from_utf8(name).ok()).unwrap_or_default();
        if field("authzid").is_some_and(|other| other != name.as_bytes()) {
            return Err("the user may not act as another one");
        }
        let (user, password) = self.0.get_key_value(name).ok_or("unknown user")?;
        let realm = field("realm").unwrap_or_default();
        let secret = md5::compute([user.as_bytes(), b":", realm, b":", password.as_bytes()].concat());
        let mut a1 = [&secret.0[..], b":", nonce.as_bytes(), b":", cnonce].concat();
        if let Some(authzid) = field("authzid") {
            a1.extend([b":", authzid].concat());
        }
        let digest = |method: &str| {
            let (a1, a2) = (md5::compute(&a1), md5::compute(format!("{method}:{URI}")));
            let middle = [format!("{a1:x}:{nonce}:00000001:").as_bytes(), cnonce].concat();
            format!("{:x}", md5::compute([&middle, format!(":auth:{a2:x}").as_bytes()].concat()))
        };
        if field("response") != Some(digest("AUTHENTICATE").as_bytes()) {
            return Err("wrong password");
        }
        Ok((user, format!("rspauth={}", digest(""))))
    }
}

/// Parses `name=value` pairs, separated by commas; a value may be in quotes, with backslashes. Returns `None` if the
/// text is malformed or a name is repeated.
fn parse(mut text: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut fields = BTreeMap::new();
    loop {
        text = text.trim_ascii_start();
        let end = text.iter().position(|byte| *byte == b'=')?;
        let name = str::from_utf8(text[..end].trim_ascii()).ok()?.to_ascii_lowercase();
        text = text[end + 1..].trim_ascii_start();
        let mut value = Vec::new();
        if let Some(mut rest) = text.strip_prefix(b"\"") {
            loop {
                let (byte, after) = rest.split_first()?;
                let (byte, after) = if *byte == b'\\' { after.split_first()? } else { (byte, after) };
                if *byte == b'"' && rest[0] == b'"' {
                    text = after;
                    break;
                }
                value.push(*byte);
                rest = after;
            }
        } else {
            let end = text.iter().position(|byte| *byte == b',').unwrap_or(text.len());
            value.extend(text[..end].trim_ascii());
            text = &text[end..];
        }
        if fields.insert(name, value).is_some() {
            return None;
        }
        text = text.trim_ascii_start();
        if text.is_empty() {
            return Some(fields);
        }
        text = text.strip_prefix(b",")?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: &str = "OA6MG9tEQGm2hh";

    /// Returns the response of a client with this digest.
    fn response(digest: &str) -> String {
        format!(
            r#"charset=utf-8,username="fleet",realm="zk-sasl-md5",nonce="{NONCE}",nc=00000001,cnonce="OA6MHXh6VqTrRk",digest-uri="zookeeper/zk-sasl-md5",maxbuf=65536,response={digest},qop=auth"#
        )
    }

    fn users() -> Users {
        [("fleet".to_owned(), "right".to_owned())].into_iter().collect()
    }

    #[test]
    fn response_with_another_password_nonce_or_user_is_refused() {
        let bad = "0".repeat(32);
        assert_eq!(users().verify(NONCE, response(&bad).as_bytes()), Err("wrong password"));
        let users = users();
        let refused = |from: &str, to: &str| users.verify(NONCE, response(&bad).replace(from, to).as_bytes());
        assert_eq!(refused(NONCE, "other"), Err("the response is for another challenge"));
        assert_eq!(refused("nc=00000001", "nc=00000002"), Err("the response is for another challenge"));
        assert_eq!(refused("\"fleet\"", "\"other\""), Err("unknown user"));
        assert_eq!(
            refused("qop=auth", "qop=auth,authzid=\"root\""),
            Err("the user may not act as another one")
        );
        assert_eq!(refused("qop=auth", "qop=auth,qop=auth"), Err("the response is malformed"));
        assert_eq!(refused(",qop=auth", ",qop"), Err("the response is malformed"));
    }

    #[test]
    fn quoted_values_may_contain_commas_quotes_and_backslashes() {
        let fields = parse(br#" a="x,\"\\y" , B = z,c="" "#).unwrap();
        let expected = [("a", &br#"x,"\y"#[..]), ("b", b"z"), ("c", b"")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_vec()));
        assert_eq!(fields, BTreeMap::from(expected));
    }

    #[test]
    fn debug_shows_no_password() {
        assert_eq!(format!("{:?}", users()), r#"{"fleet"}"#);
    }

    proptest! {
        #[test]
        fn any_response_is_refused_without_a_panic(response in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(users().verify(NONCE, &response).is_err());
        }
    }
}
