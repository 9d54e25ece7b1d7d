//! The documents of replicas: parameters, edits, and the answers, written and read as streams.
//!
//! Source: `spec/geoservices.md` 6.

mod answer;
mod changes;
mod create;
mod document;
mod edits;
mod extract;
mod layers;
mod synchronize;

pub use answer::{AttachmentLine, EditsDocument, ReplicaDocument, short_answer};
pub use changes::{
    AttachmentContent, DocumentHead, DocumentVisitor, IncomingAttachmentLine, Part, read_document,
};
pub use create::{AttachmentsDirection, CreateReplica, DataFormat, ExistingData, Target};
pub use document::{Generations, ResponseType, TransportType};
pub use edits::{IncomingAttachment, IncomingEdit, IncomingLayer, UploadedContent, read_edits};
pub use extract::ExtractChanges;
pub use layers::{AreaFilter, LayerQuery, QueryOption, layer_queries};
pub use synchronize::{SyncDirection, SyncLayer, Synchronize};

#[cfg(test)]
mod tests;
