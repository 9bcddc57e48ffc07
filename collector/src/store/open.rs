//! Opening a store by its configured name.

use std::sync::Arc;

use super::error::OpenError;
use super::interface::Store;
use super::memory::MemoryStore;
#[cfg(feature = "redis")]
use super::redis::{RedisOptions, RedisStore};
use super::redis_access::RedisAccess;
use super::sqlite::{SqliteOptions, SqliteStore};

/// Opens the store with this name: `sqlite:PATH`, `redis://[user:password@]host[:port][/database][?prefix=atalaya]`,
/// the same with `rediss://` for TLS, or `memory`, which is lost when the process ends. The store need not be usable
/// yet; use [`Store::check`] to find out.
///
/// # Errors
/// Returns an error if the name is not valid, or if the system cannot start another thread.
pub fn open_store(name: &str) -> Result<Arc<dyn Store>, OpenError> {
    open_store_with(name, None)
}

/// Opens a store like [`open_store`]. `access`: password and certificates for a Redis.
///
/// # Errors
/// Returns an error if the name or the access is not valid, if there is access to a store that is not a Redis, or if
/// the system cannot start another thread.
pub fn open_store_with(name: &str, access: Option<&RedisAccess>) -> Result<Arc<dyn Store>, OpenError> {
    let name = name.trim();
    let is_redis = name.starts_with("redis:") || name.starts_with("rediss:");
    if access.is_some() && !is_redis {
        return Err(OpenError::Wrong("a password file and certificates are for Redis only".to_owned()));
    }
    match name.split_once(':') {
        None if name == "memory" => Ok(Arc::new(MemoryStore::new())),
        Some(("sqlite", path)) => {
            if path.is_empty() || path.starts_with("//") {
                let needed = "sqlite: needs the path of a file, as in sqlite:/var/lib/atalaya/reports.db";
                return Err(OpenError::Wrong(needed.to_owned()));
            }
            Ok(Arc::new(SqliteStore::open(SqliteOptions::new(path))?))
        }
        Some(("redis" | "rediss", _)) => {
            #[cfg(not(feature = "redis"))]
            return Err(OpenError::Wrong("this program was built without the feature `redis`".to_owned()));
            #[cfg(feature = "redis")]
            {
                let options = RedisOptions::with_access(name, access.unwrap_or(&RedisAccess::default()))?;
                Ok(Arc::new(RedisStore::open(options)?))
            }
        }
        Some(("memory", _)) => Err(OpenError::Wrong("memory has no options".to_owned())),
        _ => Err(OpenError::Unknown(kind(name))),
    }
}

/// Returns the part of a name that cannot be a secret.
fn kind(name: &str) -> String {
    let kind = name.split(':').next().unwrap_or_default();
    let plain = kind.len() <= 20 && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+');
    if plain && !kind.is_empty() { format!("{kind:?}") } else { "this".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn store_is_opened_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reports.db");
        let store = open_store(&format!("sqlite:{}", path.display())).unwrap();
        store.check().await.unwrap();
        assert!(path.exists());
        open_store(" memory ").unwrap().check().await.unwrap();
        // A store may be opened before the server is started.
        let store = open_store("redis://127.0.0.1:1/3?prefix=reports").unwrap();
        assert!(store.check().await.unwrap_err().to_string().contains("reached"));
    }

    #[test]
    fn invalid_store_name_is_refused_without_showing_its_secrets() {
        for (wrong, expected) in [
            ("", "this is not a known store"),
            ("sqlite", "\"sqlite\" is not a known store"),
            ("sqlite:", "the path of a file"),
            ("sqlite://reports.db", "the path of a file"),
            ("memory:", "no options"),
            ("reports.db", "this is not a known store"),
            ("postgres://me:secret@db/reports", "\"postgres\" is not a known store"),
            ("my secret", "this is not a known store"),
            ("rediss://:secret@db/#insecure", "TLS"),
            ("rediss://:secret@db:port", "not valid"),
            ("rediss:secret", "not the address"),
            ("redis:secret", "not the address"),
            ("redis://:secret@db:port", "not valid"),
            ("redis://:secret@db/reports", "not valid"),
            ("redis://db?prefix=", "1 to 64 bytes"),
            ("redis://db?prefix=a&prefix=b", "occurs twice"),
            ("redis://db?secret=1", "option is unknown"),
        ] {
            let error = open_store(wrong).err().unwrap().to_string();
            assert!(error.contains(expected), "{wrong:?}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn access_to_redis_is_refused_where_it_cannot_be_used() {
        let access = |ca: &str| RedisAccess { ca: Some(ca.as_bytes().to_vec()), ..RedisAccess::default() };
        for (name, access, expected) in [
            ("memory", RedisAccess::default(), "for Redis only"),
            ("sqlite:reports.db", RedisAccess::default(), "for Redis only"),
            ("redis://db", access("x"), "rediss://"),
            ("rediss://db", access("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"), "not PEM"),
        ] {
            let error = open_store_with(name, Some(&access)).err().unwrap().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
        let access = RedisAccess { password: Some("secret".to_owned()), ..RedisAccess::default() };
        assert!(!format!("{access:?}").contains("secret"));
        assert!(open_store_with("redis://user@127.0.0.1:1", Some(&access)).is_ok());
    }
}
