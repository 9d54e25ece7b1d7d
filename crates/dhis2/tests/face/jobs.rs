//! Jobs that end badly, and reports that are not kept for ever.

use haversack_dhis2::wire::report::{self, Progress};
use haversack_model::Host as _;
use haversack_model::documents::document;
use serde_json::json;

use crate::tracker::family;
use crate::web::Client;

impl Client {
    /// Asks for an import, and gives the address of its job.
    async fn job(&self, n: u32) -> String {
        let told = self
            .post("/api/tracker?atomicMode=OBJECT", family(n, "hvOuFacil01"))
            .await;
        assert_eq!(told.status, 200, "{}", told.text);
        format!(
            "/api/tracker/jobs/{}",
            report::job_id(&told.json()).unwrap()
        )
    }
    fn stored_jobs(&self) -> u64 {
        let store = self.host.documents("dhis2").unwrap();
        let tx = store.read_documents().unwrap();
        let jobs = tx
            .service()
            .unwrap()
            .collection_named("trackerJobs")
            .unwrap()
            .id;
        tx.count(jobs).unwrap()
    }
}

#[tokio::test]
async fn a_job_that_is_given_up_says_so_and_its_report_says_nothing_of_any_object() {
    let client = Client::new().await;
    let path = client.job(1).await;
    assert_eq!(client.json(&path).await[0]["message"], "waiting");
    // The server ended in the middle of it, and again each time it began anew.
    client.host.restart();
    assert_eq!(client.json(&path).await[0]["completed"], false);
    client
        .host
        .fail_jobs("the server stopped three times while this ran");
    let told = client.json(&path).await;
    assert_eq!(
        (&told[0]["level"], &told[0]["completed"]),
        (&json!("ERROR"), &json!(true))
    );
    assert!(
        told[0]["message"]
            .as_str()
            .unwrap()
            .contains("stopped three times")
    );
    assert_eq!(report::progress(&told).unwrap(), Progress::Completed);
    let told = client.json(&format!("{path}/report")).await;
    assert_eq!(
        (&told["status"], &told["stats"]["total"]),
        (&json!("ERROR"), &json!(0))
    );
    let read = report::Report::of_job(&told).unwrap();
    assert!(
        read.outcomes.is_empty(),
        "so a device sends everything again"
    );
    assert_eq!(
        client
            .get("/api/tracker/trackedEntities/hvTe0000001")
            .await
            .status,
        404
    );
    // Sending again does it.
    client.host.forget_jobs();
    assert_eq!(
        client.get(&path).await.status,
        404,
        "nobody knows of it any more"
    );
    let again = client.job(1).await;
    client.host.run_jobs();
    assert_eq!(
        client.json(&format!("{again}/report")).await["stats"]["created"],
        3
    );
}

#[tokio::test]
async fn reports_are_kept_for_a_week_and_the_last_five_hundred_of_them() {
    let client = Client::new().await;
    let first = client.job(1).await;
    client.host.run_jobs();
    client.host.forget_jobs();
    client.host.wait(6 * 86_400_000);
    let second = client.job(2).await;
    client.host.run_jobs();
    client.host.forget_jobs();
    assert_eq!(client.get(&format!("{first}/report")).await.status, 200);
    client.host.wait(2 * 86_400_000);
    let third = client.job(3).await;
    client.host.run_jobs();
    client.host.forget_jobs();
    for (path, status) in [(&first, 404), (&second, 200), (&third, 200)] {
        assert_eq!(client.get(path).await.status, status, "{path}");
        assert_eq!(
            client.get(&format!("{path}/report")).await.status,
            status,
            "{path}"
        );
    }
    // So many at once that some must go; but not as long as devices may still wait for them.
    {
        let store = client.host.documents("dhis2").unwrap();
        let mut tx = store.write_documents(client.host.now()).unwrap();
        let jobs = tx
            .service()
            .unwrap()
            .collection_named("trackerJobs")
            .unwrap()
            .id;
        for n in 0..520 {
            let row =
                json!({"owner": "root", "created": "2026-11-21", "message": "", "report": {}});
            tx.put(
                jobs,
                &document(&format!("hvJo{n:07}"), row.to_string()),
                None,
            )
            .unwrap();
        }
        tx.commit().unwrap();
    }
    client.job(4).await;
    client.host.run_jobs();
    client.host.forget_jobs();
    assert_eq!(
        client.stored_jobs(),
        522,
        "the second, of two days ago, went"
    );
    client.host.wait(2 * 3_600_000);
    let last = client.job(5).await;
    client.host.run_jobs();
    assert_eq!(client.stored_jobs(), 500);
    assert_eq!(client.get(&third).await.status, 404, "the oldest went");
    assert_eq!(
        client.get("/api/tracker/jobs/hvJo0000519").await.status,
        200
    );
    assert_eq!(client.get(&last).await.status, 200);
}
