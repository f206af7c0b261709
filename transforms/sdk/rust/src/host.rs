//! The host's functions. Each is an import of its own: a module that calls one must be
//! granted it, and a key is the index of one in the grant, whose secret never enters
//! the module. On a machine that is no host, for tests, the hashes work with the keys
//! of `guardlock module test`; what needs the sandbox answers [`HostError::Failed`].

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// Why the host did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    /// More than 1 MiB of input, or no memory.
    BadArgument,
    /// The output does not fit.
    TooSmall,
    /// The grant has no key of that index, or no table of that name.
    UnknownKey,
    /// It failed.
    Failed,
    /// It was not sealed with this key, for this topic and purpose, or was altered.
    NotOpened,
    /// The text has fewer than a million values, too few for FF1.
    SmallDomain,
    /// The table has no such row.
    NotFound,
    /// The table is older than it may be.
    Stale,
}

/// How much longer a sealed value is.
pub const ENVELOPE_OVERHEAD: usize = 53;

/// How much a log event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For who writes the module.
    Debug = 0,
    /// For who runs it.
    Info = 1,
    /// Someone should look.
    Warning = 2,
    /// Someone must look.
    Error = 3,
}

/// SHA-256.
pub fn sha256(data: &[u8]) -> Result<[u8; 32], HostError> {
    let mut out = [0; 32];
    answer(unsafe { imports::sha256(data.as_ptr(), data.len() as u32, out.as_mut_ptr()) })?;
    Ok(out)
}

/// HMAC-SHA256 under a granted key.
pub fn hmac_sha256(key: u32, data: &[u8]) -> Result<[u8; 32], HostError> {
    let mut out = [0; 32];
    answer(unsafe { imports::hmac_sha256(key, data.as_ptr(), data.len() as u32, out.as_mut_ptr()) })?;
    Ok(out)
}

/// Seals data in an envelope, for the record's topic and for a purpose, such as the
/// name of a field.
pub fn seal(key: u32, data: &[u8], purpose: &str) -> Result<Vec<u8>, HostError> {
    filled(data.len() + ENVELOPE_OVERHEAD, |out, cap| unsafe {
        imports::aes_gcm_seal(key, data.as_ptr(), data.len() as u32, purpose.as_ptr(), purpose.len() as u32, out, cap)
    })
}

/// Opens an envelope of the record's topic and of a purpose.
pub fn open(key: u32, envelope: &[u8], purpose: &str) -> Result<Vec<u8>, HostError> {
    filled(envelope.len(), |out, cap| unsafe {
        imports::aes_gcm_open(key, envelope.as_ptr(), envelope.len() as u32, purpose.as_ptr(), purpose.len() as u32, out, cap)
    })
}

/// The characters that FF1 works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// 0-9
    Digits = 10,
    /// 0-9a-f
    Hex = 16,
    /// a-z
    Lower = 26,
    /// 0-9a-z
    LowerAndDigits = 36,
    /// A-Za-z
    Letters = 52,
    /// 0-9A-Za-z
    LettersAndDigits = 62,
}

/// Encrypts a text by FF1: it keeps its length and its alphabet.
pub fn ff1_encrypt(key: u32, text: &[u8], alphabet: Alphabet, purpose: &str, tweak: &[u8]) -> Result<Vec<u8>, HostError> {
    filled(text.len(), |out, _| unsafe {
        imports::ff1_encrypt(
            key, text.as_ptr(), text.len() as u32, alphabet as u32,
            purpose.as_ptr(), purpose.len() as u32, tweak.as_ptr(), tweak.len() as u32, out,
        )
    })
}

/// Decrypts what [`ff1_encrypt`] made with the same key, alphabet, purpose and tweak.
pub fn ff1_decrypt(key: u32, text: &[u8], alphabet: Alphabet, purpose: &str, tweak: &[u8]) -> Result<Vec<u8>, HostError> {
    filled(text.len(), |out, _| unsafe {
        imports::ff1_decrypt(
            key, text.as_ptr(), text.len() as u32, alphabet as u32,
            purpose.as_ptr(), purpose.len() as u32, tweak.as_ptr(), tweak.len() as u32, out,
        )
    })
}

/// The length of a token.
pub const TOKEN_BYTES: usize = 30;

/// A token that stands for a value: the same for the same key, purpose and value.
pub fn tokenise(key: u32, value: &[u8], purpose: &str) -> Result<Vec<u8>, HostError> {
    filled(TOKEN_BYTES, |out, cap| unsafe {
        imports::tokenise(key, value.as_ptr(), value.len() as u32, purpose.as_ptr(), purpose.len() as u32, out, cap)
    })
}

