//! Sources of the book: the chapters that docs/SUMMARY.md lists, copied into one folder, because mdbook reads chapters
//! from one folder only and copies all other files in it into the book.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::links::read;
use super::markdown::{Document, Target, resolve};

/// Table of contents, relative to the workspace.
pub(super) const SUMMARY: &str = "docs/SUMMARY.md";
/// Files beside the chapters: mdbook's settings and a style sheet, relative to the workspace.
const SETTINGS: [&str; 2] = ["docs/book.toml", "docs/book.css"];

/// Writes the sources of the book into `folder`, which is replaced.
pub(super) fn write(root: &Path, folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    for file in SETTINGS {
        copy(root, file.as_ref(), &folder.join(place(file.as_ref())))?;
    }
    let chapters = chapters(root)?;
    let source = folder.join("src");
    for file in chapters.iter().map(PathBuf::as_path).chain([Path::new(SUMMARY)]) {
        let (text, others) = rewrite(file, &read(&root.join(file))?, &chapters, root)?;
        let path = source.join(place(file));
        create_parent(&path)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        for other in others {
            copy(root, &other, &source.join(place(&other)))?;
        }
    }
    Ok(())
}

/// Returns the paths of the chapters, relative to the workspace.
pub(super) fn chapters(root: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let summary = Document::parse(&read(&root.join(SUMMARY))?);
    let path = |target: Target| match target {
        // A chapter without a path is a title of its sub-chapters.
        Target::File { path, .. } if !path.is_empty() => resolve(SUMMARY.as_ref(), &path),
        _ => None,
    };
    Ok(summary.links.into_iter().filter_map(|link| path(link.target)).collect())
}

/// Returns the path of a file in the book: that in the workspace, without `docs`. mdbook makes `index.html` of an
/// `index.md` only.
fn place(file: &Path) -> PathBuf {
    let file = file.strip_prefix("docs").unwrap_or(file);
    if file.ends_with("README.md") { file.with_file_name("index.md") } else { file.to_owned() }
}

/// Returns the text of a chapter with the links that it needs in the book, and the files that must be copied for them.
/// A link to a folder, to a Markdown file that is not a chapter, or to an item of a crate becomes plain text.
fn rewrite(
    file: &Path,
    text: &str,
    chapters: &BTreeSet<PathBuf>,
    root: &Path,
) -> anyhow::Result<(String, BTreeSet<PathBuf>)> {
    let mut rewritten = String::new();
    let mut copied = BTreeSet::new();
    let mut end = 0;
    for link in Document::parse(text).links {
        let source = &text[link.range.clone()];
        let target = match &link.target {
            Target::External => continue,
            Target::Rustdoc => None,
            Target::File { path, .. } if path.is_empty() => continue,
            Target::File { path, .. } => resolve(file, path).filter(|target| {
                let is_page = target.extension().is_some_and(|extension| extension == "md");
                chapters.contains(target) || (root.join(target).is_file() && !is_page)
            }),
        };
        let (inline, reference) = (source.rfind("]("), source.rfind("]["));
        ensure!(
            inline.is_some() || link.target == Target::Rustdoc,
            "{}: write this link as [text](path): {source}",
            file.display()
        );
        let label = inline.or(reference).unwrap_or(source.len() - 1);
        ensure!(link.range.start >= end, "{}: a link contains another one: {source}", file.display());
        rewritten.push_str(&text[end..link.range.start]);
        end = link.range.end;
        let Some(target) = target else {
            rewritten.push_str(source[..label].trim_start_matches(['!', '[']));
            continue;
        };
        let anchor = match &link.target {
            Target::File { anchor: Some(anchor), .. } => format!("#{anchor}"),
            _ => String::new(),
        };
        let relative = relative(&place(file), &place(&target));
        rewritten.push_str(&format!("{}]({relative}{anchor})", &source[..label]));
        if !chapters.contains(&target) {
            copied.insert(target);
        }
    }
    rewritten.push_str(&text[end..]);
    Ok((rewritten, copied))
}

/// Returns the link from one file to another one, both relative to the same folder.
fn relative(from: &Path, to: &Path) -> String {
    let up = from.components().count().saturating_sub(1);
    let to: Vec<_> = to.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    "../".repeat(up) + &to.join("/")
}

fn copy(root: &Path, file: &Path, to: &Path) -> anyhow::Result<()> {
    create_parent(to)?;
    fs::copy(root.join(file), to).with_context(|| format!("cannot copy {}", file.display()))?;
    Ok(())
}

fn create_parent(path: &Path) -> anyhow::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docs::links::files;
    use atalaya_testbed::Scratch;
    use xtask::cargo::workspace;

    #[test]
    fn summary_lists_every_document() {
        let mut documents = files(&workspace().join("docs"), "md").unwrap();
        documents.remove(Path::new("SUMMARY.md"));
        let chapters = chapters(&workspace()).unwrap();
        let missing: Vec<PathBuf> =
            documents.into_iter().filter(|file| !chapters.contains(&Path::new("docs").join(file))).collect();
        assert!(missing.is_empty(), "add these files of docs/ to {SUMMARY}: {missing:?}");
    }

    #[test]
    fn sources_of_the_book_have_no_broken_links() {
        let scratch = Scratch::new("book-sources");
        write(&workspace(), scratch.path()).unwrap();
        let source = scratch.path().join("src");
        for file in ["introduction.md", "hal/index.md", "CONTRIBUTING.md", "demo.svg", "boards.toml"] {
            assert!(source.join(file).is_file(), "{file}");
        }
        let broken = crate::docs::links::broken_in_markdown(&source).unwrap();
        assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    }

    #[test]
    fn links_lead_to_the_places_of_the_book() {
        let root = workspace();
        let chapters = BTreeSet::from(["docs/a.md".into(), "hal/README.md".into()]);
        let text = "[hal](../hal/README.md#chips) [`Store`] [a][`Store`] [all](../README.md), [b](../boards.toml) [x](#y)\n";
        let (in_docs, copied) = rewrite("docs/a.md".as_ref(), text, &chapters, &root).unwrap();
        assert_eq!(in_docs, "[hal](hal/index.md#chips) `Store` a all, [b](boards.toml) [x](#y)\n");
        assert_eq!(copied, BTreeSet::from(["boards.toml".into()]));
        let (in_hal, _) = rewrite("hal/README.md".as_ref(), "[a](../docs/a.md)", &chapters, &root).unwrap();
        assert_eq!(in_hal, "[a](../a.md)");
    }
}
