//! A pull that makes a collection: nobody sees it before it is whole, and one that fails leaves what was there, nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use haversack_model::{CollectionId, Host as _, Store as _, Timestamp};
use haversack_server::grants::{Grant, parse_rights};
use haversack_server::native::pull as pull_job;
use haversack_server::{Handle, clock};
use haversack_sync::reconcile::Method;

use crate::support::gate::{Gate, hidden};
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::{Pair, client, contents, edit, pair, pull, request, run, start};

/// Names of the services that a user of the server sees, with their collections.
fn seen(handle: &Handle) -> Vec<(String, Vec<String>)> {
    let client = client(handle, "editor", "secret");
    let names = handle.server.service_names().into_iter();
    let told = names.map(|name| {
        let found = client.service(&name).unwrap().service.collections;
        (name, found.into_iter().map(|one| one.name).collect())
    });
    told.collect()
}

/// How many collections a service has, those that nobody sees included.
fn stored(handle: &Handle, service: &str) -> Option<usize> {
    let store = handle.server.services.store(service)?;
    Some(
        store
            .begin_read()
            .unwrap()
            .service()
            .unwrap()
            .collections
            .len(),
    )
}

fn whole() -> Vec<(String, Vec<String>)> {
    vec![("_system".to_owned(), vec!["notes".to_owned()])]
}

/// The primary's answers to questions about the collection, each wrong in its own way.
fn faults() -> Vec<(&'static str, Gate, Pair)> {
    type Alter = fn() -> Option<(u16, Vec<u8>)>;
    let all: [(&str, Alter); 4] = [
        ("refused", || Some((403, b"{}".to_vec()))),
        ("broken", || Some((500, b"{}".to_vec()))),
        ("no frames", || Some((200, b"this is no answer".to_vec()))),
        ("silent", || None),
    ];
    let begin = |(name, alter): (&'static str, Alter)| {
        let pair = pair(300);
        let gate = Gate::start(pair.primary.address);
        gate.alter(move |_, path, status, body| {
            if path.ends_with("/reconcile") {
                alter()
            } else {
                Some((status, body))
            }
        });
        (name, gate, pair)
    };
    all.into_iter().map(begin).collect()
}

#[test]
fn a_first_pull_that_fails_leaves_no_collection_and_no_service() {
    for (fault, gate, pair) in faults() {
        for is_there in [false, true] {
            let before = seen(&pair.secondary);
            let mut asked = request(gate.address);
            asked.max_wait_s = Some(1);
            let failed = run(&pair, &asked);
            assert!(failed.is_err(), "{fault}: {failed:?}");
            assert_eq!(seen(&pair.secondary), before, "{fault}");
            let left = is_there.then_some(0);
            assert_eq!(stored(&pair.secondary, "_system"), left, "{fault}");
            if !is_there {
                // The next time the service is there, and stays.
                let service = haversack_model::Service::of_documents("_system");
                let made = pair.secondary.server.create_service(&service, |_| Ok(()));
                made.unwrap();
            }
        }
        let report = pull(&pair);
        assert!(report.created, "{fault}");
        assert_eq!(seen(&pair.secondary), whole(), "{fault}");
        assert_eq!(pull(&pair).walk.method, Method::Equal, "{fault}");
    }
}

#[test]
fn a_first_pull_of_what_may_not_be_copied_leaves_nothing() {
    let pair = pair(10);
    let server = &pair.primary.server;
    let added = server.accounts.add("ben", "secret", false, clock::now());
    added.unwrap();
    let part = vec![(CollectionId(0), "document is not null".to_owned())];
    server
        .grant(&Grant {
            principal: "ben".to_owned(),
            service: "_system".to_owned(),
            rights: parse_rights("read,sync").unwrap(),
            filters: part,
        })
        .unwrap();
    let mut login = crate::login();
    "ben".clone_into(&mut login.user);
    let asked = request(pair.primary.address);
    let here = &pair.secondary.server;
    let failed = pull_job::run(here, "_system", "notes", &asked, &login, &mut |_, _, _| {});
    assert!(failed.unwrap_err().to_string().contains("whole"));
    assert_eq!(stored(&pair.secondary, "_system"), None);
}

