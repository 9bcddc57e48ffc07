//! Arguments of actions: their types, and their values in a command line.

use std::collections::BTreeMap;

use atalaya_config::Boards;
use proptest::prelude::*;

use super::{BOARD, CALIBRATE, FIRST, action, tasks};

#[test]
fn mistakes_in_the_type_of_an_argument_are_refused() {
    let typed =
        |kind: &str| format!("[boards.pi.tasks.a]\nrun = [\"/bin/a\", \"{{x}}\"]\nargs = {{ x = {kind} }}\n");
    for (kind, problem, remedy) in [
        ("\"sensors\"", "unknown name `sensors`", "did you mean `sensor`?"),
        ("5", "invalid type: integer", "\"sensor\", \"name\", \"text\""),
        ("{}", "a type without a key", "\"sensor\", \"name\", \"text\""),
        ("{ numbre = [1, 2] }", "unknown key `numbre`", "did you mean `number`?"),
        ("{ number = [2, 1] }", "upside down", "[1, 2]"),
        ("{ number = [1] }", "1 in this list", "two numbers"),
        ("{ number = [1, nan] }", "invalid value", "a finite number"),
        ("{ integer = [2, 1] }", "descending order", "[1, 2]"),
        ("{ integer = [1, 2, 3] }", "3 in this list", "two whole numbers"),
        ("{ integer = [1, 2.5] }", "invalid type: floating point", "a whole number"),
        ("{ one_of = [] }", "0 choices", "different texts"),
        ("{ one_of = [\"a\", \"a\"] }", "2 choices", "different texts"),
        ("{ one_of = [\"a\\n\"] }", "is not a choice", "without control characters"),
        ("{ path = \"base\" }", "`base` is not the absolute path of a folder", "\"/var/lib/atalaya\""),
        ("{ path = \"/a/../b\" }", "not the absolute path", "without `..`"),
        ("{ path = \"/\" }", "not the absolute path", "\"/var/lib/atalaya\""),
        ("{ integer = [1, 2], number = [1, 2] }", "a type with two keys", "\"sensor\""),
    ] {
        let text = format!("{BOARD}{}", typed(kind));
        let Err(error) = Boards::parse(&text, "boards.toml") else { panic!("accepted: {kind}") };
        assert!(error.problem().contains(problem), "problem of {kind}: {error}");
        assert!(error.remedy().contains(remedy), "remedy of {kind}: {error}");
        assert_eq!(error.location().unwrap().line, FIRST + 2, "{kind}: {error}");
    }
}

fn args(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn arguments_become_elements_of_the_command_line() {
    let calibrate = tasks(CALIBRATE).actions["calibrate"].clone();
    let line = calibrate.command_line(&args(&[("sensor", "air"), ("reference", "21.5")]), &["air"]);
    assert_eq!(line.unwrap(), ["/usr/lib/atalaya/calibrate", "--sensor", "air", "--against=21.5"]);
}

#[test]
fn wrong_arguments_are_refused_with_the_accepted_ones() {
    let calibrate = tasks(CALIBRATE).actions["calibrate"].clone();
    for (pairs, problem) in [
        (&[("sensor", "air")][..], "argument `reference` is missing: a number from -40 to 125"),
        (&[("sensor", "water"), ("reference", "1")], "`water` is not the name of a sensor: `air`"),
        (&[("sensor", "air"), ("reference", "126")], "`126` is not a number from -40 to 125"),
        (
            &[("sensor", "air"), ("reference", "1"), ("force", "yes")],
            "unknown argument `force`: the arguments are `reference` and `sensor`",
        ),
    ] {
        let error = calibrate.command_line(&args(pairs), &["air"]).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
    let without = action("run = [\"/bin/true\"]");
    let error = without.command_line(&args(&[("x", "1")]), &[]).unwrap_err();
    assert_eq!(error, "unknown argument `x`: the action has no arguments");
}

#[test]
fn text_that_is_a_whole_element_cannot_become_an_option() {
    let whole = action("run = [\"/bin/echo\", \"{x}\"]\nargs = { x = \"text\" }");
    let error = whole.command_line(&args(&[("x", "--help")]), &[]).unwrap_err();
    assert_eq!(error, "argument `x`: the text must not start with `-`");
    let part = action("run = [\"/bin/echo\", \"--text={x}\"]\nargs = { x = \"text\" }");
    assert_eq!(part.command_line(&args(&[("x", "-1")]), &[]).unwrap()[1], "--text=-1");
}

#[test]
fn doubled_braces_are_braces() {
    let action = action("run = [\"/usr/bin/awk\", \"{{print {x}}}}}\"]\nargs = { x = \"name\" }");
    assert_eq!(action.command_line(&args(&[("x", "y")]), &[]).unwrap()[1], "{print y}}");
}

proptest! {
    #[test]
    fn text_argument_never_adds_an_element(
        text in prop_oneof![any::<String>(), "[ \\t\\n'\";|&$`(){}<>*?\\\\/.-]{0,20}", "(\\.\\./){1,5}etc/passwd"],
    ) {
        let action = action(
            "run = [\"/bin/echo\", \"--a={x}\", \"{{}}\", \"{x}{x}\"]\nargs = { x = \"text\" }",
        );
        match action.command_line(&args(&[("x", &text)]), &[]) {
            Ok(line) => {
                let expected = ["/bin/echo".to_owned(), format!("--a={text}"), "{}".to_owned(), text.repeat(2)];
                prop_assert_eq!(line, expected);
                prop_assert!(!text.contains(char::is_control));
            }
            Err(_) => prop_assert!(text.len() > 1024 || text.contains(char::is_control)),
        }
    }

    #[test]
    fn path_argument_never_leaves_its_folder(
        text in prop_oneof![any::<String>(), "[./a\\n ]{0,12}", "(\\.\\./){1,5}etc/passwd"],
    ) {
        let action = action("run = [\"/bin/cat\", \"{x}\"]\nargs = { x = { path = \"/srv/data/\" } }");
        if let Ok(line) = action.command_line(&args(&[("x", &text)]), &[]) {
            prop_assert_eq!(&line[1], &format!("/srv/data/{text}"));
            let plain = std::path::Path::new(&line[1])
                .components()
                .skip(1)
                .all(|part| matches!(part, std::path::Component::Normal(_)));
            prop_assert!(plain && !text.starts_with('/') && !text.contains('\0'));
        }
    }
}
