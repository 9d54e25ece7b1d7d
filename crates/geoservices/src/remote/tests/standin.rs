//! A stand-in for a feature service with Sync. Not a server: one layer, one replica, no checks, and faults on request.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::remote::{Credentials, GeoServicesRemote, Options};
use crate::wire::params::Params;

pub(super) const REPLICA: &str = "7DDAB17F-0000-4000-8000-000000000001";

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// Accepts the request and says nothing.
    Silence,
    /// Sends the head and half of the body, then closes.
    HalfBody,
    /// Sends a byte of the body now and then, without end.
    Trickle,
    /// Sends elsewhere.
    Redirect(String),
    /// Sends this instead.
    Body(String),
    /// Sends this HTTP status.
    Status(u16),
    /// Applies the request and closes without an answer.
    LostAnswer,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Global id to its generation and its feature; none: deleted.
    pub(super) rows: BTreeMap<String, (u64, Option<Json>)>,
    pub(super) generation: u64,
    /// What goes wrong the next time an operation (the last word of a path) is asked for.
    pub(super) faults: Vec<(String, Fault)>,
    /// Operations and their parameters, in order.
    pub(super) log: Vec<(String, Params)>,
    /// Authorisation headers and tokens seen.
    pub(super) tokens: Vec<String>,
    /// What edits of these ids are answered with.
    pub(super) refuse: BTreeMap<String, String>,
    pub(super) per_layer: bool,
    pub(super) jobs: bool,
    /// Answer to `rest/info`.
    pub(super) token_service: Option<String>,
    pub(super) wants_token: Option<String>,
    pub(super) unknown_replica: bool,
}

pub(super) struct StandIn {
    pub(super) url: String,
    pub(super) state: Arc<Mutex<State>>,
}

impl StandIn {
    /// Serves on a port of its own until the test process ends.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(Mutex::new(State {
            generation: 10,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, &state));
            }
        });
        Self {
            url: format!("http://127.0.0.1:{port}/arcgis/rest/services/Parks/FeatureServer"),
            state,
        }
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("no test panicked"))
    }
    /// The next request for an operation goes wrong.
    pub(super) fn fail(&self, operation: &str, fault: Fault) {
        self.with(|state| state.faults.push((operation.to_owned(), fault)));
    }
    /// Somebody else edits a row; none deletes it.
    pub(super) fn edit(&self, id: &str, attributes: Option<Json>) {
        self.with(|state| state.put(id, attributes));
    }
    pub(super) fn row(&self, id: &str) -> Option<Json> {
        self.with(|state| state.rows.get(id).and_then(|(_, row)| row.clone()))
    }
    /// How often an operation was asked for.
    pub(super) fn count(&self, operation: &str) -> usize {
        self.with(|state| {
            state
                .log
                .iter()
                .filter(|(name, _)| name == operation)
                .count()
        })
    }

    pub(super) fn options() -> Options {
        Options::default()
    }
    /// For faults that only time shows.
    pub(super) fn impatient() -> Options {
        Options {
            silence: Duration::from_millis(300),
            patience: Duration::from_millis(900),
            ..Options::default()
        }
    }
    pub(super) fn connect(&self) -> GeoServicesRemote {
        GeoServicesRemote::connect(&self.url, Credentials::Anonymous, Self::options())
            .expect("connected")
    }
}

impl State {
    fn put(&mut self, id: &str, attributes: Option<Json>) {
        self.generation += 1;
        let old = self.rows.get(id).and_then(|(_, row)| row.clone());
        let new = attributes.map(|set| {
            let mut row = old.unwrap_or_else(|| json!({"GlobalID": id}));
            for (name, value) in set.as_object().expect("attributes") {
                row[name] = value.clone();
            }
            row
        });
        self.rows.insert(id.to_owned(), (self.generation, new));
    }

    fn root(&self) -> Json {
        json!({
            "capabilities": "Create,Delete,Query,Sync,Update", "syncEnabled": true,
            "spatialReference": {"wkid": 4326}, "layers": [{"id": 0, "name": "Trees"}], "tables": [],
            "syncCapabilities": {"supportsPerReplicaSync": !self.per_layer, "supportsPerLayerSync": true, "supportsAsync": self.jobs},
        })
    }

