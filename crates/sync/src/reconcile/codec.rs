//! The bytes of the frames: integers of seven bits a byte, what is in order as differences, ids as they are.
//!
//! Lists are refused when they name more members than bytes follow, so no frame makes its reader reserve memory that
//! the frame itself does not take. Every frame has one reading, and nothing may follow it.

mod part;
mod request;
#[cfg(test)]
mod tests;

use haversack_model::{Generation, GlobalId, HistoryId};
use uuid::Uuid;

pub use part::{decode_part, encode_part};
pub use request::{decode_request, encode_request};

use super::error::{Error, Result};
use super::frame::{Root, Scope};
use super::item::{Order, Span};
use super::sum::Sum;
use super::tree::LeafBits;

/// Adds a frame of an answer to a stream, behind its length.
pub(crate) fn put_framed(stream: &mut Vec<u8>, frame: &[u8]) {
    let mut out = Writer(std::mem::take(stream));
    out.bytes(frame);
    *stream = out.0;
}

/// Takes the first whole frame off a stream that arrives in pieces: what it is, and how many bytes it took.
///
/// # Errors
/// [`Error::Limit`] if it is longer than `most` bytes.
pub(crate) fn unframed(stream: &[u8], most: u64) -> Result<Option<(&[u8], usize)>> {
    let mut reader = Reader(stream);
    let length = match reader.number() {
        Ok(length) => length,
        // A length has ten bytes at most: with fewer, the rest may still come.
        Err(_) if stream.len() < 10 => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > most {
        return Err(Error::Limit {
            what: "a frame",
            limit: most,
        });
    }
    let taken = stream.len() - reader.0.len();
    let frame = reader.0.get(..length as usize);
    Ok(frame.map(|frame| (frame, taken + frame.len())))
}

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
    pub(super) fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63) as u64);
    }
    pub(super) fn fixed_64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
    pub(super) fn generation(&mut self, generation: Generation) {
        self.number(generation.0);
    }
    pub(super) fn some_generation(&mut self, generation: Option<Generation>) {
        self.number(generation.map_or(0, |generation| generation.0 + 1));
    }
    pub(super) fn history(&mut self, history: HistoryId) {
        self.0.extend_from_slice(history.0.as_bytes());
    }
    pub(super) fn sum(&mut self, sum: Sum) {
        self.number(sum.count);
        self.fixed_64(sum.high);
        self.fixed_64(sum.low);
    }
    pub(super) fn root(&mut self, root: &Root) {
        self.generation(root.generation);
        self.generation(root.floor);
        self.sum(root.sum);
    }
    pub(super) fn scope(&mut self, scope: &Scope) {
        self.fixed_64(scope.epoch);
        self.order(scope.order);
        self.byte(scope.bits.bits());
        self.byte(scope.salt);
    }
    pub(super) fn order(&mut self, order: Order) {
        self.byte(match order {
            Order::Generation => 0,
            Order::Key => 1,
        });
    }
    /// Numbers that rise by at least one.
    pub(super) fn rising(&mut self, numbers: &[u64]) {
        self.number(numbers.len() as u64);
        let mut next = 0;
        for &number in numbers {
            self.number(number.wrapping_sub(next));
            next = number.wrapping_add(1);
        }
    }
    /// Runs in order that do not touch.
    pub(super) fn spans(&mut self, spans: &[Span]) {
        self.number(spans.len() as u64);
        let mut next = 0;
        for span in spans {
            self.number(span.from.wrapping_sub(next));
            self.number(span.upto.wrapping_sub(span.from));
            next = span.upto.wrapping_add(1);
        }
    }
    /// Ids of 8 or 16 bytes.
    pub(super) fn ids(&mut self, wide: bool, ids: &[u128]) {
        self.byte(u8::from(wide));
        self.number(ids.len() as u64);
        for id in ids {
            let bytes = id.to_le_bytes();
            self.0
                .extend_from_slice(if wide { &bytes } else { &bytes[..8] });
        }
    }
    pub(super) fn global_id(&mut self, id: &GlobalId) {
        match id {
            GlobalId::Uuid(uuid) => self.0.extend_from_slice(uuid.as_bytes()),
            GlobalId::Text(text) => self.bytes(text.as_bytes()),
        }
    }
}

