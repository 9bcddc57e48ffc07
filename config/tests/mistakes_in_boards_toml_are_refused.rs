//! Checks that every mistake in boards.toml is refused at its location, with the offending text and the remedy.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use atalaya_config::Boards;
use proptest::prelude::*;

const RANDOM: &str = "\
[boards.b]
backend = \"sim\"
[[boards.b.sensors]]
name = \"s\"
chip = \"random\"
";

const LM75: &str = "\
[boards.b]
backend = \"sim\"
[[boards.b.sensors]]
name = \"s\"
chip = \"lm75\"
bus = \"i2c-1\"
address = 0x48
";

/// Invalid file: text, line, column, offending text, problem and remedy.
struct Bad(String, usize, usize, &'static str, &'static str, &'static str);

fn check(Bad(text, line, column, offending, problem, remedy): Bad) {
    let Err(error) = Boards::parse(&text, "etc/boards.toml") else { panic!("accepted:\n{text}") };
    let message = error.to_string();
    let lines: Vec<&str> = message.lines().collect();
    let context = format!("{message}\nfor\n{text}");

    assert!(lines[0].starts_with(&format!("etc/boards.toml:{line}:{column}: ")), "place of {context}");
    assert!(lines[0].contains(problem), "problem of {context}");
    assert_eq!(
        lines[2],
        format!("{line} | {}", text.lines().nth(line - 1).unwrap().trim_end()),
        "text of {context}"
    );
    // The carets are below the offending text.
    let carets: String = lines[2]
        .chars()
        .zip(lines[3].chars())
        .filter(|(_, below)| *below == '^')
        .map(|(above, _)| above)
        .collect();
    assert_eq!(carets, offending, "carets of {context}");
    assert!(lines[4].contains("= help: ") && lines[4].contains(remedy), "remedy of {context}");

    let at = error.location().unwrap();
    assert_eq!((at.line, at.column), (line, column));
}

fn fleet(
    line: &str,
    column: usize,
    offending: &'static str,
    problem: &'static str,
    remedy: &'static str,
) -> Bad {
    Bad(format!("[fleet]\n{line}\n"), 2, column, offending, problem, remedy)
}

/// Returns a file with one more line in the sensor `random`.
fn random(
    line: &str,
    column: usize,
    offending: &'static str,
    problem: &'static str,
    remedy: &'static str,
) -> Bad {
    Bad(format!("{RANDOM}{line}\n"), 6, column, offending, problem, remedy)
}

#[test]
fn in_toml_itself() {
    for bad in [
        Bad("[fleet\n".into(), 1, 7, "", "unclosed table", "expected `]`"),
        fleet("zookeeper = \"a", 15, "", "invalid basic string", "expected `\"`"),
        fleet("zookeeper = a", 13, "a", "must be quoted", "put \"quotes\" around it"),
        fleet("name = \"{id}\"\nname = \"x\"", 1, "name", "duplicate key", "keep one of the two").in_line(3),
        Bad("[fleet]\n[fleet]\n".into(), 2, 2, "fleet", "duplicate key", "keep one of the two"),
        random("filters = [{ offset = 1 }", 26, "", "unclosed array", "expected `]`"),
    ] {
        check(bad);
    }
}

#[test]
fn in_the_fleet() {
    for bad in [
        Bad("[flet]\n".into(), 1, 2, "flet", "unknown key `flet`", "did you mean `fleet`?"),
        Bad("fleet = 5\n".into(), 1, 9, "5", "invalid type: integer `5`", "expected a table"),
        fleet("sampling_perod = 5", 1, "sampling_perod", "unknown key", "did you mean `sampling_period`?"),
        fleet(
            "xyzzy = 5",
            1,
            "xyzzy",
            "unknown key `xyzzy`",
            "The keys here are `zookeeper`, `zookeeper_ca`",
        ),
        fleet("zookeeper = 5", 13, "5", "invalid type: integer", "expected a string"),
        fleet("zookeeper = \"\"", 13, "\"\"", "no hosts", "127.0.0.1:2181"),
        fleet("sampling_period = \"soon\"", 19, "\"soon\"", "`soon` is not a duration", "such as \"5s\""),
        fleet("sampling_period = 0", 19, "0", "not positive", "such as \"5s\""),
        fleet("sampling_period = nan", 19, "nan", "NaN", "a number of seconds"),
        fleet("sampling_period = true", 19, "true", "invalid type: boolean", "a number of seconds"),
        fleet("sampling_period = \"99ms\"", 19, "\"99ms\"", "too short", "from \"100ms\" to \"31d\""),
        fleet("session_timeout = \"32d\"", 19, "\"32d\"", "too long", "from \"100ms\" to \"31d\""),
        fleet("aggregate = \"mode\"", 13, "\"mode\"", "unknown value", "{ trimmed = 0.1 }"),
        fleet("aggregate = { trimmed = 0.5 }", 13, "{ trimmed = 0.5 }", "0.5 is not a share", "below 0.5"),
        fleet("quorum = 0", 10, "0", "0 is not a quorum", "1 to 1000000 nodes"),
        fleet("quorum = \"101%\"", 10, "\"101%\"", "not a percentage", "such as 60%"),
        fleet("quorum = 1.5", 10, "1.5", "invalid type: floating point", "such as \"60%\""),
        fleet("quantiles = [0.1, 9]", 13, "[0.1, 9]", "9.0 is not a probability", "from 0 to 1"),
        fleet("outliers = \"exlude\"", 12, "\"exlude\"", "unknown name `exlude`", "did you mean `exclude`?"),
        fleet("sync = \"fre\"", 8, "\"fre\"", "unknown name `fre`", "did you mean `free`?"),
        fleet("api_token_file = \" \"", 18, "\" \"", "` ` is not a path", "\"/etc/atalaya/api-token\""),
        fleet(
            "api_token_origin = \"localhost\"",
            20,
            "\"localhost\"",
            "not a URL of HTTP",
            "http://127.0.0.1:8000/nuevo",
        ),
        fleet("api_origins = \"http://h\"", 15, "\"http://h\"", "invalid type: string", "expected a list"),
        fleet("api_method = \"put\"", 14, "\"put\"", "unknown name `put`", "`get`"),
        fleet("fleet_name = \"my home\"", 14, "\"my home\"", "not the name of a fleet", "1 to 64 letters"),
        fleet(
            "api_url = \"localhost\"",
            11,
            "\"localhost\"",
            "not a URL of HTTP",
            "http://127.0.0.1:8000/nuevo",
        ),
        fleet("measurements = \"m\"", 16, "\"m\"", "not a path of ZooKeeper", "absolute path"),
        fleet("election = \"/a//b\"", 12, "\"/a//b\"", "not a path of ZooKeeper", "absolute path"),
        fleet("name = \"node\"", 8, "\"node\"", "same for every node", "`{id}` exactly once"),
        fleet("name = \"{id}{id}\"", 8, "\"{id}{id}\"", "more than once", "`{id}` exactly once"),
        fleet("name = \"a/{id}\"", 8, "\"a/{id}\"", "contains a `/`", "no `/`"),
    ] {
        check(bad);
    }
}

#[test]
fn in_a_board() {
    for bad in [
        Bad("[board.b]\n".into(), 1, 2, "board", "unknown key `board`", "did you mean `boards`?"),
        Bad("[boards.b]\n".into(), 1, 1, "[boards.b]", "`backend` is missing", "add `backend = ...`"),
        Bad("[boards.b]\nbackend = \"sin\"\n".into(), 2, 11, "\"sin\"", "`sin`", "did you mean `sim`?"),
        Bad("[boards.b]\nbackend = 1\n".into(), 2, 11, "1", "wrong type", "a name in quotes"),
        Bad("[boards.b]\nbackend = \"sim\"\n".into(), 1, 9, "b", "no sensors", "[[boards.b.sensors]]"),
        Bad(
            "[boards.b]\nbackend = \"sim\"\nsensors = []\n".into(),
            3,
            11,
            "[]",
            "no sensors",
            "[[boards.b.sensors]]",
        ),
        Bad(
            "[boards.\"á b\"]\nbackend = \"sim\"\n".into(),
            1,
            9,
            "\"á b\"",
            "not a name for a board",
            "letters, digits",
        ),
        Bad(
            RANDOM.replace("[[boards.b.sensors]]", "[boards.b.sensors]"),
            3,
            1,
            "[boards.b.sensors]",
            "invalid type: map",
            "[[double brackets]]",
        ),
        Bad(
            RANDOM.replace("\"sim\"", "\"linux\""),
            5,
            8,
            "\"random\"",
            "`random` is not a chip",
            "backend = \"sim\"",
        ),
    ] {
        check(bad);
    }
}

#[test]
fn in_a_sensor() {
    let second = |rest: &str| format!("{LM75}[[boards.b.sensors]]\n{rest}");
    let address = |text: &str| LM75.replace("0x48", text);
    for bad in [
        random("adress = 0x48", 1, "adress", "unknown key `adress`", "did you mean `address`?"),
        Bad(
            RANDOM.replace("random", "lm57"),
            5,
            8,
            "\"lm57\"",
            "unknown name `lm57`",
            "did you mean `lm75`?",
        ),
        Bad(
            RANDOM.replace("name = \"s\"\n", ""),
            3,
            1,
            "[[boards.b.sensors]]",
            "`name` is missing",
            "add `name",
        ),
        Bad(
            RANDOM.replace("\"s\"", "\"a b\""),
            4,
            8,
            "\"a b\"",
            "not a name for a sensor",
            "letters, digits",
        ),
        Bad(LM75.replace("bus = \"i2c-1\"\n", ""), 5, 8, "\"lm75\"", "`bus` is missing", "bus = \"i2c-1\""),
        Bad(LM75.replace("address = 0x48\n", ""), 5, 8, "\"lm75\"", "`address` is missing", "address = 0x48"),
        Bad(LM75.replace("i2c-1", "/dev/i2c-1"), 6, 7, "\"/dev/i2c-1\"", "not an I²C bus", "without /dev/"),
        Bad(LM75.replace("i2c-1", "i2c-x"), 6, 7, "\"i2c-x\"", "not an I²C bus", "\"i2c-1\""),
        Bad(address("0x80"), 7, 11, "0x80", "0x80 is not an I²C address", "0x03 to 0x77"),
        Bad(address("0x02"), 7, 11, "0x02", "0x02 is not an I²C address", "0x03 to 0x77"),
        Bad(address("-1"), 7, 11, "-1", "-1 is not an I²C address", "0x03 to 0x77"),
        Bad(address("0x50"), 7, 11, "0x50", "cannot have the address 0x50", "0x48, 0x49"),
        Bad(address("\"0x48\""), 7, 11, "\"0x48\"", "invalid type: string", "a whole number"),
        random("bus = \"i2c-1\"", 7, "\"i2c-1\"", "sits on no bus", "remove `bus`"),
        random("address = 0x48", 11, "0x48", "sits on no bus", "remove `address`"),
        Bad(
            second("name = \"s\"\nchip = \"random\"\n"),
            9,
            8,
            "\"s\"",
            "a second sensor called `s`",
            "a name of its own",
        ),
        Bad(
            second("name = \"t\"\nchip = \"lm75a\"\nbus = \"i2c-1\"\naddress = 72\n"),
            12,
            11,
            "72",
            "0x48 on i2c-1 is taken by the sensor `s` in line 4",
            "different addresses",
        ),
    ] {
        check(bad);
    }
}

#[test]
fn in_filters() {
    let filter = |text: &str| format!("filters = [{text}]");
    for bad in [
        random(&filter("{ ofset = 1 }"), 14, "ofset", "unknown name `ofset`", "did you mean `offset`?"),
        random(&filter("{ offset = \"1\" }"), 23, "\"1\"", "invalid type: string", "a finite number"),
        random(&filter("{ offset = inf }"), 23, "inf", "`inf`", "a finite number"),
        random(&filter("{ scale = 0 }"), 12, "{ scale = 0 }", "a scale of 0", "another number"),
        random(&filter("{ median = 0 }"), 12, "{ median = 0 }", "a window of 0", "from 1 to 1000"),
        random(&filter("{ mean = 1001 }"), 12, "{ mean = 1001 }", "a window of 1001", "from 1 to 1000"),
        random(&filter("{ mean = 2.5 }"), 21, "2.5", "invalid type", "a whole number"),
        random(&filter("{ clamp = [5, 1] }"), 12, "{ clamp = [5, 1] }", "upside down", "[1, 5]"),
        random(
            &filter("{ range = [1, 2, 3] }"),
            12,
            "{ range = [1, 2, 3] }",
            "3 in this list",
            "two numbers",
        ),
        random(&filter("{ exponential = 1.5 }"), 12, "{ exponential = 1.5 }", "a weight of 1.5", "up to 1"),
        random(&filter("{ delta = -1 }"), 12, "{ delta = -1 }", "negative", "0 or more"),
        random(&filter("{ round = 13 }"), 12, "{ round = 13 }", "13 decimals", "from 0 to 12"),
        random(
            &filter("{ linear = [[1, 2], [1, 3]] }"),
            12,
            "{ linear = [[1, 2], [1, 3]] }",
            "both points measure 1",
            "[[measured, actual], [measured, actual]]",
        ),
        random(
            &filter("{ offset = 1, scale = 2 }"),
            12,
            "{ offset = 1, scale = 2 }",
            "exactly one key",
            "one key each",
        ),
        random(&filter("\"round\""), 12, "\"round\"", "needs a value", "one key each"),
        random("filters = { offset = 1 }", 11, "{ offset = 1 }", "invalid type: map", "a list"),
    ] {
        check(bad);
    }
}

#[test]
fn in_waveforms() {
    let sim = |text: &str| format!("sim = {{ count = {text} }}");
    for bad in [
        random(
            "sim = { cuont = { constant = 1 } }",
            9,
            "cuont",
            "unknown name `cuont`",
            "did you mean `count`?",
        ),
        Bad(
            format!("{LM75}sim = {{ humidity = {{ constant = 1 }} }}\n"),
            8,
            9,
            "humidity",
            "`lm75` does not measure humidity",
            "it measures `temperature`",
        ),
        random(&sim("5"), 17, "5", "invalid type: integer", "a table"),
        random(&sim("{ }"), 17, "{ }", "one shape", "exactly one of `uniform`"),
        random(
            &sim("{ constant = 1, uniform = [1, 2] }"),
            17,
            "{ constant = 1, uniform = [1, 2] }",
            "one shape",
            "`sine`",
        ),
        random(&sim("{ constnt = 1 }"), 19, "constnt", "unknown key `constnt`", "did you mean `constant`?"),
        random(&sim("{ constant = nan }"), 30, "nan", "`NaN`", "a finite number"),
        random(&sim("{ constant = 1e300 }"), 30, "1e300", "invalid value", "a finite number"),
        random(&sim("{ uniform = [85, 75] }"), 29, "[85, 75]", "upside down", "[75, 85]"),
        random(&sim("{ uniform = [85] }"), 29, "[85]", "1 in this list", "two numbers"),
        random(
            &sim("{ uniform = [0.2, 0.8], step = 1 }"),
            17,
            "{ uniform = [0.2, 0.8], step = 1 }",
            "no multiple of the step 1",
            "a smaller `step`",
        ),
        random(&sim("{ constant = 1, step = 0 }"), 40, "0", "not positive", "above 0"),
        random(&sim("{ constant = 1, seed = -1 }"), 40, "-1", "negative", "a whole number"),
        random(&sim("{ normal = { mean = 5 } }"), 28, "{ mean = 5 }", "`stddev` is missing", "add `stddev"),
        random(&sim("{ normal = [5, 1] }"), 28, "[5, 1]", "invalid type: sequence", "a table"),
        random(&sim("{ normal = { mean = 5, stddev = -1 } }"), 49, "-1", "negative", "0 or more"),
        random(
            &sim("{ walk = { start = 5, step = 1, min = 6, max = 7 } }"),
            17,
            "{ walk = { start = 5, step = 1, min = 6, max = 7 } }",
            "outside 6..=7",
            "`min` <= `start` <= `max`",
        ),
        random(&sim("{ replay = \"\" }"), 17, "{ replay = \"\" }", "names no file", "a CSV file"),
        random(&sim("{ replay = \"a\", column = 0 }"), 42, "0", "invalid column", "counts from 1"),
        random(
            &sim("{ constant = 1, column = 1 }"),
            17,
            "{ constant = 1, column = 1 }",
            "without `replay`",
            "CSV",
        ),
    ] {
        check(bad);
    }
}

impl Bad {
    fn in_line(self, line: usize) -> Bad {
        Bad(self.0, line, self.2, self.3, self.4, self.5)
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(?s).{0,200}") {
        let _ = Boards::parse(&text, "b").map_err(|error| error.to_string());
    }

    /// Replaces one piece of the example: the result is valid enough to reach every check.
    #[test]
    fn no_edit_of_the_example_makes_the_reader_panic(
        at in any::<prop::sample::Index>(), length in 0_usize..20, with in "[ -~á\n]{0,12}",
    ) {
        let mut characters: Vec<char> = include_str!("../../boards.toml").chars().collect();
        let start = at.index(characters.len());
        let end = (start + length).min(characters.len());
        characters.splice(start..end, with.chars());
        let text: String = characters.into_iter().collect();
        let _ = Boards::parse(&text, "b").map_err(|error| error.to_string());
    }
}
