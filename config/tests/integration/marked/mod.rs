//! Files with a mistake, whose place is between `«` and `»`.

use atalaya_config::Boards;

/// Asserts that the file is refused at the mark, and that the message shows the marked text, the problem and the remedy.
#[track_caller]
pub(crate) fn assert_refused(marked: &str, problem: &str, remedy: &str) {
    let (before, rest) = marked.split_once('«').unwrap();
    let (offending, after) = rest.split_once('»').unwrap();
    let text = format!("{before}{offending}{after}");
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;

    let Err(error) = Boards::parse(&text, "etc/boards.toml") else { panic!("accepted:\n{text}") };
    let message = error.to_string();
    let lines: Vec<&str> = message.lines().collect();
    let context = format!("{message}\nfor\n{text}");
    let at = error.location().unwrap();
    assert_eq!((at.line, at.column), (line, column), "place of {context}");
    assert!(lines[0].starts_with(&format!("etc/boards.toml:{line}:{column}: ")), "place of {context}");
    assert!(lines[0].contains(problem) && error.problem().contains(problem), "problem of {context}");
    let shown = text.lines().nth(line - 1).unwrap().trim_end();
    assert_eq!(lines[2], format!("{line} | {shown}"), "text of {context}");
    // The carets are below the offending text.
    let columns = lines[2].chars().zip(lines[3].chars());
    let carets: String = columns.filter(|(_, below)| *below == '^').map(|(above, _)| above).collect();
    assert_eq!(carets, offending, "carets of {context}");
    assert!(lines[4].contains("= help: ") && lines[4].contains(remedy), "remedy of {context}");
    assert!(error.remedy().contains(remedy), "remedy of {context}");
}
