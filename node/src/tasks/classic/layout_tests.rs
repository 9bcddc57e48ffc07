use proptest::prelude::*;

use super::*;

fn task(data: &str) -> TaskState {
    TaskState::parse("t1", data.as_bytes())
}

#[test]
fn data_of_a_task_in_all_known_variants() {
    for data in ["", "t1", "0", " 0\n", "b'0'", "None", "non", "\"t1\"", "\0"] {
        assert_eq!(task(data), TaskState::Unassigned, "{data:?}");
    }
    for data in ["t1,w1", "w1,t1", "assigned,w1", "('t1', 'w1')", "w1"] {
        assert_eq!(task(data), TaskState::Assigned(data.to_owned()), "{data:?}");
    }
    for (data, result) in [("t1=5", "5"), ("t1=", ""), ("t1=a=b, c", "a=b, c"), ("other=5", "5"), ("=5", "5")]
    {
        assert_eq!(task(data), TaskState::Finished(result.to_owned()), "{data:?}");
    }
}

#[test]
fn data_of_a_worker_in_all_known_variants() {
    for data in ["", "non", "idle", "IDLE", " non\n", "b'non'", "None"] {
        assert_eq!(WorkerState::parse(data.as_bytes()), WorkerState::Free, "{data:?}");
    }
    assert_eq!(WorkerState::parse(b"t1\n"), WorkerState::Busy("t1".to_owned()));
    assert_eq!(WorkerState::parse(b"/tasks/t1"), WorkerState::Busy("t1".to_owned()));
    assert_eq!(WorkerState::parse(b"0"), WorkerState::Busy("0".to_owned()), "a task may have this id");
}

#[test]
fn assignment_names_task_and_worker_and_is_no_result() {
    assert_eq!(assigned_data("t1", "w1").as_deref(), Some("t1,w1"));
    assert_eq!(assigned_data("a=b", "w1").as_deref(), Some("assigned,w1"));
    assert_eq!(assigned_data("t1", "w=1"), None);
}

#[test]
fn worker_id_within_a_longer_id_is_not_mentioned() {
    assert!(mentions("t1,w1", "w1") && mentions("w1,t1", "w1") && mentions("('t1', 'w1')", "w1"));
    assert!(!mentions("t1,w11", "w1") && !mentions("t1,xw1", "w1") && !mentions("t1,w1-2", "w1"));
    assert!(!mentions("t1,w1", ""));
}

#[test]
fn input_is_a_number_of_seconds() {
    for (input, wanted) in [("2", 2_000), (" 0.5\n", 500), ("b'3'", 3_000), ("0", 0), ("1e1", 10_000)] {
        assert_eq!(sleep_duration(input.as_bytes()), Ok(Duration::from_millis(wanted)), "{input:?}");
    }
    for input in ["", "-1", "NaN", "inf", "1e300", "soon", "1,5"] {
        assert!(sleep_duration(input.as_bytes()).is_err(), "{input:?}");
    }
}

#[test]
fn ids_that_mean_something_else_are_refused() {
    for id in ["w1", "a.b", "node-3", "10.0.0.1:8080"] {
        assert_eq!(check_id(id).as_deref(), Ok(id));
    }
    for id in ["", "non", "idle", "0", "a/b", "a,b", "a=b", ".", "..", "a b", &"x".repeat(200)] {
        assert!(check_id(id).is_err(), "{id:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read(id in ".{0,12}", data: Vec<u8>) {
        let _ = (TaskState::parse(&id, &data), WorkerState::parse(&data));
        prop_assert!(sleep_duration(&data).is_err() || !data.is_empty());
        prop_assert!(!input_text(&data).starts_with(' '));
    }

    #[test]
    fn text_without_equals_sign_is_never_a_result(id in "[a-z0-9]{1,8}", data in "[^=]{0,30}") {
        prop_assert!(!matches!(TaskState::parse(&id, data.as_bytes()), TaskState::Finished(_)));
    }

    #[test]
    fn written_results_are_read_back(id in "[A-Za-z0-9=,.-]{1,20}", result in any::<String>()) {
        let written = finished_data(&id, &result);
        prop_assert_eq!(TaskState::parse(&id, written.as_bytes()), TaskState::Finished(clean_result(&result)));
    }

    #[test]
    fn results_are_one_bounded_line_without_equals_sign(result in any::<String>(), repeat in 1_usize..200) {
        let clean = clean_result(&result.repeat(repeat));
        prop_assert!(clean.len() <= MAX_RESULT && !clean.contains(['=', '\n', '\r', '\0']));
    }

    #[test]
    fn written_assignments_are_read_back(task in "[A-Za-z0-9=,.-]{1,20}", worker in "[A-Za-z0-9,.-]{1,20}") {
        let written = assigned_data(&task, &worker).unwrap();
        prop_assert!(written.contains(',') && !written.contains('=') && mentions(&written, &worker));
        prop_assert_eq!(TaskState::parse(&task, written.as_bytes()), TaskState::Assigned(written.clone()));
    }

    #[test]
    fn mentioned_ids_are_found_in_any_text(text in any::<String>(), id in any::<String>()) {
        prop_assert!(!mentions(&text, &id) || text.contains(&id));
    }
}
