//! Rows and keys as bytes.
//!
//! ```text
//! entity  (length: u32, column, length: u32, value)*              columns sorted, as in the key itself
//! key     view, 0, entity                                         if that is at most 511 bytes, LMDB's limit
//!         view, 0, 0xFF, SHA-256 of the entity                    else; no length begins with 0xFF
//! row     length: u32, entity, time: i64, created: 0 | 1 i64, value*
//! value   0 | 1 u8 | 2 i64 | 3 f64 | 4 length: u32, text          null, boolean, integer, number, text
//! ```
//! Numbers are little-endian, except the entity's lengths.

use domain::{Digest, EntityKey, Fault, Scalar, Timestamp};
use ports::OnlineRow;

/// LMDB's longest key.
const LONGEST_KEY: usize = 511;

/// What every key of a view begins with, and no key of another view.
pub(crate) fn view_prefix(view: &str) -> Vec<u8> {
    let mut prefix = view.as_bytes().to_vec();
    prefix.push(0);
    prefix
}

/// The key of an entity in a view.
pub(crate) fn store_key(prefix: &[u8], entity: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    if prefix.len() + entity.len() <= LONGEST_KEY {
        key.extend(entity);
    } else {
        key.push(0xFF);
        key.extend(Digest::of(entity).as_str().as_bytes());
    }
    key
}

/// An entity's key as bytes; different keys have different bytes.
pub(crate) fn entity_bytes(key: &EntityKey) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in key.0.iter().flat_map(|(column, value)| [column, value]) {
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// A row as bytes.
pub(crate) fn encode(entity: &[u8], row: &OnlineRow) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32 + entity.len() + 9 * row.values.len());
    push_bytes(&mut bytes, entity);
    bytes.extend(row.time.ms().to_le_bytes());
    match row.created {
        None => bytes.push(0),
        Some(created) => {
            bytes.push(1);
            bytes.extend(created.ms().to_le_bytes());
        }
    }
    for value in &row.values {
        match value {
            Scalar::Null => bytes.push(0),
            Scalar::Bool(value) => bytes.extend([1, u8::from(*value)]),
            Scalar::Int(value) => {
                bytes.push(2);
                bytes.extend(value.to_le_bytes());
            }
            Scalar::Float(value) => {
                bytes.push(3);
                bytes.extend(value.to_le_bytes());
            }
            Scalar::Text(value) => {
                bytes.push(4);
                push_bytes(&mut bytes, value.as_bytes());
            }
        }
    }
    bytes
}

fn push_bytes(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text);
}

/// A row's entity, times, and the bytes of its values.
pub(crate) struct Stored<'a> {
    pub(crate) entity: &'a [u8],
    pub(crate) time: Timestamp,
    pub(crate) created: Option<Timestamp>,
    values: Bytes<'a>,
}

impl<'a> Stored<'a> {
    /// Reads all but the values.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut bytes = Bytes(bytes);
        let entity = bytes.text()?;
        let time = Timestamp::from_ms(i64::from_le_bytes(bytes.take()?));
        let created = match bytes.take::<1>()? {
            [0] => None,
            _ => Some(Timestamp::from_ms(i64::from_le_bytes(bytes.take()?))),
        };
        Ok(Stored { entity, time, created, values: bytes })
    }

    /// Reads the values too.
    pub(crate) fn row(mut self, key: &EntityKey) -> Result<OnlineRow, Fault> {
        let mut values = Vec::new();
        while !self.values.0.is_empty() {
            values.push(self.values.scalar()?);
        }
        Ok(OnlineRow { key: key.clone(), time: self.time, created: self.created, values })
    }
}

/// Bytes that are read from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (head, rest) = self.0.split_first_chunk().ok_or_else(torn)?;
        self.0 = rest;
        Ok(*head)
    }

    fn text(&mut self) -> Result<&'a [u8], Fault> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        let (head, rest) = self.0.split_at_checked(length).ok_or_else(torn)?;
        self.0 = rest;
        Ok(head)
    }

    fn scalar(&mut self) -> Result<Scalar, Fault> {
        Ok(match self.take()? {
            [0] => Scalar::Null,
            [1] => Scalar::Bool(self.take()? != [0]),
            [2] => Scalar::Int(i64::from_le_bytes(self.take()?)),
            [3] => Scalar::Float(f64::from_le_bytes(self.take()?)),
            [4] => Scalar::Text(std::str::from_utf8(self.text()?).map_err(|_| torn())?.into()),
            _ => return Err(torn()),
        })
    }
}

fn torn() -> Fault {
    Fault::broken("a row of the online store is not as it was written; clear the view and materialize it again")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_torn_row_is_a_fault_and_never_a_panic() {
        let key = EntityKey::one("k", "v");
        let values = vec![Scalar::Text("text".into()), Scalar::Int(1), Scalar::Float(0.5), Scalar::Bool(true)];
        let row = OnlineRow { key: key.clone(), time: Timestamp::from_ms(1), created: Some(Timestamp::from_ms(2)), values };
        let bytes = encode(&entity_bytes(&key), &row);
        let read = |bytes: &[u8]| Stored::parse(bytes).and_then(|stored| stored.row(&key));
        assert_eq!(read(&bytes).unwrap(), row);
        let whole: Vec<usize> = (0..bytes.len()).filter(|length| read(&bytes[..*length]).is_ok()).collect();
        assert_eq!(whole.len(), 4, "only where a value ends the bytes are a row: {whole:?}");
        for place in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[place] = 0xFF;
            let _ = read(&bent);
        }
    }
}
