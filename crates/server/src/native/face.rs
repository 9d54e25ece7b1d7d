//! The routes of `/v1`: one table, from which both the router and the OpenAPI document are made.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use serde::Deserialize;
use tower_http::limit::RequestBodyLimitLayer;
use uuid::Uuid;

use super::call::{Incoming, answer, body};
use super::{
    admin, changed as waiting, collection_file, conflicts, files, openapi, prepare, pull, replicas,
    services, sync,
};
use crate::Server;

type Shared = State<Arc<Server>>;
type Named = Path<String>;
type OfReplica = Path<(String, Uuid)>;

/// A route, as documented.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
}

macro_rules! routes {
    ($($method:ident $path:literal $handler:ident, $summary:literal;)*
     @imports $($send:ident $to:literal $take:ident, $means:literal;)*) => {
        /// Every route of the API.
        pub(super) const ROUTES: &[Route] = &[$(Route {
            method: stringify!($method),
            path: $path,
            summary: $summary,
        },)* $(Route {
            method: stringify!($send),
            path: $to,
            summary: $means,
        },)*];

        fn table() -> Router<Arc<Server>> {
            Router::new()$(.route($path, $method($handler)))*
        }

        /// Routes that take whole files, which have a limit of their own.
        fn imports() -> Router<Arc<Server>> {
            Router::new()$(.route($to, $send($take)))*
        }
    };
}

routes! {
    get "/v1" discover, "What this server is, and who the caller is to it.";
    get "/v1/openapi.json" describe, "This description.";
    post "/v1/login" log_in, "Exchanges user name and password for a token.";
    post "/v1/logout" log_out, "Ends the token of this request.";
    get "/v1/services" list_services, "The services that the caller may read.";
    post "/v1/services" create_service, "Makes a service.";
    get "/v1/services/{service}" show_service, "Definition of a service, and where its history stands.";
    post "/v1/services/{service}/collections" add_collection, "Adds a layer or table.";
    post "/v1/services/{service}/history" new_history, "Begins a new history, after the service's file was restored from a backup.";
    get "/v1/services/{service}/collections/{collection}/records/{record}/history" record_history, "Versions of a record that were replaced.";
    get "/v1/services/{service}/replicas" list_replicas, "The caller's replicas; all of them for administrators.";
    post "/v1/services/{service}/replicas" register, "Registers a replica; gives the job that prepares its file.";
    get "/v1/services/{service}/replicas/{replica}" show_replica, "One replica.";
    delete "/v1/services/{service}/replicas/{replica}" release, "Unregisters a replica.";
    post "/v1/services/{service}/replicas/{replica}/file" prepare_again, "Prepares the replica's file anew; gives a job.";
    post "/v1/services/{service}/replicas/{replica}/renew" renew, "Gives a cloned or rewound replica a new identity.";
    post "/v1/services/{service}/replicas/{replica}/batches/{batch}" push, "Applies a numbered batch of edits, once.";
    post "/v1/services/{service}/replicas/{replica}/pull" pull, "The page of changes after a cursor.";
    get "/v1/services/{service}/replicas/{replica}/digest" digest, "Digests of what the replica may hold, for comparison.";
    post "/v1/services/{service}/replicas/{replica}/decisions" exchange_decisions, "Closes conflicts that a replica decided; gives the decisions that stand.";
    put "/v1/services/{service}/replicas/{replica}/blobs/{sha256}" put_blob, "Stores the content of an attachment ahead of its batch.";
    get "/v1/services/{service}/replicas/{replica}/blobs/{sha256}" get_blob, "Content of an attachment that the replica may see.";
    post "/v1/services/{service}/collections/{collection}/reconcile" reconcile, "Answers one question of a copy of the collection, in binary frames; see the module `reconcile` of the crate `sync`.";
    post "/v1/services/{service}/collections/{collection}/file" prepare_collection, "Writes the collection into a file for a first copy of it; gives a job, or 204 if it is small.";
    get "/v1/services/{service}/collections/{collection}/changed" changed, "Answers as soon as the service stands elsewhere than at history and generation, or with 204 after wait_s seconds, 60 at most.";
    post "/v1/services/{service}/collections/{collection}/pull" pull_collection, "Makes the collection a copy of another server's; gives a job.";
    get "/v1/services/{service}/conflicts" list_conflicts, "Conflicts of the caller's uploads; all of them for administrators.";
    post "/v1/services/{service}/conflicts/{conflict}" resolve, "Closes a conflict with a decision.";
    get "/v1/files/{file}" fetch_file, "A prepared file; supports ranges, and Want-Repr-Digest: sha-256.";
    delete "/v1/files/{file}" remove_file, "Removes a prepared file that was fetched.";
    get "/v1/files/{file}/bytes" fetch_bytes, "Bytes from..upto of a prepared file, 4 MiB at most, compressed if the client takes zstd; heeds If-Match.";
    get "/v1/jobs" list_jobs, "The caller's jobs, newest first.";
    get "/v1/jobs/{job}" show_job, "Where a job stands.";
    get "/v1/users" list_users, "All users.";
    post "/v1/users" add_user, "Adds a user.";
    delete "/v1/users/{user}" remove_user, "Removes a user.";
    put "/v1/users/{user}/password" set_password, "Changes a password; tokens of the user end.";
    get "/v1/grants" list_grants, "All grants.";
    put "/v1/grants" set_grant, "Adds or replaces a grant.";
    delete "/v1/grants/{principal}/{service}" remove_grant, "Removes a grant.";
    get "/v1/upstream" show_upstream, "How the way to the DHIS2 server above stands: what waits, what was refused, open conflicts.";
    get "/v1/upstream/conflicts" upstream_conflicts, "Conflicts with the DHIS2 server above, with the definitions of their layers; all=true for the decided ones, too.";
    post "/v1/upstream/conflicts/{conflict}" resolve_upstream, "Closes a conflict with the DHIS2 server above; the decision goes up and down at once.";
    post "/v1/upstream/round" make_round, "Synchronises with the DHIS2 server above at once; gives how it stands then.";
    get "/v1/config" show_config, "All settings with value, default and meaning.";

@imports
    post "/v1/services/{service}/import" import, "Imports a GeoJSON or GeoPackage file, sent as the body; gives a job.";
}

