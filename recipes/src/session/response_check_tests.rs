use proptest::prelude::*;

use super::*;

const MAX: usize = 1024;

fn frame(body: &[u8]) -> Vec<u8> {
    [&i32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

fn request(xid: i32, operation: i32) -> Vec<u8> {
    frame(&[&xid.to_be_bytes()[..], &operation.to_be_bytes(), b"rest of the request"].concat())
}

fn response(xid: i32, error: i32, body: &[u8]) -> Vec<u8> {
    frame(&[&xid.to_be_bytes()[..], &[0; 8], &error.to_be_bytes(), body].concat())
}

/// Returns a check of a connection whose session has begun.
fn begun() -> ResponseCheck {
    let mut check = ResponseCheck::new(MAX);
    check.on_requests(&frame(&[0; 45]));
    check.on_responses(&frame(&[0; 37])).unwrap();
    check
}

/// Returns the result for a list of `count` entries and `length` bytes after the count.
fn list(operation: i32, count: i32, length: usize) -> Result<(), BadResponse> {
    let mut check = begun();
    check.on_requests(&request(7, operation));
    check.on_responses(&response(7, 0, &[&count.to_be_bytes()[..], &vec![0; length]].concat()))
}

#[test]
fn length_of_a_response_is_refused_outside_the_limits_once_announced() {
    for (length, refused) in
        [(16, false), (1024, false), (1025, true), (i32::MAX, true), (-1, true), (0, true), (15, true)]
    {
        let mut check = begun();
        let found = check.on_responses(&i32::to_be_bytes(length));
        let expected = if refused { Err(BadResponse::Length { length, max: MAX }) } else { Ok(()) };
        assert_eq!(found, expected, "{length}");
        assert!(check.is_inside_response());
    }
}

#[test]
fn list_is_refused_if_it_announces_more_entries_than_fit() {
    for operation in LISTS {
        assert_eq!(list(operation, 10, 40), Ok(()));
        assert_eq!(list(operation, -1, 0), Ok(()));
        for count in [12, i32::MAX, -2] {
            assert_eq!(list(operation, count, 40), Err(BadResponse::Count { count, length: 60 }));
        }
    }
    // The body of a response to `sync` is not a list.
    assert_eq!(list(9, i32::MAX, 40), Ok(()));
}

#[test]
fn response_to_get_data_is_refused_without_a_stat() {
    for (error, length, refused) in [(0, 72, false), (0, 71, true), (-101, 0, false)] {
        let mut check = begun();
        check.on_requests(&request(7, GET_DATA));
        let found = check.on_responses(&response(7, error, &vec![0; length]));
        assert_eq!(found.is_err(), refused, "{error} {length}");
        assert!(check.in_flight.is_empty());
    }
}

proptest! {
    #[test]
    fn responses_are_checked_alike_however_the_bytes_are_split(
        requests in prop::collection::vec((1i32..20, prop::sample::select(vec![4, 8, 9, 12, 14])), 0..20),
        responses in prop::collection::vec((1i32..20, -1i32..1, prop::collection::vec(any::<u8>(), 0..100)), 0..20),
        piece in 1usize..50,
    ) {
        let sent: Vec<u8> = requests.iter().flat_map(|(xid, operation)| request(*xid, *operation)).collect();
        let received: Vec<u8> = responses.iter().flat_map(|(xid, error, body)| response(*xid, *error, body)).collect();
        let mut whole = begun();
        whole.on_requests(&sent);
        let expected = whole.on_responses(&received);
        let mut pieces = begun();
        sent.chunks(piece).for_each(|bytes| pieces.on_requests(bytes));
        let found = received.chunks(piece).try_for_each(|bytes| pieces.on_responses(bytes));
        prop_assert_eq!(&found, &expected);
        prop_assert!(found.is_err() || !pieces.is_inside_response());
    }

    #[test]
    fn any_bytes_are_checked_without_a_panic(
        sent in prop::collection::vec(any::<u8>(), 0..300),
        received in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut check = ResponseCheck::new(MAX);
        check.on_requests(&sent);
        let _ = check.on_responses(&received);
    }
}
