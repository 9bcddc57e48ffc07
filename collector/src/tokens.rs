//! Tokens: which clients may write and which may read. Pure.

use std::sync::{Arc, PoisonError, RwLock};

use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;
use tokio::sync::watch;

/// Minimum length of a token, in bytes: a shorter one could be guessed.
const MIN_LENGTH: usize = 16;
/// Maximum length of a token, in bytes: longer ones do not fit into a header with others.
const MAX_LENGTH: usize = 4096;
/// Maximum number of tokens: every request is compared with all of them.
const MAX_TOKENS: usize = 1_000;

/// Purpose of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Write,
    Read,
}

/// Error in a token file. The message does not contain the token.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The line has an unknown format.
    #[error(
        "line {0}: neither `write TOKEN` nor `read TOKEN`, with a token of {MIN_LENGTH} characters or more"
    )]
    Line(usize),
    /// No request could carry the token.
    #[error("line {0}: a token has {MAX_LENGTH} bytes at most and no control characters")]
    Token(usize),
    /// The file has more tokens than can be compared with each request.
    #[error("line {0}: more than {MAX_TOKENS} tokens")]
    TooMany(usize),
    /// No client could write.
    #[error("no line contains a token for writing")]
    NoWriter,
}

/// Tokens and their permissions. Clones share their content: replacing one replaces all.
#[derive(Clone, Default)]
pub struct Tokens {
    /// `None`: no authentication.
    listed: Arc<RwLock<Option<Listed>>>,
    /// Notifies of replacements.
    replaced: Arc<watch::Sender<()>>,
}

#[derive(Clone, Default)]
struct Listed {
    writers: Vec<String>,
    readers: Vec<String>,
    anyone_reads: bool,
}

/// Result of checking a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Granted,
    /// The token is missing or unknown.
    Unknown,
    /// The token has another role.
    Forbidden,
}

impl Tokens {
    /// Returns tokens that permit everything to every client.
    pub fn none() -> Tokens {
        Tokens::default()
    }

