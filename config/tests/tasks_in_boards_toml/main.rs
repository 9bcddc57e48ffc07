//! The table `tasks` of a board: actions, their arguments, and mistakes in them.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod arguments;

use std::time::Duration;

use atalaya_config::{ArgType, BUILT_IN_ACTIONS, Boards, Promise, TaskAction, Tasks};
use proptest::prelude::*;

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
    let example = include_str!("../../../boards.toml");
    let (start, _) = example.split_once("# [boards.laptop.tasks]").unwrap();
    let commented = example[start.len()..].split("\n\n").next().unwrap();
    let lines = commented.lines().map(|line| line.strip_prefix('#').unwrap().trim_start());
    let text = format!("{start}{}\n", lines.collect::<Vec<_>>().join("\n"));
    let boards = Boards::parse(&text.replace("{ one_of", "# { one_of"), "boards.toml").unwrap();
    let tasks = boards.boards["laptop"].tasks.clone().unwrap();
    assert!(tasks.install_boards && tasks.allow_unauthenticated);
    assert_eq!(tasks.actions["calibrate"].needs, ["i2c-1"]);
}

/// Mistake in the lines after [`BOARD`]: line and column, the text at that place, the problem and the remedy.
struct Bad<'a>(String, usize, usize, &'a str, &'a str, &'a str);

#[track_caller]
fn check(Bad(lines, line, column, offending, problem, remedy): Bad<'_>) {
    let text = format!("{BOARD}{lines}");
    let Err(error) = Boards::parse(&text, "boards.toml") else { panic!("accepted:\n{text}") };
    let message = error.to_string();
    let context = format!("{message}\nfor\n{text}");
    let at = error.location().unwrap();
    assert_eq!((at.line, at.column), (FIRST + line, column), "place of {context}");
    assert!(error.problem().contains(problem), "problem of {context}");
    assert!(error.remedy().contains(remedy), "remedy of {context}");
    let shown: Vec<&str> = message.lines().collect();
    let marked: String = shown[2]
        .chars()
        .zip(shown[3].chars())
        .filter(|(_, below)| *below == '^')
        .map(|(above, _)| above)
        .collect();
    assert_eq!(marked, offending, "carets of {context}");
}

#[test]
fn mistakes_in_the_table_are_refused() {
    let in_table = |line: &str| format!("[boards.pi.tasks]\n{line}\n");
    for bad in [
        Bad(in_table("slots = 0"), 1, 9, "0", "0 tasks at a time", "write 1 to 16"),
        Bad(in_table("slots = 17"), 1, 9, "17", "17 tasks at a time", "write 1 to 16"),
        Bad(in_table("slots = \"2\""), 1, 9, "\"2\"", "invalid type: string", "a whole number"),
        Bad(in_table("slot = 2"), 1, 8, "2", "invalid type: integer", "a table"),
        Bad(in_table("allow_unauthenticated = 1"), 1, 25, "1", "invalid type: integer", "a boolean"),
        Bad(in_table("install_boards = \"yes\""), 1, 18, "\"yes\"", "invalid type: string", "a boolean"),
        Bad(
            in_table("\"a b\" = { run = [\"/bin/true\"] }"),
            1,
            1,
            "\"a b\"",
            "`a b` is not a name for an action",
            "lower-case",
        ),
        Bad(
            in_table("Calibrate = { run = [\"/bin/true\"] }"),
            1,
            1,
            "Calibrate",
            "`Calibrate` is not a name",
            "lower-case",
        ),
    ] {
        check(bad);
    }
    for name in BUILT_IN_ACTIONS {
        let line = format!("\"{name}\" = {{ run = [\"/bin/true\"] }}");
        let offending = format!("\"{name}\"");
        check(Bad(in_table(&line), 1, 1, &offending, "is a built-in action", "another name"));
    }
    let long = "a".repeat(65);
    let line = format!("{long} = {{ run = [\"/bin/true\"] }}");
    check(Bad(in_table(&line), 1, 1, &long, "is not a name for an action", "1 to 64"));
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
    for bad in [
        Bad(action_table("needs = []"), 0, 1, "[boards.pi.tasks.a]", "`run` is missing", "add `run"),
        Bad(run("\"/bin/true\""), 1, 7, "\"/bin/true\"", "invalid type: string", "a list"),
        Bad(run("[]"), 1, 7, "[]", "no command", "the absolute path of a program"),
        Bad(run("[\"true\"]"), 1, 8, "\"true\"", "`true` is not an absolute path", "/usr/bin/logger"),
        Bad(run("[\"/bin/\"]"), 1, 8, "\"/bin/\"", "not an absolute path", "/usr/bin/logger"),
        Bad(run("[\"\"]"), 1, 8, "\"\"", "not an absolute path", "/usr/bin/logger"),
        Bad(
            run("[\"/bin/{x}\"]\nargs = { x = \"name\" }"),
            1,
            8,
            "\"/bin/{x}\"",
            "the program contains a placeholder",
            "absolute path",
        ),
        Bad(run("[\"/bin/a\", \"{x}\"]"), 1, 18, "\"{x}\"", "`x` is not an argument", "declare it"),
        Bad(
            run("[\"/bin/a\", \"{sensr}\"]\nargs = { sensor = \"sensor\" }"),
            1,
            18,
            "\"{sensr}\"",
            "`sensr` is not an argument",
            "did you mean `sensor`?",
        ),
        Bad(run("[\"/bin/a\", \"{x\"]"), 1, 18, "\"{x\"", "a `{` without `}`", "`{{`"),
        Bad(run("[\"/bin/a\", \"x}\"]"), 1, 18, "\"x}\"", "a `}` without `{`", "`}}`"),
        Bad(run("[\"/bin/a\", \"{a{b}\"]"), 1, 18, "\"{a{b}\"", "a `{` without `}`", "`{{`"),
        Bad(run("[\"/bin/a\", \"a\\u0000b\"]"), 1, 18, "\"a\\u0000b\"", "NUL", "remove it"),
    ] {
        check(bad);
    }
    let many = vec!["\"x\""; 101].join(", ");
    let text = format!("{BOARD}[boards.pi.tasks.a]\nrun = [\"/bin/a\", {many}]\n");
    let error = Boards::parse(&text, "boards.toml").unwrap_err();
    assert!(error.problem().contains("102 elements"), "{error}");
}

