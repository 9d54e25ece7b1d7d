//! Jobs that end, last, are forgotten or tell nonsense.

use std::time::Duration;

use serde_json::{Value, json};

use super::standin::{Reply, Standin, Still};
use crate::remote::push::job::{Followed, TRIES, follow};

fn running() -> Reply {
    Reply::Told(200, json!([{"uid": "j", "completed": false}]))
}
fn done() -> Reply {
    Reply::Told(200, json!([{"completed": true}, {"completed": false}]))
}
fn unknown() -> Reply {
    Reply::Told(404, json!({"message": "not found"}))
}
fn report() -> Reply {
    Reply::Told(
        200,
        json!({"status": "OK", "validationReport": {"errorReports": []}}),
    )
}

fn followed(replies: Vec<Reply>, is_old: bool) -> (Option<Followed>, Vec<Duration>) {
    let server = Standin::new(replies);
    let mut pace = Still::default();
    let followed = follow(&server, &mut pace, "j", is_old);
    (followed.ok(), pace.waited)
}

fn is_done(followed: Option<&Followed>) -> bool {
    matches!(followed, Some(Followed::Done(_)))
}

#[test]
fn a_job_is_asked_for_after_one_second_and_then_every_two() {
    let (followed, waited) = followed(vec![unknown(), running(), done(), report()], false);
    assert!(is_done(followed.as_ref()));
    let seconds: Vec<u64> = waited.iter().map(Duration::as_secs).collect();
    assert_eq!(seconds, [1, 2, 2]);
}

#[test]
fn a_job_that_does_not_end_stays_open() {
    let (open, waited) = followed(vec![running(); 200], false);
    assert_eq!(open, Some(Followed::Open));
    assert_eq!(waited.len(), TRIES as usize);
    let (open, waited) = followed(vec![running(); 9], true);
    assert_eq!(open, Some(Followed::Open));
    assert_eq!(
        waited.len(),
        1,
        "one of an earlier upload is asked for twice"
    );
}

#[test]
fn a_job_that_the_server_forgets_is_lost() {
    let gone = vec![running(), unknown(), unknown(), unknown()];
    assert_eq!(followed(gone, false).0, Some(Followed::Lost));
    assert_eq!(
        followed(vec![unknown(), unknown()], true).0,
        Some(Followed::Lost)
    );
    let never = vec![Reply::Told(200, json!([])); 100];
    assert_eq!(
        followed(never, false).0,
        Some(Followed::Lost),
        "it is never seen"
    );
    // The server was in the middle of something.
    let back = vec![running(), unknown(), running(), done(), report()];
    assert!(is_done(followed(back, false).0.as_ref()));
}

#[test]
fn a_report_that_cannot_be_read_loses_the_job_and_a_cut_does_not() {
    for spoilt in [json!({"status": "OK"}), Value::Null, json!([1])] {
        let replies = vec![done(), Reply::Told(200, spoilt)];
        assert_eq!(followed(replies, false).0, Some(Followed::Lost));
    }
    assert_eq!(
        followed(vec![done(), unknown()], false).0,
        Some(Followed::Lost)
    );
    for cut in [vec![Reply::Cut], vec![done(), Reply::Cut]] {
        assert_eq!(followed(cut, false).0, None);
    }
    let overloaded = Reply::Told(503, Value::Null);
    assert_eq!(followed(vec![overloaded], false).0, None);
}
