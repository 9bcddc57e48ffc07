use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::file::tests::info;

const LONG: Duration = Duration::from_secs(30);

fn program(words: &[&str], timeout: Duration, folder: &Path) -> Program {
    let words = words.iter().map(|&word| word.to_owned()).collect();
    Program::new(words, timeout, folder, Quantity::Voltage, info("command", &[Quantity::Voltage]))
}

fn shell(script: &str) -> Program {
    program(&["sh", "-c", script], LONG, Path::new(""))
}

fn text(script: &str) -> String {
    shell(script).read().unwrap_err().to_string()
}

/// Returns true if a process exists and is not a zombie.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).is_some_and(|state| state != 'Z')
}

/// Waits until `done` returns true, with a deadline.
fn soon(what: &str, mut done: impl FnMut() -> bool) {
    atalaya_testbed::eventually(what, LONG, || done().then_some(()));
}

/// Returns the children of this process that are not reaped.
fn zombies() -> Vec<String> {
    let me = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let stats = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let zombie = |stat: &String| {
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields.first() == Some(&"Z") && fields.get(1) == Some(&me.as_str())
    };
    stats.filter(zombie).collect()
}

#[test]
fn the_number_that_a_program_prints_is_the_reading() {
    for (script, value) in
        [("echo 12.5", 12.5), ("printf '  -3\\n\\n'", -3.0), ("echo 1; echo noise >&2", 1.0)]
    {
        let readings = shell(script).read().unwrap();
        assert_eq!(readings[..], [Reading::new(Quantity::Voltage, value).unwrap()], "{script}");
    }
    // A file of the kernel, read several times by the same sensor.
    let mut sensor = program(&["cat", "/proc/sys/kernel/pid_max"], LONG, Path::new("/"));
    for _ in 0..3 {
        assert!(sensor.read().unwrap()[0].value() > 300.0);
    }
}

#[test]
fn an_exit_status_is_an_error_with_the_first_line_of_stderr() {
    let table = [
        ("echo 5; exit 3", "cannot read the command `sh`: exit status: 3"),
        (
            "echo ' no probe' >&2; echo more >&2; exit 1",
            "cannot read the command `sh`: exit status: 1: no probe",
        ),
        ("kill -9 $$", "cannot read the command `sh`: signal: 9 (SIGKILL)"),
        ("echo 23,5", "cannot read the command `sh`: its output is `23,5` is not one number"),
        ("true", "cannot read the command `sh`: its output is empty, where a number should be"),
        ("echo nan", "cannot read the command `sh`: its output is `nan` is no finite number"),
    ];
    for (script, want) in table {
        assert_eq!(text(script), want, "{script}");
    }
    let long = text("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1");
    assert!(long.len() < 200 && long.ends_with("xxx..."), "{long}");
}

#[test]
fn a_program_that_is_not_there_is_absent_and_its_arguments_stay_out_of_the_message() {
    let folder = tempfile::tempdir().unwrap();
    let mut sensor = program(&["./measure", "--password=secret"], LONG, folder.path());
    let error = sensor.read().unwrap_err();
    assert_eq!(error.cause(), Cause::NotPresent);
    assert!(
        error.to_string().starts_with("nothing to read at the command `./measure`: cannot start it: No such")
    );
    assert!(!error.to_string().contains("secret"));
    // The program may be installed later. It is searched in the folder of boards.toml, which is also its working
    // directory.
    let path = folder.path().join("measure");
    std::fs::write(&path, "#!/bin/sh\ncat value\n").unwrap();
    std::fs::write(folder.path().join("value"), "7").unwrap();
    let error = sensor.read().unwrap_err();
    assert_eq!(error.cause(), Cause::Other, "{error}");
    assert!(error.to_string().contains("Permission denied"), "{error}");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    // The fork of another test may still hold the script open for writing.
    soon("the script runs", || sensor.read().is_ok_and(|readings| readings[0].value() == 7.0));
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo $$ > leader; (exec sleep 1000) & echo $! > helper; echo 5; wait";
    let timeout = Duration::from_secs(5);
    let mut sensor = program(&["sh", "-c", script], timeout, folder.path());
    let begun = Instant::now();
    let error = sensor.read().unwrap_err();
    assert!(begun.elapsed() >= timeout && begun.elapsed() < LONG);
    assert_eq!(error.cause(), Cause::Timeout);
    assert_eq!(error.to_string(), "timeout at the command `sh`: not done after 5s, so it was killed");
    for name in ["leader", "helper"] {
        let pid = std::fs::read_to_string(folder.path().join(name)).unwrap();
        soon(name, || !runs(&pid));
    }
    assert!(sensor.undead.is_none());
}

