//! A wire on which the parts of answers can be changed.

use haversack_sync::reconcile::{
    Limits, Part, Request, Result, answer, decode_part, decode_request, encode_part,
};

use super::{Shared, Wire};

/// The frames of an answer.
pub(crate) fn parts(primary: &Shared, question: &[u8]) -> Result<Vec<Part>> {
    let mut stream = Vec::new();
    answer(primary, question, &Limits::default(), &mut |piece| {
        stream.extend_from_slice(piece);
        Ok(())
    })?;
    let mut rest = stream.as_slice();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let byte = rest[0];
            rest = &rest[1..];
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        parts.push(decode_part(&rest[..length])?);
        rest = &rest[length..];
    }
    Ok(parts)
}

/// The bytes of an answer.
pub(crate) fn stream(parts: &[Part]) -> Vec<u8> {
    let mut stream = Vec::new();
    for part in parts {
        let frame = encode_part(part);
        let mut length = frame.len();
        while length >= 0x80 {
            stream.push(length as u8 | 0x80);
            length >>= 7;
        }
        stream.push(length as u8);
        stream.extend(frame);
    }
    stream
}

/// A wire to a primary that lies as it is told: `lie` changes the parts of every answer.
pub(crate) fn lying<'a>(
    primary: &'a Shared,
    mut lie: impl FnMut(&Request, Vec<Part>) -> Vec<Part> + 'a,
) -> Box<Wire<'a>> {
    Box::new(move |question, send| {
        let told = lie(&decode_request(question)?, parts(primary, question)?);
        send(&stream(&told))
    })
}
