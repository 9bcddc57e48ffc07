//! Validation of paths, by the rules of ZooKeeper's `PathUtils`. Used by [`tree`](super::tree).

/// Returns true if this is a valid path of a znode.
pub(crate) fn is_valid(path: &str) -> bool {
    if path == "/" {
        return true;
    }
    let Some(names) = path.strip_prefix('/') else { return false };
    names.split('/').all(|name| !matches!(name, "" | "." | "..")) && names.chars().all(is_allowed)
}

/// Returns true if a path may contain the character. Control characters, surrogates (and therefore all characters
/// beyond the basic plane), private use and specials are not allowed.
fn is_allowed(c: char) -> bool {
    !matches!(
        c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}' | '\u{10000}'..
    )
}

/// Returns the parent of a path. The root's parent is the root itself.
pub(crate) fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 => Some("/"),
        at => Some(&path[..at]),
    }
}

/// Returns the last name of a path.
pub(crate) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns every ancestor of a path, from its parent up to the root.
pub(crate) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| (*path != "/").then(|| parent(path)).flatten()).skip(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_and_invalid_paths_are_distinguished() {
        for good in ["/", "/a", "/a/b", "/a.b", "/...", "/.a", "/a..", "/á", "/a b", "/中"] {
            assert!(is_valid(good), "{good:?}");
        }
        for bad in [
            "", "a", "//", "/a/", "/a//b", "/.", "/..", "/a/./b", "/a/..", "/a\0", "/\u{1f}", "/\u{80}",
            "/😀",
        ] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn parents() {
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("a"), None);
        assert_eq!(name("/a/b"), "b");
        assert_eq!(ancestors("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(ancestors("/").count(), 0);
    }
}
