//! Log in and out, jobs, and what only administrators do: users, grants, settings.

use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use uuid::Uuid;

use haversack_model::host::Binding;
use haversack_model::{ConflictId, Host as _, Job, JobStatus};

use super::answer::{json, packed, parse, unpack};
use super::call::Call;
use super::problem::{Problem, Result};
use super::wire::{Decision, JobInfo, LoggedIn, Login, NewUser};
use crate::clock;
use crate::grants::Grant;

const HOUR_MS: u64 = 3_600_000;
const YEAR_MS: u64 = 366 * 24 * HOUR_MS;

/// Exchanges user name and password for a token.
pub(super) fn log_in(call: &Call, address: &str, body: &Bytes) -> Result<Response> {
    let login: Login = parse(&unpack(&call.headers, body, call.max_json())?)?;
    let who = call
        .server
        .login(&login.user, &login.password, address)?
        .ok_or_else(|| Problem::unauthorized("user name or password is wrong"))?;
    let lifetime_ms = login.lifetime_ms.unwrap_or(2 * HOUR_MS).min(YEAR_MS);
    let token = call.server.issue_token(&who, lifetime_ms, &Binding::None);
    json(&LoggedIn {
        token: token.text,
        expires_at: token.expires_at,
        user: who.name,
        is_admin: who.is_admin,
    })
}

/// Ends the token of this request.
pub(super) fn log_out(call: &Call) -> Result<Response> {
    let token = crate::http::bearer(&call.headers)
        .ok_or_else(|| Problem::bad("authorization", "there is no token to end"))?;
    call.server.revoke_token(token);
    Ok(done())
}

/// A job as shown.
pub(super) fn job_info(job: &Job) -> JobInfo {
    let as_text = || serde_json::Value::String(job.result.clone());
    JobInfo {
        id: job.id,
        kind: job.kind.clone(),
        status: job.status,
        phase: job.phase.clone(),
        done: job.progress.0,
        total: job.progress.1,
        result: match job.status {
            JobStatus::Completed => {
                serde_json::from_str(&job.result).unwrap_or_else(|_plain_text| as_text())
            }
            JobStatus::Failed => as_text(),
            JobStatus::Pending | JobStatus::Running => serde_json::Value::Null,
        },
    }
}

/// Where a job stands.
pub(super) fn show_job(call: &Call, id: Uuid) -> Result<Response> {
    let job = call
        .server
        .job(id)
        .filter(|job| call.who.is_admin || job.owner.name == call.who.name)
        .ok_or_else(|| Problem::missing("job"))?;
    json(&job_info(&job))
}

/// The caller's jobs; everybody's for administrators.
pub(super) fn list_jobs(call: &Call) -> Result<Response> {
    let owner = (!call.who.is_admin).then_some(call.who.name.as_str());
    let jobs = call.server.jobs.list(owner, 200)?;
    json(&jobs.iter().map(job_info).collect::<Vec<_>>())
}

/// All users.
pub(super) fn list_users(call: &Call) -> Result<Response> {
    call.admin()?;
    json(&call.server.accounts.list()?)
}

/// Adds a user.
pub(super) fn add_user(call: &Call, body: &Bytes) -> Result<Response> {
    call.admin()?;
    let user: NewUser = parse(&unpack(&call.headers, body, call.max_json())?)?;
    let accounts = &call.server.accounts;
    accounts.add(&user.name, &user.password, user.is_admin, clock::now())?;
    tracing::info!(user = user.name, by = call.who.name, "user added");
    Ok(StatusCode::CREATED.into_response())
}

/// Removes a user.
pub(super) fn remove_user(call: &Call, name: &str) -> Result<Response> {
    call.admin()?;
    call.server.accounts.remove(name)?;
    tracing::info!(user = name, by = call.who.name, "user removed");
    Ok(done())
}

/// Changes a password: administrators anybody's, others their own.
pub(super) fn set_password(call: &Call, name: &str, body: &Bytes) -> Result<Response> {
    let is_own = !call.who.is_anonymous() && call.who.name.eq_ignore_ascii_case(name);
    if !is_own {
        call.admin()?;
    }
    let user: NewUser = parse(&unpack(&call.headers, body, call.max_json())?)?;
    call.server.accounts.set_password(name, &user.password)?;
    tracing::info!(user = name, by = call.who.name, "password changed");
    Ok(done())
}

/// All grants.
pub(super) fn list_grants(call: &Call) -> Result<Response> {
    call.admin()?;
    json(&call.server.grants.list()?)
}

/// Adds or replaces a grant.
pub(super) fn set_grant(call: &Call, body: &Bytes) -> Result<Response> {
    call.admin()?;
    let grant: Grant = parse(&unpack(&call.headers, body, call.max_json())?)?;
    call.server.grant(&grant)?;
    tracing::info!(
        principal = grant.principal,
        service = grant.service,
        by = call.who.name,
        "grant set"
    );
    Ok(done())
}

/// Removes a grant.
pub(super) fn remove_grant(call: &Call, principal: &str, service: &str) -> Result<Response> {
    call.admin()?;
    if !call.server.grants.remove(principal, service)? {
        return Err(Problem::missing("grant"));
    }
    tracing::info!(principal, service, by = call.who.name, "grant removed");
    Ok(done())
}

/// All settings.
pub(super) fn show_config(call: &Call) -> Result<Response> {
    call.admin()?;
    json(&call.server.config.settings())
}

/// How the way to the upper server stands.
pub(super) fn show_upstream(call: &Call) -> Result<Response> {
    call.admin()?;
    let upstream = call.server.upstream.get();
    json(&upstream.ok_or_else(no_upstream)?.report()?)
}

/// Synchronises with the upper server at once.
pub(super) fn make_round(call: &Call) -> Result<Response> {
    call.admin()?;
    let upstream = call.server.upstream.get().ok_or_else(no_upstream)?;
    if !upstream.ask() {
        tracing::warn!("a round that was asked for takes long; it goes on");
    }
    json(&upstream.report()?)
}

/// Conflicts with the upper server.
pub(super) fn upstream_conflicts(call: &Call, open_only: bool) -> Result<Response> {
    call.admin()?;
    let upstream = call.server.upstream.get().ok_or_else(no_upstream)?;
    packed(&call.headers, &upstream.conflicts(open_only)?)
}

/// Closes one of them.
pub(super) fn resolve_upstream(call: &Call, id: Uuid, body: &Bytes) -> Result<Response> {
    call.admin()?;
    let upstream = call.server.upstream.get().ok_or_else(no_upstream)?;
    let decision: Decision = parse(&unpack(&call.headers, body, call.max_json())?)?;
    json(&upstream.decide(ConflictId(id), &decision, &call.who.name)?)
}

fn no_upstream() -> Problem {
    Problem::missing("upstream")
}

fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
