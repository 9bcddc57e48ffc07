//! Elements of a command line with placeholders: `--out={x}`. `{{` and `}}` represent braces.

use std::collections::BTreeMap;

/// Part of an element.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Text without placeholders.
    Text(&'a str),
    /// Name of an argument.
    Placeholder(&'a str),
}

/// Splits an element into its parts.
///
/// # Errors
/// A single brace that does not belong to a placeholder.
pub(super) fn parts(element: &str) -> Result<Vec<Part<'_>>, &'static str> {
    let mut parts = Vec::new();
    let mut rest = element;
    while let Some(at) = rest.find(['{', '}']) {
        let (text, brace) = rest.split_at(at);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        if brace.starts_with("{{") || brace.starts_with("}}") {
            parts.push(Part::Text(&brace[..1]));
            rest = &brace[2..];
            continue;
        }
        let name = brace.strip_prefix('{').ok_or("a `}` without `{`")?;
        let (name, after) = name.split_once('}').ok_or("a `{` without `}`")?;
        if name.contains('{') {
            return Err("a `{` without `}`");
        }
        parts.push(Part::Placeholder(name));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

/// Returns the name of the placeholder if it is the whole element.
pub(super) fn whole(element: &str) -> Option<&str> {
    match parts(element).ok()?[..] {
        [Part::Placeholder(name)] => Some(name),
        _ => None,
    }
}

/// Returns the element with the values of its placeholders. Placeholders in a value are not replaced.
pub(super) fn substitute(element: &str, values: &BTreeMap<String, String>) -> String {
    let Ok(parts) = parts(element) else { return element.to_owned() };
    let part = |part| match part {
        Part::Text(text) => text,
        Part::Placeholder(name) => values.get(name).map(String::as_str).unwrap_or_default(),
    };
    parts.into_iter().map(part).collect()
}
