//! Checks that every mistake in boards.toml is refused at its location, with the offending text and the remedy.

use atalaya_config::Boards;
use proptest::prelude::*;

use crate::marked::assert_refused;

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

/// Invalid file, whose mistake is between marks, and the problem and the remedy.
struct Bad(String, &'static str, &'static str);

#[track_caller]
fn check(bad: impl IntoIterator<Item = Bad>) {
    for Bad(text, problem, remedy) in bad {
        assert_refused(&text, problem, remedy);
    }
}

fn fleet(line: &str, problem: &'static str, remedy: &'static str) -> Bad {
    Bad(format!("[fleet]\n{line}\n"), problem, remedy)
}

/// Returns a file with one more line in the sensor `random`.
fn random(line: &str, problem: &'static str, remedy: &'static str) -> Bad {
    Bad(format!("{RANDOM}{line}\n"), problem, remedy)
}

#[test]
fn in_toml_itself() {
    check([
        Bad("[fleet«»\n".into(), "unclosed table", "expected `]`"),
        fleet(r#"zookeeper = "a«»"#, "invalid basic string", "expected `\"`"),
        fleet("zookeeper = «a»", "must be quoted", "put \"quotes\" around it"),
        fleet("name = \"{id}\"\n«name» = \"x\"", "duplicate key", "keep one of the two"),
        Bad("[fleet]\n[«fleet»]\n".into(), "duplicate key", "keep one of the two"),
        random("filters = [{ offset = 1 }«»", "unclosed array", "expected `]`"),
    ]);
}

#[test]
fn in_the_fleet() {
    check([
        Bad("[«flet»]\n".into(), "unknown key `flet`", "did you mean `fleet`?"),
        Bad("fleet = «5»\n".into(), "invalid type: integer `5`", "expected a table"),
        fleet("«sampling_perod» = 5", "unknown key", "did you mean `sampling_period`?"),
        fleet("«xyzzy» = 5", "unknown key `xyzzy`", "The keys here are `zookeeper`, `zookeeper_ca`"),
        fleet("zookeeper = «5»", "invalid type: integer", "expected a string"),
        fleet(r#"zookeeper = «""»"#, "no hosts", "127.0.0.1:2181"),
        fleet(r#"sampling_period = «"soon"»"#, "`soon` is not a duration", "such as \"5s\""),
        fleet("sampling_period = «0»", "not positive", "such as \"5s\""),
        fleet("sampling_period = «nan»", "NaN", "a number of seconds"),
        fleet("sampling_period = «true»", "invalid type: boolean", "a number of seconds"),
        fleet(r#"sampling_period = «"99ms"»"#, "too short", "from \"100ms\" to \"31d\""),
        fleet(r#"session_timeout = «"32d"»"#, "too long", "from \"100ms\" to \"31d\""),
        fleet(r#"aggregate = «"mode"»"#, "unknown value", "{ trimmed = 0.1 }"),
        fleet("aggregate = «{ trimmed = 0.5 }»", "0.5 is not a share", "below 0.5"),
        fleet("quorum = «0»", "0 is not a quorum", "1 to 1000000 nodes"),
        fleet(r#"quorum = «"101%"»"#, "not a percentage", "such as 60%"),
        fleet("quorum = «1.5»", "invalid type: floating point", "such as \"60%\""),
        fleet("quantiles = «[0.1, 9]»", "9.0 is not a probability", "from 0 to 1"),
        fleet(r#"outliers = «"exlude"»"#, "unknown name `exlude`", "did you mean `exclude`?"),
        fleet(r#"sync = «"fre"»"#, "unknown name `fre`", "did you mean `free`?"),
        fleet(r#"api_token_file = «" "»"#, "` ` is not a path", "\"/etc/atalaya/api-token\""),
        fleet(r#"api_token_origin = «"localhost"»"#, "not a URL of HTTP", "http://127.0.0.1:8000/nuevo"),
        fleet(r#"api_origins = «"http://h"»"#, "invalid type: string", "expected a list"),
        fleet(r#"api_method = «"put"»"#, "unknown name `put`", "`get`"),
        fleet(r#"fleet_name = «"my home"»"#, "not the name of a fleet", "1 to 64 letters"),
        fleet(r#"api_url = «"localhost"»"#, "not a URL of HTTP", "http://127.0.0.1:8000/nuevo"),
        fleet(r#"measurements = «"m"»"#, "not a path of ZooKeeper", "absolute path"),
        fleet(r#"election = «"/a//b"»"#, "not a path of ZooKeeper", "absolute path"),
        fleet(r#"name = «"node"»"#, "same for every node", "`{id}` exactly once"),
        fleet(r#"name = «"{id}{id}"»"#, "more than once", "`{id}` exactly once"),
        fleet(r#"name = «"a/{id}"»"#, "contains a `/`", "no `/`"),
    ]);
}

#[test]
fn in_a_board() {
    let on_linux = RANDOM.replace("\"sim\"", "\"linux\"").replace("\"random\"", "«\"random\"»");
    check([
        Bad("[«board».b]\n".into(), "unknown key `board`", "did you mean `boards`?"),
        Bad("«[boards.b]»\n".into(), "`backend` is missing", "add `backend = ...`"),
        Bad("[boards.b]\nbackend = «\"sin\"»\n".into(), "`sin`", "did you mean `sim`?"),
        Bad("[boards.b]\nbackend = «1»\n".into(), "wrong type", "a name in quotes"),
        Bad("[boards.«b»]\nbackend = \"sim\"\n".into(), "no sensors", "[[boards.b.sensors]]"),
        Bad("[boards.b]\nbackend = \"sim\"\nsensors = «[]»\n".into(), "no sensors", "[[boards.b.sensors]]"),
        Bad("[boards.«\"á b\"»]\nbackend = \"sim\"\n".into(), "not a name for a board", "letters, digits"),
        Bad(
            RANDOM.replace("[[boards.b.sensors]]", "«[boards.b.sensors]»"),
            "invalid type: map",
            "[[double brackets]]",
        ),
        Bad(on_linux, "`random` is not a chip", "backend = \"sim\""),
    ]);
}

#[test]
fn in_a_sensor() {
    let second = |rest: &str| format!("{LM75}[[boards.b.sensors]]\n{rest}");
    let address = |text: &str| LM75.replace("0x48", &format!("«{text}»"));
    let bus = |name: &str| LM75.replace("\"i2c-1\"", &format!("«\"{name}\"»"));
    let without = |line: &str| LM75.replace(line, "").replace("\"lm75\"", "«\"lm75\"»");
    let unnamed =
        RANDOM.replace("name = \"s\"\n", "").replace("[[boards.b.sensors]]", "«[[boards.b.sensors]]»");
    check([
        random("«adress» = 0x48", "unknown key `adress`", "did you mean `address`?"),
        Bad(RANDOM.replace(r#""random""#, r#"«"lm57"»"#), "unknown name `lm57`", "did you mean `lm75`?"),
        Bad(unnamed, "`name` is missing", "add `name"),
        Bad(RANDOM.replace("\"s\"", r#"«"a b"»"#), "not a name for a sensor", "letters, digits"),
        Bad(without("bus = \"i2c-1\"\n"), "`bus` is missing", "bus = \"i2c-1\""),
        Bad(without("address = 0x48\n"), "`address` is missing", "address = 0x48"),
        Bad(bus("/dev/i2c-1"), "not an I²C bus", "without /dev/"),
        Bad(bus("i2c-x"), "not an I²C bus", "\"i2c-1\""),
        Bad(address("0x80"), "0x80 is not an I²C address", "0x03 to 0x77"),
        Bad(address("0x02"), "0x02 is not an I²C address", "0x03 to 0x77"),
        Bad(address("-1"), "-1 is not an I²C address", "0x03 to 0x77"),
        Bad(address("0x50"), "cannot have the address 0x50", "0x48, 0x49"),
        Bad(address(r#""0x48""#), "invalid type: string", "a whole number"),
        random(r#"bus = «"i2c-1"»"#, "sits on no bus", "remove `bus`"),
        random("address = «0x48»", "sits on no bus", "remove `address`"),
        Bad(second("name = «\"s\"»\nchip = \"random\"\n"), "a second sensor called `s`", "a name of its own"),
        Bad(
            second("name = \"t\"\nchip = \"lm75a\"\nbus = \"i2c-1\"\naddress = «72»\n"),
            "0x48 on i2c-1 is taken by the sensor `s` in line 4",
            "different addresses",
        ),
    ]);
}

#[test]
fn in_filters() {
    let filter = |text: &str| format!("filters = [{text}]");
    check([
        random(&filter("{ «ofset» = 1 }"), "unknown name `ofset`", "did you mean `offset`?"),
        random(&filter(r#"{ offset = «"1"» }"#), "invalid type: string", "a finite number"),
        random(&filter("{ offset = «inf» }"), "`inf`", "a finite number"),
        random(&filter("«{ scale = 0 }»"), "a scale of 0", "another number"),
        random(&filter("«{ median = 0 }»"), "a window of 0", "from 1 to 1000"),
        random(&filter("«{ mean = 1001 }»"), "a window of 1001", "from 1 to 1000"),
        random(&filter("{ mean = «2.5» }"), "invalid type", "a whole number"),
        random(&filter("«{ clamp = [5, 1] }»"), "upside down", "[1, 5]"),
        random(&filter("«{ range = [1, 2, 3] }»"), "3 in this list", "two numbers"),
        random(&filter("«{ exponential = 1.5 }»"), "a weight of 1.5", "up to 1"),
        random(&filter("«{ delta = -1 }»"), "negative", "0 or more"),
        random(&filter("«{ round = 13 }»"), "13 decimals", "from 0 to 12"),
        random(
            &filter("«{ linear = [[1, 2], [1, 3]] }»"),
            "both points measure 1",
            "[[measured, actual], [measured, actual]]",
        ),
        random(&filter("«{ offset = 1, scale = 2 }»"), "exactly one key", "one key each"),
        random(&filter(r#"«"round"»"#), "needs a value", "one key each"),
        random("filters = «{ offset = 1 }»", "invalid type: map", "a list"),
    ]);
}

#[test]
fn in_waveforms() {
    let sim = |text: &str| format!("sim = {{ count = {text} }}");
    check([
        random("sim = { «cuont» = { constant = 1 } }", "unknown name `cuont`", "did you mean `count`?"),
        Bad(
            format!("{LM75}sim = {{ «humidity» = {{ constant = 1 }} }}\n"),
            "`lm75` does not measure humidity",
            "it measures `temperature`",
        ),
        random(&sim("«5»"), "invalid type: integer", "a table"),
        random(&sim("«{ }»"), "one shape", "exactly one of `uniform`"),
        random(&sim("«{ constant = 1, uniform = [1, 2] }»"), "one shape", "`sine`"),
        random(&sim("{ «constnt» = 1 }"), "unknown key `constnt`", "did you mean `constant`?"),
        random(&sim("{ constant = «nan» }"), "`NaN`", "a finite number"),
        random(&sim("{ constant = «1e300» }"), "invalid value", "a finite number"),
        random(&sim("{ uniform = «[85, 75]» }"), "upside down", "[75, 85]"),
        random(&sim("{ uniform = «[85]» }"), "1 in this list", "two numbers"),
        random(&sim("«{ uniform = [0.2, 0.8], step = 1 }»"), "no multiple of the step 1", "a smaller `step`"),
        random(&sim("{ constant = 1, step = «0» }"), "not positive", "above 0"),
        random(&sim("{ constant = 1, seed = «-1» }"), "negative", "a whole number"),
        random(&sim("{ normal = «{ mean = 5 }» }"), "`stddev` is missing", "add `stddev"),
        random(&sim("{ normal = «[5, 1]» }"), "invalid type: sequence", "a table"),
        random(&sim("{ normal = { mean = 5, stddev = «-1» } }"), "negative", "0 or more"),
        random(
            &sim("«{ walk = { start = 5, step = 1, min = 6, max = 7 } }»"),
            "outside 6..=7",
            "`min` <= `start` <= `max`",
        ),
        random(&sim(r#"«{ replay = "" }»"#), "names no file", "a CSV file"),
        random(&sim(r#"{ replay = "a", column = «0» }"#), "invalid column", "counts from 1"),
        random(&sim("«{ constant = 1, column = 1 }»"), "without `replay`", "CSV"),
    ]);
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
        let mut characters: Vec<char> = include_str!("../../../boards.toml").chars().collect();
        let start = at.index(characters.len());
        let end = (start + length).min(characters.len());
        characters.splice(start..end, with.chars());
        let text: String = characters.into_iter().collect();
        let _ = Boards::parse(&text, "b").map_err(|error| error.to_string());
    }
}
