use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// A runner whose jobs wait for a word: they end with it.
#[derive(Debug)]
struct Waiting {
    started: Mutex<Sender<String>>,
    words: Mutex<Receiver<Result<String, String>>>,
}

impl JobRunner for Waiting {
    fn run(
        &self,
        job: &Job,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> Result<String, String> {
        progress("working", 1, Some(2));
        self.started
            .lock()
            .unwrap()
            .send(job.request.clone())
            .unwrap();
        self.words.lock().unwrap().recv().unwrap()
    }
}

fn jobs_at(path: &Path) -> Arc<Jobs> {
    Arc::new(Jobs::new(Db::open(path).unwrap(), &Config::default()))
}

fn waiting(jobs: &Jobs, kind: &str) -> (Receiver<String>, Sender<Result<String, String>>) {
    let (started, starts) = channel();
    let (say, words) = channel();
    jobs.register(
        kind,
        Arc::new(Waiting {
            started: Mutex::new(started),
            words: Mutex::new(words),
        }),
    );
    (starts, say)
}

fn ended(jobs: &Jobs, id: Uuid) -> Job {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let job = jobs.load(id).unwrap().unwrap();
        if matches!(job.status, JobStatus::Completed | JobStatus::Failed) {
            return job;
        }
        assert!(Instant::now() < deadline, "{job:?}");
        std::thread::yield_now();
    }
}

fn ada() -> Principal {
    Principal {
        name: "ada".to_owned(),
        is_admin: false,
    }
}

#[test]
fn a_third_job_of_one_owner_waits_and_others_pass_it() {
    let dir = tempfile::tempdir().unwrap();
    let jobs = jobs_at(&dir.path().join("j.db"));
    let (starts, say) = waiting(&jobs, "k");
    jobs.start().unwrap();
    let of = |owner: &Principal, name: &str| jobs.add("k", owner, "S", name.to_owned()).unwrap();
    let first = of(&ada(), "1");
    let _second = of(&ada(), "2");
    let third = of(&ada(), "3");
    let _other = of(&Principal::anonymous(), "4");
    let mut running: Vec<_> = (0..3).map(|_| starts.recv().unwrap()).collect();
    running.sort();
    assert_eq!(running, ["1", "2", "4"]);
    let waits = jobs.load(third.id).unwrap().unwrap();
    assert_eq!(waits.status, JobStatus::Pending);
    let now = jobs.load(first.id).unwrap().unwrap();
    assert_eq!(
        (now.phase.as_str(), now.progress),
        ("working", (1, Some(2)))
    );
    for _ in 0..4 {
        say.send(Ok("done".to_owned())).unwrap();
    }
    let job = ended(&jobs, third.id);
    assert_eq!(
        (job.status, job.result.as_str()),
        (JobStatus::Completed, "done")
    );
}

#[test]
fn a_job_cut_off_by_the_end_of_a_server_is_run_again_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.db");
    let cut_off = {
        let jobs = jobs_at(&path);
        let (starts, say) = waiting(&jobs, "k");
        jobs.start().unwrap();
        let job = jobs.add("k", &ada(), "S", "r".to_owned()).unwrap();
        starts.recv().unwrap();
        // The word never comes: as far as the row knows the process dies here.
        std::mem::forget(say);
        jobs.stop(Instant::now());
        job.id
    };
    let jobs = jobs_at(&path);
    let (starts, say) = waiting(&jobs, "k");
    say.send(Ok("second run".to_owned())).unwrap();
    jobs.start().unwrap();
    assert_eq!(starts.recv().unwrap(), "r");
    assert_eq!(ended(&jobs, cut_off).result, "second run");
}

#[test]
fn a_job_that_nobody_can_do_fails_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let jobs = jobs_at(&dir.path().join("j.db"));
    jobs.start().unwrap();
    let job = jobs.add("juggle", &ada(), "S", String::new()).unwrap();
    let job = ended(&jobs, job.id);
    assert_eq!(job.status, JobStatus::Failed);
    assert!(job.result.contains("juggle"));
}

#[test]
fn a_job_that_stops_the_server_three_times_is_not_tried_a_fourth_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.db");
    let jobs = jobs_at(&path);
    let job = jobs.add("k", &ada(), "S", String::new()).unwrap();
    jobs.db
        .lock()
        .execute("UPDATE job SET status = 'running', starts = 3", [])
        .unwrap();
    jobs.start().unwrap();
    assert_eq!(ended(&jobs, job.id).status, JobStatus::Failed);
}

#[test]
fn a_panic_ends_a_job_and_nothing_else() {
    #[derive(Debug)]
    struct Panics;
    impl JobRunner for Panics {
        fn run(
            &self,
            _job: &Job,
            _progress: &mut dyn FnMut(&str, u64, Option<u64>),
        ) -> Result<String, String> {
            panic!("as the test wants");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let jobs = jobs_at(&dir.path().join("j.db"));
    jobs.register("p", Arc::new(Panics));
    jobs.start().unwrap();
    for _ in 0..3 {
        let job = jobs.add("p", &ada(), "S", String::new()).unwrap();
        assert_eq!(ended(&jobs, job.id).status, JobStatus::Failed);
    }
}
