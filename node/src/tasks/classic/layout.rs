//! Paths and data of the znodes. Reads all variants that are known of other programs, and writes one.

use std::time::Duration;

/// Data of a free worker.
pub(crate) const FREE: &str = "non";
/// Maximum length of a result in bytes.
pub(crate) const MAX_RESULT: usize = 1024;
/// Maximum length of an id in bytes.
const MAX_ID: usize = 128;
/// Child of the election's parent that is not a contender: its child names the leader.
const MASTER_CURRENT: &str = "master_current";
/// Data that other programs write into the znode of a free worker, in lower case, in addition to no data.
const FREE_WORDS: [&str; 5] = [FREE, "none", "null", "idle", "free"];
/// Data that other programs write into a task that is not assigned, in lower case, in addition to no data and the id.
const UNASSIGNED_WORDS: [&str; 6] = ["0", FREE, "none", "null", "idle", "unassigned"];
/// Longest sleep. A longer one overflows the clocks of some systems.
const MAX_SLEEP: Duration = Duration::from_secs(365 * 24 * 3600);

/// Paths of the znodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    root: String,
}

impl Layout {
    /// Returns the layout below `root`, a path, or `/` or an empty text for the root itself.
    pub(crate) fn new(root: &str) -> Layout {
        Layout { root: root.trim_end_matches('/').to_owned() }
    }

    /// Returns the parent of the contenders.
    pub(crate) fn masters(&self) -> String {
        format!("{}/master", self.root)
    }

    /// Returns the parent of the znode that names the leader.
    pub(crate) fn master_current(&self) -> String {
        format!("{}/master/{MASTER_CURRENT}", self.root)
    }

    pub(crate) fn workers(&self) -> String {
        format!("{}/workers", self.root)
    }

    pub(crate) fn tasks(&self) -> String {
        format!("{}/tasks", self.root)
    }

    pub(crate) fn inputs(&self) -> String {
        format!("{}/data", self.root)
    }

    pub(crate) fn master(&self, name: &str) -> String {
        format!("{}/{name}", self.masters())
    }

    pub(crate) fn worker(&self, id: &str) -> String {
        format!("{}/{id}", self.workers())
    }

    pub(crate) fn task(&self, id: &str) -> String {
        format!("{}/{id}", self.tasks())
    }

    pub(crate) fn input(&self, id: &str) -> String {
        format!("{}/{id}", self.inputs())
    }
}

/// State of a task, as its data tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TaskState {
    Unassigned,
    /// Assigned, with the text that names the worker. Other programs may write any text.
    Assigned(String),
    Finished(String),
}

impl TaskState {
    /// Returns the state of the task `id` with these data.
    ///
    /// Text with `=` is a result; a result may contain commas, so this comes first. All other text that is not known to
    /// mean "not assigned" is an assignment.
    pub(crate) fn parse(id: &str, data: &[u8]) -> TaskState {
        let text = String::from_utf8_lossy(data);
        if let Some(result) = text.strip_prefix(id).and_then(|rest| rest.strip_prefix('=')) {
            return TaskState::Finished(result.to_owned());
        }
        let text = plain(&text);
        if text.is_empty() || text == id || UNASSIGNED_WORDS.contains(&&*text.to_lowercase()) {
            return TaskState::Unassigned;
        }
        match text.strip_prefix(id).unwrap_or(text).split_once('=') {
            Some((_, result)) => TaskState::Finished(result.to_owned()),
            None => TaskState::Assigned(text.to_owned()),
        }
    }
}

/// State of a worker, as the data of its znode tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WorkerState {
    Free,
    /// Busy, with the id of the task. Other programs may write any text.
    Busy(String),
}

impl WorkerState {
    /// Returns the state of a worker with these data. A path counts as its last name: no id contains `/`.
    pub(crate) fn parse(data: &[u8]) -> WorkerState {
        let text = String::from_utf8_lossy(data);
        let text = plain(&text);
        let text = text.rsplit('/').next().unwrap_or(text);
        if text.is_empty() || FREE_WORDS.contains(&&*text.to_lowercase()) {
            WorkerState::Free
        } else {
            WorkerState::Busy(text.to_owned())
        }
    }
}

/// Removes what programs add around text: white space, NUL bytes, quotes, and Python's `b'…'`.
fn plain(text: &str) -> &str {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    for (begin, end) in [("b'", '\''), ("b\"", '"'), ("'", '\''), ("\"", '"')] {
        if let Some(inner) = text.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end)) {
            return inner.trim();
        }
    }
    text
}

/// Returns the data of a task that is assigned to a worker: `{task},{worker}`.
///
/// The id of the task comes first, as in `{task}={result}`, so that a program that takes the id from the data by
/// splitting at `,` or `=` finds it. Returns `None` if the id of the worker contains `=`, because the data would mean a
/// result.
pub(crate) fn assigned_data(task: &str, worker: &str) -> Option<String> {
    let task = if task.contains('=') { "assigned" } else { task };
    (!worker.contains('=')).then(|| format!("{task},{worker}"))
}

/// Returns the data of a finished task.
///
/// The result is one line of at most [`MAX_RESULT`] bytes. Each `=` in it becomes `:`, because programs split the data at
/// `=`.
pub(crate) fn finished_data(task: &str, result: &str) -> String {
    format!("{task}={}", clean_result(result))
}

/// Returns a result as [`finished_data`] writes it.
pub(crate) fn clean_result(result: &str) -> String {
    let line = result.trim_start().lines().next().unwrap_or_default().trim_end();
    let mut clean = String::new();
    for character in line.chars() {
        if clean.len() + character.len_utf8() > MAX_RESULT {
            break;
        }
        clean.push(match character {
            '=' => ':',
            other if other.is_control() => ' ',
            other => other,
        });
    }
    clean
}

/// Returns true if `text` contains `id` as a word: not within a longer id.
pub(crate) fn mentions(text: &str, id: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '-' | '_' | '.');
    !id.is_empty()
        && text.char_indices().any(|(at, _)| {
            let before = text[..at].chars().next_back();
            text[at..].strip_prefix(id).is_some_and(|after| {
                !before.is_some_and(is_part) && !after.chars().next().is_some_and(is_part)
            })
        })
}

/// Returns the duration of a task whose input is a number of seconds.
///
/// # Errors
/// The text for the result of the task, if the input is not such a number.
pub(crate) fn sleep_duration(input: &[u8]) -> Result<Duration, String> {
    let text = String::from_utf8_lossy(input);
    let seconds: Option<f64> = plain(&text).parse().ok();
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration
        .filter(|duration| *duration <= MAX_SLEEP)
        .ok_or_else(|| "error: the input is not a number of seconds".to_owned())
}

pub(crate) fn input_text(input: &[u8]) -> String {
    plain(&String::from_utf8_lossy(input)).to_owned()
}

/// Checks an id of a worker or task that this program creates.
pub(crate) fn check_id(text: &str) -> Result<String, &'static str> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@');
    if text.is_empty() || text.len() > MAX_ID || !text.chars().all(is_valid) || matches!(text, "." | "..") {
        return Err("an id has 1 to 128 letters, digits, or characters of -_.:@");
    }
    if WorkerState::parse(text.as_bytes()) == WorkerState::Free || text == "0" {
        return Err("this id means \"free\" or \"not assigned\" in the classic layout");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
