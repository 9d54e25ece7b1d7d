//! The canonical hash of a record's identity and content: equal hashes mean equal rows, on server and replica.
//!
//! Object ids, generations and revisions do not count. The encoding is prefix-free, so that no two different
//! records share one.

use crate::{Record, Value};

/// Writes to the hasher what must not depend on the store: little endian, lengths first.
fn put_bytes(hasher: &mut blake3::Hasher, tag: u8, bytes: &[u8]) {
    let mut head = [tag, 0, 0, 0, 0, 0, 0, 0, 0];
    head[1..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    hasher.update(&head);
    hasher.update(bytes);
}

fn put_value(hasher: &mut blake3::Hasher, value: &Value) {
    match value {
        Value::Null => {
            hasher.update(&[0]);
        }
        Value::Integer(n) => put_bytes(hasher, 1, &n.to_le_bytes()),
        // The two zeros are equal values.
        Value::Real(x) => put_bytes(hasher, 2, &(x + 0.0).to_le_bytes()),
        Value::Text(text) => put_bytes(hasher, 3, text.as_bytes()),
        Value::Blob(bytes) => put_bytes(hasher, 4, bytes),
    }
}

impl Record {
    /// 128 bits of BLAKE3 over global id, values and geometry, for [`Digest`](crate::record::Digest)s.
    pub fn content_hash(&self) -> u128 {
        let mut hasher = blake3::Hasher::new();
        put_bytes(&mut hasher, 5, self.global_id.as_bytes());
        hasher.update(&(self.values.len() as u64).to_le_bytes());
        for value in &self.values {
            put_value(&mut hasher, value);
        }
        if let Some(geometry) = &self.geometry {
            put_bytes(&mut hasher, 6, geometry.as_wkb());
        }
        let hash = hasher.finalize();
        let (half, _) = hash
            .as_bytes()
            .split_first_chunk::<16>()
            .expect("a BLAKE3 hash has 32 bytes");
        u128::from_le_bytes(*half)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use crate::{GlobalId, ObjectId};

    use super::*;

    fn record(values: Vec<Value>) -> Record {
        Record {
            global_id: GlobalId::Uuid(Uuid::from_u128(7)),
            object_id: None,
            values,
            geometry: None,
        }
    }

    #[test]
    fn the_object_id_does_not_count_and_the_zeros_are_equal() {
        let one = record(vec![Value::Real(0.0)]);
        let mut two = record(vec![Value::Real(-0.0)]);
        two.object_id = Some(ObjectId(9));
        assert_eq!(one.content_hash(), two.content_hash());
    }

    #[test]
    fn moving_a_letter_to_the_next_field_changes_the_hash() {
        let one = record(vec!["ab".into(), "c".into()]);
        let two = record(vec!["a".into(), "bc".into()]);
        assert_ne!(one.content_hash(), two.content_hash());
        assert_ne!(
            record(vec![Value::Null]).content_hash(),
            record(vec![]).content_hash()
        );
        assert_ne!(
            record(vec![Value::Integer(1)]).content_hash(),
            record(vec![Value::Real(1.0)]).content_hash()
        );
    }
}
