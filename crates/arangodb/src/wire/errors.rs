//! Error numbers, the status that goes with each, and the text that ArangoDB says.
//!
//! Source: `spec/arangodb.md` 11, and 3 for the statuses of replication.

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $status:literal, $text:literal;)*) => {
        /// Why a request is not answered, as a number that clients look at.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorNum { $($(#[$doc])* $name,)* }

        impl ErrorNum {
            /// The number on the wire.
            pub fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* }
            }
            /// The HTTP status.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
            /// The usual text.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
            /// What a number stands for, if it is one of these.
            pub fn of(number: u64) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

numbers! {
    /// A defect or a failing machine.
    Internal = 4, 500, "internal error";
    /// Something that this server does not do.
    NotImplemented = 9, 501, "not implemented";
    /// A wrong parameter.
    BadParameter = 10, 400, "bad parameter";
    /// No credentials or no right.
    Forbidden = 11, 403, "forbidden";
    /// A lock that was not given in time.
    LockTimeout = 18, 409, "timeout waiting to lock";
    /// A limit of memory or size.
    ResourceLimit = 32, 500, "resource limit exceeded";
    /// A wrong request.
    HttpBadParameter = 400, 400, "bad parameter";
    /// Wrong user name or password.
    HttpUnauthorized = 401, 401, "unauthorized";
    /// Not allowed.
    HttpForbidden = 403, 403, "forbidden";
    /// No such resource.
    HttpNotFound = 404, 404, "not found";
    /// A method that the resource does not know.
    HttpMethodNotAllowed = 405, 405, "method not supported";
    /// A body that is too large.
    HttpTooLarge = 413, 413, "request entity too large";
    /// Too many attempts.
    HttpTooMany = 429, 429, "too many requests";
    /// Stopping, or too busy.
    HttpUnavailable = 503, 503, "service unavailable";
    /// A body that is no JSON.
    CorruptedJson = 600, 400, "invalid JSON object";
    /// More path than the resource has.
    SuperfluousSuffices = 601, 400, "superfluous URL suffices";
    /// A collection that cannot be changed by this protocol.
    ReadOnly = 1004, 403, "read only";
    /// The revision is another.
    Conflict = 1200, 412, "conflict";
    /// No such document.
    DocumentNotFound = 1202, 404, "document not found";
    /// No such collection.
    CollectionNotFound = 1203, 404, "collection or view not found";
    /// The name is taken.
    DuplicateName = 1207, 409, "duplicate name";
    /// A name that does not do.
    IllegalName = 1208, 400, "illegal name";
    /// No such index.
    IndexNotFound = 1212, 404, "index not found";
    /// A unique index or the key holds the value already.
    UniqueConstraint = 1210, 409, "unique constraint violated";
    /// A collection of another type is needed.
    CollectionType = 1218, 400, "invalid collection type";
    /// A key that does not do.
    BadKey = 1221, 400, "illegal document key";
    /// A document without a key where one is needed.
    KeyMissing = 1226, 400, "missing document key";
    /// A document that is no object.
    BadDocumentType = 1227, 400, "invalid document type";
    /// No such database.
    DatabaseNotFound = 1228, 404, "database not found";
    /// A database name that does not do.
    DatabaseName = 1229, 400, "database name invalid";
    /// Allowed in the system database alone.
    OnlyInSystem = 1230, 403, "operation only allowed in system database";
    /// An edge without its ends.
    EdgeAttribute = 1233, 400, "edge attribute missing or invalid";
    /// A revision that is none.
    BadRevision = 1239, 400, "invalid document revision";
    /// The primary does not answer.
    NoResponse = 1400, 500, "no response from leader";
    /// The primary's answer is not understood.
    InvalidResponse = 1401, 500, "invalid response from leader";
    /// The primary answered with an error.
    LeaderError = 1402, 500, "leader error";
    /// A primary of another major version.
    LeaderIncompatible = 1403, 500, "leader incompatible";
    /// The primary is this very server.
    ReplicationLoop = 1405, 500, "loop detected";
    /// A wrong configuration of replication.
    InvalidApplierConfig = 1410, 400, "invalid replication applier configuration";
    /// A synchronisation of the same database is under way.
    ApplierRunning = 1411, 400, "cannot perform operation while applier is running";
    /// It was stopped.
    ReplicationStopped = 1412, 500, "replication stopped";
    /// Not a coordinator of a cluster.
    ClusterOnly = 1471, 403, "this operation is only valid on a coordinator in a cluster";
    /// A query that is not understood.
    QueryParse = 1501, 400, "syntax error";
    /// A bind parameter that was not given.
    BindParameterMissing = 1551, 400, "bind parameter missing";
    /// No such cursor or batch.
    CursorNotFound = 1600, 404, "cursor not found";
    /// The user exists.
    UserDuplicate = 1702, 409, "duplicate user";
    /// No such user.
    UserNotFound = 1703, 404, "user not found";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        for number in [11, 600, 1200, 1210, 1400, 1405, 1600] {
            assert_eq!(ErrorNum::of(number).unwrap().number(), number as u16);
        }
        assert_eq!(ErrorNum::of(7), None);
    }
}
