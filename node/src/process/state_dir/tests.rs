//! Tests of [`super`] in a real directory.

use atalaya_testbed::Scratch;

use super::*;
use crate::process::state_dir::record::tests::process_record;

fn open(scratch: &Scratch) -> Result<StateFile, OpenError> {
    StateFile::open(&scratch.path().join("state/atalaya"), "node-1", "1", "zk1:2181")
}

fn file(scratch: &Scratch, end: &str) -> PathBuf {
    scratch.path().join("state/atalaya").join(format!("node-1.{end}"))
}

#[test]
fn state_file_passes_records_from_one_process_to_the_next() {
    let scratch = Scratch::new("state-file");
    let first = open(&scratch).unwrap();
    first.update(|record| record.add_process(process_record(1, &[])));
    first.update(|record| record.add_session(7));
    drop(first);
    let second = open(&scratch).unwrap();
    second.update(|record| record.add_process(process_record(2, &[])));
    assert_eq!(second.earlier_processes(&process_record(2, &[]).contender), [process_record(1, &[7])]);
    // Killed before it could clean up.
    second.update(|record| record.add_session(8));
    drop(second);
    let third = open(&scratch).unwrap();
    third.update(|record| record.add_process(process_record(3, &[])));
    let earlier = third.earlier_processes(&process_record(3, &[]).contender);
    assert_eq!(earlier, [process_record(1, &[7]), process_record(2, &[8])]);
    (1..=3).for_each(|process| {
        third.update(|record| record.remove_process(&process_record(process, &[]).contender))
    });
    drop(third);
    assert_eq!(read(&file(&scratch, "json")).unwrap().unwrap().processes, []);
}

#[test]
fn state_file_is_open_in_one_process_at_a_time() {
    let scratch = Scratch::new("state-file");
    let first = open(&scratch).unwrap();
    let OpenError::Held(holder) = open(&scratch).unwrap_err() else { panic!("it is held") };
    assert_eq!(holder, Holder { process: Some(std::process::id()), purpose: Purpose::Run });
    // The lock is held until the last clone is dropped.
    let clone = first.clone();
    drop(first);
    assert!(matches!(open(&scratch), Err(OpenError::Held(_))));
    drop(clone);
    open(&scratch).unwrap();
}

#[test]
fn opening_a_state_file_waits_for_a_cleanup() {
    let scratch = Scratch::new("state-file");
    drop(open(&scratch).unwrap());
    let lock = Lock::try_acquire(&file(&scratch, "lock"), Purpose::CleanUp).unwrap().unwrap();
    let opened = std::thread::scope(|scope| {
        let opening = scope.spawn(|| open(&scratch));
        // Longer than a running node would be waited for.
        let start = Instant::now();
        while start.elapsed() < LOCK_TIMEOUT * 2 {
            assert!(!opening.is_finished());
            std::thread::yield_now();
        }
        drop(lock);
        opening.join().unwrap()
    });
    opened.unwrap();
}

#[test]
fn invalid_state_file_is_replaced() {
    let scratch = Scratch::new("state-file");
    drop(open(&scratch).unwrap());
    for garbage in [&b""[..], b"\0\0\0\0\0", b"{\"node\": \"1\"", &[0xff; 300_000]] {
        fs::write(file(&scratch, "json"), garbage).unwrap();
        let state_file = open(&scratch).unwrap();
        assert_eq!(state_file.earlier_processes(""), []);
        state_file.update(|record| record.add_process(process_record(1, &[])));
        state_file.update(|record| record.add_session(1));
        assert_eq!(read(&file(&scratch, "json")).unwrap().unwrap().processes, [process_record(1, &[1])]);
    }
}

#[test]
fn records_are_not_used_if_the_lock_file_was_missing() {
    let scratch = Scratch::new("state-file");
    let first = open(&scratch).unwrap();
    first.update(|record| record.add_process(process_record(1, &[7])));
    fs::remove_file(file(&scratch, "lock")).unwrap();
    // The first process is still alive.
    let second = open(&scratch).unwrap();
    assert_eq!(second.earlier_processes(""), []);
}

#[cfg(unix)]
#[test]
fn state_files_are_accessible_only_for_the_user() {
    use std::os::unix::fs::PermissionsExt as _;

    let scratch = Scratch::new("state-file");
    let state_file = open(&scratch).unwrap();
    state_file.update(|record| record.add_process(process_record(1, &[])));
    for (path, mode) in [
        (file(&scratch, "json"), 0o100_600),
        (file(&scratch, "lock"), 0o100_600),
        (scratch.path().join("state/atalaya"), 0o040_700),
    ] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode(), mode, "{}", path.display());
    }
}

