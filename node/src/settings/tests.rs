use super::*;

pub(super) fn assemble(
    args: FleetArgs,
    variables: &[(&str, &str)],
    file: &str,
) -> Result<Settings, SettingsError> {
    let boards = Boards::parse(file, "boards.toml")?;
    let variable =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Settings::assemble(&args, &boards, Env { variable: &variable })
}

/// Returns the settings of a node without flags, environment and boards.toml.
pub(crate) fn defaults() -> Settings {
    assemble(FleetArgs::default(), &[], "").unwrap()
}

fn flags(zookeeper: &str) -> FleetArgs {
    FleetArgs::default().with("zookeeper", zookeeper)
}

const FILE: &str = "[fleet]\nzookeeper = \"file:1\"\nsampling_period = \"7s\"\n";

#[test]
fn settings_prefer_flags_to_environment_to_file_to_defaults() {
    let host = |settings: Result<Settings, SettingsError>| settings.unwrap().zookeeper.to_string();
    let both = [("ATALAYA_ZOOKEEPER", "own:1"), ("ZOOKEEPER_HOSTS", "old:1")];
    assert_eq!(host(assemble(flags("flag:1"), &both, FILE)), "flag:1");
    assert_eq!(host(assemble(FleetArgs::default(), &both, FILE)), "own:1");
    assert_eq!(host(assemble(FleetArgs::default(), &both[1..], FILE)), "old:1");
    assert_eq!(host(assemble(FleetArgs::default(), &[("ZK_HOST", " ")], FILE)), "file:1");
    assert_eq!(host(assemble(FleetArgs::default(), &[], "")), "127.0.0.1:2181");
    let settings = assemble(FleetArgs::default(), &[], FILE).unwrap();
    assert_eq!(settings.sampling_period, Duration::from_secs(7));
    let settings = assemble(FleetArgs::default(), &[("SAMPLING_PERIOD", "2.5")], FILE).unwrap();
    assert_eq!(settings.sampling_period, Duration::from_millis(2_500));
}

#[test]
fn settings_accept_the_variables_of_existing_compose_files() {
    for name in ["ZOOKEEPER_HOSTS", "ZOOKEEPER_HOST", "ZK_HOST"] {
        for servers in ["zoo1:2181,zoo2:2181", "zoo1:2181, zoo2:2181"] {
            let settings = assemble(FleetArgs::default(), &[(name, servers)], "").unwrap();
            assert_eq!(settings.zookeeper.servers(), "zoo1:2181,zoo2:2181");
        }
    }
    let settings = assemble(FleetArgs::default(), &[("API_URL", "http://api:80/")], "").unwrap();
    assert_eq!(settings.api_url.unwrap().as_str(), "http://api/nuevo");
}

#[test]
fn api_url_that_is_a_base_means_nuevo_below_it() {
    for (text, url) in [
        ("http://h:8000/nuevo", "http://h:8000/nuevo"),
        ("http://h:8000/", "http://h:8000/nuevo"),
        ("http://h:8000", "http://h:8000/nuevo"),
        ("https://h/api/", "https://h/api/nuevo"),
        ("http://h/?token=x", "http://h/nuevo?token=x"),
        ("http://h/other", "http://h/other"),
    ] {
        assert_eq!(values::api_url(text).unwrap().as_str(), url, "{text}");
    }
}

#[test]
fn settings_error_names_the_source_and_valid_values() {
    let message = |args, variables: &[(&str, &str)], file| {
        assemble(args, variables, file).map(|_| ()).unwrap_err().to_string()
    };
    let text = message(flags("zk:99999"), &[], "");
    assert!(text.contains("--zookeeper") && text.contains("1 to 65535"), "{text}");
    let text = message(FleetArgs::default(), &[("ZK_HOST", "zk:x")], "");
    assert!(text.contains("ZK_HOST") && text.contains("zk1:2181"), "{text}");
    let text = message(FleetArgs::default(), &[("API_URL", "ftp://h/")], "");
    assert!(text.contains("API_URL") && text.contains("http://127.0.0.1:8000/nuevo"), "{text}");
    let text = message(FleetArgs::default(), &[("SAMPLING_PERIOD", "0")], "");
    assert!(text.contains("SAMPLING_PERIOD"), "{text}");
    let text = message(FleetArgs::default(), &[], "[fleet]\nzookeeper = \"zk1::2181\"\n");
    assert!(text.contains("boards.toml:2:13") && text.contains("zk1:2181"), "{text}");
}