#[test]
fn a_first_pull_that_was_cut_is_seen_by_nobody_and_goes_on() {
    let mut pair = pair(10_000);
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let rule: Arc<Rule> = Arc::new(move |n| match n {
        _ if is_mended.load(Ordering::SeqCst) => Fault::None,
        0 => Fault::CutResponse(400_000),
        _ => Fault::CutRequest(0),
    });
    let proxy = Proxy::start(pair.primary.address, rule);
    assert!(run(&pair, &request(proxy.address)).is_err());
    let nothing = vec![("_system".to_owned(), vec![])];
    assert_eq!(seen(&pair.secondary), nothing);
    assert_eq!(stored(&pair.secondary, "_system"), Some(1), "it goes on");
    // Nor after a restart.
    let folder = tempfile::tempdir().unwrap();
    let first = std::mem::replace(&mut pair.secondary, start(&folder, &[]));
    first.stop();
    pair.secondary.stop();
    pair.secondary = start(&pair.folders[1], &["tcp://127.0.0.1:*"]);
    assert_eq!(seen(&pair.secondary), nothing);
    mended.store(true, Ordering::SeqCst);
    let before = proxy.sent_by_server();
    let report = run(&pair, &request(proxy.address)).unwrap();
    assert!(report.created, "{report:?}");
    let sent = proxy.sent_by_server() - before;
    assert!(sent < 900_000, "what had arrived came again: {sent}");
    assert_eq!(seen(&pair.secondary), whole());
    assert_eq!(contents(&pair.primary), contents(&pair.secondary));
    assert_eq!(stored(&pair.secondary, "_system"), Some(1));
}

#[test]
fn what_a_cut_first_pull_left_goes_when_nobody_went_on_with_it_for_long() {
    let pair = pair(10_000);
    let rule: Arc<Rule> = Arc::new(|n| match n {
        0 => Fault::CutResponse(400_000),
        _ => Fault::CutRequest(0),
    });
    let proxy = Proxy::start(pair.primary.address, rule);
    assert!(run(&pair, &request(proxy.address)).is_err());
    let sweep = |days: i64| {
        let now = Timestamp(clock::now().0 + days * 86_400_000);
        pair.secondary.server.sweep_copies(now).unwrap();
        stored(&pair.secondary, "_system")
    };
    assert_eq!((sweep(0), sweep(3)), (Some(1), Some(0)));
    pull(&pair);
    assert_eq!((sweep(3), seen(&pair.secondary)), (Some(1), whole()));
}

#[test]
fn a_name_that_was_given_meanwhile_is_not_taken_away() {
    let pair = pair(300);
    let gate = Gate::start(pair.primary.address);
    let server = Arc::clone(&pair.secondary.server);
    let is_given = AtomicBool::new(false);
    gate.alter(move |_, path, status, body| {
        if path.ends_with("/reconcile") && !is_given.swap(true, Ordering::SeqCst) {
            let store = server.services.store("_system").unwrap();
            let mut tx = store.begin_write(clock::now()).unwrap();
            let mut service = tx.service().unwrap();
            let own = service.new_documents("notes", false).unwrap();
            service.collections.push(own);
            tx.store_service(&service).unwrap();
            tx.commit().unwrap();
        }
        Some((status, body))
    });
    let failed = run(&pair, &request(gate.address)).unwrap_err();
    assert!(failed.to_string().contains("meanwhile"), "{failed}");
    assert_eq!(stored(&pair.secondary, "_system"), Some(1));
    assert!(contents(&pair.secondary).is_empty());
    assert!(!pull(&pair).created, "the next one fills it");
}

#[test]
fn an_empty_collection_is_pulled_as_one() {
    let pair = pair(0);
    let report = pull(&pair);
    assert!(report.created);
    assert_eq!(seen(&pair.secondary), whole());
    edit(&pair.primary, [("k".to_owned(), Some("{}".to_owned()))]);
    assert!(!pull(&pair).created);
}

