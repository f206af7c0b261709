use alloc::vec::Vec;
use core::ops::Range;

/// One Kafka record. It is stored as it came unless something of it is set.
pub struct Record<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a mut [u8]>,
    pub(crate) headers: &'a [u8],
    pub(crate) index: u32,
    pub(crate) timestamp: i64,
    pub(crate) topic: u32,
    pub(crate) partition: i32,

    pub(crate) new_key: Option<Option<Vec<u8>>>,
    pub(crate) new_value: Option<Option<Vec<u8>>>,
    pub(crate) new_headers: Option<Vec<u8>>,
    pub(crate) edits: Edits,
}

/// Edits of a value: what to replace, and where in `bytes` stands by what.
#[derive(Default)]
pub(crate) struct Edits {
    pub list: Vec<(Range<usize>, Range<usize>)>,
    pub bytes: Vec<u8>,
}

impl Edits {
    fn end(&self) -> usize {
        self.list.last().map_or(0, |(replaced, _)| replaced.end)
    }

    /// The whole value that the edits make; `None` where there are none.
    pub fn spliced(&self, value: Option<&[u8]>) -> Option<Option<Vec<u8>>> {
        (!self.list.is_empty()).then(|| value.map(|value| self.apply(value)))
    }

    /// What the edits make of a value.
    fn apply(&self, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(value.len() + self.bytes.len());
        let mut kept = 0;
        for (replaced, by) in &self.list {
            out.extend_from_slice(&value[kept..replaced.start]);
            out.extend_from_slice(&self.bytes[by.clone()]);
            kept = replaced.end;
        }
        out.extend_from_slice(&value[kept..]);
        out
    }
}

impl<'a> Record<'a> {
    /// The key; `None` is null.
    pub fn key(&self) -> Option<&[u8]> {
        match &self.new_key {
            Some(key) => key.as_deref(),
            None => self.key,
        }
    }

    /// The value; `None` is null, a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        match &self.new_value {
            Some(value) => value.as_deref(),
            None => self.value.as_deref(),
        }
    }

    /// The value, to be changed where it lies. It keeps its length, which costs least.
    pub fn value_mut(&mut self) -> Option<&mut [u8]> {
        match &mut self.new_value {
            Some(value) => value.as_deref_mut(),
            None => self.value.as_deref_mut(),
        }
    }

    /// The headers, in order, doubled ones too.
    pub fn headers(&self) -> Headers<'_> {
        let block = self.new_headers.as_deref().unwrap_or(self.headers);
        Headers::new(block)
    }

    /// The last header of a name.
    pub fn header(&self, name: &str) -> Option<Header<'_>> {
        self.headers().filter(|h| h.key == name.as_bytes()).last()
    }

    /// The record's place in the call, by which [`crate::host::count`] knows its time.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Milliseconds since 1970. It cannot be changed.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// The partition that the record was produced to.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Whether the record was produced to a topic. The host tells its hash alone, by
    /// which topics are told apart and nothing else.
    pub fn is_of_topic(&self, name: &str) -> bool {
        self.topic == fnv1a(name.as_bytes())
    }

    /// Replaces the key.
    pub fn set_key(&mut self, key: Option<Vec<u8>>) {
        self.new_key = Some(key);
    }

    /// Replaces the value.
    pub fn set_value(&mut self, value: Option<Vec<u8>>) {
        self.new_value = Some(value);
    }

    /// Replaces a part of the value as it came by other bytes. A large value of which
    /// little changes costs least so: the rest of it is neither written nor compared.
    /// `value` goes on to show it as it came. A value that is set takes the place of all
    /// edits.
    ///
    /// # Panics
    ///
    /// When the parts do not ascend, or one is not in the value.
    pub fn edit(&mut self, part: Range<usize>, with: &[u8]) {
        let len = self.value.as_ref().map_or(0, |value| value.len());
        let behind = self.edits.list.last().is_none_or(|(last, _)| part.start > last.start);
        assert!(part.start <= part.end && part.end <= len && part.start >= self.edits.end() && behind);
        let at = self.edits.bytes.len();
        self.edits.bytes.extend_from_slice(with);
        self.edits.list.push((part, at..self.edits.bytes.len()));
    }

    /// The value as it is stored: edits applied.
    pub(crate) fn stored_value(&self) -> Option<Vec<u8>> {
        let spliced = || self.edits.spliced(self.value.as_deref());
        self.new_value.clone().or_else(spliced).unwrap_or_else(|| self.value().map(<[u8]>::to_vec))
    }

    /// Sets a header: it is then the last one and the only one of its name, so that a
    /// producer cannot forge it. The others keep their order.
    pub fn set_header(&mut self, name: &str, value: Option<&[u8]>) {
        self.rewrite_headers(name, Some(value));
    }

    /// Takes every header of a name away.
    pub fn remove_header(&mut self, name: &str) {
        if self.headers().any(|h| h.key == name.as_bytes()) {
            self.rewrite_headers(name, None);
        }
    }

    /// Adds a header behind the others.
    pub fn add_header(&mut self, name: &str, value: Option<&[u8]>) {
        let mut kept: Vec<Header> = self.headers().collect();
        kept.push(Header { key: name.as_bytes(), value });
        self.new_headers = Some(header_block(&kept));
    }

    fn rewrite_headers(&mut self, name: &str, value: Option<Option<&[u8]>>) {
        let mut kept: Vec<Header> = self.headers().filter(|h| h.key != name.as_bytes()).collect();
        if let Some(value) = value {
            kept.push(Header { key: name.as_bytes(), value });
        }
        self.new_headers = Some(header_block(&kept));
    }
}

