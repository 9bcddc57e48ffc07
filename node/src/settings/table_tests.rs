use super::*;
use crate::settings::{FleetArgs, Settings, tests};

/// Valid value of each setting that is not the default, as a flag has it and as boards.toml has it.
const SAMPLES: [(&str, &str, &str); 36] = [
    ("zookeeper", "zk1:2181/fleet", "'zk1:2181/fleet'"),
    ("zookeeper_ca", "ca.pem", "'ca.pem'"),
    ("zookeeper_certificate", "node.pem", "'node.pem'"),
    ("zookeeper_key", "node.key", "'node.key'"),
    ("zookeeper_auth", "digest", "'digest'"),
    ("zookeeper_user", "fleet", "'fleet'"),
    ("zookeeper_password_file", "password", "'password'"),
    ("acl", "read-world", "'read-world'"),
    ("acl_fleet", "sasl:fleet", "'sasl:fleet'"),
    ("acl_admin", "sasl:admin", "'sasl:admin'"),
    ("session_timeout", "7.5s", "'7.5s'"),
    ("sampling_period", "500ms", "0.5"),
    ("api_url", "http://h/nuevo", "'http://h/nuevo'"),
    ("api_method", "post", "'post'"),
    ("fleet_name", "home", "'home'"),
    ("zone", "north", "'north'"),
    ("api_token_file", "token", "'token'"),
    ("api_token_origin", "https://h:8443", "'https://h:8443'"),
    ("api_origins", "http://a,http://b", "['http://a', 'http://b']"),
    ("measurements", "/m", "'/m'"),
    ("name", "app{id}", "'app{id}'"),
    ("election", "/e", "'/e'"),
    ("lead", "false", "false"),
    ("contenders", "3", "3"),
    ("sync", "barrier", "'barrier'"),
    ("release", "complete", "'complete'"),
    ("counter", "per-cycle", "'per-cycle'"),
    ("aggregate", "trimmed=0.1", "{ trimmed = 0.1 }"),
    ("quorum", "60%", "'60%'"),
    ("outliers", "exclude", "'exclude'"),
    ("quantiles", "0.1,0.9", "[0.1, 0.9]"),
    ("measurements_url", "http://h/api/v1/measurements", "'http://h/api/v1/measurements'"),
    ("measurements_keep", "1h", "3600"),
    ("measurements_max_size", "1MiB", "'1MiB'"),
    ("measurements_sync", "0s", "'0s'"),
    ("metrics_listen", "127.0.0.1:9100", "'127.0.0.1:9100'"),
];

/// Returns the sample of `setting` as a flag and as boards.toml have it.
fn sample(setting: &Setting) -> (&'static str, &'static str) {
    let found = SAMPLES.into_iter().find(|(name, ..)| *name == setting.name);
    let (_, text, toml) = found.unwrap_or_else(|| panic!("add a sample of {}", setting.name));
    (text, toml)
}

fn assemble(args: &FleetArgs, variables: &[(&str, &str)], file: &str) -> Settings {
    tests::assemble(args.clone(), variables, file).unwrap()
}

fn assert_sample(setting: &Setting, settings: &Settings, source: &str) {
    let (text, _) = sample(setting);
    let mut expected = Settings::default();
    (setting.field.parse)(&mut expected, text, None).unwrap();
    assert!((setting.field.is_same)(settings, &expected), "{} from {source}", setting.name);
    assert!(!(setting.field.is_same)(settings, &Settings::default()), "the sample of {}", setting.name);
    assert!((setting.show)(settings).is_some_and(|shown| !shown.is_empty()), "{} is not shown", setting.name);
}

#[test]
fn table_reads_each_setting_from_flag_variables_and_boards_toml() {
    let none = FleetArgs::default();
    for setting in fleet_settings() {
        let (text, toml) = sample(setting);
        assert_sample(setting, &assemble(&none.clone().with(setting.name, text), &[], ""), "the flag");
        let file = format!("[fleet]\n{} = {toml}\n", setting.name);
        assert_sample(setting, &assemble(&none, &[], &file), "boards.toml");
        for variable in setting.variables().iter().filter(|name| *name != api_token::VARIABLE) {
            assert_sample(setting, &assemble(&none, &[(variable, text)], ""), variable);
        }
        let own = format!("ATALAYA_{}", setting.name.to_uppercase());
        assert_eq!(setting.variables().first(), Some(&own));
    }
}

