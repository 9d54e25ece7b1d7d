//! Bodies in and out: JSON, compressed with zstd where that was agreed, never beyond a limit.

use std::io::Read as _;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::{Problem, Result};

const ZSTD: HeaderValue = HeaderValue::from_static("zstd");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const LEVEL: i32 = 1;
const PIECE: usize = 128 << 10;

/// A plain JSON answer.
pub(super) fn json<T: Serialize>(value: &T) -> Result<Response> {
    let text = serde_json::to_vec(value).map_err(|e| not_written(&e))?;
    Ok(([(CONTENT_TYPE, JSON)], text).into_response())
}

/// A JSON answer, compressed if the client takes that.
pub(super) fn packed<T: Serialize>(headers: &HeaderMap, value: &T) -> Result<Response> {
    if !takes_zstd(headers) {
        return json(value);
    }
    already_packed(headers, pack(value)?)
}

/// An answer that was packed before, unpacked again for a client that does not take it so.
pub(super) fn already_packed(headers: &HeaderMap, bytes: Vec<u8>) -> Result<Response> {
    if takes_zstd(headers) {
        let kind = [(CONTENT_TYPE, JSON), (CONTENT_ENCODING, ZSTD)];
        return Ok((kind, bytes).into_response());
    }
    let text = zstd::stream::decode_all(bytes.as_slice()).map_err(|e| not_written(&e))?;
    Ok(([(CONTENT_TYPE, JSON)], Body::from(text)).into_response())
}

/// Bytes of any kind, compressed if the client takes that.
pub(super) fn packed_bytes(headers: &HeaderMap, bytes: Vec<u8>) -> Result<Response> {
    if !takes_zstd(headers) {
        return Ok(bytes.into_response());
    }
    let packed = zstd::bulk::compress(&bytes, LEVEL).map_err(|e| not_written(&e))?;
    Ok(([(CONTENT_ENCODING, ZSTD)], packed).into_response())
}

/// Compressed JSON.
pub(super) fn pack<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let encoder = zstd::stream::Encoder::new(Vec::new(), LEVEL).map_err(|e| not_written(&e))?;
    // The encoder takes few large pieces much faster than many small ones.
    let mut buffer = std::io::BufWriter::with_capacity(PIECE, encoder);
    serde_json::to_writer(&mut buffer, value).map_err(|e| not_written(&e))?;
    let encoder = buffer.into_inner().map_err(|e| not_written(e.error()))?;
    encoder.finish().map_err(|e| not_written(&e))
}

/// The bytes of a body as they were before compression, at most `limit` of them.
pub(super) fn unpack(headers: &HeaderMap, body: &Bytes, limit: u64) -> Result<Vec<u8>> {
    let encoding = headers
        .get(CONTENT_ENCODING)
        .map_or(Ok(""), HeaderValue::to_str)
        .map_err(|_not_text| Problem::bad("content-encoding", "it is not text"))?;
    let damaged = |e: std::io::Error| Problem::bad("body", format!("it is not zstd: {e}"));
    let bytes = match encoding {
        "" | "identity" => body.to_vec(),
        "zstd" => {
            let decoder = zstd::stream::Decoder::new(body.as_ref()).map_err(damaged)?;
            let mut bytes = Vec::new();
            let mut limited = decoder.take(limit + 1);
            limited.read_to_end(&mut bytes).map_err(damaged)?;
            bytes
        }
        other => {
            let message = format!("{other:?} is not supported; use zstd or none");
            return Err(Problem::bad("content-encoding", message));
        }
    };
    if bytes.len() as u64 > limit {
        return Err(Problem::too_large(limit));
    }
    Ok(bytes)
}

/// Reads JSON, naming what is wrong with it.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Problem::bad("body", e.to_string()))
}

fn takes_zstd(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.split(';').next().is_some_and(|c| c.trim() == "zstd"))
}

fn not_written(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "an answer could not be written");
    Problem::internal()
}