    fn answer(&mut self, operation: &str, params: &Params, base: &str) -> Json {
        if let Some(wanted) = &self.wants_token
            && params.text("token") != Some(wanted)
            && !matches!(operation, "info" | "generateToken")
        {
            return json!({"error": {"code": 498, "message": "Invalid Token", "details": []}});
        }
        match operation {
            "FeatureServer" => self.root(),
            "0" => json!({
                "id": 0, "name": "Trees", "type": "Feature Layer", "geometryType": "esriGeometryPoint",
                "extent": {"spatialReference": {"wkid": 4326}}, "objectIdField": "OBJECTID", "globalIdField": "GlobalID",
                "hasAttachments": true, "fields": [
                    {"name": "OBJECTID", "type": "esriFieldTypeOID"}, {"name": "GlobalID", "type": "esriFieldTypeGlobalID"},
                    {"name": "name", "type": "esriFieldTypeString", "length": 50}, {"name": "age", "type": "esriFieldTypeInteger"},
                    {"name": "seen", "type": "esriFieldTypeInteger", "editable": false},
                ],
            }),
            "createReplica" if self.jobs => json!({"statusUrl": format!("{base}/jobs/1")}),
            "1" => {
                json!({"status": "Completed With Errors", "resultUrl": format!("{base}/replica.json")})
            }
            "createReplica" => {
                json!({"replicaName": "r", "replicaID": REPLICA, "URL": format!("{base}/replica.json")})
            }
            "replica.json" => self.whole(),
            "synchronizeReplica" if self.unknown_replica => {
                json!({"error": {"code": 400, "message": "Invalid replica.", "details": []}})
            }
            "synchronizeReplica" => self.synchronize(params),
            "unRegisterReplica" => json!({"success": true}),
            "info" => json!({"authInfo": {"tokenServicesUrl": self.token_service}}),
            "generateToken" if params.text("password") == Some("secret") => {
                json!({"token": self.wants_token.clone().unwrap_or_else(|| "t1".to_owned())})
            }
            "generateToken" => {
                json!({"error": {"code": 400, "message": "Invalid username or password.", "details": []}})
            }
            _ if self.unknown_replica => {
                json!({"error": {"code": 404, "message": "Not found.", "details": []}})
            }
            _ => json!({"replicaID": REPLICA}),
        }
    }

    fn features(&self, since: u64) -> (Vec<Json>, Vec<Json>) {
        let (mut rows, mut gone) = (Vec::new(), Vec::new());
        for (id, (generation, row)) in &self.rows {
            match row {
                _ if *generation <= since => {}
                Some(attributes) => {
                    rows.push(json!({"attributes": attributes, "geometry": {"x": 1, "y": 2}}));
                }
                None => gone.push(json!(id)),
            }
        }
        (rows, gone)
    }

    fn tell_generation(&self, answer: &mut Json) {
        answer["replicaName"] = json!("r");
        answer["replicaID"] = json!(REPLICA);
        if self.per_layer {
            answer["layerServerGens"] = json!([{"id": 0, "serverGen": self.generation}]);
        } else {
            answer["replicaServerGen"] = json!(self.generation);
        }
    }

    fn whole(&self) -> Json {
        let mut answer =
            json!({"layers": [{"id": 0, "features": self.features(0).0, "attachments": []}]});
        self.tell_generation(&mut answer);
        answer
    }

    fn synchronize(&mut self, params: &Params) -> Json {
        let direction = params
            .text("syncDirection")
            .unwrap_or("bidirectional")
            .to_owned();
        let since = match params.json("syncLayers").expect("JSON") {
            Some(layers) => layers[0]["serverGen"].as_u64(),
            None => params.text("replicaServerGen").and_then(|n| n.parse().ok()),
        };
        if direction == "snapshot" {
            return self.whole();
        }
        let mut layer = json!({"id": 0});
        if direction == "upload" {
            for edits in params.array("edits").expect("JSON").unwrap_or_default() {
                self.upload(&edits["features"], &mut layer);
            }
            return json!({"edits": [layer], "replicaID": REPLICA});
        }
        let (rows, gone) = self.features(since.expect("a generation"));
        layer["features"] = json!({"adds": [], "updates": rows, "deleteIds": gone});
        let mut answer = json!({"edits": [layer]});
        self.tell_generation(&mut answer);
        answer
    }

