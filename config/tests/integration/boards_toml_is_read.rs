//! Values parsed from correct boards.toml files, beginning with the example of this repository.

use std::path::Path;
use std::time::Duration;

use atalaya_config::{ApiMethod, Backend, Boards, BoardsError, Located, SyncMode};
use atalaya_hal::{Chip, Filter, Quantity};
use atalaya_sim::{Column, Shape, Waveform};

const EXAMPLE: &str = include_str!("../../../boards.toml");

#[test]
fn the_example_says_what_its_comments_say() {
    let boards = Boards::parse(EXAMPLE, "boards.toml").unwrap();
    let fleet = &boards.fleet;
    let text = |value: &Option<Located<String>>| value.as_ref().unwrap().value.clone();
    assert_eq!(text(&fleet.zookeeper), "127.0.0.1:2181");
    assert_eq!(fleet.session_timeout.as_ref().unwrap().value, Duration::from_secs(10));
    assert_eq!(fleet.sampling_period.as_ref().unwrap().value, Duration::from_secs(5));
    assert_eq!(fleet.sync.as_ref().unwrap().value, SyncMode::Free);
    assert_eq!(text(&fleet.measurements), "/mediciones");
    assert_eq!(text(&fleet.name), "{id}");
    assert_eq!(text(&fleet.election), "/election");
    assert_eq!(text(&fleet.api_url), "http://127.0.0.1:8000/nuevo");
    assert_eq!(fleet.api_method.as_ref().unwrap().value, ApiMethod::Auto);

    let (name, laptop) = boards.board(Some("laptop")).unwrap();
    assert_eq!((name, laptop.backend), ("laptop", Backend::Sim));
    let sensor = &laptop.sensors[0];
    assert_eq!((sensor.spec().name.as_str(), sensor.spec().chip), ("ambient", Chip::Lm75));
    assert_eq!((sensor.spec().bus(), sensor.spec().address()), (Some("i2c-1"), Some(0x48)));
    assert_eq!(sensor.spec().filters, [Filter::Offset(-0.5), Filter::Median(5), Filter::Round(1)]);
    assert_eq!(sensor.sim.waveforms[&Quantity::Temperature], Waveform::default());
    assert_eq!(boards.board(None).unwrap().1.sensors[0].spec().chip, Chip::Random);
}

#[test]
fn one_line_turns_the_laptop_into_a_raspberry_pi() {
    let sim = Boards::parse(EXAMPLE, "boards.toml").unwrap();
    let linux =
        Boards::parse(&EXAMPLE.replacen("backend = \"sim\"", "backend = \"linux\"", 1), "boards.toml")
            .unwrap();
    let (sim, linux) = (&sim.boards["laptop"], &linux.boards["laptop"]);
    assert_eq!((sim.backend, linux.backend), (Backend::Sim, Backend::Linux));
    assert_eq!(sim.sensors, linux.sensors);
}

