//! The primary: its batch, its inventory, and every question that a secondary asks.
//!
//! The batch is prolonged by a timer for as long as this lives, and released when it is dropped.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use haversack_model::Generation;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

use super::http::{Asked, Http, Reply};
use super::{Error, Order, Result};
use crate::wire::dump::{self, Line, MAX_ASKED_CHUNK};
use crate::wire::json;
use crate::wire::key::encode;
use crate::wire::parameters::Parameters;
use crate::wire::tree::Tree;

/// Longest wait for the release of a batch.
const MAX_RELEASE: Duration = Duration::from_secs(10);

/// A collection of the primary.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) parameters: Parameters,
    /// Definitions of its indexes.
    pub(super) indexes: Vec<Map<String, Value>>,
    /// What it is called here.
    pub(super) local: String,
}

impl Found {
    /// The same with another name here.
    pub(super) fn named(self, local: &str) -> Self {
        Self {
            local: local.to_owned(),
            ..self
        }
    }
}

/// A primary with a batch of ours.
pub(super) struct Primary<'a> {
    http: Http<'a>,
    batch: String,
    server: u64,
    /// Its own number.
    pub(super) leader: u64,
    /// The tick of its snapshot.
    pub(super) tick: String,
    /// Whether it may be asked for revision trees.
    pub(super) has_trees: bool,
    /// Whether it says that it is a Haversack.
    pub(super) is_haversack: bool,
    timer: Option<JoinHandle<()>>,
    chunk_size: u64,
}

impl<'a> Primary<'a> {
    /// Connects, takes a batch, and checks who it is.
    pub(super) fn open(order: &'a Order<'a>) -> Result<Self> {
        let http = Http::open(order)?;
        let ttl = order.batch_ttl.as_secs().max(1);
        let path = format!(
            "/_api/replication/batch?serverId={}&state=true",
            order.server
        );
        let reply = http.send(&Asked {
            what: "the request for a batch",
            method: Method::POST,
            path: &path,
            body: Some(json!({"ttl": ttl}).to_string()),
            is_async: false,
        })?;
        let body = object("a batch", &reply)?;
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let batch =
            text("id").filter(|id| id.bytes().all(|b| b.is_ascii_digit()) && !id.is_empty());
        let batch = batch
            .ok_or_else(|| Error::invalid("the batch has no id"))?
            .to_owned();
        let mut primary = Self {
            http,
            batch,
            server: order.server,
            leader: 0,
            tick: text("lastTick").unwrap_or_default().to_owned(),
            has_trees: false,
            is_haversack: false,
            timer: None,
            chunk_size: order.config.chunk_size,
        };
        primary.start_timer(order.batch_ttl);
        let state = match body.get("state") {
            Some(Value::Object(state)) => state.clone(),
            _ => primary.logger_state()?,
        };
        primary.check(&state)?;
        Ok(primary)
    }

    fn start_timer(&mut self, ttl: Duration) {
        let requests = self.http.requests.clone();
        let path = format!("/_api/replication/batch/{}", self.batch);
        let body = json!({"ttl": ttl.as_secs().max(1)}).to_string();
        self.timer = Some(self.http.runtime.spawn(async move {
            loop {
                tokio::time::sleep(ttl / 4).await;
                let asked = Asked {
                    what: "prolonging the batch",
                    method: Method::PUT,
                    path: &path,
                    body: Some(body.clone()),
                    is_async: false,
                };
                // If it does not work, the next request of the copy says why.
                let _ = tokio::time::timeout(ttl / 4, requests.start(&asked)).await;
            }
        }));
    }

    fn logger_state(&self) -> Result<Map<String, Value>> {
        let path = format!("/_api/replication/logger-state?serverId={}", self.server);
        object(
            "the state of the logger",
            &self.get("the state of the logger", &path)?,
        )
    }

