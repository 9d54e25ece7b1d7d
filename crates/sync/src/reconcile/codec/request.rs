//! The bytes of the questions.

use crate::reconcile::error::{Error, Result};
use crate::reconcile::frame::{Adopt, Changes, Descend, Get, List, Open, Request, Sketch};

use super::{Reader, Writer};

const OPEN: u8 = 1;
const DESCEND: u8 = 2;
const LIST: u8 = 3;
const SKETCH: u8 = 4;
const GET: u8 = 5;
const ADOPT: u8 = 6;
const CHANGES: u8 = 7;

const HAS_HISTORY: u8 = 1;
const COMPLETE: u8 = 2;
const HAS_RECORDS: u8 = 4;
const DEEP: u8 = 8;

/// The bytes of a question.
pub fn encode_request(request: &Request) -> Vec<u8> {
    let mut out = Writer(Vec::new());
    match request {
        Request::Open(open) => put_open(&mut out, open),
        Request::Descend(ask) => {
            out.byte(DESCEND);
            out.scope(&ask.scope);
            out.byte(ask.level);
            out.rising(&ask.nodes);
        }
        Request::List(ask) => {
            out.byte(LIST);
            out.scope(&ask.scope);
            out.rising(&ask.leaves);
            out.ids(ask.wide, &ask.ids);
            out.spans(&ask.fetch);
            out.some_generation(ask.since);
        }
        Request::Sketch(ask) => {
            out.byte(SKETCH);
            out.scope(&ask.scope);
            out.rising(&ask.leaves);
            out.number(ask.from);
            out.number(ask.upto);
        }
        Request::Get(ask) => {
            out.byte(GET);
            out.scope(&ask.scope);
            out.rising(&ask.leaves);
            out.number(ask.ids.len() as u64);
            ask.ids.iter().for_each(|id| out.fixed_64(*id));
            out.spans(&ask.fetch);
            out.some_generation(ask.since);
        }
        Request::Adopt(ask) => {
            out.byte(ADOPT);
            out.scope(&ask.scope);
            out.spans(&ask.leaves);
            out.some_generation(ask.since);
        }
        Request::Changes(ask) => {
            out.byte(CHANGES);
            out.scope(&ask.scope);
            out.generation(ask.since);
        }
    }
    out.0
}

fn put_open(out: &mut Writer, open: &Open) {
    out.byte(OPEN);
    let flags = [
        (open.history.is_some(), HAS_HISTORY),
        (open.complete, COMPLETE),
        (open.has_records, HAS_RECORDS),
        (open.deep, DEEP),
    ];
    out.byte(
        flags
            .iter()
            .fold(0, |all, (set, flag)| if *set { all | flag } else { all }),
    );
    if let Some(history) = open.history {
        out.history(history);
    }
    out.fixed_64(open.key_name);
    out.byte(open.bits.bits());
    out.sum(open.root);
    out.generation(open.since);
    out.byte(open.attempt);
}

/// Reads a question.
///
/// # Errors
/// [`Error::Malformed`].
pub fn decode_request(bytes: &[u8]) -> Result<Request> {
    let mut from = Reader(bytes);
    let request = match from.byte()? {
        OPEN => Request::Open(take_open(&mut from)?),
        DESCEND => Request::Descend(Descend {
            scope: from.scope()?,
            level: from.byte()?,
            nodes: from.rising()?,
        }),
        LIST => {
            let (scope, leaves) = (from.scope()?, from.rising()?);
            let (wide, ids) = from.ids()?;
            Request::List(List {
                scope,
                wide,
                leaves,
                ids,
                fetch: from.spans()?,
                since: from.some_generation()?,
            })
        }
        SKETCH => Request::Sketch(Sketch {
            scope: from.scope()?,
            leaves: from.rising()?,
            from: from.number()?,
            upto: from.number()?,
        }),
        GET => {
            let (scope, leaves) = (from.scope()?, from.rising()?);
            let count = from.count(8)?;
            let ids = (0..count).map(|_| from.fixed_64()).collect::<Result<_>>()?;
            Request::Get(Get {
                scope,
                leaves,
                ids,
                fetch: from.spans()?,
                since: from.some_generation()?,
            })
        }
        ADOPT => Request::Adopt(Adopt {
            scope: from.scope()?,
            leaves: from.spans()?,
            since: from.some_generation()?,
        }),
        CHANGES => Request::Changes(Changes {
            scope: from.scope()?,
            since: from.generation()?,
        }),
        _ => return Err(Error::Malformed("there is no such question")),
    };
    from.end()?;
    Ok(request)
}

fn take_open(from: &mut Reader<'_>) -> Result<Open> {
    let flags = from.byte()?;
    if flags & !(HAS_HISTORY | COMPLETE | HAS_RECORDS | DEEP) != 0 {
        return Err(Error::Malformed("a flag is unknown"));
    }
    Ok(Open {
        history: if flags & HAS_HISTORY == 0 {
            None
        } else {
            Some(from.history()?)
        },
        key_name: from.fixed_64()?,
        bits: from.bits()?,
        root: from.sum()?,
        since: from.generation()?,
        complete: flags & COMPLETE != 0,
        has_records: flags & HAS_RECORDS != 0,
        deep: flags & DEEP != 0,
        attempt: from.byte()?,
    })
}