#[test]
fn a_prepared_file_that_was_taken_over_is_a_complete_copy_although_the_primary_is_silent_then() {
    let pair = pair(25_000);
    let gate = Gate::start(pair.primary.address);
    gate.alter(|_, path, status, body| (!path.ends_with("/reconcile")).then_some((status, body)));
    let mut asked = request(gate.address);
    asked.max_wait_s = Some(1);
    let report = run(&pair, &asked).unwrap();
    assert_eq!(
        (report.walk.method, report.walk.inserted, report.created),
        (Method::FullCopy, 25_000, true)
    );
    let head = pair.primary.server.services.store("_system").unwrap();
    let head = head.begin_read().unwrap().head().unwrap().generation;
    assert_eq!(report.walk.proof.unwrap().generation, head);
    assert_eq!(contents(&pair.primary), contents(&pair.secondary));
    assert_eq!(seen(&pair.secondary), whole());
    let refused = run(&pair, &asked);
    assert!(
        refused.is_err(),
        "nothing is known of what came since: {refused:?}"
    );
}

#[test]
fn a_pull_that_fails_takes_no_service_away_in_which_another_one_works() {
    for first_ends_well in [false, true] {
        let pair = pair(10);
        let server = &pair.secondary.server;
        // Only ArangoDB's protocols: between the making of the service and that of a collection a batch is asked for.
        let held = |collection: &str| {
            let gate = Gate::hiding(pair.primary.address);
            let is_held = Arc::new(AtomicBool::new(true));
            let holding = Arc::clone(&is_held);
            gate.alter(move |method, path, status, body| {
                while method == "POST" && path.contains("/batch?") && holding.load(Ordering::SeqCst)
                {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                Some(hidden(path, status, body))
            });
            let asked = pull_job::Request {
                database: "_system".to_owned(),
                collection: collection.to_owned(),
                ..request(gate.address)
            };
            (gate, is_held, asked)
        };
        let (fails, works) = (held("nothing of the kind"), held("notes"));
        let (first, second) = if first_ends_well {
            (&works, &fails)
        } else {
            (&fails, &works)
        };
        std::thread::scope(|scope| {
            let mut pulls = Vec::new();
            for (gate, _, asked) in [first, second] {
                pulls.push(scope.spawn(move || {
                    let name = if asked.collection == "notes" {
                        "b"
                    } else {
                        "a"
                    };
                    let login = crate::login();
                    pull_job::run(server, "new", name, asked, &login, &mut |_, _, _| {})
                }));
                while !gate.seen().iter().any(|one| one.contains("/batch?")) {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
            assert_eq!(stored(&pair.secondary, "new"), Some(0));
            for (at, (_, is_held, _)) in [first, second].into_iter().enumerate() {
                is_held.store(false, Ordering::SeqCst);
                let done = pulls.remove(0).join().unwrap();
                assert_eq!(done.is_ok(), (at == 0) == first_ends_well, "{done:?}");
            }
        });
        let names = vec!["b".to_owned()];
        assert!(seen(&pair.secondary).contains(&("new".to_owned(), names)));
        // It is in the file as well.
        let Pair {
            secondary, folders, ..
        } = pair;
        secondary.stop();
        let secondary = start(&folders[1], &[]);
        assert_eq!(stored(&secondary, "new"), Some(1));
    }
}

#[test]
fn the_last_of_several_pulls_that_fail_takes_the_new_service_away() {
    let pair = pair(10);
    let gate = Gate::hiding(pair.primary.address);
    let server = &pair.secondary.server;
    std::thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let asked = pull_job::Request {
                database: "_system".to_owned(),
                ..request(gate.address)
            };
            scope.spawn(move || {
                let login = crate::login();
                let failed = pull_job::run(server, "new", name, &asked, &login, &mut |_, _, _| {});
                assert!(failed.is_err(), "{failed:?}");
            });
        }
    });
    assert_eq!(stored(&pair.secondary, "new"), None);
}
