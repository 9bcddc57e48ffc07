//! Tokens, allowed hosts, and the access to Redis.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use atalaya_collector::{Hosts, RedisAccess, Tokens};
use atalaya_hal::bounded;
use tracing::warn;

use super::Value;
use crate::commands::exit::Failure;
use crate::model::text::sanitize_for_log;
use crate::settings::api_token::exposure;
use crate::settings::listen_addr::ListenAddr;

/// Maximum size of a token file, in bytes.
const LARGEST_TOKEN_FILE: usize = 1 << 20;
/// Maximum size of a password, certificate or key file, in bytes.
const LARGEST_SECRET: usize = 1 << 20;

pub(super) fn read_tokens(path: &Path) -> anyhow::Result<Tokens> {
    // Reading a pipe would block this and all later reloads.
    let text = bounded::read(path, LARGEST_TOKEN_FILE).map_err(anyhow::Error::from);
    let text = text.and_then(|bytes| String::from_utf8(bytes).context("it is no UTF-8"));
    let tokens = text.and_then(|text| Ok(Tokens::parse(&text)?));
    let tokens = tokens.with_context(|| format!("the tokens in {}", path.display()))?;
    warn_if_exposed("the file with the tokens", path);
    Ok(tokens)
}

pub(super) fn warn_if_exposed(what: &str, path: &Path) {
    if let Some(exposure) = exposure(path) {
        warn!("{what} is not private: {exposure}");
    }
}

/// Returns the names to answer to: those that are given, and that of the address to listen at.
pub(super) fn hosts(listen: &ListenAddr, given: Option<Value>) -> Result<Hosts, Failure> {
    let mut hosts = Hosts::default();
    if !listen.host().is_empty() && !listen.host().contains([':', '%']) {
        hosts.allow(listen.host()).map_err(|error| Failure::usage(anyhow!("--listen: {error}")))?;
    }
    if let Some(given) = given {
        for name in given.text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            hosts
                .allow(name)
                .map_err(|error| given.refuse(format!("\"{}\": {error}", sanitize_for_log(name))))?;
        }
    }
    Ok(hosts)
}

/// Reads the files with a password, trusted certificates, a certificate and its key; `None` if none of them is given.
pub(super) fn redis_access(files: [Option<PathBuf>; 4]) -> Result<Option<RedisAccess>, Failure> {
    if files.iter().all(Option::is_none) {
        return Ok(None);
    }
    let [password, ca, certificate, key] = files;
    let read = |what: &str, path: &PathBuf| {
        let bytes = bounded::read(path, LARGEST_SECRET);
        bytes.map_err(|error| Failure::config(anyhow!("{what} in {}: {error}", path.display())))
    };
    let mut access = RedisAccess::default();
    if let Some(path) = &password {
        warn_if_exposed("the file with the password for Redis", path);
        let text = String::from_utf8(read("the password for Redis", path)?).unwrap_or_default();
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() || text.chars().any(char::is_control) {
            let problem = "expected one line of text";
            return Err(Failure::config(anyhow!("the password for Redis in {}: {problem}", path.display())));
        }
        access.password = Some(text.to_owned());
    }
    access.ca = ca.as_ref().map(|path| read("the certificates for Redis", path)).transpose()?;
    access.certificate = match (&certificate, &key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            warn_if_exposed("the key for Redis", key);
            Some((read("the certificate for Redis", certificate)?, read("the key for Redis", key)?))
        }
        _ => {
            let problem = "--redis-certificate and --redis-key are needed both, or neither";
            return Err(Failure::usage(anyhow!(problem)));
        }
    };
    Ok(Some(access))
}
