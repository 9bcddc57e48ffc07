//! What a path may look like, by the rules of ZooKeeper's `PathUtils`. Used by [`tree`](super::tree).

/// Whether a znode can have this path.
pub(crate) fn is_valid(path: &str) -> bool {
    if path == "/" {
        return true;
    }
    let Some(names) = path.strip_prefix('/') else { return false };
    names.split('/').all(|name| !matches!(name, "" | "." | "..")) && names.chars().all(is_allowed)
}

/// Control characters, surrogates (so everything beyond the basic plane), private use and specials are not.
fn is_allowed(c: char) -> bool {
    !matches!(
        c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}' | '\u{10000}'..
    )
}

/// Where the path's last name begins, so that `path[..at]` is its parent. The root's parent is itself.
pub(crate) fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 => Some("/"),
        at => Some(&path[..at]),
    }
}

/// The last name of a path.
pub(crate) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Every ancestor of a path, from its parent up to the root.
pub(crate) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| (*path != "/").then(|| parent(path)).flatten()).skip(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_what_is_none() {
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