const SHORT: Error = Error::Malformed("it ends too early");

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn end(&self) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::Malformed("bytes follow its end"))
        }
    }
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(head)
    }
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*head)
    }
    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }
    pub(super) fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::Malformed("a flag is neither 0 nor 1")),
        }
    }
    pub(super) fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 || byte == 0 && shift > 0 {
                return Err(Error::Malformed("a number is not written as it must be"));
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Error::Malformed("a number is too long"))
    }
    pub(super) fn signed(&mut self) -> Result<i64> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }
    pub(super) fn fixed_64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    /// The number of members of a list, each of which takes at least `each` bytes.
    pub(super) fn count(&mut self, each: usize) -> Result<usize> {
        let count = self.number()?;
        if count > (self.0.len() / each) as u64 {
            return Err(SHORT);
        }
        Ok(count as usize)
    }
    /// As [`Self::count`], of a list that no part sends empty: endless empty parts would be an endless answer.
    pub(super) fn some(&mut self, each: usize) -> Result<usize> {
        match self.count(each)? {
            0 => Err(Error::Malformed("a list is empty")),
            count => Ok(count),
        }
    }
    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.count(1)?;
        self.take(length)
    }
    pub(super) fn generation(&mut self) -> Result<Generation> {
        Ok(Generation(self.number()?))
    }
    pub(super) fn some_generation(&mut self) -> Result<Option<Generation>> {
        Ok(self.number()?.checked_sub(1).map(Generation))
    }
    pub(super) fn history(&mut self) -> Result<HistoryId> {
        Ok(HistoryId(Uuid::from_bytes(self.array()?)))
    }
    pub(super) fn sum(&mut self) -> Result<Sum> {
        let sum = Sum {
            count: self.number()?,
            high: self.fixed_64()?,
            low: self.fixed_64()?,
        };
        if sum.is_of_a_set() {
            Ok(sum)
        } else {
            Err(Error::Malformed("a sum is that of no set"))
        }
    }
    pub(super) fn root(&mut self) -> Result<Root> {
        Ok(Root {
            generation: self.generation()?,
            floor: self.generation()?,
            sum: self.sum()?,
        })
    }
    pub(super) fn bits(&mut self) -> Result<LeafBits> {
        LeafBits::new(self.byte()?).ok_or(Error::Malformed("there are no leaves of this width"))
    }
    pub(super) fn order(&mut self) -> Result<Order> {
        match self.byte()? {
            0 => Ok(Order::Generation),
            1 => Ok(Order::Key),
            _ => Err(Error::Malformed("an order is unknown")),
        }
    }
    pub(super) fn scope(&mut self) -> Result<Scope> {
        Ok(Scope {
            epoch: self.fixed_64()?,
            order: self.order()?,
            bits: self.bits()?,
            salt: self.byte()?,
        })
    }
    pub(super) fn rising(&mut self) -> Result<Vec<u64>> {
        let count = self.count(1)?;
        let mut next = Some(0u64);
        let mut numbers = Vec::with_capacity(count);
        for _ in 0..count {
            let step = self.number()?;
            let number = next.and_then(|next| next.checked_add(step));
            let number = number.ok_or(Error::Malformed("a list is not in order"))?;
            numbers.push(number);
            next = number.checked_add(1);
        }
        Ok(numbers)
    }
    pub(super) fn spans(&mut self) -> Result<Vec<Span>> {
        const DISORDER: Error = Error::Malformed("runs are not in order");
        let count = self.count(2)?;
        let mut next = Some(0u64);
        let mut spans = Vec::with_capacity(count);
        for _ in 0..count {
            let (gap, length) = (self.number()?, self.number()?);
            let from = next.and_then(|next| next.checked_add(gap));
            let from = from.ok_or(DISORDER)?;
            let upto = from.checked_add(length).ok_or(DISORDER)?;
            spans.push(Span { from, upto });
            next = upto.checked_add(1);
        }
        Ok(spans)
    }
    pub(super) fn ids(&mut self) -> Result<(bool, Vec<u128>)> {
        let wide = self.flag()?;
        let each = if wide { 16 } else { 8 };
        let count = self.count(each)?;
        let ids = self.take(count * each)?.chunks_exact(each).map(|bytes| {
            let mut whole = [0; 16];
            whole[..each].copy_from_slice(bytes);
            u128::from_le_bytes(whole)
        });
        Ok((wide, ids.collect()))
    }
    pub(super) fn global_id(&mut self, is_uuid: bool) -> Result<GlobalId> {
        if is_uuid {
            return Ok(GlobalId::Uuid(Uuid::from_bytes(self.array()?)));
        }
        let text = std::str::from_utf8(self.bytes()?);
        let text = text.map_err(|_not_utf8| Error::Malformed("an id is not UTF-8"))?;
        Ok(GlobalId::Text(text.into()))
    }
}
