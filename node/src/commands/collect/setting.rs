//! A setting from a flag or its environment variable.

use anyhow::anyhow;

use crate::commands::exit::Failure;
use crate::settings::Env;

/// Value of a setting, with its origin for error messages.
pub(super) struct Setting {
    pub(super) text: String,
    /// True if the value comes from a flag, false if it comes from the environment.
    pub(super) is_flag: bool,
    origin: String,
}

impl Setting {
    /// Returns the value of the flag `--{flag}` if it is given, or that of its environment variable: for `token-file`
    /// that is `ATALAYA_TOKEN_FILE`.
    pub(super) fn find(flag: &str, given: Option<&str>, environment: Env<'_>) -> Option<Setting> {
        if let Some(text) = given {
            return Some(Setting { text: text.to_owned(), is_flag: true, origin: format!("--{flag}") });
        }
        let variable = format!("ATALAYA_{}", flag.replace('-', "_").to_uppercase());
        let (name, text) = environment.first(&[&variable])?;
        Some(Setting { text, is_flag: false, origin: format!("the environment variable {name}") })
    }

    /// Returns the failure for a wrong value: 64 for a flag, 78 for an environment variable.
    pub(super) fn invalid(&self, problem: impl std::fmt::Display) -> Failure {
        let error = anyhow!("{}: {problem}", self.origin);
        if self.is_flag { Failure::usage(error) } else { Failure::config(error) }
    }
}