    fn upload(&mut self, features: &Json, layer: &mut Json) {
        for (list, results) in [
            ("adds", "addResults"),
            ("updates", "updateResults"),
            ("deleteIds", "deleteResults"),
        ] {
            let mut told = Vec::new();
            for item in features[list].as_array().expect("a list") {
                let id = item
                    .as_str()
                    .or(item["attributes"]["GlobalID"].as_str())
                    .expect("an id")
                    .to_owned();
                if let Some(why) = self.refuse.get(&id) {
                    told.push(json!({"globalId": id, "success": false, "error": {"code": 1019, "description": why}}));
                    continue;
                }
                self.put(&id, item.get("attributes").cloned());
                told.push(json!({"globalId": id, "success": true}));
            }
            layer[results] = json!(told);
        }
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    while let Some((path, range, params)) = request(&mut reader, state) {
        let base = {
            let port = stream.local_addr().expect("bound").port();
            format!("http://127.0.0.1:{port}/arcgis/rest/services/Parks/FeatureServer")
        };
        let operation = path.rsplit('/').next().unwrap_or_default().to_owned();
        let (fault, body) = {
            let mut state = state.lock().expect("no test panicked");
            state.log.push((operation.clone(), params.clone()));
            let at = state.faults.iter().position(|(of, _)| *of == operation);
            let fault = at.map(|at| state.faults.remove(at).1);
            let applies = matches!(fault, None | Some(Fault::LostAnswer | Fault::HalfBody));
            let body = if applies {
                state.answer(&operation, &params, &base)
            } else {
                Json::Null
            };
            (fault, body.to_string())
        };
        if !respond(stream, fault, &body, range) {
            return;
        }
    }
}

fn respond(mut stream: &TcpStream, fault: Option<Fault>, body: &str, range: Option<usize>) -> bool {
    let mut send = |status: &str, extra: &str, body: &str, length: usize| {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{extra}Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).is_ok()
    };
    match fault {
        None => match range {
            Some(from) if from < body.len() => {
                let extra = format!(
                    "Content-Range: bytes {from}-{}/{}\r\n",
                    body.len() - 1,
                    body.len()
                );
                send(
                    "206 Partial Content",
                    &extra,
                    &body[from..],
                    body.len() - from,
                )
            }
            _ => send("200 OK", "", body, body.len()),
        },
        Some(Fault::Body(other)) => send("200 OK", "", &other, other.len()),
        Some(Fault::Status(status)) => send(&format!("{status} No"), "", "no", 2),
        Some(Fault::Redirect(to)) => send("302 Found", &format!("Location: {to}\r\n"), "", 0),
        Some(Fault::HalfBody) => {
            send("200 OK", "", &body[..body.len() / 2], body.len());
            false
        }
        Some(Fault::LostAnswer) => false,
        Some(Fault::Silence) => {
            // Until the client gives up and closes.
            let _ = stream.read(&mut [0]);
            false
        }
        Some(Fault::Trickle) => {
            let mut alive = send("200 OK", "", "{", 1 << 30);
            while alive {
                thread::park_timeout(Duration::from_millis(50));
                alive = stream.write_all(b" ").is_ok();
            }
            false
        }
    }
}

fn request(
    reader: &mut BufReader<TcpStream>,
    state: &Mutex<State>,
) -> Option<(String, Option<usize>, Params)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut range) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|n| *n > 0)?;
        let (name, value) = header.trim().split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "" => break,
            "content-length" => length = value.trim().parse().ok()?,
            "range" => {
                range = value
                    .trim()
                    .strip_prefix("bytes=")?
                    .trim_end_matches('-')
                    .parse()
                    .ok();
            }
            "x-esri-authorization" | "authorization" => {
                state
                    .lock()
                    .expect("no test panicked")
                    .tokens
                    .push(value.trim().to_owned());
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut params = Params::new();
    params.add_form(&body).ok()?;
    if let Some(token) = params.text("token") {
        state
            .lock()
            .expect("no test panicked")
            .tokens
            .push(token.to_owned());
    }
    Some((path, range, params))
}
