//! Name of the store.

use std::path::Path;

use crate::model::text::sanitize_for_log;
use crate::settings::Env;

const FILE: &str = "reports.db";
const REDACTED: &str = "***";

/// Returns the default store: a file in the state folder of systemd, or in the current folder.
pub(in crate::commands) fn default_store(environment: Env<'_>) -> String {
    let folders = environment.first(&["STATE_DIRECTORY"]).map(|(_, folders)| folders).unwrap_or_default();
    let first = folders.split(':').next().unwrap_or_default();
    format!("sqlite:{}", Path::new(first).join(FILE).display())
}

/// Returns the name of a store for logs, without its password.
pub(in crate::commands) fn redact_password(store: &str) -> String {
    match reqwest::Url::parse(store) {
        Ok(mut url) if url.password().is_some() => {
            // This fails only for URLs that cannot have a password.
            let _ = url.set_password(Some(REDACTED));
            url.into()
        }
        _ => sanitize_for_log(store),
    }
}

pub(super) fn has_password(store: &str) -> bool {
    redact_password(store).contains(REDACTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redacted_store_name_has_no_password() {
        assert_eq!(redact_password("redis://:secret@h:6379/0"), "redis://:***@h:6379/0");
        assert_eq!(redact_password("sqlite:/var/lib/reports.db"), "sqlite:/var/lib/reports.db");
    }
}
