//! What lists cost, and that pages hold together while others write.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{LazyLock, Mutex};

use haversack_model::Host as _;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::tracker::family;
use crate::web::Client;

const LIST: &str = "/api/tracker/trackedEntities?program=hvProgram01&orgUnits=hvOuRoot001&orgUnitMode=DESCENDANTS&pageSize=5";

/// Objects that lists looked at, by the server's id.
static VISITED: LazyLock<Mutex<BTreeMap<String, u64>>> = LazyLock::new(|| {
    tracing::subscriber::set_global_default(Counting).unwrap();
    Mutex::default()
});

struct Counting;

impl Subscriber for Counting {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().ends_with("tracker::list")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut read = Cost::default();
        event.record(&mut read);
        *VISITED.lock().unwrap().entry(read.server).or_default() += read.visited;
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Cost {
    server: String,
    visited: u64,
}

impl Visit for Cost {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "visited" {
            self.visited = value;
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "server" {
            self.server = format!("{value:?}");
        }
    }
}

impl Client {
    /// How many objects lists looked at since this was asked last.
    fn visited(&self) -> u64 {
        let server = self.host.server_id().to_string();
        VISITED.lock().unwrap().remove(&server).unwrap_or_default()
    }
    async fn with_families(upto: u32) -> Self {
        let client = Self::new().await;
        let all: Vec<_> = (1..=upto)
            .map(|n| family(n, "hvOuFacil01")["trackedEntities"][0].clone())
            .collect();
        client.put(json!({ "trackedEntities": all })).await;
        client.visited();
        client
    }
    /// Asks for pages until one is empty.
    async fn all_pages(&self, path: &str) -> Vec<String> {
        let mut seen = Vec::new();
        for page in 1..100 {
            let uids = self.uids(&format!("{path}&page={page}")).await;
            if uids.is_empty() {
                break;
            }
            seen.extend(uids);
        }
        seen
    }
}

fn uids(numbers: impl Iterator<Item = u32>, prefix: &str) -> Vec<String> {
    numbers.map(|n| format!("{prefix}{n:07}")).collect()
}

#[tokio::test]
async fn a_page_costs_what_is_on_it_and_not_what_is_on_the_pages_before_it() {
    let client = Client::with_families(100).await;
    for order in ["createdAt:desc", "createdAt:asc"] {
        let path = format!("{LIST}&totalPages=false&order={order}");
        assert_eq!(client.all_pages(&path).await.len(), 100);
        assert_eq!(client.visited(), 100, "{order}: each is looked at once");
        let path = format!("{LIST}&order={order}");
        assert_eq!(client.all_pages(&path).await.len(), 100);
        assert_eq!(
            client.visited(),
            195,
            "{order}: and all of them once more to count them"
        );
    }
    // The pages of events, those of one unit, and those of the old API.
    let path = "/api/tracker/events?orgUnit=hvOuFacil01&pageSize=5&totalPages=false";
    assert_eq!(client.all_pages(path).await.len(), 100);
    assert_eq!(client.visited(), 100);
}

#[tokio::test]
async fn what_changed_costs_what_changed_on_all_its_pages_together() {
    let client = Client::with_families(100).await;
    let mark = client.json("/api/system/info").await["serverDate"]
        .as_str()
        .unwrap()
        .to_owned();
    for n in 41..=60 {
        let event = json!({"events": [{"event": format!("hvEv{n:07}"), "enrollment": format!("hvEn{n:07}"), "programStage": "hvStage0001",
            "orgUnit": "hvOuFacil01", "occurredAt": "2026-10-09"}]});
        client.put(event).await;
    }
    client.visited();
    let path = format!("{LIST}&totalPages=false&updatedAfter={mark}");
    assert_eq!(client.all_pages(&path).await, uids((41..=60).rev(), "hvTe"));
    assert_eq!(client.visited(), 20);
    let path = format!("{LIST}&updatedAfter={mark}&order=createdAt:asc");
    assert_eq!(
        client.json(&path).await["pager"],
        json!({"page": 1, "pageSize": 5, "total": 20, "pageCount": 4})
    );
    assert_eq!(client.all_pages(&path).await, uids(41..=60, "hvTe"));
    client.visited();
    assert_eq!(
        client.uids(&format!("{path}&page=4")).await,
        uids(56..=60, "hvTe")
    );
    assert_eq!(client.visited(), 5);
}

#[tokio::test]
async fn nothing_is_left_out_or_told_twice_while_others_make_and_take_away() {
    let client = Client::with_families(20).await;
    let mut seen = client.uids(&format!("{LIST}&page=1")).await;
    assert_eq!(seen, uids((16..=20).rev(), "hvTe"));
    // Two that were seen go, three come: by numbers alone the second page would begin one further up.
    let gone = json!({"trackedEntities": [{"trackedEntity": "hvTe0000019"}, {"trackedEntity": "hvTe0000017"}]});
    client.import("importStrategy=DELETE", gone).await;
    for n in 21..=23 {
        client.put(family(n, "hvOuFacil01")).await;
    }
    for page in 2..=4 {
        let path = format!("{LIST}&page={page}");
        assert_eq!(
            client.json(&path).await["pager"],
            json!({"page": page, "pageSize": 5, "total": 20, "pageCount": 4})
        );
        seen.extend(client.uids(&path).await);
    }
    assert_eq!(seen, uids((1..=20).rev(), "hvTe"));
    // A page that is asked for again is the same; a page of a list that nobody began is counted.
    let again = client.uids(&format!("{LIST}&page=3")).await;
    assert_eq!(again, uids((6..=10).rev(), "hvTe"));
    let counted = client.uids(&format!("{LIST}&page=2&x=1")).await;
    assert_eq!(counted, uids((12..=16).rev(), "hvTe"));
    let first = client.json(&format!("{LIST}&page=1")).await;
    assert_eq!(first["pager"]["total"], 21);
    assert_eq!(first["trackedEntities"][0]["trackedEntity"], "hvTe0000023");
    // The list began anew, so its second page is not where the old one had it.
    assert_eq!(
        client.uids(&format!("{LIST}&page=2")).await[0],
        "hvTe0000016"
    );
}

#[tokio::test]
async fn a_place_is_forgotten_after_a_while_and_belongs_to_one_user() {
    let client = Client::with_users("hvOuRoot001").await;
    for n in 1..=12 {
        client.put(family(n, "hvOuFacil01")).await;
    }
    let (ada, bob) = (client.user("ada"), client.user("bob"));
    assert_eq!(ada.uids(&format!("{LIST}&page=1")).await[4], "hvTe0000008");
    client.put(family(13, "hvOuFacil01")).await;
    assert_eq!(ada.uids(&format!("{LIST}&page=2")).await[0], "hvTe0000007");
    assert_eq!(
        bob.uids(&format!("{LIST}&page=2")).await[0],
        "hvTe0000008",
        "bob never asked for a first page"
    );
    client.host.wait(16 * 60_000);
    assert_eq!(ada.uids(&format!("{LIST}&page=2")).await[0], "hvTe0000008");
    // A page far behind the end, and one of a number that no list has.
    assert_eq!(
        ada.uids(&format!("{LIST}&page=18446744073709551615"))
            .await
            .len(),
        0
    );
}

#[tokio::test]
async fn lists_come_in_the_order_of_what_is_in_their_objects() {
    let client = Client::new().await;
    for n in 1..=4 {
        let mut one = family(n, "hvOuFacil01");
        let enrollment = &mut one["trackedEntities"][0]["enrollments"][0];
        enrollment["attributes"][0]["value"] = json!(format!("Name {}", 9 - n));
        enrollment["enrolledAt"] = json!(format!("2026-10-0{}", [0, 3, 1, 4, 2][n as usize]));
        enrollment["events"][0]["occurredAt"] =
            json!(format!("2026-10-1{}", [0, 3, 1, 4, 2][n as usize]));
        enrollment["events"][0]["dataValues"][0]["value"] =
            json!([0, 10, 9, 9, 100][n as usize].to_string());
        one["trackedEntities"][0]["attributes"] = json!([]);
        client.put(one).await;
    }
    let numbers = async |path: &str| {
        let told = client.json(path).await;
        let (name, member) = if path.contains("enrollments") {
            ("enrollments", "enrollment")
        } else if path.contains("vents") {
            ("events", "event")
        } else {
            ("trackedEntities", "trackedEntity")
        };
        let list = told[name].as_array().unwrap().clone();
        list.iter()
            .map(|one| one[member].as_str().unwrap()[4..].parse::<u32>().unwrap())
            .collect::<Vec<_>>()
    };
    let (entities, enrollments, events) = (
        "/api/tracker/trackedEntities?program=hvProgram01",
        "/api/tracker/enrollments?program=hvProgram01",
        "/api/tracker/events?program=hvProgram01",
    );
    for (list, order, expected) in [
        (entities, "hvAttrName1:asc", [4, 3, 2, 1]),
        (entities, "trackedEntity", [1, 2, 3, 4]),
        (entities, "hvAttrAge01:asc,hvAttrName1:desc", [1, 2, 3, 4]),
        (entities, "updatedAt:asc", [1, 2, 3, 4]),
        (enrollments, "enrolledAt:asc", [2, 4, 1, 3]),
        (enrollments, "enrolledAt:desc", [3, 1, 4, 2]),
        (events, "occurredAt:desc", [3, 1, 4, 2]),
        (events, "hvDeWeight1:asc,occurredAt:desc", [3, 2, 1, 4]),
        (events, "hvDeWeight1:desc", [4, 1, 3, 2]),
        (
            "/api/events?program=hvProgram01",
            "eventDate:asc",
            [2, 4, 1, 3],
        ),
    ] {
        assert_eq!(
            numbers(&format!("{list}&order={order}")).await,
            expected,
            "{order}"
        );
        let mut pages = numbers(&format!("{list}&order={order}&pageSize=3")).await;
        pages.extend(
            numbers(&format!(
                "{list}&order={order}&pageSize=3&page=2&updatedAfter=2000-01-01"
            ))
            .await,
        );
        assert_eq!(pages, expected, "{order}");
    }
    for (list, order) in [
        (entities, "enrolledAt"),
        (entities, "occurredAt:asc"),
        (enrollments, "hvAttrName1"),
        (events, "occurredAt:up"),
        (events, "a'b"),
    ] {
        assert_eq!(
            client.get(&format!("{list}&order={order}")).await.status,
            400,
            "{order}"
        );
    }
}