    fn check(&mut self, state: &Map<String, Value>) -> Result<()> {
        let member = |outer: &str, inner: &str| {
            let member = state
                .get(outer)
                .and_then(|outer| outer.get(inner))
                .and_then(Value::as_str);
            member.map(str::to_owned)
        };
        let last = member("state", "lastLogTick").filter(|tick| tick != "0");
        let last =
            last.ok_or_else(|| Error::invalid("the state of the logger has no lastLogTick"))?;
        let version = member("server", "version")
            .ok_or_else(|| Error::invalid("the server has no version"))?;
        let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
        let (major, minor) = (parts.next().flatten(), parts.next().flatten());
        if major != Some(3) {
            return Err(Error::Incompatible(version.chars().take(20).collect()));
        }
        let server = member("server", "serverId").and_then(|id| id.parse::<u64>().ok());
        match server {
            None | Some(0) => return Err(Error::invalid("the server has no serverId")),
            Some(id) if id == self.server => return Err(Error::Loop),
            Some(id) => self.leader = id,
        }
        self.is_haversack = member("server", "haversack").is_some();
        self.has_trees = minor.is_some_and(|minor| minor >= 8);
        if self.tick.is_empty() {
            self.tick = last;
        }
        Ok(())
    }

    /// Where it is.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.http.addresses
    }
    /// Requests that it answered, and bytes of the answers.
    pub(super) fn cost(&self) -> (u32, u64) {
        let cost = self.http.cost.lock();
        *cost.unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    /// The generation of its snapshot; a tick of another kind of server is none.
    pub(super) fn generation(&self) -> Generation {
        Generation(self.tick.parse().unwrap_or_default())
    }

    fn get(&self, what: &'static str, path: &str) -> Result<Reply> {
        self.http.send(&Asked {
            what,
            method: Method::GET,
            path,
            body: None,
            is_async: false,
        })
    }
    fn put(&self, what: &'static str, path: &str, body: String) -> Result<Reply> {
        self.http.send(&Asked {
            what,
            method: Method::PUT,
            path,
            body: Some(body),
            is_async: false,
        })
    }

    /// The collections that there are.
    pub(super) fn inventory(&self, include_queues: bool) -> Result<Vec<Found>> {
        let queues = if include_queues {
            "&includeFoxxQueues=true"
        } else {
            ""
        };
        let path = format!(
            "/_api/replication/inventory?serverId={}&batchId={}&includeSystem=true{queues}",
            self.server, self.batch
        );
        let body = object("the inventory", &self.get("the inventory", &path)?)?;
        let all = body.get("collections").and_then(Value::as_array);
        let all = all.ok_or_else(|| Error::invalid("the inventory has no collections"))?;
        let read = |found: &Value| {
            let indexes = found
                .get("indexes")
                .and_then(Value::as_array)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let parameters = Parameters::from_json(found.get("parameters")?)?;
            Some(Found {
                local: parameters.name.clone(),
                parameters,
                indexes: indexes
                    .iter()
                    .filter_map(|index| index.as_object().cloned())
                    .collect(),
            })
        };
        all.iter()
            .map(|found| {
                read(found).ok_or_else(|| {
                    Error::invalid("a collection of the inventory has no usable parameters")
                })
            })
            .collect()
    }

    /// All documents of a collection, line by line.
    pub(super) fn dump(
        &self,
        name: &str,
        mut visit: impl FnMut(Line) -> Result<()>,
        mut progress: impl FnMut(u64),
    ) -> Result<()> {
        let what = "a dump";
        let (mut from, mut size, mut bytes) = (0_u64, self.chunk_size, 0_u64);
        let ask = |from: u64, size: u64| {
            let chunk = if size > 0 {
                format!("&chunkSize={size}")
            } else {
                String::new()
            };
            let path = format!(
                "/_api/replication/dump?collection={}&batchId={}{chunk}&includeSystem=true&useEnvelope=false&serverId={}&from={from}",
                encode(name),
                self.batch,
                self.server
            );
            self.get(what, &path)
        };
        let mut reply = ask(from, size)?;
        loop {
            let more = match reply.header("x-arango-replication-checkmore") {
                Some("true") => true,
                Some("false") => false,
                _ => return Err(Error::invalid("a dump does not say whether there is more")),
            };
            let last = reply.header("x-arango-replication-lastincluded");
            let last: u64 = last
                .and_then(|last| last.parse().ok())
                .ok_or_else(|| Error::invalid("a dump does not say how far it went"))?;
            let goes_on = more && last > from;
            from = last;
            size = if size > 0 {
                (size + size / 4).min(MAX_ASKED_CHUNK)
            } else {
                // The primary chose the first; what follows grows from its default.
                dump::DEFAULT_CHUNK + dump::DEFAULT_CHUNK / 4
            };
            // The primary reads the next chunk while this one is taken.
            let (taken, next) = std::thread::scope(|scope| {
                let next = goes_on.then(|| scope.spawn(|| ask(from, size)));
                (
                    take(&reply, &mut visit),
                    next.map(std::thread::ScopedJoinHandle::join),
                )
            });
            taken?;
            bytes += reply.body.len() as u64;
            progress(bytes);
            reply = match next {
                None => return Ok(()),
                Some(Ok(next)) => next?,
                Some(Err(_it_panicked)) => {
                    return Err(Error::NoResponse("a dump was not read".to_owned()));
                }
            };
        }
    }

    /// The revision tree of a collection; from another Haversack with the digest of who has which revision.
    pub(super) fn tree(&self, name: &str) -> Result<(Tree, Option<String>)> {
        let path = format!(
            "/_api/replication/revisions/tree?{}&onlyPopulated=true",
            self.of(name)
        );
        let body = parse("the revision tree", &self.get("the revision tree", &path)?)?;
        let tree = Tree::from_json(&body).map_err(|error| Error::invalid(error.to_string()))?;
        let digest = body.get("digest").and_then(Value::as_str);
        Ok((tree, digest.map(str::to_owned)))
    }

    fn of(&self, name: &str) -> String {
        format!(
            "collection={}&batchId={}&serverId={}",
            encode(name),
            self.batch,
            self.server
        )
    }

    /// The revisions within ranges, from one on; and where to go on.
    pub(super) fn ranges(
        &self,
        name: &str,
        ranges: &str,
        resume: &str,
    ) -> Result<(Vec<Vec<String>>, Option<String>)> {
        let what = "revisions within ranges";
        let path = format!(
            "/_api/replication/revisions/ranges?{}&resume={}",
            self.of(name),
            encode(resume)
        );
        let body = object(what, &self.put(what, &path, ranges.to_owned())?)?;
        let texts = |range: &Value| {
            let range = range.as_array()?;
            range
                .iter()
                .map(|text| text.as_str().map(str::to_owned))
                .collect()
        };
        let ranges = body.get("ranges").and_then(Value::as_array);
        let ranges: Option<Vec<Vec<String>>> =
            ranges.and_then(|ranges| ranges.iter().map(texts).collect());
        let ranges = ranges.ok_or_else(|| Error::invalid("ranges of revisions are none"))?;
        let resume = body
            .get("resume")
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty());
        Ok((ranges, resume.map(str::to_owned)))
    }

    /// Documents by their revisions; fewer than asked for if they are many bytes.
    pub(super) fn documents(&self, name: &str, revisions: &[String]) -> Result<Vec<Value>> {
        let what = "documents by revision";
        let path = format!("/_api/replication/revisions/documents?{}", self.of(name));
        array(what, &self.put(what, &path, json!(revisions).to_string())?)
    }

    /// Prepares the list of keys: its id and how many there are.
    pub(super) fn keys(&self, name: &str) -> Result<(String, u64)> {
        let quick = self.keys_once(name, true)?;
        if let (Some(id), count) = quick {
            return Ok((id, count));
        }
        match self.keys_once(name, false)? {
            (Some(id), count) => Ok((id, count)),
            (None, _) => Err(Error::invalid("the list of keys has no id")),
        }
    }

    fn keys_once(&self, name: &str, quick: bool) -> Result<(Option<String>, u64)> {
        let what = "the list of keys";
        let quick = if quick { "&quick=true" } else { "" };
        let path = format!(
            "/_api/replication/keys?{}&to={}{quick}",
            self.of(name),
            self.tick
        );
        let reply = self.http.send(&Asked {
            what,
            method: Method::POST,
            path: &path,
            body: Some(String::new()),
            is_async: true,
        })?;
        let job = reply
            .header("x-arango-async-id")
            .filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
        let job = job.ok_or_else(|| Error::invalid("no id of the job that lists the keys"))?;
        let body = object(what, &self.await_job(what, job)?)?;
        let count = body.get("count").and_then(Value::as_u64);
        let count = count.ok_or_else(|| Error::invalid("the list of keys has no count"))?;
        let id = body.get("id").and_then(Value::as_str).map(str::to_owned);
        Ok((id, count))
    }

    fn await_job(&self, what: &'static str, job: &str) -> Result<Reply> {
        let begun = Instant::now();
        let path = format!("/_api/job/{job}");
        loop {
            let asked = Asked {
                what,
                method: Method::PUT,
                path: &path,
                body: Some(String::new()),
                is_async: false,
            };
            let reply = match self.http.send(&asked) {
                Err(Error::Leader { status: 404, .. }) => {
                    return Err(Error::NoResponse(
                        "the job that lists the keys is gone".to_owned(),
                    ));
                }
                reply => reply?,
            };
            if reply.status != 204 {
                return Ok(reply);
            }
            let waited = begun.elapsed();
            if waited >= self.http.patience() {
                return Err(Error::NoResponse(format!(
                    "{what} was not ready within {} s",
                    self.http.patience().as_secs_f64()
                )));
            }
            let pause = match waited.as_secs() {
                0 => 100,
                1..5 => 200,
                5..20 => 500,
                20..60 => 1000,
                _ => 2000,
            };
            self.http.pause(
                Duration::from_millis(pause).min(self.http.patience().saturating_sub(waited)),
            )?;
        }
    }

    /// The chunks of a list of keys.
    pub(super) fn chunks(&self, id: &str, size: u64) -> Result<Vec<Value>> {
        let what = "the chunks of keys";
        let path = format!(
            "/_api/replication/keys/{}?chunkSize={size}&serverId={}",
            encode(id),
            self.server
        );
        array(what, &self.get(what, &path)?)
    }

    /// Keys or documents of a chunk.
    pub(super) fn of_chunk(&self, id: &str, query: &str, body: String) -> Result<Vec<Value>> {
        let what = "a chunk of keys";
        let path = format!(
            "/_api/replication/keys/{}?{query}&serverId={}",
            encode(id),
            self.server
        );
        array(what, &self.put(what, &path, body)?)
    }

    /// Forgets a list of keys, as far as the primary can.
    pub(super) fn forget_keys(&self, id: &str) {
        let path = format!(
            "/_api/replication/keys/{}?serverId={}",
            encode(id),
            self.server
        );
        let asked = Asked {
            what: "forgetting the keys",
            method: Method::DELETE,
            path: &path,
            body: None,
            is_async: false,
        };
        if let Err(error) = self.http.send(&asked) {
            tracing::debug!(%error, "a list of keys was not forgotten; it goes with the batch");
        }
    }
}

