//! A checkout that was cut goes on where it was, over as many runs of the program as it takes.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use haversack_model::{Error, ReplicaId};
use haversack_server::Handle;
use haversack_server::native::remote::Credentials;
use haversack_server::native::wire::ReplicaRequest;
use haversack_server::native::{Client, Compression, NativeRemote};
use haversack_sqlite::replica::ReplicaFile;
use support::proxy::{Fault, Proxy};
use support::{client, client_at, editor, is_equal, layer, remote, request, start};

const SERVICE: &str = "WildfireSync";

fn url(handle: &Handle) -> String {
    format!(
        "{}/arcgis/rest/services/{SERVICE}/FeatureServer",
        handle.url()
    )
}

fn replicas(handle: &Handle) -> Vec<ReplicaId> {
    let all = client(handle, editor()).replicas(SERVICE).unwrap();
    all.iter().map(|replica| replica.id).collect()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn check_out(
    client: &Client,
    wanted: &ReplicaRequest,
    path: &Path,
) -> haversack_model::Result<ReplicaId> {
    client.checkout(SERVICE, wanted, path, &mut |_, _, _| {})
}

/// A server, and a way to it that carries a part of a file and then nothing until it is mended.
struct Ground {
    dir: tempfile::TempDir,
    handle: Handle,
    proxy: Proxy,
    is_mended: Arc<AtomicBool>,
    whole: u64,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let handle = start(&dir);
        let whole = dir.path().join("whole.gpkg");
        let first = check_out(&client(&handle, editor()), &request("whole", ""), &whole).unwrap();
        client(&handle, editor()).release(SERVICE, first).unwrap();
        let whole = std::fs::metadata(whole).unwrap().len();
        let is_mended = Arc::new(AtomicBool::new(false));
        let mended = Arc::clone(&is_mended);
        let limit = whole / 2;
        let proxy = Proxy::start(
            handle.address,
            Arc::new(move |n| match (mended.load(Ordering::SeqCst), n) {
                (true, _) => Fault::None,
                (false, 0) => Fault::CutResponse(limit),
                (false, _) => Fault::CutResponse(0),
            }),
        );
        Self {
            dir,
            handle,
            proxy,
            is_mended,
            whole,
        }
    }
    fn client(&self) -> Client {
        let url = format!("https://127.0.0.1:{}", self.proxy.address.port());
        client_at(&url, &self.handle, editor())
    }
    fn wanted(&self) -> ReplicaRequest {
        request("field", &url(&self.handle))
    }
    fn target(&self) -> PathBuf {
        self.dir.path().join("field.gpkg")
    }
    /// A first run, whose way breaks in the middle of the file for good.
    fn cut(&self) -> ReplicaId {
        let cut = check_out(&self.client(), &self.wanted(), &self.target());
        assert!(matches!(cut, Err(Error::Network(_))), "{cut:?}");
        assert!(!self.target().exists());
        let arrived = std::fs::metadata(beside(&self.target(), ".part"))
            .unwrap()
            .len();
        assert!(
            arrived > self.whole / 4 && arrived < self.whole,
            "{arrived}"
        );
        let known = replicas(&self.handle);
        assert_eq!(known.len(), 1);
        self.is_mended.store(true, Ordering::SeqCst);
        known[0]
    }
    /// A file that is what it should be, with nothing left beside it.
    fn is_sound(&self, id: ReplicaId) {
        let file = ReplicaFile::open(&self.target()).unwrap();
        assert_eq!(file.header().unwrap().id, id);
        assert!(is_equal(&file, &remote(&self.handle)));
        for suffix in [".part", ".part.json", ".part.json.new"] {
            assert!(!beside(&self.target(), suffix).exists(), "{suffix}");
        }
        assert_eq!(replicas(&self.handle), [id]);
    }
}

