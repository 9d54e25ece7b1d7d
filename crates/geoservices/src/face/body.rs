//! Reads a request: query string, form and multipart body become one set of parameters and a list of files.
//!
//! The size is limited before anything is read. Called by `face::handle`.

use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Request};
use bytes::Bytes;
use http::header;
use http::request::Parts;

use super::problem::{Problem, Result};
use crate::wire::params::Params;

/// Most parts of a multipart body.
const MAX_PARTS: usize = 1000;

/// A file part of a multipart body.
#[derive(Clone, Debug)]
pub(crate) struct FilePart {
    /// Name of the form field.
    pub(crate) field: String,
    /// Name of the file at the sender.
    pub(crate) file_name: String,
    /// Media type that the sender named.
    pub(crate) content_type: String,
    /// The content.
    pub(crate) content: Bytes,
}

/// The parameters and files of a request with a body of at most `max_bytes`.
pub(crate) async fn read(
    parts: &Parts,
    body: Body,
    max_bytes: usize,
) -> Result<(Params, Vec<FilePart>)> {
    let mut params = Params::new();
    let mut files = Vec::new();
    if let Some(query) = parts.uri.query() {
        params.add_query(query)?;
    }
    let announced = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max_bytes as u64) {
        return Err(Problem::TooLarge(max_bytes));
    }
    let content = axum::body::to_bytes(body, max_bytes)
        .await
        .map_err(|error| read_failure(&error, max_bytes))?;
    if content.is_empty() {
        return Ok((params, files));
    }
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    match kind.to_ascii_lowercase().as_str() {
        "multipart/form-data" => {
            read_multipart(content_type, content, &mut params, &mut files).await?;
        }
        // Some clients send forms without a type.
        "application/x-www-form-urlencoded" | "" => params.add_form(&content)?,
        "application/json" => read_json(&content, &mut params)?,
        _ => {
            return Err(Problem::parameter(
                "Content-Type",
                "use application/x-www-form-urlencoded, multipart/form-data or application/json",
            ));
        }
    }
    Ok((params, files))
}

fn read_failure(error: &axum::Error, max_bytes: usize) -> Problem {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(inner) = source {
        if inner.to_string().contains("length limit exceeded") {
            return Problem::TooLarge(max_bytes);
        }
        source = inner.source();
    }
    Problem::parameter("the request body", "it ended too early")
}

async fn read_multipart(
    content_type: &str,
    content: Bytes,
    params: &mut Params,
    files: &mut Vec<FilePart>,
) -> Result<()> {
    let broken = |error: axum::extract::multipart::MultipartError| {
        Problem::parameter("the multipart body", &error.body_text())
    };
    let mut request = Request::builder()
        .header(header::CONTENT_TYPE, content_type)
        .body(Body::from(content))
        .map_err(|error| Problem::parameter("Content-Type", &error.to_string()))?;
    // The whole body has been limited already; without this the extractor would stop at its own 2 MB.
    axum::extract::DefaultBodyLimit::disable().apply(&mut request);
    let mut multipart = Multipart::from_request(request, &())
        .await
        .map_err(|error| Problem::parameter("Content-Type", &error.body_text()))?;
    for count in 0.. {
        let Some(part) = multipart.next_field().await.map_err(broken)? else {
            break;
        };
        if count == MAX_PARTS {
            let problem = format!("it has more than {MAX_PARTS} parts");
            return Err(Problem::parameter("the multipart body", &problem));
        }
        let field = part.name().unwrap_or_default().to_owned();
        let file_name = part.file_name().map(str::to_owned);
        let part_type = part.content_type().unwrap_or_default().to_owned();
        let content = part.bytes().await.map_err(broken)?;
        if let Some(file_name) = file_name {
            files.push(FilePart {
                field,
                file_name,
                content_type: part_type,
                content,
            });
        } else {
            let text = std::str::from_utf8(&content)
                .map_err(|_not_utf8| Problem::parameter(&field, "it is not UTF-8"))?;
            params.add(&field, text)?;
        }
    }
    Ok(())
}

/// A JSON body is an object of parameters; what is not text is kept as its JSON.
fn read_json(content: &[u8], params: &mut Params) -> Result<()> {
    let value = crate::wire::json::parse(content, "the request body")?;
    let Some(members) = value.as_object() else {
        return Err(Problem::parameter("the request body", "use a JSON object"));
    };
    for (name, value) in members {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        params.add(name, text)?;
    }
    Ok(())
}
