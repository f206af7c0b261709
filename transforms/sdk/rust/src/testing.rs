//! Tests without Wasm: give a transform a record, and look at what becomes of it. The
//! same in the real sandbox is `guardlock module test`.

use alloc::vec::Vec;

use crate::record::{fnv1a, header_block};
use crate::{Header, Headers, Record, Transform, Verdict};

/// A record to give to a transform.
#[derive(Clone, Debug, Default)]
pub struct Given {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    timestamp: i64,
    topic: u32,
    partition: i32,
}

/// A record of topic `test`, with a key and a value of null and no headers.
pub fn record() -> Given {
    Given { topic: fnv1a(b"test"), ..Given::default() }
}

impl Given {
    /// Gives it a key.
    pub fn key(mut self, key: &[u8]) -> Self {
        self.key = Some(key.to_vec());
        self
    }

    /// Gives it a value.
    pub fn value(mut self, value: &[u8]) -> Self {
        self.value = Some(value.to_vec());
        self
    }

    /// Adds a header behind the others.
    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers.push((name.as_bytes().to_vec(), value.map(<[u8]>::to_vec)));
        self
    }

    /// Gives it a time, in milliseconds.
    pub fn timestamp(mut self, milliseconds: i64) -> Self {
        self.timestamp = milliseconds;
        self
    }

    /// Produces it to a topic and partition.
    pub fn to(mut self, topic: &str, partition: i32) -> Self {
        self.topic = fnv1a(topic.as_bytes());
        self.partition = partition;
        self
    }
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<R> {
    /// What the transform said.
    pub verdict: Verdict<R>,
    /// The key as it came out.
    pub key: Option<Vec<u8>>,
    /// The value as it came out.
    pub value: Option<Vec<u8>>,
    /// The headers as they came out.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Gives a transform one record.
pub fn run<T: Transform>(transform: &mut T, mut given: Given) -> Outcome<T::Reason> {
    let all: Vec<Header> = given.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
    let block = header_block(&all);
    let mut record = Record {
        key: given.key.as_deref(),
        value: given.value.as_deref_mut(),
        headers: &block,
        timestamp: given.timestamp,
        topic: given.topic,
        partition: given.partition,
        ..blank()
    };
    let verdict = transform.apply(&mut record);
    Outcome {
        verdict,
        key: record.key().map(<[u8]>::to_vec),
        value: record.stored_value(),
        headers: owned(record.headers()),
    }
}

fn owned(headers: Headers) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    headers.map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect()
}

pub(crate) fn blank<'a>() -> Record<'a> {
    Record {
        key: None,
        value: None,
        headers: &[],
        index: 0,
        timestamp: 0,
        topic: 0,
        partition: 0,
        new_key: None,
        new_value: None,
        new_headers: None,
        edits: Default::default(),
    }
}

/// SHA-256 (FIPS 180-4) and HMAC (RFC 2104), for tests on a machine that is no host.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod hash {
    use alloc::vec::Vec;

    const K: [u32; 64] = [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
        0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
        0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
        0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
        0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
        0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    ];

    pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
        let mut message: Vec<u8> = parts.concat();
        let bits = message.len() as u64 * 8;
        message.push(0x80);
        message.resize((message.len() + 8).div_ceil(64) * 64 - 8, 0);
        message.extend_from_slice(&bits.to_be_bytes());

        let mut state: [u32; 8] = [
            0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
        ];
        for block in message.chunks_exact(64) {
            compress(&mut state, block);
        }

        let mut out = [0; 32];
        for (to, word) in out.chunks_exact_mut(4).zip(state) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        out
    }

    fn compress(state: &mut [u32; 8], block: &[u8]) {
        let mut w = [0u32; 64];
        for (word, bytes) in w.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        for n in 16..64 {
            let s0 = w[n - 15].rotate_right(7) ^ w[n - 15].rotate_right(18) ^ w[n - 15] >> 3;
            let s1 = w[n - 2].rotate_right(17) ^ w[n - 2].rotate_right(19) ^ w[n - 2] >> 10;
            w[n] = w[n - 16].wrapping_add(s0).wrapping_add(w[n - 7]).wrapping_add(s1);
        }

        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
        for n in 0..64 {
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let t1 = h.wrapping_add(s1).wrapping_add(e & f ^ !e & g).wrapping_add(K[n]).wrapping_add(w[n]);
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let t2 = s0.wrapping_add(a & b ^ a & c ^ b & c);
            (h, g, f, e) = (g, f, e, d.wrapping_add(t1));
            (d, c, b, a) = (c, b, a, t1.wrapping_add(t2));
        }
        for (to, from) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *to = to.wrapping_add(from);
        }
    }

    pub fn hmac(secret: &[u8], data: &[u8]) -> [u8; 32] {
        let mut key = [0u8; 64];
        if secret.len() > 64 {
            key[..32].copy_from_slice(&sha256(&[secret]));
        } else {
            key[..secret.len()].copy_from_slice(secret);
        }
        let inner = sha256(&[&key.map(|b| b ^ 0x36), data]);
        sha256(&[&key.map(|b| b ^ 0x5c), &inner])
    }
}