impl Drop for Primary<'_> {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
        let path = format!(
            "/_api/replication/batch/{}?serverId={}",
            self.batch, self.server
        );
        let asked = Asked {
            what: "releasing the batch",
            method: Method::DELETE,
            path: &path,
            body: None,
            is_async: false,
        };
        // Not stopped by a request to stop: the primary would keep what nobody reads.
        let wait = self.http.max_wait().min(MAX_RELEASE);
        let requests = self.http.requests.clone();
        let released = self
            .http
            .runtime
            .block_on(async { tokio::time::timeout(wait, requests.start(&asked)).await });
        if !matches!(released, Ok(Ok(_))) {
            tracing::warn!("the batch could not be released; it runs out at the primary");
        }
    }
}

/// Visits the lines of a chunk.
fn take(reply: &Reply, visit: &mut impl FnMut(Line) -> Result<()>) -> Result<()> {
    if reply.status == 204 {
        return Ok(());
    }
    let mut bare = None;
    let lines = reply.body.split(|&byte| byte == b'\n');
    for line in lines.filter(|line| !line.is_empty()) {
        let line = dump::read(line, &mut bare)
            .map_err(|error| Error::invalid(format!("a line of the dump: {error}")))?;
        visit(line)?;
    }
    Ok(())
}

fn parse(what: &str, reply: &Reply) -> Result<Value> {
    json::parse(&reply.body).map_err(|error| Error::invalid(format!("{what}: {error}")))
}

fn object(what: &str, reply: &Reply) -> Result<Map<String, Value>> {
    match parse(what, reply)? {
        Value::Object(members) => Ok(members),
        _ => Err(Error::invalid(format!("{what} is no object"))),
    }
}

fn array(what: &str, reply: &Reply) -> Result<Vec<Value>> {
    match parse(what, reply)? {
        Value::Array(items) => Ok(items),
        _ => Err(Error::invalid(format!("{what} is no array"))),
    }
}

/// Goes on.
pub(super) const ON: haversack_model::Result<ControlFlow<()>> = Ok(ControlFlow::Continue(()));
