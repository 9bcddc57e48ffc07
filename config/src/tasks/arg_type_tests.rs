use super::*;

fn all() -> [(ArgType, &'static str); 7] {
    [
        (ArgType::Sensor, r#""sensor""#),
        (ArgType::Name, r#""name""#),
        (ArgType::Text, r#""text""#),
        (ArgType::Number([-40.0, 125.5]), r#"{"number":[-40.0,125.5]}"#),
        (ArgType::Integer([0, 5]), r#"{"integer":[0,5]}"#),
        (ArgType::OneOf(vec!["a".into(), "b c".into()]), r#"{"one_of":["a","b c"]}"#),
        (ArgType::Path("/srv".into()), r#"{"path":"/srv"}"#),
    ]
}

#[test]
fn argument_types_have_a_stable_json_form() {
    for (kind, json) in all() {
        assert_eq!(serde_json::to_string(&kind).unwrap(), json);
        assert_eq!(serde_json::from_str::<ArgType>(json).unwrap(), kind);
    }
    for wrong in [r#""other""#, r#"{"number":[2,1]}"#, r#"{"path":"a"}"#, "5", "{}", r#"{"x":1}"#] {
        assert!(serde_json::from_str::<ArgType>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn argument_types_accept_their_texts_only() {
    let sensors = ["air", "water"];
    let long = "x".repeat(MAX_TEXT + 1);
    let digits = "0".repeat(100);
    let [sensor, name, text, number, integer, one_of, path] = all().map(|(kind, _)| kind);
    let table: [(&ArgType, &[&str], &[&str]); 7] = [
        (&sensor, &["air", "water"], &["", "fire", "air "]),
        (&name, &["a", "9", "a.b-c_d", "A1"], &["", ".", "-a", "a b", "a/b", "á", &long]),
        (&text, &["", "a b", "; rm -rf /", "'\"`$(x)", "á", "../.."], &["a\nb", "\0", "\u{1b}[2J", &long]),
        (
            &number,
            &["-40", "125.5", "0", "1e2", "+5", ".5"],
            &["", "-41", "126", "nan", "inf", "-inf", "1e9", "0x10", " 1", "1 ", "1,5", &digits],
        ),
        (&integer, &["0", "5", "+3"], &["", "-1", "6", "2.5", "1e0", " 1", "99999999999999999999", &digits]),
        (&one_of, &["a", "b c"], &["", "c", "A", "a,b"]),
        (
            &path,
            &["a", "a/b.txt", ".hidden", "a..b", "a b"],
            &["", "/a", "..", "a/..", "../a", "a//b", "a/", "./a", "a\nb", "a\0", &long],
        ),
    ];
    for (kind, accepted, refused) in table {
        for text in accepted {
            assert!(kind.check(text, &sensors).is_ok(), "{kind:?} {text:?}");
        }
        for text in refused {
            let problem = kind.check(text, &sensors).unwrap_err();
            assert!(problem.contains(&kind.describe(&sensors)), "{problem}");
            assert!(problem.len() < 400 && !problem.contains(char::is_control), "{problem}");
        }
    }
    assert_eq!(path.check("a/b", &sensors).unwrap(), "/srv/a/b");
    assert_eq!(integer.check("+3", &sensors).unwrap(), "3");
}
