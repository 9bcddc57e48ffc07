//! Tests of [`super`], on a real folder.

use atalaya_testbed::Scratch;

use super::*;
use crate::process::state_dir::record::tests::life;

fn open(scratch: &Scratch) -> Result<StateFile, OpenError> {
    StateFile::open(&scratch.path().join("state/atalaya"), "node-1", "1", "zk1:2181")
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

#[cfg(unix)]
#[test]
fn state_files_that_are_symbolic_links_are_neither_read_nor_written() {
    use std::os::unix::fs::symlink;

    for end in ["lock", "json"] {
        let scratch = Scratch::new("remembrance");
        let remembrance = open(&scratch).unwrap();
        remembrance.begin(life(1, &[7]));
        drop(remembrance);
        let victim = scratch.path().join("victim");
        fs::copy(file(&scratch, "json"), &victim).unwrap();
        let before = fs::read(&victim).unwrap();
        fs::remove_file(file(&scratch, end)).unwrap();
        symlink(&victim, file(&scratch, end)).unwrap();
        let opened = open(&scratch);
        match end {
            "lock" => assert!(matches!(opened, Err(OpenError::Io(_))), "{opened:?}"),
            _ => assert_eq!(opened.unwrap().before(""), [], "what another file tells is not believed"),
        }
        let lock = Lock::take(&file(&scratch, "lock"), Purpose::Reap);
        assert_eq!(lock.is_err(), end == "lock", "{lock:?}");
        assert_eq!(fs::read(&victim).unwrap(), before, "{end}");
    }
    // The new record is made beside the old one, whatever has its name.
    let scratch = Scratch::new("remembrance");
    let remembrance = open(&scratch).unwrap();
    let victim = scratch.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, file(&scratch, "new")).unwrap();
    remembrance.begin(life(1, &[]));
    remembrance.note(7);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(read(&file(&scratch, "json")).unwrap().unwrap().lives, [life(1, &[7])]);
}

#[cfg(unix)]
#[test]
fn state_files_that_are_pipes_or_have_other_names_are_refused() {
    let scratch = Scratch::new("remembrance");
    drop(open(&scratch).unwrap());
    let other = scratch.path().join("other");
    fs::hard_link(file(&scratch, "lock"), &other).unwrap();
    assert!(matches!(open(&scratch), Err(OpenError::Io(_))));
    fs::remove_file(&other).unwrap();
    drop(open(&scratch).unwrap());
    fs::remove_file(file(&scratch, "json")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(file(&scratch, "json")).status().unwrap();
    assert!(made.success());
    // Opening a pipe would wait for somebody who writes.
    assert_eq!(open(&scratch).unwrap().before(""), []);
}

#[cfg(target_os = "linux")]
#[test]
fn state_files_of_other_users_are_refused_and_those_that_root_writes_are_the_folders() {
    use std::os::unix::fs::{MetadataExt as _, chown};

    if !rustix::process::geteuid().is_root() {
        // Only root can give files away.
        return;
    }
    let scratch = Scratch::new("remembrance");
    drop(open(&scratch).unwrap());
    chown(file(&scratch, "lock"), Some(4321), None).unwrap();
    let error = Lock::take(&file(&scratch, "lock"), Purpose::Reap).unwrap_err();
    assert!(error.to_string().contains("belongs to user 4321"), "{error}");
    chown(scratch.path().join("state/atalaya"), Some(4321), Some(4321)).unwrap();
    let remembrance = open(&scratch).unwrap();
    remembrance.begin(life(1, &[7]));
    assert_eq!(fs::metadata(file(&scratch, "json")).unwrap().uid(), 4321, "its owner must read it later");
}
