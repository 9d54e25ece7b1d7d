//! Error codes of the dialect: of whole requests and of single edits.
//!
//! Source: `spec/geoservices.md` section 7.

/// A parameter is wrong, or the operation cannot be done with it.
pub const BAD_REQUEST: i64 = 400;
/// The user may not do this.
pub const FORBIDDEN: i64 = 403;
/// No such service, layer or row.
pub const NOT_FOUND: i64 = 404;
/// The method is not allowed here.
pub const METHOD_NOT_ALLOWED: i64 = 405;
/// The request is too large.
pub const TOO_LARGE: i64 = 413;
/// Too many attempts.
pub const TOO_MANY: i64 = 429;
/// The token is invalid or expired.
pub const INVALID_TOKEN: i64 = 498;
/// A token is required.
pub const TOKEN_REQUIRED: i64 = 499;
/// A failure of the server.
pub const INTERNAL: i64 = 500;
/// The operation took too long.
pub const TIMEOUT: i64 = 504;

/// An edit failed; nothing more precise is known.
pub const EDIT_FAILED: i64 = 1000;
/// The edit was undone because another one failed.
pub const EDIT_ROLLED_BACK: i64 = 1003;
/// The geometry does not fit.
pub const EDIT_GEOMETRY: i64 = 1009;
/// The attachment's row does not exist.
pub const EDIT_NO_PARENT: i64 = 1011;
/// The row could not be inserted.
pub const EDIT_INSERT: i64 = 1017;
/// The row could not be deleted.
pub const EDIT_DELETE: i64 = 1018;
/// The row could not be updated.
pub const EDIT_UPDATE: i64 = 1019;