#[test]
fn table_copies_each_setting_and_nothing_else() {
    let everything = fleet_settings()
        .fold(FleetArgs::default(), |args, setting| args.with(setting.name, sample(setting).0));
    let all = Settings { log: Some("debug".to_owned()), ..assemble(&everything, &[], "") };
    for setting in &SETTINGS {
        let mut settings = Settings::default();
        (setting.field.copy)(&all, &mut settings);
        for other in &SETTINGS {
            let is_same = (other.field.is_same)(&settings, &all);
            assert_eq!(is_same, other.name == setting.name, "{} while copying {}", other.name, setting.name);
        }
    }
}

/// The only key without a row: its values are tables, which have neither a flag nor an environment variable.
const OUTPUTS: &str = "outputs";

#[test]
fn table_has_a_row_for_each_field_of_settings() {
    let debug = format!("{:#?}", Settings::default());
    let fields: Vec<&str> = (debug.lines())
        .filter_map(|line| line.strip_prefix("    ")?.split_once(':'))
        .map(|(field, _)| field)
        .filter(|field| !field.starts_with([' ', '}']))
        .collect();
    let row_of = |field: &str| match field {
        "api_token" => "api_token_file".to_owned(),
        field => field.to_owned(),
    };
    let mut fields: Vec<String> = fields.into_iter().map(row_of).collect();
    let rows = SETTINGS.iter().map(|setting| setting.name).chain([OUTPUTS]);
    let mut rows: Vec<String> = rows.map(str::to_owned).collect();
    fields.sort();
    rows.sort();
    assert_eq!(fields, rows);
}

#[test]
fn table_has_a_row_for_each_key_of_boards_toml() {
    let error = Boards::parse("[fleet]\nqqqqqqqq = 1\n", "boards.toml").unwrap_err().to_string();
    let (_, keys) = error.split_once("The keys here are").unwrap();
    let mut keys: Vec<&str> = keys.split('`').skip(1).step_by(2).collect();
    let mut rows: Vec<&str> = fleet_settings().map(|setting| setting.name).chain([OUTPUTS]).collect();
    keys.sort_unstable();
    rows.sort_unstable();
    assert_eq!(keys, rows);
}

#[test]
fn help_of_run_and_check_lists_each_setting_with_default_and_variables() {
    use clap::CommandFactory as _;
    let mut command = crate::commands::Cli::command();
    for name in ["run", "check"] {
        let help = command.find_subcommand_mut(name).unwrap().render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for setting in fleet_settings() {
            let flag = match setting.value_name {
                Some(value) => format!("--{} <{value}>", setting.flag()),
                None => format!("--{}", setting.flag()),
            };
            let words = [&flag, setting.help, setting.default.text(), &setting.variables().join(", ")]
                .map(str::to_owned);
            for word in words {
                assert!(help.contains(&word), "help of {name} does not contain \"{word}\":\n{help}");
            }
        }
    }
}

/// Returns the table of settings for docs/operations.md.
fn documentation() -> String {
    let code = |text: &str| format!("`{text}`");
    let row = |setting: &Setting| {
        let key = setting.in_file.map_or_else(String::new, |_| code(setting.name));
        let variables: Vec<String> = setting.variables().iter().map(|name| code(name)).collect();
        let default = match setting.default {
            DefaultValue::Value(text) => code(text),
            DefaultValue::Unset(text) => text.to_owned(),
        };
        let change = match setting.change {
            ChangeMode::Fixed => "restart",
            ChangeMode::Reloadable => "SIGHUP",
            ChangeMode::Dynamic => "SIGHUP, `/config`",
        };
        // Only `--log` is not reloadable: it is a flag of all commands.
        let change = if setting.in_file.is_none() { "`/config`" } else { change };
        format!(
            "| {key} | {} | {} | {default} | {change} | {} |\n",
            code(&format!("--{}", setting.flag())),
            variables.join(", "),
            setting.help
        )
    };
    let head = "| key in `[fleet]` | flag | environment | default | changed by | meaning |\n|---|---|---|---|---|---|\n";
    head.to_owned() + &SETTINGS.iter().map(row).collect::<String>()
}

#[test]
fn documentation_contains_the_table_of_settings() {
    let operations = include_str!("../../../docs/operations.md");
    let expected = documentation();
    assert!(
        operations.contains(&expected),
        "docs/operations.md does not contain this table; replace the one there:\n\n{expected}"
    );
}

#[test]
fn documentation_describes_each_dynamic_setting() {
    let operations = include_str!("../../../docs/operations.md");
    for setting in SETTINGS.iter().filter(|setting| setting.change == ChangeMode::Dynamic) {
        let row = format!("\n| `{}` |", setting.name);
        let rows = operations.matches(&row).count();
        let expected = 1 + usize::from(setting.in_file.is_some());
        assert_eq!(rows, expected, "rows of docs/operations.md for {}", setting.name);
    }
}
