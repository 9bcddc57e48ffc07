//! Headings and links of a Markdown file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{BrokenLink, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd};

/// Destination of a link that only rustdoc resolves, such as a type in the README of a crate.
const RUSTDOC: &str = "rustdoc:";

/// Markdown file, parsed as GitHub does.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) anchors: BTreeSet<String>,
    pub(super) links: Vec<Link>,
}

#[derive(Debug)]
pub(super) struct Link {
    /// Position of the link in the text, with its label.
    pub(super) range: Range<usize>,
    pub(super) target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A file of the project, or a heading of it.
    File {
        /// Path as written. Empty for the file that contains the link.
        path: String,
        anchor: Option<String>,
    },
    /// An item of a crate, which only rustdoc knows.
    Rustdoc,
    /// An address outside the project.
    External,
}

impl Document {
    pub(super) fn parse(text: &str) -> Document {
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
        // A reference without a definition is an item of a crate if it is code.
        let unknown = |link: BrokenLink<'_>| {
            link.reference.starts_with('`').then(|| (CowStr::from(RUSTDOC), CowStr::from("")))
        };
        let events = Parser::new_with_broken_link_callback(text, options, Some(unknown)).into_offset_iter();
        let mut document = Document::default();
        let mut seen = BTreeMap::new();
        let mut heading: Option<String> = None;
        for (event, range) in events {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(part) | Event::Code(part) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&part);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&heading.take().unwrap_or_default());
                    let count = seen.entry(anchor.clone()).or_insert(0_usize);
                    let suffix = if *count == 0 { String::new() } else { format!("-{count}") };
                    *count += 1;
                    document.anchors.insert(anchor + &suffix);
                }
                Event::Start(
                    Tag::Link { link_type, dest_url, .. } | Tag::Image { link_type, dest_url, .. },
                ) => {
                    let target =
                        if link_type == LinkType::Email { Target::External } else { target(&dest_url) };
                    document.links.push(Link { range, target });
                }
                _ => {}
            }
        }
        document
    }
}

/// Returns the anchor of a heading: lower case, a dash for each blank, without punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn target(destination: &str) -> Target {
    if destination == RUSTDOC || destination.contains("::") {
        return Target::Rustdoc;
    }
    if destination.contains("://") || destination.starts_with("mailto:") {
        return Target::External;
    }
    let (path, anchor) = match destination.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_owned())),
        None => (destination, None),
    };
    Target::File { path: path.to_owned(), anchor }
}

/// Returns the path, relative to the workspace, to which a link in `file` leads. Returns `None` if it leads out of the
/// workspace.
pub(super) fn resolve(file: &Path, path: &str) -> Option<PathBuf> {
    if path.is_empty() {
        return Some(file.to_owned());
    }
    let mut resolved = file.parent()?.to_owned();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => resolved.push(name),
            Component::ParentDir => {
                if !resolved.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_have_the_anchors_of_github() {
        let text = "# Fleet status: `atalaya status`\n\n```sh\n# no heading\n```\n\n## Größe\n\n## Größe\n";
        let expected = ["fleet-status-atalaya-status", "größe", "größe-1"].map(str::to_owned);
        assert_eq!(Document::parse(text).anchors, BTreeSet::from(expected));
    }

    #[test]
    fn links_are_found_in_tables_and_not_in_code() {
        let text =
            "| a |\n|---|\n| [`x`](a.md#b) |\n\n`[y](c.md)` <https://example.org> [`Store`] ![z](d.svg)\n";
        let targets: Vec<Target> = Document::parse(text).links.into_iter().map(|link| link.target).collect();
        let file = |path: &str, anchor: Option<&str>| Target::File {
            path: path.into(),
            anchor: anchor.map(str::to_owned),
        };
        assert_eq!(
            targets,
            [file("a.md", Some("b")), Target::External, Target::Rustdoc, file("d.svg", None)]
        );
    }

    #[test]
    fn links_are_relative_to_the_folder_of_their_file() {
        let file = Path::new("docs/a.md");
        assert_eq!(resolve(file, ""), Some("docs/a.md".into()));
        assert_eq!(resolve(file, "./b.md"), Some("docs/b.md".into()));
        assert_eq!(resolve(file, "../hal/README.md"), Some("hal/README.md".into()));
        assert_eq!(resolve(file, "../../x"), None);
        assert_eq!(resolve(file, "/etc"), None);
    }
}
