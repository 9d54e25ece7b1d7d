//! Result files: written by operations, fetched once or many times by their owner, until the host lets them expire.
//!
//! A file is addressed by a random id and nothing else; its URL ends in a plain file name, because the Python client saves
//! it under the last segment. Source: `spec/geoservices.md` 6, "Short answer".

use std::fs::File;
use std::io::{BufWriter, Write as _};

use haversack_model::host::StoredFile;
use uuid::Uuid;

use super::answer::{Answer, Spool};
use super::call::Call;
use super::problem::{Problem, Result};

/// `GET .../files/<id>.<extension>`; query strings and anything else that clients add are ignored.
pub(crate) fn download(call: &Call, name: &str) -> Result<Answer> {
    let gone = || Problem::NotFound("this file".to_owned());
    let (id, extension) = name.split_once('.').ok_or_else(gone)?;
    let id = Uuid::try_parse(id).map_err(|_not_an_id| gone())?;
    let file = call.host.file(id, &call.principal).ok_or_else(gone)?;
    // Uploads and their parts are not for fetching.
    if file.extension != extension || file.extension == super::uploads::EXTENSION {
        return Err(gone());
    }
    Ok(Answer::File {
        path: file.path,
        content_type: file.content_type,
        name: file.name,
    })
}

/// Keeps a spooled document as a file and answers its URL.
pub(crate) fn keep(
    call: &Call,
    content: &mut Spool,
    extension: &str,
    name: &str,
) -> Result<String> {
    let mut file = call.host.create_file(&call.principal, extension)?;
    let written = File::create(&file.path).and_then(|target| {
        let mut target = BufWriter::new(target);
        content.copy_to(&mut target)?;
        target.flush()?;
        target.into_inner()?.sync_all()
    });
    if let Err(error) = written {
        call.host.remove_file(file.id)?;
        return Err(Problem::io("writing a result file", &error));
    }
    describe(call, &mut file, name)
}

/// Tells the host what a file is, and answers its URL.
pub(crate) fn describe(call: &Call, file: &mut StoredFile, name: &str) -> Result<String> {
    file.name = format!("{name}.{}", file.extension);
    let content_type = match file.extension.as_str() {
        "json" => "application/json",
        "zip" => "application/zip",
        _ => "application/octet-stream",
    };
    content_type.clone_into(&mut file.content_type);
    call.host.describe_file(file)?;
    Ok(url(call, file))
}

/// The URL of a file: ends in `<32 hex digits>.<extension>`.
pub(crate) fn url(call: &Call, file: &StoredFile) -> String {
    format!(
        "{}/rest/files/{}.{}",
        call.base,
        file.id.simple(),
        file.extension
    )
}