    /// Parses a file: each line is `write TOKEN`, `read TOKEN`, `read *` (no token is needed to read) or starts with
    /// `#`.
    ///
    /// # Errors
    /// Returns an error for any other line.
    pub fn parse(text: &str) -> Result<Tokens, TokenError> {
        let mut listed = Listed::default();
        // Some editors write a byte order mark at the beginning.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, number) in text.lines().zip(1..) {
            // A third word is an error, so at most three are read from a line of any length.
            let words: Vec<&str> = line.split_whitespace().take(3).collect();
            let of_role = match words[..] {
                [] => continue,
                [first, ..] if first.starts_with('#') => continue,
                ["read", "*"] => {
                    listed.anyone_reads = true;
                    continue;
                }
                ["read", token] if token.len() >= MIN_LENGTH => (&mut listed.readers, token),
                ["write", token] if token.len() >= MIN_LENGTH => (&mut listed.writers, token),
                _ => return Err(TokenError::Line(number)),
            };
            let (tokens, token) = of_role;
            if token.len() > MAX_LENGTH || token.chars().any(char::is_control) {
                return Err(TokenError::Token(number));
            }
            tokens.push(token.to_owned());
            if listed.readers.len() + listed.writers.len() > MAX_TOKENS {
                return Err(TokenError::TooMany(number));
            }
        }
        if listed.writers.is_empty() {
            return Err(TokenError::NoWriter);
        }
        Ok(Tokens { listed: Arc::new(RwLock::new(Some(listed))), replaced: Arc::default() })
    }

    /// Replaces the tokens, for all clones of `self`.
    pub fn replace(&self, new: &Tokens) {
        let new = new.listed.read().unwrap_or_else(PoisonError::into_inner).clone();
        *self.listed.write().unwrap_or_else(PoisonError::into_inner) = new;
        self.replaced.send_replace(());
    }

    /// Returns a receiver that is notified of each replacement.
    pub(crate) fn replacements(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// Returns true if every client may write.
    pub fn are_none(&self) -> bool {
        self.listed.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    pub(crate) fn are_needed(&self, role: Role) -> bool {
        self.admit(role, None) != Admission::Granted
    }

    pub(crate) fn is_known(&self, token: &str) -> bool {
        let listed = self.listed.read().unwrap_or_else(PoisonError::into_inner);
        listed
            .as_ref()
            .is_some_and(|listed| contains(&listed.writers, token) | contains(&listed.readers, token))
    }

    /// Checks whether a request with this token has this role.
    pub(crate) fn admit(&self, role: Role, token: Option<&str>) -> Admission {
        let listed = self.listed.read().unwrap_or_else(PoisonError::into_inner);
        let Some(listed) = &*listed else { return Admission::Granted };
        if role == Role::Read && listed.anyone_reads {
            return Admission::Granted;
        }
        let Some(token) = token else { return Admission::Unknown };
        let writes = contains(&listed.writers, token);
        let reads = contains(&listed.readers, token);
        match role {
            Role::Write if writes => Admission::Granted,
            Role::Read if reads => Admission::Granted,
            _ if writes || reads => Admission::Forbidden,
            _ => Admission::Unknown,
        }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// Compares in constant time: the duration does not reveal how much of a token is right.
fn contains(tokens: &[String], token: &str) -> bool {
    let same = |known: &String| known.as_bytes().ct_eq(token.as_bytes());
    tokens.iter().map(same).fold(Choice::from(0), |any, same| any | same).into()
}

#[cfg(test)]
mod tests {
    use atalaya_testbed::thread_time;
    use proptest::prelude::*;

    use super::*;

    const WRITER: &str = "0123456789abcdef-w";
    const READER: &str = "0123456789abcdef-r";

    #[test]
    fn writers_write_and_readers_read() {
        let tokens = Tokens::parse(&format!("# fleet\n\nwrite {WRITER}\n  read\t{READER}  \n")).unwrap();
        assert_eq!(tokens.admit(Role::Write, Some(WRITER)), Admission::Granted);
        assert_eq!(tokens.admit(Role::Read, Some(READER)), Admission::Granted);
        assert_eq!(tokens.admit(Role::Write, Some(READER)), Admission::Forbidden);
        assert_eq!(tokens.admit(Role::Read, Some(WRITER)), Admission::Forbidden);
        for role in [Role::Read, Role::Write] {
            for wrong in [None, Some(""), Some("*"), Some(&WRITER[1..]), Some("0123456789abcdef")] {
                assert_eq!(tokens.admit(role, wrong), Admission::Unknown);
            }
            assert_eq!(Tokens::none().admit(role, None), Admission::Granted);
        }
        assert!(!format!("{tokens:?}").contains(WRITER));
    }

    #[test]
    fn any_client_may_read_with_read_star() {
        let tokens = Tokens::parse(&format!("write {WRITER}\nread *")).unwrap();
        assert_eq!(tokens.admit(Role::Read, None), Admission::Granted);
        assert_eq!(tokens.admit(Role::Write, None), Admission::Unknown);
    }

    #[test]
    fn replaced_tokens_are_replaced_in_all_clones() {
        let tokens = Tokens::parse(&format!("write {WRITER}")).unwrap();
        let clone = tokens.clone();
        tokens.replace(&Tokens::parse(&format!("write {READER}")).unwrap());
        assert_eq!(clone.admit(Role::Write, Some(WRITER)), Admission::Unknown);
        assert_eq!(clone.admit(Role::Write, Some(READER)), Admission::Granted);
        assert!(!clone.are_none() && Tokens::none().are_none());
    }

    #[test]
    fn token_file_with_an_unknown_line_is_refused() {
        for (text, line) in [("write short", 1), ("# x\nadmin 0123456789abcdef", 2), ("write *", 1)] {
            assert!(matches!(Tokens::parse(text), Err(TokenError::Line(found)) if found == line), "{text}");
        }
        assert!(matches!(Tokens::parse("read *"), Err(TokenError::NoWriter)));
    }

    #[test]
    fn token_file_of_any_editor_is_parsed() {
        let tokens = Tokens::parse(&format!("\u{feff}write {WRITER}\r\nread {READER}\r\n")).unwrap();
        assert_eq!(tokens.admit(Role::Write, Some(WRITER)), Admission::Granted);
        assert_eq!(tokens.admit(Role::Read, Some(READER)), Admission::Granted);
    }

    #[test]
    fn token_that_no_request_can_carry_is_refused() {
        for token in ["0123456789abcdef\u{7}", &"x".repeat(MAX_LENGTH + 1)] {
            let error = Tokens::parse(&format!("# x\nwrite {token}")).unwrap_err();
            assert!(matches!(error, TokenError::Token(2)), "{error}");
            assert!(!error.to_string().contains(token));
        }
    }

    #[test]
    fn token_file_with_too_many_tokens_is_refused() {
        let lines = |count: usize| (0..count).map(|number| format!("write 0123456789abcdef{number}\n"));
        assert!(Tokens::parse(&lines(MAX_TOKENS).collect::<String>()).is_ok());
        let error = Tokens::parse(&lines(MAX_TOKENS + 1).collect::<String>()).unwrap_err();
        assert!(matches!(error, TokenError::TooMany(line) if line == MAX_TOKENS + 1), "{error}");
    }

    /// Generates the bytes of token files, most of them almost valid.
    fn files() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            any::<Vec<u8>>(),
            "(write|read|#|\u{feff})?[ \t\u{a0}]{0,3}[!-~ñ]{0,40}[\r\n ]{0,2}".prop_map(String::into_bytes),
            Just(format!("write {WRITER}\n").into_bytes()),
            Just(vec![b' '; 10_000]),
            Just(b"a ".repeat(10_000)),
        ];
        prop::collection::vec(line, 0..20).prop_map(|lines| lines.concat())
    }

    proptest! {
        #[test]
        fn token_file_of_arbitrary_bytes_is_parsed_or_refused_without_showing_tokens(bytes in files()) {
            let text = String::from_utf8_lossy(&bytes);
            let begin = thread_time();
            match Tokens::parse(&text) {
                Ok(tokens) => {
                    let listed = tokens.listed.read().unwrap().clone().unwrap();
                    prop_assert!(!listed.writers.is_empty());
                    prop_assert!(listed.writers.len() + listed.readers.len() <= MAX_TOKENS);
                    for token in listed.writers.iter().chain(&listed.readers) {
                        prop_assert!((MIN_LENGTH..=MAX_LENGTH).contains(&token.len()));
                    }
                }
                Err(error) => {
                    let message = error.to_string();
                    prop_assert!(message.len() < 200, "{}", message);
                    prop_assert!(!message.contains(WRITER), "{}", message);
                }
            }
            prop_assert!(thread_time() - begin < std::time::Duration::from_secs(2));
        }
    }
}
