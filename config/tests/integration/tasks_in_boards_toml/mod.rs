//! The table `tasks` of a board: actions, their arguments, and mistakes in them.

mod arguments;

use std::time::Duration;

use atalaya_config::{ArgType, BUILT_IN_ACTIONS, Boards, Promise, TaskAction, Tasks};
use proptest::prelude::*;

use crate::marked::assert_refused;

const BOARD: &str = "\
[boards.pi]
backend = \"sim\"
[[boards.pi.sensors]]
name = \"air\"
chip = \"lm75\"
bus = \"i2c-1\"
address = 0x48
";
/// Number of the first line after [`BOARD`].
const FIRST: usize = 8;

const CALIBRATE: &str = "\
[boards.pi.tasks]
[boards.pi.tasks.calibrate]
run = [\"/usr/lib/atalaya/calibrate\", \"--sensor\", \"{sensor}\", \"--against={reference}\"]
args = { sensor = \"sensor\", reference = { number = [-40, 125] } }
needs = [\"i2c-1\"]
run_for = \"2m\"
env = { LANG = \"C\" }
promise = \"at-most-once\"
";

fn tasks(text: &str) -> Tasks {
    let boards = Boards::parse(&format!("{BOARD}{text}"), "boards.toml").unwrap();
    boards.boards["pi"].tasks.clone().unwrap()
}

/// Returns the table of an action with these lines.
fn action_table(lines: &str) -> String {
    format!("[boards.pi.tasks.a]\n{lines}\n")
}

/// Returns the action defined by these lines.
fn action(lines: &str) -> TaskAction {
    tasks(&action_table(lines)).actions["a"].clone()
}

#[test]
fn board_without_the_table_has_no_tasks() {
    let boards = Boards::parse(BOARD, "boards.toml").unwrap();
    assert_eq!(boards.boards["pi"].tasks, None);
    assert_eq!(Boards::builtin().boards["default"].tasks, None);
}

#[test]
fn empty_table_has_the_defaults() {
    assert_eq!(tasks("[boards.pi.tasks]\n"), Tasks::default());
    let all = tasks("[boards.pi.tasks]\nallow_unauthenticated = true\nslots = 16\ninstall_boards = true\n");
    assert_eq!(
        all,
        Tasks { allow_unauthenticated: true, slots: 16, install_boards: true, ..Tasks::default() }
    );
}

#[test]
fn labels_are_short_names() {
    let labels = tasks("[boards.pi.tasks]\nlabels = { room = \"lab-2\", floor = \"1\" }\n").labels;
    assert_eq!(labels, [("floor", "1"), ("room", "lab-2")].map(|(n, v)| (n.to_owned(), v.to_owned())).into());
}

#[test]
fn action_has_the_keys_of_its_table() {
    let actions = tasks(CALIBRATE).actions;
    let action = &actions["calibrate"];
    assert_eq!(action.run[2], "{sensor}");
    assert_eq!(action.args["sensor"], ArgType::Sensor);
    assert_eq!(action.args["reference"], ArgType::Number([-40.0, 125.0]));
    assert_eq!(action.needs, ["i2c-1"]);
    assert_eq!(action.run_for, Duration::from_secs(120));
    assert_eq!(action.env["LANG"], "C");
    assert_eq!(action.promise, Promise::AtMostOnce);
}

#[test]
fn action_with_only_a_command_has_the_defaults() {
    let action = action("run = [\"/bin/true\"]");
    assert_eq!(action.run, ["/bin/true"]);
    assert_eq!((action.run_for, action.promise), (Duration::from_secs(600), Promise::AtLeastOnce));
    assert!(action.args.is_empty() && action.needs.is_empty() && action.env.is_empty());
}

#[test]
fn example_in_the_shipped_file_is_valid() {
    let example = include_str!("../../../../boards.toml");
    let (start, _) = example.split_once("# [boards.laptop.tasks]").unwrap();
    let commented = example[start.len()..].split("\n\n").next().unwrap();
    let lines = commented.lines().map(|line| line.strip_prefix('#').unwrap().trim_start());
    let text = format!("{start}{}\n", lines.collect::<Vec<_>>().join("\n"));
    let boards = Boards::parse(&text.replace("{ one_of", "# { one_of"), "boards.toml").unwrap();
    let tasks = boards.boards["laptop"].tasks.clone().unwrap();
    assert!(tasks.install_boards && tasks.allow_unauthenticated);
    assert_eq!(tasks.actions["calibrate"].needs, ["i2c-1"]);
}

/// Lines after [`BOARD`] with a mistake between marks, the problem and the remedy.
struct Bad(String, &'static str, &'static str);

#[track_caller]
fn check(bad: impl IntoIterator<Item = Bad>) {
    for Bad(lines, problem, remedy) in bad {
        assert_refused(&format!("{BOARD}{lines}"), problem, remedy);
    }
}

#[test]
fn mistakes_in_the_table_are_refused() {
    let in_table = |line: &str| format!("[boards.pi.tasks]\n{line}\n");
    check([
        Bad(in_table("slots = «0»"), "0 tasks at a time", "write 1 to 16"),
        Bad(in_table("slots = «17»"), "17 tasks at a time", "write 1 to 16"),
        Bad(in_table(r#"slots = «"2"»"#), "invalid type: string", "a whole number"),
        Bad(in_table("slot = «2»"), "invalid type: integer", "a table"),
        Bad(in_table("allow_unauthenticated = «1»"), "invalid type: integer", "a boolean"),
        Bad(in_table(r#"install_boards = «"yes"»"#), "invalid type: string", "a boolean"),
        Bad(
            in_table(r#"«"a b"» = { run = ["/bin/true"] }"#),
            "`a b` is not a name for an action",
            "lower-case",
        ),
        Bad(in_table(r#"«Calibrate» = { run = ["/bin/true"] }"#), "`Calibrate` is not a name", "lower-case"),
    ]);
    for name in BUILT_IN_ACTIONS {
        let line = format!("«\"{name}\"» = {{ run = [\"/bin/true\"] }}");
        check([Bad(in_table(&line), "is a built-in action", "another name")]);
    }
    let long = "a".repeat(65);
    let line = format!("«{long}» = {{ run = [\"/bin/true\"] }}");
    check([Bad(in_table(&line), "is not a name for an action", "1 to 64")]);
}

#[test]
fn tasks_that_are_not_a_table_are_refused() {
    let text = BOARD.replacen("backend", "tasks = 5\nbackend", 1);
    let error = Boards::parse(&text, "boards.toml").unwrap_err().to_string();
    assert!(error.starts_with("boards.toml:2:9: invalid type: integer `5`"), "{error}");
    assert!(error.contains("expected a table"), "{error}");
}

#[test]
fn mistakes_in_the_command_of_an_action_are_refused() {
    let run = |run: &str| action_table(&format!("run = {run}"));
    check([
        Bad("«[boards.pi.tasks.a]»\nneeds = []\n".to_owned(), "`run` is missing", "add `run"),
        Bad(run(r#"«"/bin/true"»"#), "invalid type: string", "a list"),
        Bad(run("«[]»"), "no command", "the absolute path of a program"),
        Bad(run(r#"[«"true"»]"#), "`true` is not an absolute path", "/usr/bin/logger"),
        Bad(run(r#"[«"/bin/"»]"#), "not an absolute path", "/usr/bin/logger"),
        Bad(run(r#"[«""»]"#), "not an absolute path", "/usr/bin/logger"),
        Bad(
            run("[«\"/bin/{x}\"»]\nargs = { x = \"name\" }"),
            "the program contains a placeholder",
            "absolute path",
        ),
        Bad(run(r#"["/bin/a", «"{x}"»]"#), "`x` is not an argument", "declare it"),
        Bad(
            run("[\"/bin/a\", «\"{sensr}\"»]\nargs = { sensor = \"sensor\" }"),
            "`sensr` is not an argument",
            "did you mean `sensor`?",
        ),
        Bad(run(r#"["/bin/a", «"{x"»]"#), "a `{` without `}`", "`{{`"),
        Bad(run(r#"["/bin/a", «"x}"»]"#), "a `}` without `{`", "`}}`"),
        Bad(run(r#"["/bin/a", «"{a{b}"»]"#), "a `{` without `}`", "`{{`"),
        Bad(run(r#"["/bin/a", «"a\u0000b"»]"#), "NUL", "remove it"),
    ]);
    let many = vec!["\"x\""; 101].join(", ");
    let text = format!("{BOARD}[boards.pi.tasks.a]\nrun = [\"/bin/a\", {many}]\n");
    let error = Boards::parse(&text, "boards.toml").unwrap_err();
    assert!(error.problem().contains("102 elements"), "{error}");
}

#[test]
fn mistakes_in_the_other_keys_of_an_action_are_refused() {
    let with = |lines: &str| action_table(&format!("run = [\"/bin/a\"]\n{lines}"));
    check([
        Bad(with(r#"«runfor» = "1m""#), "unknown key", "did you mean `run_for`"),
        Bad(with(r#"args = { «x» = "name" }"#), "the argument `x` is not used", "write `{x}` in `run`"),
        Bad(with(r#"args = { «"X y"» = "name" }"#), "not a name for an argument", "lower-case"),
        Bad(with(r#"needs = [«"i2c-2"»]"#), "`i2c-2` is not a bus of this board", "its buses are `i2c-1`"),
        Bad(with(r#"needs = ["i2c-1", «"i2c-1"»]"#), "occurs twice", "remove one"),
        Bad(with(r#"run_for = «"500ms"»"#), "a time limit of 500ms", "\"1s\" to \"24h\""),
        Bad(with(r#"run_for = «"25h"»"#), "a time limit", "\"1s\" to \"24h\""),
        Bad(with(r#"run_for = «"x"»"#), "not a duration", "such as"),
        Bad(with(r#"env = { «"A=B"» = "c" }"#), "not a name for a variable", "letters, digits"),
        Bad(with(r#"env = { «ATALAYA_FENCE» = "1" }"#), "sets the variables ATALAYA_*", "another name"),
        Bad(with("env = { A = «1» }"), "invalid type: integer", "a string"),
        Bad(with(r#"promise = «"at-least-onec"»"#), "unknown name", "did you mean `at-least-once`?"),
    ]);
}

proptest! {
    #[test]
    fn any_table_is_read_or_refused(text in ".{0,80}", key in "[a-z_]{1,12}") {
        let _ = Boards::parse(&format!("{BOARD}[boards.pi.tasks.a]\nrun = [\"/a\"]\n{key} = {text}\n"), "b");
        let _ = Boards::parse(&format!("{BOARD}[boards.pi.tasks]\n{key} = {text}\n"), "b");
    }
}