#[test]
fn waveforms_and_filters_of_every_kind_are_read() {
    let text = r#"
        [boards.b]
        backend = "sim"
        [[boards.b.sensors]]
        name = "s"
        chip = "random"
        filters = [
            { offset = 1 }, { scale = 2 }, { linear = [[0, 1], [100, 99.5]] }, { median = 3 }, { mean = 4 },
            { exponential = 0.5 }, { clamp = [0, 1] }, { range = [-1, 1] }, { delta = 0.25 }, { round = 2 },
        ]
        [boards.b.sensors.sim]
        temperature = { uniform = [75, 85], step = 1, seed = 7 }
        humidity = { normal = { mean = 50, stddev = 5 } }
        pressure = { walk = { start = 101325, step = 10, min = 95_000, max = 105_000 } }
        voltage = { sine = { mean = 5, amplitude = 0.1, period = 60 } }
        current = { sine = { mean = 5, amplitude = 0.1, period = "1m", noise = 0.01 } }
        power = { constant = 7 }
        illuminance = { replay = "day.csv" }
        count = { replay = "day.csv", column = 2 }
        dimensionless = { replay = "day.csv", column = "ratio" }
    "#;
    let boards = Boards::parse(text, "b").unwrap();
    let sensor = &boards.boards["b"].sensors[0];
    let linear = Filter::Linear { measured: [0.0, 100.0], actual: [1.0, 99.5] };
    let filters = [
        Filter::Offset(1.0),
        Filter::Scale(2.0),
        linear,
        Filter::Median(3),
        Filter::Mean(4),
        Filter::Exponential(0.5),
        Filter::Clamp(0.0, 1.0),
        Filter::Range(-1.0, 1.0),
        Filter::Delta(0.25),
        Filter::Round(2),
    ];
    assert_eq!(sensor.spec().filters, filters);
    let minute = Duration::from_secs(60);
    let replay = |column| Shape::Replay { file: "day.csv".into(), column };
    let shapes = [
        (Quantity::Temperature, Shape::Uniform { low: 75.0, high: 85.0 }),
        (Quantity::Humidity, Shape::Normal { mean: 50.0, stddev: 5.0 }),
        (Quantity::Pressure, Shape::Walk { start: 101_325.0, step: 10.0, min: 95_000.0, max: 105_000.0 }),
        (Quantity::Voltage, Shape::Sine { mean: 5.0, amplitude: 0.1, period: minute, noise: 0.0 }),
        (Quantity::Current, Shape::Sine { mean: 5.0, amplitude: 0.1, period: minute, noise: 0.01 }),
        (Quantity::Power, Shape::Constant(7.0)),
        (Quantity::Illuminance, replay(None)),
        (Quantity::Count, replay(Some(Column::Number(2.try_into().unwrap())))),
        (Quantity::Dimensionless, replay(Some(Column::Name("ratio".into())))),
    ];
    for (quantity, shape) in shapes {
        assert_eq!(sensor.sim.waveforms[&quantity].shape, shape);
    }
    let temperature = &sensor.sim.waveforms[&Quantity::Temperature];
    assert_eq!((temperature.step, temperature.seed), (Some(1.0), Some(7)));
    assert_eq!(sensor.spec().quantities.len(), sensor.sim.waveforms.len());
}

#[test]
fn without_a_name_the_board_is_the_only_one_or_the_default() {
    let board = |name: &str| {
        format!(
            "[boards.{name}]\nbackend = \"sim\"\n[[boards.{name}.sensors]]\nname = \"s\"\nchip = \"random\"\n"
        )
    };
    let parse = |names: &[&str]| {
        Boards::parse(&names.iter().map(|name| board(name)).collect::<String>(), "b").unwrap()
    };
    assert_eq!(parse(&["a"]).board(None).unwrap().0, "a");
    assert_eq!(parse(&["a", "default"]).board(None).unwrap().0, "default");
    assert_eq!(parse(&["a", "default"]).board(Some("a")).unwrap().0, "a");

    let refused = parse(&["a", "c"]).board(None).unwrap_err();
    assert!(refused.problem().contains("which board"), "{refused}");
    assert!(refused.remedy().contains("`a` and `c`"), "{refused}");
    let refused = parse(&["a"]).board(Some("b")).unwrap_err().to_string();
    assert_eq!(refused, "b: there is no board `b`\n  = help: the boards are `a`");
}

#[test]
fn without_any_board_a_node_is_one_random_sensor() {
    for boards in [Boards::builtin(), Boards::parse("[fleet]\nsampling_period = 1\n", "b").unwrap()] {
        let (name, board) = boards.board(None).unwrap();
        assert_eq!((name, board.backend, board.sensors.len()), ("default", Backend::Sim, 1));
        assert_eq!(board.sensors[0].spec().chip, Chip::Random);
        assert_eq!(board.sensors[0].spec().quantities, [Quantity::Temperature]);
    }
}

#[test]
fn who_uses_a_value_can_refuse_it_where_it_stands() {
    let boards = Boards::parse("[fleet]\nzookeeper = \"zk1:21x\" # ours\n", "boards.toml").unwrap();
    let at = &boards.fleet.zookeeper.as_ref().unwrap().at;
    assert_eq!(at.to_string(), "boards.toml:2:13");
    let error = BoardsError::at(at, "`21x` is no port", "write a number from 1 to 65535");
    let want = "\
boards.toml:2:13: `21x` is no port
  |
2 | zookeeper = \"zk1:21x\" # ours
  |             ^^^^^^^^^
  = help: write a number from 1 to 65535";
    assert_eq!(error.to_string(), want);
}

#[test]
fn relative_paths_start_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("boards.toml");
    std::fs::write(&path, EXAMPLE).unwrap();
    let boards = Boards::load(&path).unwrap();
    assert_eq!(boards.base_dir, folder.path());
    assert_eq!(boards.origin(), path.display().to_string());
    assert_eq!(Boards::builtin().base_dir, Path::new(""));
}