#[test]
fn mistakes_in_the_other_keys_of_an_action_are_refused() {
    let with = |lines: &str| action_table(&format!("run = [\"/bin/a\"]\n{lines}"));
    for bad in [
        Bad(with("runfor = \"1m\""), 2, 1, "runfor", "unknown key", "did you mean `run_for`"),
        Bad(
            with("args = { x = \"name\" }"),
            2,
            10,
            "x",
            "the argument `x` is not used",
            "write `{x}` in `run`",
        ),
        Bad(
            with("args = { \"X y\" = \"name\" }"),
            2,
            10,
            "\"X y\"",
            "not a name for an argument",
            "lower-case",
        ),
        Bad(
            with("needs = [\"i2c-2\"]"),
            2,
            10,
            "\"i2c-2\"",
            "`i2c-2` is not a bus of this board",
            "its buses are `i2c-1`",
        ),
        Bad(with("needs = [\"i2c-1\", \"i2c-1\"]"), 2, 19, "\"i2c-1\"", "occurs twice", "remove one"),
        Bad(with("run_for = \"500ms\""), 2, 11, "\"500ms\"", "a time limit of 500ms", "\"1s\" to \"24h\""),
        Bad(with("run_for = \"25h\""), 2, 11, "\"25h\"", "a time limit", "\"1s\" to \"24h\""),
        Bad(with("run_for = \"x\""), 2, 11, "\"x\"", "not a duration", "such as"),
        Bad(
            with("env = { \"A=B\" = \"c\" }"),
            2,
            9,
            "\"A=B\"",
            "not a name for a variable",
            "letters, digits",
        ),
        Bad(
            with("env = { ATALAYA_FENCE = \"1\" }"),
            2,
            9,
            "ATALAYA_FENCE",
            "sets the variables ATALAYA_*",
            "another name",
        ),
        Bad(with("env = { A = 1 }"), 2, 13, "1", "invalid type: integer", "a string"),
        Bad(
            with("promise = \"at-least-onec\""),
            2,
            11,
            "\"at-least-onec\"",
            "unknown name",
            "did you mean `at-least-once`?",
        ),
    ] {
        check(bad);
    }
}

proptest! {
    #[test]
    fn any_table_is_read_or_refused(text in ".{0,80}", key in "[a-z_]{1,12}") {
        let _ = Boards::parse(&format!("{BOARD}[boards.pi.tasks.a]\nrun = [\"/a\"]\n{key} = {text}\n"), "b");
        let _ = Boards::parse(&format!("{BOARD}[boards.pi.tasks]\n{key} = {text}\n"), "b");
    }
}