#[test]
fn api_token_prefers_files_of_flag_and_environment_to_the_variable_to_boards_toml() {
    let from = |flag: Option<&str>, variables: &[(&str, &str)], file| {
        let args = FleetArgs::default().with_optional("api_token_file", flag.map(str::to_owned).as_ref());
        assemble(args, variables, file).unwrap().api_token.map(|token| token.to_string())
    };
    let file = "[fleet]\napi_token_file = \"tokens/api\"\n";
    let all = [("ATALAYA_API_TOKEN_FILE", "/run/token"), ("ATALAYA_API_TOKEN", "0123456789abcdef")];
    assert_eq!(from(Some("/flag"), &all, file).unwrap(), "the token in /flag");
    assert_eq!(from(None, &all, file).unwrap(), "the token in /run/token");
    assert_eq!(from(None, &all[1..], file).unwrap(), "the token in ATALAYA_API_TOKEN");
    assert_eq!(from(None, &[], file).unwrap(), "the token in tokens/api");
    assert_eq!(from(None, &[], ""), None);
    let wrong = [("ATALAYA_API_TOKEN", "my secret token")];
    let problem = assemble(FleetArgs::default(), &wrong, "").unwrap_err().to_string();
    assert!(problem.contains("ATALAYA_API_TOKEN") && !problem.contains("secret"), "{problem}");
}

#[test]
fn measurement_path_follows_the_name_template() {
    let args = FleetArgs::default().with("name", "app{id}");
    let settings = assemble(args, &[], "").unwrap();
    assert_eq!(settings.measurement_path("3"), "/mediciones/app3");
    assert_eq!(settings.id_of("app3"), Some("3"));
    assert_eq!((settings.id_of("app"), settings.id_of("3")), (None, None));
}

#[test]
fn fixed_settings_that_change_are_named_and_reload_keeps_them() {
    let old = defaults();
    let file = "[fleet]\nzookeeper = \"other:1\"\nname = \"app{id}\"\nmetrics_listen = \"h:1\"\nsampling_period = \"7s\"\napi_url = \"http://h/\"\n";
    let new = assemble(FleetArgs::default(), &[], file).unwrap();
    assert_eq!(old.fixed_changes(&new), ["zookeeper", "name", "metrics_listen"]);
    assert!(old.fixed_changes(&old).is_empty());
    let reloaded = old.reloaded(&new);
    assert!(old.fixed_changes(&reloaded).is_empty());
    assert_eq!((reloaded.sampling_period, &reloaded.api_url), (new.sampling_period, &new.api_url));
}

#[test]
fn value_in_literal_quotes_is_refused_with_a_message_about_the_quotes() {
    let file = "";
    for (name, value) in [
        ("ZOOKEEPER_HOSTS", "\"zk1:2181,zk2:2181\""),
        ("ZK_HOST", "'zk1'"),
        ("API_URL", "\"http://api:8000/nuevo\""),
        ("ATALAYA_API_URL", "'http://api:8000/nuevo'"),
        ("SAMPLING_PERIOD", "\"5s\""),
        ("ATALAYA_ELECTION", "\"/election\""),
        ("ATALAYA_METRICS_LISTEN", "'127.0.0.1:9100'"),
        ("ATALAYA_SYNC", "\"barrier\""),
    ] {
        let error = assemble(FleetArgs::default(), &[(name, value)], file).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("quotes"), "{error}");
        assert!(error.contains("without quotes"), "{error}");
    }
    let error = assemble(flags("'zk1:2181'"), &[], file).unwrap_err().to_string();
    assert!(error.contains("--zookeeper") && error.contains("quotes"), "{error}");
    let inner = assemble(flags("zk1:2181,\"zk2\":2181"), &[], file).unwrap_err().to_string();
    assert!(inner.contains("quotes are not part of a host"), "{inner}");
}

#[test]
fn token_is_bound_to_an_origin_or_not_sent() {
    let file = |more: &str| format!("[fleet]\napi_token_file = \"t\"\n{more}");
    let may_see =
        |settings: &Settings, url: &str| settings.api_token.as_ref().unwrap().is_for(&url.parse().unwrap());
    let unbound = assemble(FleetArgs::default(), &[], &file("")).unwrap();
    assert!(!may_see(&unbound, "http://any.example/nuevo"), "only ZooKeeper names an API");
    assert!(unbound.unsent_token().unwrap().contains("api_token_origin"));
    let own = assemble(FleetArgs::default(), &[], &file("api_url = \"http://h:8000/nuevo\"\n")).unwrap();
    assert!(may_see(&own, "http://h:8000/other") && !may_see(&own, "http://h:8001/nuevo"));
    assert_eq!(own.unsent_token(), None);
    let bound = file("api_token_origin = \"https://api.example:8443\"\n");
    let bound = assemble(FleetArgs::default(), &[], &bound).unwrap();
    assert!(
        may_see(&bound, "https://api.example:8443/nuevo") && !may_see(&bound, "https://api.example/nuevo")
    );
    assert_eq!(bound.unsent_token(), None);
    let variable = [("ATALAYA_API_TOKEN_ORIGIN", "http://k:1")];
    let both =
        assemble(FleetArgs::default(), &variable, &file("api_url = \"http://h:8000/nuevo\"\n")).unwrap();
    assert!(may_see(&both, "http://k:1/") && !may_see(&both, "http://h:8000/nuevo"));
    assert!(both.unsent_token().unwrap().contains("http://k:1"));
}