/// Finds the row of a key in a table, and returns the values of columns; `None` where
/// the row has no value. All values together have at most `most` bytes.
pub fn lookup(table: &str, key: &[u8], columns: &[&str], most: usize) -> Result<Vec<Option<Vec<u8>>>, HostError> {
    let names = columns.join("\n");
    let found = filled(most + 4 * columns.len(), |out, cap| unsafe {
        imports::find(
            table.as_ptr(), table.len() as u32, key.as_ptr(), key.len() as u32,
            names.as_ptr(), names.len() as u32, out, cap,
        )
    })?;

    let mut rest = &found[..];
    let mut values = Vec::new();
    while let Some((len, behind)) = rest.split_first_chunk::<4>() {
        let len = match u32::from_le_bytes(*len) {
            NO_VALUE => None,
            len => Some(len as usize),
        };
        let (value, behind) = behind.split_at(len.unwrap_or(0));
        values.push(len.map(|_| value.to_vec()));
        rest = behind;
    }
    Ok(values)
}

/// The parts of a JSON text to which a path leads, such as `$.user.mail` or `$..iban`.
pub fn json_find(text: &[u8], path: &str) -> Result<Vec<Range<usize>>, HostError> {
    places(8, |out, cap| unsafe {
        imports::json_find(text.as_ptr(), text.len() as u32, path.as_ptr(), path.len() as u32, out, cap)
    })
}

/// The parts of a JSON text to put a value for, which is JSON itself: what
/// [`Record::edit`](crate::Record::edit) takes, none of them inside of another.
pub fn json_replace(text: &[u8], path: &str, value: &[u8]) -> Result<Vec<Range<usize>>, HostError> {
    places(16, |out, cap| unsafe {
        imports::json_replace(
            text.as_ptr(), text.len() as u32, path.as_ptr(), path.len() as u32,
            value.as_ptr(), value.len() as u32, out, cap,
        )
    })
}

/// Reads the parts at the beginning of entries of `size` bytes each, of which the call
/// says how many there are: at first a few, then as many as fit.
fn places(size: usize, call: impl Fn(*mut u8, u32) -> i32) -> Result<Vec<Range<usize>>, HostError> {
    let mut out = vec![0u8; 16 * size];
    let found = loop {
        match answer(call(out.as_mut_ptr(), out.len() as u32)) {
            Err(HostError::TooSmall) => out = vec![0; 8 * out.len()],
            found => break found?,
        }
    };
    let word = |p: &[u8]| u32::from_le_bytes([p[0], p[1], p[2], p[3]]) as usize;
    let entries = out.chunks_exact(size).take(found);
    Ok(entries.map(|e| word(e)..word(e) + word(&e[4..])).collect())
}

const NO_VALUE: u32 = u32::MAX;

/// Counts a key at the time of a record, which is known by its place in the call, and
/// returns how often it came in the window that ends there, this time among them.
pub fn count(record: u32, key: &[u8], window_ms: u32) -> Result<u32, HostError> {
    answer(unsafe { imports::count(record, key.as_ptr(), key.len() as u32, window_ms) }).map(|n| n as u32)
}

/// How many milliseconds after the last record with this key a record is; `None` for
/// the first. It is the last one then.
pub fn seen(record: u32, key: &[u8]) -> Result<Option<u32>, HostError> {
    match answer(unsafe { imports::seen(record, key.as_ptr(), key.len() as u32) }) {
        Ok(ms) => Ok(Some(ms as u32)),
        Err(HostError::NotFound) => Ok(None),
        Err(e) => Err(e),
    }
}

/// For how many milliseconds before a record the counts are complete: 0 after a restart.
pub fn since(record: u32) -> Result<u32, HostError> {
    answer(unsafe { imports::since(record) }).map(|n| n as u32)
}

/// Counts up a metric of the module's catalogue, by 1024 at most.
pub fn metric(metric: impl crate::Metric, amount: u32) {
    unsafe { imports::add(u32::from(metric.number()), amount) }
}

macro_rules! compressions {
    ($($name:ident: $what:literal),+) => { $(
        #[doc = concat!($what, ", of at most `most` bytes.")]
        pub fn $name(data: &[u8], most: usize) -> Result<Vec<u8>, HostError> {
            filled(most, |out, cap| unsafe { imports::$name(data.as_ptr(), data.len() as u32, out, cap) })
        }
    )+ };
}

compressions!(
    gzip: "Compresses data to a gzip member",
    zstd: "Compresses data to a zstd frame",
    lz4: "Compresses data to an lz4 frame",
    snappy: "Compresses data to a raw snappy block",
    gunzip: "Decompresses gzip members",
    unzstd: "Decompresses zstd frames",
    unlz4: "Decompresses lz4 frames",
    unsnappy: "Decompresses a raw snappy block"
);