#[test]
fn state_file_survives_a_full_disk_and_a_deleted_directory() {
    let scratch = Scratch::new("state-file");
    fs::write(scratch.path().join("state"), "a file").unwrap();
    assert!(matches!(open(&scratch), Err(OpenError::Io(_))));
    fs::remove_file(scratch.path().join("state")).unwrap();
    drop(open(&scratch).unwrap());
    // Like a full disk: the lock file exists, but no new file can be created.
    fs::create_dir(file(&scratch, "new")).unwrap();
    let state_file = open(&scratch).unwrap();
    assert!(state_file.0.state.lock().unwrap().failing);
    fs::remove_dir(file(&scratch, "new")).unwrap();
    state_file.update(|record| record.add_session(0));
    assert!(!state_file.0.state.lock().unwrap().failing);
    fs::remove_dir_all(scratch.path().join("state")).unwrap();
    state_file.update(|record| record.add_process(process_record(1, &[])));
    state_file.update(|record| record.add_session(1));
    assert!(state_file.0.state.lock().unwrap().failing);
    create_dir(&scratch.path().join("state/atalaya")).unwrap();
    state_file.update(|record| record.add_session(2));
    assert!(!state_file.0.state.lock().unwrap().failing);
    assert_eq!(read(&file(&scratch, "json")).unwrap().unwrap().processes, [process_record(1, &[1, 2])]);
}

#[cfg(unix)]
#[test]
fn state_files_that_are_symbolic_links_are_neither_read_nor_written() {
    use std::os::unix::fs::symlink;

    for end in ["lock", "json"] {
        let scratch = Scratch::new("state-file");
        let state_file = open(&scratch).unwrap();
        state_file.update(|record| record.add_process(process_record(1, &[7])));
        drop(state_file);
        let victim = scratch.path().join("victim");
        fs::copy(file(&scratch, "json"), &victim).unwrap();
        let before = fs::read(&victim).unwrap();
        fs::remove_file(file(&scratch, end)).unwrap();
        symlink(&victim, file(&scratch, end)).unwrap();
        let opened = open(&scratch);
        match end {
            "lock" => assert!(matches!(opened, Err(OpenError::Io(_))), "{opened:?}"),
            _ => assert_eq!(
                opened.unwrap().earlier_processes(""),
                [],
                "the contents of another file are not used"
            ),
        }
        let lock = Lock::try_acquire(&file(&scratch, "lock"), Purpose::CleanUp);
        assert_eq!(lock.is_err(), end == "lock", "{lock:?}");
        assert_eq!(fs::read(&victim).unwrap(), before, "{end}");
    }
    // A symbolic link at the path of the temporary file is replaced, not followed.
    let scratch = Scratch::new("state-file");
    let state_file = open(&scratch).unwrap();
    let victim = scratch.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, file(&scratch, "new")).unwrap();
    state_file.update(|record| record.add_process(process_record(1, &[])));
    state_file.update(|record| record.add_session(7));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(read(&file(&scratch, "json")).unwrap().unwrap().processes, [process_record(1, &[7])]);
}

#[cfg(unix)]
#[test]
fn state_files_that_are_pipes_or_have_hard_links_are_refused() {
    let scratch = Scratch::new("state-file");
    drop(open(&scratch).unwrap());
    let other = scratch.path().join("other");
    fs::hard_link(file(&scratch, "lock"), &other).unwrap();
    assert!(matches!(open(&scratch), Err(OpenError::Io(_))));
    fs::remove_file(&other).unwrap();
    drop(open(&scratch).unwrap());
    fs::remove_file(file(&scratch, "json")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(file(&scratch, "json")).status().unwrap();
    assert!(made.success());
    // Opening the pipe must not block until a writer opens it.
    assert_eq!(open(&scratch).unwrap().earlier_processes(""), []);
}

#[cfg(target_os = "linux")]
#[test]
fn state_files_of_other_users_are_refused_and_files_created_by_root_belong_to_the_owner_of_the_directory() {
    use std::os::unix::fs::{MetadataExt as _, chown};

    if !rustix::process::geteuid().is_root() {
        // Only root can change the owner of a file.
        return;
    }
    let scratch = Scratch::new("state-file");
    drop(open(&scratch).unwrap());
    chown(file(&scratch, "lock"), Some(4321), None).unwrap();
    let error = Lock::try_acquire(&file(&scratch, "lock"), Purpose::CleanUp).unwrap_err();
    assert!(error.to_string().contains("belongs to user 4321"), "{error}");
    chown(scratch.path().join("state/atalaya"), Some(4321), Some(4321)).unwrap();
    let state_file = open(&scratch).unwrap();
    state_file.update(|record| record.add_process(process_record(1, &[7])));
    let owner = fs::metadata(file(&scratch, "json")).unwrap().uid();
    assert_eq!(owner, 4321, "the owner must be able to read it later");
}
