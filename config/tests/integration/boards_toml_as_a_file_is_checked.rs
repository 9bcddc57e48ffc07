//! Errors in boards.toml as a file: missing, too large, not UTF-8, line ends and control characters.

use atalaya_config::{Boards, MAX_SIZE};

const RANDOM: &str = "\
[boards.b]
backend = \"sim\"
[[boards.b.sensors]]
name = \"s\"
chip = \"random\"
";

#[test]
fn windows_line_ends_and_a_byte_order_mark_do_not_move_the_place() {
    let text = format!("\u{feff}{}", RANDOM.replace('\n', "\r\n"));
    assert!(Boards::parse(&text, "boards.toml").is_ok());
    let message = Boards::parse(&format!("{text}x = 1\r\n"), "boards.toml").unwrap_err().to_string();
    assert!(message.starts_with("boards.toml:6:1: unknown key `x`\n"), "{message}");
    assert!(message.contains("\n6 | x = 1\n"), "{message}");
}

#[test]
fn a_long_line_is_shown_in_part_and_controls_are_not_passed_on() {
    let text = format!("[fleet]\nzookeeper = [{}]\n", "\"a\",\t".repeat(5_000));
    let message = Boards::parse(&text, "b").unwrap_err().to_string();
    assert!(message.len() < 1_000, "{}", message.len());

    let text = format!("{RANDOM}sim = {{ \"a\\u001b[2Jb\" = 1 }}\n");
    let message = Boards::parse(&text, "b").unwrap_err().to_string();
    assert!(!message.contains('\u{1b}'), "{message:?}");
}

#[test]
fn in_the_file_itself() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let refused = |path: &std::path::Path| {
        let message = Boards::load(path).unwrap_err().to_string();
        message.strip_prefix(&path.display().to_string()).map(str::to_owned).unwrap_or(message)
    };

    let missing = refused(&folder.path().join("missing.toml"));
    assert!(
        missing.starts_with(": cannot read it: ") && missing.contains("help: check the path"),
        "{missing}"
    );

    let message = refused(folder.path());
    assert!(message.contains("cannot read it") && message.contains("name a file"), "{message}");

    let message = refused(&write("binary.toml", b"[fleet]\n# Torre de la Atalaya, M\xe1laga\n"));
    assert!(message.starts_with(":2:25: the byte 0xe1 is not UTF-8\n"), "{message}");
    assert!(message.contains("save the file as UTF-8"), "{message}");

    let message = refused(&write("large.toml", " ".repeat(MAX_SIZE + 1).as_bytes()));
    assert!(message.starts_with(": larger than 1024 KiB"), "{message}");
    assert!(Boards::load(write("just.toml", " ".repeat(MAX_SIZE).as_bytes())).is_ok());
}