/// Logs an entry of the catalogue, never a text: no byte of a record reaches a log.
pub fn log(level: Level, reason: impl crate::Reason) {
    unsafe { imports::log(level as u32, u32::from(reason.number())) }
}

fn answer(code: i32) -> Result<usize, HostError> {
    match code {
        0.. => Ok(code as usize),
        -1 => Err(HostError::BadArgument),
        -2 => Err(HostError::TooSmall),
        -3 => Err(HostError::UnknownKey),
        -6 => Err(HostError::NotOpened),
        -7 => Err(HostError::SmallDomain),
        -8 => Err(HostError::NotFound),
        -9 => Err(HostError::Stale),
        _ => Err(HostError::Failed),
    }
}

fn filled(most: usize, call: impl FnOnce(*mut u8, u32) -> i32) -> Result<Vec<u8>, HostError> {
    let mut out = vec![0; most];
    let len = answer(call(out.as_mut_ptr(), most as u32))?;
    out.truncate(len);
    Ok(out)
}

#[cfg(target_arch = "wasm32")]
mod imports {
    #[link(wasm_import_module = "guardlock_crypto")]
    extern "C" {
        pub fn sha256(data: *const u8, len: u32, out: *mut u8) -> i32;
        pub fn hmac_sha256(key: u32, data: *const u8, len: u32, out: *mut u8) -> i32;
        pub fn aes_gcm_seal(key: u32, data: *const u8, len: u32, purpose: *const u8, purpose_len: u32, out: *mut u8, cap: u32) -> i32;
        pub fn aes_gcm_open(key: u32, data: *const u8, len: u32, purpose: *const u8, purpose_len: u32, out: *mut u8, cap: u32) -> i32;
    }
    #[link(wasm_import_module = "guardlock_crypto")]
    extern "C" {
        pub fn ff1_encrypt(
            key: u32, data: *const u8, len: u32, radix: u32, purpose: *const u8, purpose_len: u32, tweak: *const u8, tweak_len: u32, out: *mut u8,
        ) -> i32;
        pub fn ff1_decrypt(
            key: u32, data: *const u8, len: u32, radix: u32, purpose: *const u8, purpose_len: u32, tweak: *const u8, tweak_len: u32, out: *mut u8,
        ) -> i32;
        pub fn tokenise(key: u32, data: *const u8, len: u32, purpose: *const u8, purpose_len: u32, out: *mut u8, cap: u32) -> i32;
    }
    #[link(wasm_import_module = "guardlock_lookup")]
    extern "C" {
        pub fn find(
            table: *const u8, table_len: u32, key: *const u8, key_len: u32, columns: *const u8, columns_len: u32, out: *mut u8, cap: u32,
        ) -> i32;
    }
    #[link(wasm_import_module = "guardlock_state")]
    extern "C" {
        pub fn count(record: u32, key: *const u8, len: u32, window_ms: u32) -> i32;
        pub fn seen(record: u32, key: *const u8, len: u32) -> i32;
        pub fn since(record: u32) -> i32;
    }
    #[link(wasm_import_module = "guardlock_metric")]
    extern "C" {
        pub fn add(metric: u32, amount: u32);
    }
    #[link(wasm_import_module = "guardlock_compress")]
    extern "C" {
        pub fn gzip(data: *const u8, len: u32, out: *mut u8, cap: u32) -> i32;
        pub fn zstd(data: *const u8, len: u32, out: *mut u8, cap: u32) -> i32;
        pub fn lz4(data: *const u8, len: u32, out: *mut u8, cap: u32) -> i32;
        pub fn snappy(data: *const u8, len: u32, out: *mut u8, cap: u32) -> i32;
        pub fn gunzip(data: *const u8, len: u32, out: *mut u8, cap: u32) -> i32;
        pub fn unzstd(data: *const u8, len: u32, out: *mut u8, cap: u32) -> i32;
        pub fn unlz4(data: *const u8, len: u32, out: *mut u8, cap: u32) -> i32;
        pub fn unsnappy(data: *const u8, len: u32, out: *mut u8, cap: u32) -> i32;
    }
    #[link(wasm_import_module = "guardlock_json")]
    extern "C" {
        #[link_name = "find"]
        pub fn json_find(text: *const u8, len: u32, path: *const u8, path_len: u32, out: *mut u8, cap: u32) -> i32;
        #[link_name = "replace"]
        pub fn json_replace(
            text: *const u8, len: u32, path: *const u8, path_len: u32,
            value: *const u8, value_len: u32, out: *mut u8, cap: u32,
        ) -> i32;
    }
    #[link(wasm_import_module = "guardlock_log")]
    extern "C" {
        pub fn log(level: u32, reason: u32);
    }
}