#[test]
fn the_same_command_goes_on_where_it_was_cut_with_the_same_registration() {
    let ground = Ground::new();
    let id = ground.cut();
    let arrived = std::fs::metadata(beside(&ground.target(), ".part"))
        .unwrap()
        .len();
    let before = ground.proxy.sent_by_server();
    let done = check_out(&ground.client(), &ground.wanted(), &ground.target()).unwrap();
    assert_eq!(done, id);
    let sent = ground.proxy.sent_by_server() - before;
    // Encryption, heads of answers and the question for the job come on top of what was missing.
    let missing = ground.whole - arrived;
    assert!(
        sent < missing + 64 * 1024,
        "{sent} for the {missing} that were missing"
    );
    ground.is_sound(id);
}

#[test]
fn a_part_of_another_request_is_thrown_away_and_its_registration_given_back() {
    let ground = Ground::new();
    let old = ground.cut();
    let mut wanted = ground.wanted();
    wanted.layers = vec![layer(0, Some("severity >= 3"))];
    let id = check_out(&ground.client(), &wanted, &ground.target()).unwrap();
    assert_ne!(id, old);
    ground.is_sound(id);
}

#[test]
fn without_a_network_nothing_of_what_was_begun_is_given_up() {
    let ground = Ground::new();
    let id = ground.cut();
    let nowhere = Proxy::start(ground.handle.address, Arc::new(|_| Fault::Reset(0)));
    let url = format!("https://127.0.0.1:{}", nowhere.address.port());
    let away = client_at(&url, &ground.handle, editor());
    let note = std::fs::read_to_string(beside(&ground.target(), ".part.json")).unwrap();
    // The note names the server by the address that it was reached at.
    let there = note.replace(
        &format!(":{}", ground.proxy.address.port()),
        &format!(":{}", nowhere.address.port()),
    );
    std::fs::write(beside(&ground.target(), ".part.json"), there).unwrap();
    let part = std::fs::read(beside(&ground.target(), ".part")).unwrap();
    let mut other = ground.wanted();
    other.layers = vec![layer(0, Some("severity >= 3"))];
    for wanted in [ground.wanted(), other] {
        let cut = check_out(&away, &wanted, &ground.target());
        assert!(matches!(cut, Err(Error::Network(_))), "{cut:?}");
        let left = std::fs::read(beside(&ground.target(), ".part")).unwrap();
        assert!(left == part, "what had arrived is still there");
    }
    assert!(away.discover().is_err());
    std::fs::write(beside(&ground.target(), ".part.json"), note).unwrap();
    check_out(&ground.client(), &ground.wanted(), &ground.target()).unwrap();
    ground.is_sound(id);
}

#[test]
fn a_login_that_ended_meanwhile_costs_neither_the_part_nor_the_registration() {
    let ground = Ground::new();
    let id = ground.cut();
    let url = format!("https://127.0.0.1:{}", ground.proxy.address.port());
    let ended = client_at(&url, &ground.handle, Credentials::Token("ended".to_owned()));
    let refused = check_out(&ended, &ground.wanted(), &ground.target());
    assert!(
        matches!(&refused, Err(Error::Refused { code: 401, .. })),
        "{refused:?}"
    );
    let before = ground.proxy.sent_by_server();
    check_out(&ground.client(), &ground.wanted(), &ground.target()).unwrap();
    assert!(
        ground.proxy.sent_by_server() - before < ground.whole,
        "it went on"
    );
    ground.is_sound(id);
}

#[test]
fn a_part_that_lost_its_bytes_is_noticed() {
    let ground = Ground::new();
    let id = ground.cut();
    let part = beside(&ground.target(), ".part");
    let mut bytes = std::fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0);
    std::fs::write(&part, bytes).unwrap();
    check_out(&ground.client(), &ground.wanted(), &ground.target()).unwrap();
    ground.is_sound(id);
}

#[test]
fn a_part_without_its_note_or_with_a_damaged_one_is_begun_anew() {
    for damage in ["", "{\"origin\": 7"] {
        let ground = Ground::new();
        let orphan = ground.cut();
        std::fs::write(beside(&ground.target(), ".part.json"), damage).unwrap();
        let id = check_out(&ground.client(), &ground.wanted(), &ground.target()).unwrap();
        assert_ne!(id, orphan);
        client(&ground.handle, editor())
            .release(SERVICE, orphan)
            .unwrap();
        ground.is_sound(id);
    }
}