/// One header. A value of `None` is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name, which a producer chose.
    pub key: &'a [u8],
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, in order.
#[derive(Clone)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: i32,
}

impl<'a> Headers<'a> {
    fn new(block: &'a [u8]) -> Self {
        let mut headers = Headers { rest: block, left: 0 };
        headers.left = varint(&mut headers.rest).unwrap_or(0);
        headers
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let key = field(&mut self.rest)??;
        let value = field(&mut self.rest)?;
        Some(Header { key, value })
    }
}

/// Reads a length and as many bytes; the inner `None` is null. Nothing is read where
/// the bytes are not there.
fn field<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let len = varint(rest)?;
    if len < 0 {
        return Some(None);
    }
    if len as usize > rest.len() {
        return None;
    }
    let (field, behind) = rest.split_at(len as usize);
    *rest = behind;
    Some(Some(field))
}

/// Reads Kafka's zigzag varint of at most 32 bits.
fn varint(rest: &mut &[u8]) -> Option<i32> {
    let mut value = 0u32;
    for n in 0..5 {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u32::from(byte & 0x7f) << (7 * n);
        if byte < 0x80 {
            return Some((value >> 1) as i32 ^ -((value & 1) as i32));
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, value: i32) {
    let mut rest = (value << 1 ^ value >> 31) as u32;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

pub(crate) fn header_block(headers: &[Header]) -> Vec<u8> {
    let size: usize = headers.iter().map(|h| h.key.len() + h.value.map_or(0, <[u8]>::len) + 10).sum();
    let mut out = Vec::with_capacity(size + 5);
    put_varint(&mut out, headers.len() as i32);
    for h in headers {
        put_varint(&mut out, h.key.len() as i32);
        out.extend_from_slice(h.key);
        match h.value {
            None => put_varint(&mut out, -1),
            Some(value) => {
                put_varint(&mut out, value.len() as i32);
                out.extend_from_slice(value);
            }
        }
    }
    out
}

/// The host's number for a topic: 32-bit FNV-1a of its name.
pub(crate) fn fnv1a(name: &[u8]) -> u32 {
    name.iter().fold(2166136261, |h, &c| (h ^ u32::from(c)).wrapping_mul(16777619))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn varints_are_read_as_they_are_written() {
        for value in [0, 1, -1, 63, 64, -64, -65, 300, i32::MAX, i32::MIN] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(varint(&mut out.as_slice()), Some(value));
        }
        assert_eq!(varint(&mut [0x80u8, 0x80].as_slice()), None);
        assert_eq!(varint(&mut [0xffu8; 6].as_slice()), None);
    }

    #[test]
    fn headers_keep_order_and_doubles_and_null() {
        let all = [
            Header { key: b"a", value: Some(b"1") },
            Header { key: b"a", value: None },
            Header { key: b"", value: Some(b"") },
        ];
        let block = header_block(&all);
        assert_eq!(Headers::new(&block).collect::<Vec<_>>(), all);
        for cut in 0..block.len() {
            assert!(Headers::new(&block[..cut]).count() <= all.len());
        }
        assert_eq!(Headers::new(&[]).count(), 0);
    }

    #[test]
    fn edits_change_what_is_stored() {
        let mut value = *b"card 4111, code 12";
        let mut record = crate::testing::blank();
        record.value = Some(&mut value);
        record.edit(0..0, b"> ");
        record.edit(5..9, b"****");
        record.edit(16..18, b"");
        assert_eq!(record.value(), Some(&b"card 4111, code 12"[..]));
        assert_eq!(record.stored_value().unwrap(), b"> card ****, code ");
        record.set_value(None);
        assert_eq!(record.stored_value(), None);
    }

    #[test]
    #[should_panic]
    fn edits_that_overlap_are_a_bug() {
        let mut value = *b"value";
        let mut record = crate::testing::blank();
        record.value = Some(&mut value);
        record.edit(0..3, b"");
        record.edit(2..4, b"");
    }

    #[test]
    fn a_topic_is_known_by_the_hosts_hash() {
        assert_eq!(fnv1a(b""), 0x811c9dc5);
        assert_eq!(fnv1a(b"a"), 0xe40c292c);
        assert_eq!(fnv1a(b"foobar"), 0xbf9cf968);
    }

    #[test]
    fn setting_a_header_leaves_one_of_its_name() {
        let block = header_block(&[
            Header { key: b"x", value: Some(b"forged") },
            Header { key: b"y", value: None },
            Header { key: b"x", value: None },
        ]);
        let mut record = crate::testing::blank();
        record.headers = &block;
        record.set_header("x", Some(b"1"));
        let got: Vec<_> = record.headers().collect();
        assert_eq!(got, vec![Header { key: b"y", value: None }, Header { key: b"x", value: Some(b"1") }]);
        record.remove_header("y");
        record.add_header("x", None);
        assert_eq!(record.headers().count(), 2);
        assert_eq!(record.header("x"), Some(Header { key: b"x", value: None }));
    }
}