/// The native API of a server, and the runners of its jobs.
pub(crate) fn router(server: &Arc<Server>) -> Router {
    prepare::register_runner(server);
    collection_file::register_runner(server);
    pull::register_runner(server);
    services::register_runner(server);
    let limit =
        |bytes: u64| RequestBodyLimitLayer::new(usize::try_from(bytes).unwrap_or(usize::MAX));
    table()
        .layer(limit(server.config.max_body_bytes))
        .merge(imports().layer(limit(server.config.max_import_bytes)))
        .with_state(Arc::clone(server))
}

async fn describe() -> Response {
    axum::Json(openapi::document()).into_response()
}

async fn log_in(State(server): Shared, mut incoming: Incoming, request: Request) -> Response {
    // Whatever credentials came along do not matter here.
    incoming.headers.remove(http::header::AUTHORIZATION);
    let address = incoming.address.clone();
    match body(request, 64 * 1024).await {
        Ok(bytes) => {
            answer(server, incoming, move |call| {
                admin::log_in(call, &address, &bytes)
            })
            .await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn fetch_file(State(server): Shared, Path(id): Path<Uuid>, incoming: Incoming) -> Response {
    files::fetch(server, incoming, id).await
}

async fn fetch_bytes(
    State(server): Shared,
    Path(id): Path<Uuid>,
    Query(query): Query<files::BytesQuery>,
    incoming: Incoming,
) -> Response {
    files::fetch_bytes(server, incoming, id, query).await
}

async fn reconcile(
    State(server): Shared,
    Path((service, collection)): Path<(String, String)>,
    incoming: Incoming,
    request: Request,
) -> Response {
    super::reconcile::answer(server, service, collection, incoming, request).await
}

async fn changed(
    State(server): Shared,
    Path(of): Path<(String, String)>,
    Query(known): Query<waiting::Known>,
    incoming: Incoming,
) -> Response {
    waiting::wait(server, of, known, incoming).await
}

async fn import(
    State(server): Shared,
    Path(service): Named,
    Query(query): Query<services::ImportQuery>,
    incoming: Incoming,
    request: Request,
) -> Response {
    services::import(server, service, query, incoming, request).await
}

#[derive(Debug, Deserialize)]
struct ConflictQuery {
    #[serde(default)]
    all: bool,
}

#[derive(Debug, Deserialize)]
struct BlobQuery {
    collection: u32,
    attachment: String,
}

/// Handlers that need no body.
macro_rules! without_body {
    ($($name:ident($($at:pat_param => $kind:ty),*) |$call:ident| $work:expr;)*) => {$(
        async fn $name(State(server): Shared, $($at: $kind,)* incoming: Incoming) -> Response {
            answer(server, incoming, move |$call| $work).await
        }
    )*};
}

without_body! {
    discover() |call| services::discover(call);
    log_out() |call| admin::log_out(call);
    list_services() |call| services::list(call);
    show_service(Path(service) => Named) |call| services::show(call, &service);
    record_history(Path((service, collection, record)) => Path<(String, u32, String)>) |call| services::record_history(call, &service, collection, &record);
    new_history(Path(service) => Named) |call| services::new_history(call, &service);
    list_replicas(Path(service) => Named) |call| replicas::list(call, &service);
    show_replica(Path((service, id)) => OfReplica) |call| replicas::show(call, &service, id);
    release(Path((service, id)) => OfReplica) |call| replicas::release(call, &service, id);
    prepare_again(Path((service, id)) => OfReplica) |call| prepare::again(call, &service, id);
    prepare_collection(Path((service, collection)) => Path<(String, String)>) |call| collection_file::start(call, &service, &collection);
    remove_file(Path(id) => Path<Uuid>) |call| collection_file::remove(call, id);
    digest(Path((service, id)) => OfReplica) |call| sync::digest(call, &service, id);
    get_blob(Path((service, id, hash)) => Path<(String, Uuid, String)>, Query(query) => Query<BlobQuery>) |call| sync::get_blob(call, &service, id, &hash, (query.collection, &query.attachment));
    list_conflicts(Path(service) => Named, Query(query) => Query<ConflictQuery>) |call| conflicts::list(call, &service, !query.all);
    list_jobs() |call| admin::list_jobs(call);
    show_job(Path(id) => Path<Uuid>) |call| admin::show_job(call, id);
    list_users() |call| admin::list_users(call);
    remove_user(Path(user) => Named) |call| admin::remove_user(call, &user);
    list_grants() |call| admin::list_grants(call);
    remove_grant(Path((principal, service)) => Path<(String, String)>) |call| admin::remove_grant(call, &principal, &service);
    show_upstream() |call| admin::show_upstream(call);
    upstream_conflicts(Query(query) => Query<ConflictQuery>) |call| admin::upstream_conflicts(call, !query.all);
    make_round() |call| admin::make_round(call);
    show_config() |call| admin::show_config(call);
}

/// Handlers whose body is read whole before the work begins.
macro_rules! with_body {
    ($($name:ident($($at:pat_param => $kind:ty)?) |$call:ident, $bytes:ident| $work:expr;)*) => {$(
        async fn $name(
            State(server): Shared,
            $($at: $kind,)?
            incoming: Incoming,
            request: Request,
        ) -> Response {
            match body(request, server.config.max_json_bytes).await {
                Ok($bytes) => answer(server, incoming, move |$call| $work).await,
                Err(problem) => problem.into_response(),
            }
        }
    )*};
}

with_body! {
    create_service() |call, bytes| services::create(call, &bytes);
    add_collection(Path(service) => Named) |call, bytes| services::add_collection(call, &service, &bytes);
    register(Path(service) => Named) |call, bytes| replicas::register(call, &service, &bytes);
    renew(Path((service, id)) => OfReplica) |call, bytes| replicas::renew(call, &service, id, &bytes);
    push(Path((service, id, batch)) => Path<(String, Uuid, u64)>) |call, bytes| sync::push(call, &service, id, batch, &bytes);
    pull(Path((service, id)) => OfReplica) |call, bytes| sync::pull(call, &service, id, &bytes);
    exchange_decisions(Path((service, id)) => OfReplica) |call, bytes| conflicts::exchange(call, &service, id, &bytes);
    put_blob(Path((service, id, hash)) => Path<(String, Uuid, String)>) |call, bytes| sync::put_blob(call, &service, id, &hash, &bytes);
    resolve(Path((service, conflict)) => Path<(String, Uuid)>) |call, bytes| conflicts::resolve(call, &service, conflict, &bytes);
    resolve_upstream(Path(conflict) => Path<Uuid>) |call, bytes| admin::resolve_upstream(call, conflict, &bytes);
    pull_collection(Path((service, collection)) => Path<(String, String)>) |call, bytes| pull::start(call, &service, &collection, &bytes);
    add_user() |call, bytes| admin::add_user(call, &bytes);
    set_password(Path(user) => Named) |call, bytes| admin::set_password(call, &user, &bytes);
    set_grant() |call, bytes| admin::set_grant(call, &bytes);
}