#[test]
fn a_prepared_file_that_is_gone_is_prepared_again_for_the_same_replica() {
    let ground = Ground::new();
    let id = ground.cut();
    let folder = ground.dir.path().join("data/files");
    for entry in std::fs::read_dir(&folder).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    check_out(&ground.client(), &ground.wanted(), &ground.target()).unwrap();
    ground.is_sound(id);
}

#[test]
fn a_registration_that_is_gone_is_made_again() {
    let ground = Ground::new();
    let old = ground.cut();
    client(&ground.handle, editor())
        .release(SERVICE, old)
        .unwrap();
    let folder = ground.dir.path().join("data/files");
    for entry in std::fs::read_dir(&folder).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let id = check_out(&ground.client(), &ground.wanted(), &ground.target()).unwrap();
    assert_ne!(id, old);
    ground.is_sound(id);
}

#[test]
fn a_request_that_the_server_refuses_leaves_nothing_behind() {
    let ground = Ground::new();
    ground.is_mended.store(true, Ordering::SeqCst);
    let mut wanted = ground.wanted();
    wanted.layers = vec![layer(0, Some("no such thing"))];
    let refused = check_out(&ground.client(), &wanted, &ground.target());
    assert!(matches!(refused, Err(Error::Refused { code: 400, .. })));
    assert!(!beside(&ground.target(), ".part").exists());
    assert!(!beside(&ground.target(), ".part.json").exists());
    assert!(replicas(&ground.handle).is_empty());
}

#[test]
fn a_registration_whose_answer_was_lost_is_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let client = client(&handle, editor());
    let mut wanted = request("twice", &url(&handle));
    wanted.key = Some(uuid::Uuid::from_u128(11));
    let post = |wanted: &ReplicaRequest| {
        let body = serde_json::to_value(wanted).unwrap();
        let path = format!("/v1/services/{SERVICE}/replicas");
        client.send("POST", &path, Some(&body)).unwrap()["replica"].clone()
    };
    assert_eq!(post(&wanted), post(&wanted));
    assert_eq!(replicas(&handle).len(), 1);
    wanted.key = None;
    assert_ne!(post(&wanted), post(&wanted));
}

#[test]
fn compressed_parts_make_the_same_file_of_fewer_bytes_and_survive_cuts() {
    let ground = Ground::new();
    ground.is_mended.store(true, Ordering::SeqCst);
    let before = ground.proxy.sent_by_server();
    let packed = ground.client().with_compression(Compression::Always);
    let id = check_out(&packed, &ground.wanted(), &ground.target()).unwrap();
    let sent = ground.proxy.sent_by_server() - before;
    assert!(sent < ground.whole / 2, "{sent} for {}", ground.whole);
    ground.is_sound(id);
    client(&ground.handle, editor())
        .release(SERVICE, id)
        .unwrap();

    // Every connection ends after a while; each goes on with what is missing.
    let limit = sent / 3;
    let proxy = Proxy::start(
        ground.handle.address,
        Arc::new(move |_| Fault::CutResponse(limit)),
    );
    let url = format!("https://127.0.0.1:{}", proxy.address.port());
    let broken = client_at(&url, &ground.handle, editor()).with_compression(Compression::Always);
    let target = ground.dir.path().join("cut.gpkg");
    check_out(&broken, &ground.wanted(), &target).unwrap();
    let file = ReplicaFile::open(&target).unwrap();
    assert!(is_equal(
        &file,
        &NativeRemote::new(client(&ground.handle, editor()), SERVICE)
    ));
    assert!(proxy.connections() > 2);
}

#[test]
fn two_checkouts_do_not_write_one_file() {
    let ground = Ground::new();
    ground.is_mended.store(true, Ordering::SeqCst);
    let part = std::fs::File::create(beside(&ground.target(), ".part")).unwrap();
    part.lock().unwrap();
    let refused = check_out(&ground.client(), &ground.wanted(), &ground.target());
    assert!(
        matches!(&refused, Err(Error::Invalid { .. })),
        "{refused:?}"
    );
    drop(part);
    assert!(check_out(&ground.client(), &ground.wanted(), &ground.target()).is_ok());
}
