//! Documents of replicas, as a client sees them: the edits that it uploads, and a server's answers read as streams.
//!
//! Source: `spec/geoservices.md` 6.

mod answer;
mod upload;

pub use answer::{
    AttachmentContent, DocumentHead, DocumentVisitor, IncomingAttachmentLine, Part, read_document,
};
pub(crate) use upload::settable;
pub use upload::{AttachmentUpload, LayerUpload, UploadContent, write_upload};

#[cfg(test)]
mod tests;
