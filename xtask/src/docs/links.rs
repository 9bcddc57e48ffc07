//! Check of the links: in all Markdown files of the project, and in the pages of the book.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use walkdir::{DirEntry, WalkDir};

use super::markdown::{Document, Target, resolve};

/// Pages of the book that repeat or list the others, with links that mdbook makes.
const GENERATED: [&str; 3] = ["404.html", "print.html", "toc.html"];

/// Returns a line for each relative link in a Markdown file below `root` that leads to no file or to no heading.
pub(super) fn broken_in_markdown(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut documents = BTreeMap::new();
    for file in files(root, "md")? {
        let text = read(&root.join(&file))?;
        documents.insert(file, (Document::parse(&text), text));
    }
    let mut broken = Vec::new();
    for (file, (document, text)) in &documents {
        for link in &document.links {
            let Target::File { path, anchor } = &link.target else { continue };
            let line = 1 + text[..link.range.start].matches('\n').count();
            let mut report = |problem: &str| {
                let anchor = anchor.as_ref().map(|anchor| format!("#{anchor}")).unwrap_or_default();
                broken.push(format!("{}:{line}: {path}{anchor}: {problem}", file.display()));
            };
            let Some(target) = resolve(file, path).filter(|target| root.join(target).exists()) else {
                report("no such file");
                continue;
            };
            let Some(anchor) = anchor else { continue };
            if !documents.get(&target).is_some_and(|(document, _)| document.anchors.contains(anchor)) {
                report("no such heading");
            }
        }
    }
    Ok(broken)
}

/// Returns a line for each relative link in a page of the book that leads to no file or to no element.
pub(super) fn broken_in_book(book: &Path) -> anyhow::Result<Vec<String>> {
    let mut pages = BTreeMap::new();
    for file in files(book, "html")? {
        let html = read(&book.join(&file))?;
        pages.insert(file, html);
    }
    let ids: BTreeMap<&PathBuf, BTreeSet<&str>> =
        pages.iter().map(|(file, html)| (file, attributes(html, "id"))).collect();
    let mut broken = Vec::new();
    for (file, html) in &pages {
        if GENERATED.iter().any(|name| file == Path::new(name)) {
            continue;
        }
        for destination in attributes(html, "href").into_iter().chain(attributes(html, "src")) {
            let (path, anchor) = destination.split_once('#').unwrap_or((destination, ""));
            if path.contains(':') {
                continue;
            }
            let target = resolve(file, path).filter(|target| book.join(target).exists());
            let has_anchor = |target: &PathBuf| {
                anchor.is_empty() || ids.get(target).is_some_and(|ids| ids.contains(anchor))
            };
            if !target.as_ref().is_some_and(has_anchor) {
                broken.push(format!("{}: {destination}", file.display()));
            }
        }
    }
    Ok(broken)
}

/// Returns the values of an attribute. In text, mdbook writes quotation marks as entities.
fn attributes<'a>(html: &'a str, name: &str) -> BTreeSet<&'a str> {
    let start = format!(" {name}=\"");
    html.split(start.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// Returns the paths of all files with this extension, relative to `root`, without those in hidden folders and in
/// target folders.
pub(super) fn files(root: &Path, extension: &str) -> anyhow::Result<BTreeSet<PathBuf>> {
    let is_wanted = |entry: &DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !entry.file_type().is_dir() || !(name.starts_with('.') || name == "target")
    };
    let mut found = BTreeSet::new();
    for entry in WalkDir::new(root).into_iter().filter_entry(is_wanted) {
        let entry = entry.context("cannot list the files")?;
        if !entry.file_type().is_dir() && entry.path().extension().is_some_and(|found| found == extension) {
            found.insert(entry.path().strip_prefix(root)?.to_owned());
        }
    }
    Ok(found)
}

pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use atalaya_testbed::Scratch;
    use xtask::cargo::workspace;

    #[test]
    fn relative_links_of_the_project_lead_to_files_and_headings() {
        let broken = broken_in_markdown(&workspace()).unwrap();
        assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    }

    #[test]
    fn missing_files_and_headings_are_reported_with_their_line() {
        let scratch = Scratch::new("links");
        let write = |name: &str, text: &str| {
            let path = scratch.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "docs/a.md",
            "# A\n\n[here](#a) [there](../b.md#b-c)\n[no](#b)\n[gone](c.md) [out](../../d.md)\n",
        );
        write("b.md", "## B `c`\n\n[a folder](docs) [a picture](docs/x.svg)\n");
        write("target/b.md", "[not checked](none.md)\n");
        let expected = [
            "b.md:3: docs/x.svg: no such file",
            "docs/a.md:4: #b: no such heading",
            "docs/a.md:5: c.md: no such file",
            "docs/a.md:5: ../../d.md: no such file",
        ];
        assert_eq!(broken_in_markdown(scratch.path()).unwrap(), expected);
    }

    #[test]
    fn links_between_pages_of_the_book_are_checked() {
        let scratch = Scratch::new("book");
        let html =
            r##"<h1 id="a">A</h1><a href="#a">1</a><a href="b.html">2</a><a href="https://x.org/">3</a>"##;
        fs::write(scratch.path().join("index.html"), html).unwrap();
        fs::write(scratch.path().join("print.html"), r#"<a href="c.html">4</a>"#).unwrap();
        assert_eq!(broken_in_book(scratch.path()).unwrap(), ["index.html: b.html"]);
    }
}
