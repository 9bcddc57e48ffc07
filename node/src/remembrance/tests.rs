//! Tests of [`super`], on a real folder.

use atalaya_testbed::Scratch;

use super::record::tests::life;
use super::*;

fn open(scratch: &Scratch) -> Result<Remembrance, OpenError> {
    Remembrance::open(&scratch.path().join("state/atalaya"), "node-1", "1", "zk1:2181")
}

fn file(scratch: &Scratch, end: &str) -> PathBuf {
    scratch.path().join("state/atalaya").join(format!("node-1.{end}"))
}

#[test]
fn what_one_process_wrote_the_next_one_finds_and_forgets() {
    let scratch = Scratch::new("remembrance");
    let first = open(&scratch).unwrap();
    first.begin(life(1, &[]));
    first.note(7);
    drop(first);
    let second = open(&scratch).unwrap();
    second.begin(life(2, &[]));
    assert_eq!(second.before(&life(2, &[]).contender), [life(1, &[7])]);
    // Killed before it could reap.
    second.note(8);
    drop(second);
    let third = open(&scratch).unwrap();
    third.begin(life(3, &[]));
    assert_eq!(third.before(&life(3, &[]).contender), [life(1, &[7]), life(2, &[8])]);
    third.forget(&life(1, &[]).contender);
    third.forget(&life(2, &[]).contender);
    third.forget(&life(3, &[]).contender);
    drop(third);
    assert_eq!(read(&file(&scratch, "json")).unwrap().unwrap().lives, []);
}

#[test]
fn one_process_at_a_time_is_a_node() {
    let scratch = Scratch::new("remembrance");
    let first = open(&scratch).unwrap();
    let OpenError::Held(holder) = open(&scratch).unwrap_err() else { panic!("it is held") };
    assert_eq!(holder, Holder { process: Some(std::process::id()), purpose: Purpose::Run });
    // As long as anybody can write.
    let clone = first.clone();
    drop(first);
    assert!(matches!(open(&scratch), Err(OpenError::Held(_))));
    drop(clone);
    open(&scratch).unwrap();
}

#[test]
fn whoever_clears_up_is_waited_for() {
    let scratch = Scratch::new("remembrance");
    drop(open(&scratch).unwrap());
    let lock = Lock::take(&file(&scratch, "lock"), Purpose::Reap).unwrap().unwrap();
    let opened = std::thread::scope(|scope| {
        let opening = scope.spawn(|| open(&scratch));
        // Longer than a node would be waited for.
        let begin = Instant::now();
        while begin.elapsed() < GRACE * 2 {
            assert!(!opening.is_finished());
            std::thread::yield_now();
        }
        drop(lock);
        opening.join().unwrap()
    });
    opened.unwrap();
}

#[test]
fn garbage_is_as_good_as_nothing() {
    let scratch = Scratch::new("remembrance");
    drop(open(&scratch).unwrap());
    for garbage in [&b""[..], b"\0\0\0\0\0", b"{\"node\": \"1\"", &[0xff; 300_000]] {
        fs::write(file(&scratch, "json"), garbage).unwrap();
        let remembrance = open(&scratch).unwrap();
        assert_eq!(remembrance.before(""), []);
        remembrance.begin(life(1, &[]));
        remembrance.note(1);
        assert_eq!(read(&file(&scratch, "json")).unwrap().unwrap().lives, [life(1, &[1])]);
    }
}

#[test]
fn without_the_lock_that_was_held_nobody_is_known_to_be_dead() {
    let scratch = Scratch::new("remembrance");
    let first = open(&scratch).unwrap();
    first.begin(life(1, &[7]));
    fs::remove_file(file(&scratch, "lock")).unwrap();
    // The first one lives.
    let second = open(&scratch).unwrap();
    assert_eq!(second.before(""), []);
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let scratch = Scratch::new("remembrance");
    let remembrance = open(&scratch).unwrap();
    remembrance.begin(life(1, &[]));
    for (path, mode) in [
        (file(&scratch, "json"), 0o100_600),
        (file(&scratch, "lock"), 0o100_600),
        (scratch.path().join("state/atalaya"), 0o040_700),
    ] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode(), mode, "{}", path.display());
    }
}

#[test]
fn a_folder_that_cannot_be_is_an_error_and_one_that_goes_is_a_warning() {
    let scratch = Scratch::new("remembrance");
    fs::write(scratch.path().join("state"), "a file").unwrap();
    assert!(matches!(open(&scratch), Err(OpenError::Io(_))));
    fs::remove_file(scratch.path().join("state")).unwrap();
    drop(open(&scratch).unwrap());
    // As if the disk were full: the lock is there, but no new file can be.
    fs::create_dir(file(&scratch, "new")).unwrap();
    let remembrance = open(&scratch).unwrap();
    assert!(remembrance.lock().failing);
    fs::remove_dir(file(&scratch, "new")).unwrap();
    remembrance.note(0);
    assert!(!remembrance.lock().failing);
    fs::remove_dir_all(scratch.path().join("state")).unwrap();
    remembrance.begin(life(1, &[]));
    remembrance.note(1);
    assert!(remembrance.lock().failing);
    make(&scratch.path().join("state/atalaya")).unwrap();
    remembrance.note(2);
    assert!(!remembrance.lock().failing);
    assert_eq!(read(&file(&scratch, "json")).unwrap().unwrap().lives, [life(1, &[1, 2])]);
}
