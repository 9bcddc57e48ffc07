//! Output of a command: the last bytes, and the progress that it reports. Memory does not depend on its length.

use std::collections::VecDeque;

use super::{MAX_OUTPUT, MAX_PROGRESS};
use crate::model::text::{sanitize_line, sanitize_lines};

/// Start of a line that reports progress.
const PROGRESS: &[u8] = b"atalaya: progress ";
/// Maximum number of bytes of a line that are examined: UTF-8 has at most four bytes per character.
const MAX_LINE: usize = PROGRESS.len() + 4 * MAX_PROGRESS;

#[derive(Debug, Default)]
pub(super) struct OutputTail {
    tail: VecDeque<u8>,
    /// Number of bytes so far.
    total: u64,
    /// Start of the current line.
    line: Vec<u8>,
}

impl OutputTail {
    /// Adds bytes of the output. Returns the newest progress text in them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<String> {
        self.total += bytes.len() as u64;
        let kept = &bytes[bytes.len().saturating_sub(MAX_OUTPUT)..];
        let excess = (self.tail.len() + kept.len()).saturating_sub(MAX_OUTPUT);
        self.tail.drain(..excess);
        self.tail.extend(kept);
        let mut progress = None;
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            let free = MAX_LINE.saturating_sub(self.line.len());
            self.line.extend(&part[..part.len().min(free)]);
            if lines.peek().is_some() {
                progress = parse_progress(&self.line).or(progress);
                self.line.clear();
            }
        }
        progress
    }

    /// Returns the last bytes as text, and the number of bytes before them.
    pub(super) fn finish(self) -> (String, u64) {
        let bytes: Vec<u8> = self.tail.into();
        let mut start = 0;
        if self.total > bytes.len() as u64 {
            // The first character may be incomplete.
            start = bytes.iter().take(3).take_while(|byte| (**byte & 0xc0) == 0x80).count();
        }
        let text = String::from_utf8_lossy(&bytes[start..]);
        let cut = self.total - (bytes.len() - start) as u64;
        let text = sanitize_lines(&text).into_owned();
        // A replacement character is longer than the byte that it replaces.
        let excess = text.len().saturating_sub(MAX_OUTPUT);
        let first = (excess..=text.len()).find(|index| text.is_char_boundary(*index)).unwrap_or(text.len());
        (text[first..].to_owned(), cut + first as u64)
    }
}

fn parse_progress(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line.strip_prefix(PROGRESS)?);
    let text: String = sanitize_line(text.trim()).chars().take(MAX_PROGRESS).collect();
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn output_keeps_the_end_and_counts_the_rest() {
        let mut output = OutputTail::default();
        output.push(b"first\n");
        output.push(&[b'x'; 3 * MAX_OUTPUT]);
        output.push(b"end");
        let (text, cut) = output.finish();
        assert_eq!((text.len(), cut), (MAX_OUTPUT, 6 + 2 * MAX_OUTPUT as u64 + 3));
        assert!(text.ends_with("xend"));
    }

    #[test]
    fn output_has_no_control_characters_except_line_breaks_and_tabs() {
        let mut output = OutputTail::default();
        output.push(b"a\tb\n\x1b[2J\x00\xff");
        assert_eq!(output.finish(), ("a\tb\n\u{fffd}[2J\u{fffd}\u{fffd}".to_owned(), 0));
    }

    #[test]
    fn progress_is_a_complete_line_of_the_output() {
        let mut output = OutputTail::default();
        assert_eq!(output.push(b"atalaya: prog"), None);
        assert_eq!(output.push(b"ress 1 of 3"), None);
        assert_eq!(output.push(b"\n"), Some("1 of 3".to_owned()));
        assert_eq!(output.push(b"no atalaya: progress 2\n"), None);
        assert_eq!(
            output.push(b"atalaya: progress 2\natalaya: progress 3\x1b\nrest"),
            Some("3\u{fffd}".to_owned())
        );
        let long = format!("\natalaya: progress {}\n", "ñ".repeat(1_000));
        assert_eq!(output.push(long.as_bytes()), Some("ñ".repeat(MAX_PROGRESS)));
    }

    proptest! {
        #[test]
        fn output_of_any_bytes_is_bounded(chunks in prop::collection::vec(any::<Vec<u8>>(), 0..20), times in 1usize..300) {
            let mut output = OutputTail::default();
            for chunk in &chunks {
                output.push(&chunk.repeat(times));
                prop_assert!(output.tail.len() <= MAX_OUTPUT && output.line.len() <= MAX_LINE);
            }
            prop_assert!(output.finish().0.len() <= MAX_OUTPUT);
        }
    }
}