#[test]
fn a_stopped_program_and_one_that_ignores_signals_are_killed_too() {
    for script in ["kill -STOP $$; echo 5", "trap '' TERM INT HUP; while :; do sleep 1; done"] {
        let mut sensor = program(&["sh", "-c", script], Duration::from_millis(300), Path::new(""));
        assert_eq!(sensor.read().unwrap_err().cause(), Cause::Timeout, "{script}");
        assert!(sensor.undead.is_none());
    }
}

#[test]
fn what_a_program_leaves_in_the_background_neither_holds_the_read_nor_stays() {
    let folder = tempfile::tempdir().unwrap();
    // The helper process holds stdout and stderr open.
    let script = "sleep 1000 & echo $! > helper; echo 5";
    let begun = Instant::now();
    assert_eq!(program(&["sh", "-c", script], LONG, folder.path()).read().unwrap()[0].value(), 5.0);
    assert!(begun.elapsed() < LONG);
    let pid = std::fs::read_to_string(folder.path().join("helper")).unwrap();
    soon("the helper ends", || !runs(&pid));
}

#[test]
fn a_program_that_never_stops_to_print_is_killed_at_once() {
    let begun = Instant::now();
    for script in ["yes 1", "head -c 70000 /dev/zero; echo 5"] {
        let error = text(script);
        assert!(error.ends_with("it printed more than 65536 bytes, so it was killed"), "{error}");
    }
    assert!(begun.elapsed() < LONG);
    // Long output on stderr is read completely, so that the program does not block, and discarded.
    assert_eq!(shell("head -c 1000000 /dev/zero >&2; echo 5").read().unwrap()[0].value(), 5.0);
    let mut sensor = program(&["sh", "-c", "yes >&2"], Duration::from_millis(300), Path::new(""));
    assert_eq!(sensor.read().unwrap_err().cause(), Cause::Timeout);
}

#[test]
fn endless_and_binary_output_is_refused_in_bounded_time_with_a_short_reason() {
    for script in [
        "cat /dev/zero",
        "cat /dev/urandom",
        "yes '1 '",
        "head -c 65536 /dev/zero",
        "head -c 60000 /dev/urandom",
    ] {
        let begun = Instant::now();
        let error = text(script);
        assert!(error.chars().count() < 300 && !error.chars().any(char::is_control), "{script}: {error}");
        assert!(begun.elapsed() < LONG, "{script}");
    }
}

#[test]
fn closed_pipes_do_not_end_the_read_before_the_program() {
    let error = text("exec >&- 2>&-; sleep 0.2; exit 4");
    assert_eq!(error, "cannot read the command `sh`: exit status: 4");
}

#[test]
fn the_program_sees_neither_the_nodes_secrets_nor_its_files() {
    assert!(is_private(OsStr::new("ATALAYA_API_TOKEN")) && is_private(OsStr::new("NOTIFY_SOCKET")));
    assert!(!is_private(OsStr::new("PATH")) && !is_private(OsStr::new("HOME")));
    let open = tempfile::NamedTempFile::new().unwrap();
    let script = format!("readlink /proc/$$/fd/* | grep -c {}; true", open.path().display());
    assert_eq!(shell(&script).read().unwrap()[0].value(), 0.0, "an open file of this process");
    let script = "test \"$LC_ALL\" = C && ! read line && echo 1";
    assert_eq!(shell(script).read().unwrap()[0].value(), 1.0, "numbers with a point, and an empty stdin");
    assert_eq!(shell("test -n \"$PATH\" && echo 1").read().unwrap()[0].value(), 1.0);
}

#[test]
fn no_zombie_stays_whatever_happened() {
    for script in ["echo 1", "exit 1", "yes", "sleep 1000 & exit 1"] {
        let _ = shell(script).read();
    }
    let _ = program(&["sleep", "1000"], Duration::from_millis(100), Path::new("")).read();
    // Children of concurrent tests are zombies only for a moment.
    soon("all are reaped", || zombies().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_a_program_prints_is_finite_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let path = file.path().to_string_lossy().into_owned();
        match program(&["cat", &path], LONG, Path::new("")).read() {
            Ok(readings) => prop_assert!(readings.len() == 1 && readings[0].value().is_finite()),
            Err(error) => prop_assert!(error.to_string().chars().count() < 200),
        }
    }
}