#[test]
fn api_origins_are_scheme_host_and_port() {
    let file = "[fleet]\napi_origins = [\"https://api.example\", \"http://h:8000\"]\n";
    let settings = assemble(FleetArgs::default(), &[], file).unwrap();
    let allows = |url: &str| settings.allows_api(&url.parse().unwrap());
    assert!(allows("https://api.example/any?path") && allows("http://h:8000/nuevo"));
    assert!(!allows("http://api.example/nuevo") && !allows("http://h/nuevo"));
    assert!(defaults().allows_api(&"http://any/".parse().unwrap()), "without a list any");
    let variable = [("ATALAYA_API_ORIGINS", "http://a:1, http://b:2")];
    assert_eq!(assemble(FleetArgs::default(), &variable, "").unwrap().api_origins.len(), 2);
    for wrong in ["api.example", "ftp://h", "http://h/nuevo", "http://h/?q", "http://user@h/", "http://h/#x"]
    {
        let variable = [("ATALAYA_API_TOKEN_ORIGIN", wrong)];
        let problem = assemble(FleetArgs::default(), &variable, "").unwrap_err().to_string();
        assert!(
            problem.contains("ATALAYA_API_TOKEN_ORIGIN") && problem.contains("https://api.example:8443"),
            "{problem}"
        );
    }
}

#[test]
fn change_of_the_api_to_another_origin_is_one_line_with_what_happens_to_the_token() {
    let file = "[fleet]\napi_url = \"http://h:8000/nuevo\"\napi_token_file = \"t\"\n";
    let before = assemble(FleetArgs::default(), &[], file).unwrap();
    let at = |url: &str| Settings { api_url: Some(url.parse().unwrap()), ..before.clone() };
    assert_eq!(at("http://h:8000/other?secret").api_change(&before), None, "the same origin");
    let line = at("http://evil:1/nuevo?secret").api_change(&before).unwrap();
    assert!(
        line.contains("reports go to http://evil:1 instead of http://h:8000") && line.contains("is not sent"),
        "{line}"
    );
    assert!(!line.contains("secret"), "{line}");
    let line = before.api_change(&at("http://evil:1/")).unwrap();
    assert!(!line.contains("is not sent"), "{line}");
    let nowhere = Settings { api_url: None, ..before.clone() };
    assert!(nowhere.api_change(&before).unwrap().contains("reports are only logged"));
}

#[test]
fn sizes_have_units_and_bounds() {
    use super::values::{size, size_text};
    for (text, bytes) in [("64MiB", 64 << 20), ("65536", 64 << 10), ("100 KiB", 100 << 10), ("2GiB", 2 << 30)]
    {
        assert_eq!(size(text).unwrap(), bytes, "{text}");
        assert_eq!(size(&size_text(bytes)).unwrap(), bytes);
    }
    for wrong in ["", "MiB", "63KiB", "-1MiB", "1.5MiB", "64MB", "9999999999GiB", "2048GiB"] {
        assert!(size(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn measurements_url_that_is_a_base_means_the_collectors_path_below_it() {
    use super::values::measurements_url;
    for (text, url) in [
        ("http://h:8000", "http://h:8000/api/v1/measurements"),
        ("http://h/base/", "http://h/base/api/v1/measurements"),
        ("http://h/other", "http://h/other"),
    ] {
        assert_eq!(measurements_url(text).unwrap().as_str(), url);
    }
    assert!(measurements_url("ftp://h/").is_err());
}

#[test]
fn token_is_bound_to_the_url_of_measurements_without_another_origin() {
    let secret = ("ATALAYA_API_TOKEN", "secret");
    let bound = |variables: &[(&str, &str)], url: &str| {
        let token = assemble(FleetArgs::default(), variables, "").unwrap().api_token.unwrap();
        token.is_for(&url.parse().unwrap())
    };
    let measurements = ("ATALAYA_MEASUREMENTS_URL", "http://m/");
    assert!(bound(&[secret, measurements], "http://m/"));
    let both = [secret, measurements, ("ATALAYA_API_URL", "http://a/")];
    assert!(bound(&both, "http://a/") && !bound(&both, "http://m/"));
}