/// What stands for the host where there is none.
#[cfg(not(target_arch = "wasm32"))]
mod imports {
    use crate::testing::hash;
    use alloc::format;

    const FAILED: i32 = -5;
    const UNKNOWN_KEY: i32 = -3;
    const TEST_KEYS: u32 = 4;

    unsafe fn put(out: *mut u8, sum: [u8; 32]) -> i32 {
        core::ptr::copy_nonoverlapping(sum.as_ptr(), out, 32);
        32
    }

    pub unsafe fn sha256(data: *const u8, len: u32, out: *mut u8) -> i32 {
        put(out, hash::sha256(&[core::slice::from_raw_parts(data, len as usize)]))
    }

    pub unsafe fn hmac_sha256(key: u32, data: *const u8, len: u32, out: *mut u8) -> i32 {
        if key >= TEST_KEYS {
            return UNKNOWN_KEY;
        }
        let secret = format!("guardlock test key {key}, no secret");
        put(out, hash::hmac(secret.as_bytes(), core::slice::from_raw_parts(data, len as usize)))
    }

    /// What needs the sandbox.
    macro_rules! fails {
        ($($name:ident($($arg:ty),*)),+ $(,)?) => { $(
            pub unsafe fn $name($(_: $arg),*) -> i32 {
                FAILED
            }
        )+ };
    }

    type In = *const u8;
    type Out = *mut u8;

    fails!(
        aes_gcm_seal(u32, In, u32, In, u32, Out, u32),
        aes_gcm_open(u32, In, u32, In, u32, Out, u32),
        ff1_encrypt(u32, In, u32, u32, In, u32, In, u32, Out),
        ff1_decrypt(u32, In, u32, u32, In, u32, In, u32, Out),
        tokenise(u32, In, u32, In, u32, Out, u32),
        gzip(In, u32, Out, u32),
        zstd(In, u32, Out, u32),
        lz4(In, u32, Out, u32),
        snappy(In, u32, Out, u32),
        gunzip(In, u32, Out, u32),
        unzstd(In, u32, Out, u32),
        unlz4(In, u32, Out, u32),
        unsnappy(In, u32, Out, u32),
        json_find(In, u32, In, u32, Out, u32),
        json_replace(In, u32, In, u32, In, u32, Out, u32),
        find(In, u32, In, u32, In, u32, Out, u32),
        count(u32, In, u32, u32),
        seen(u32, In, u32),
        since(u32),
    );

    pub unsafe fn add(_: u32, _: u32) {}
    pub unsafe fn log(_: u32, _: u32) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standards() {
        let hex = |sum: [u8; 32]| sum.iter().map(|b| std::format!("{b:02x}")).collect::<std::string::String>();
        assert_eq!(hex(sha256(b"abc").unwrap()), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hex(sha256(&[b'a'; 119]).unwrap()), "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb");
        let rfc4231 = crate::testing::hash::hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(rfc4231), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(hmac_sha256(4, b""), Err(HostError::UnknownKey));
    }

    #[test]
    fn places_are_read_from_entries_of_either_size() {
        let found = places(16, |out, cap| {
            let words = [3u32, 4, 99, 99, 9, 1, 99, 99].map(u32::to_le_bytes).concat();
            let n = words.len().min(cap as usize);
            unsafe { core::ptr::copy_nonoverlapping(words.as_ptr(), out, n) };
            2
        });
        assert_eq!(found, Ok(vec![3..7, 9..10]));

        let grown = places(8, |_, cap| if cap < 4000 { -2 } else { 1 });
        assert_eq!(grown, Ok(vec![0..0]));
    }

    #[test]
    fn answers_below_zero_are_errors() {
        assert_eq!(answer(7), Ok(7));
        assert_eq!(answer(-1), Err(HostError::BadArgument));
        assert_eq!(answer(-2), Err(HostError::TooSmall));
        assert_eq!(answer(-6), Err(HostError::NotOpened));
        assert_eq!(answer(-7), Err(HostError::SmallDomain));
        assert_eq!(answer(-8), Err(HostError::NotFound));
        assert_eq!(answer(-9), Err(HostError::Stale));
        assert_eq!(answer(-99), Err(HostError::Failed));
        assert_eq!(json_find(b"{}", "$.a"), Err(HostError::Failed));
        assert_eq!(seal(0, b"x", "p"), Err(HostError::Failed));
    }
}
