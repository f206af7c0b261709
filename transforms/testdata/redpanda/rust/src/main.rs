//! A transform as a user of Redpanda writes it, with Redpanda's own SDK. What it does
//! with its records is set by the variable DO, so that one file serves all tests.

use redpanda_transform_sdk::{
    on_record_written, BorrowedHeader, BorrowedRecord, RecordWriter, WriteEvent, WriteOptions,
};
use std::{env, error::Error, process};

type Done = Result<(), Box<dyn Error>>;

fn main() {
    let second = env::var("REDPANDA_OUTPUT_TOPIC_1").unwrap_or_default();
    match env::var("DO").unwrap_or_default().as_str() {
        "" => on_record_written(identity),
        "mask" => {
            let keep = env::var("KEEP").map_or(4, |n| n.parse().unwrap());
            on_record_written(|e, w| mask(e, w, keep, &second))
        }
        "route" => on_record_written(|e, w| route(e, w, &second)),
        "filter" => on_record_written(filter),
        "error" => on_record_written(fail),
        "tee" => on_record_written(|e, w| tee(e, w, &second)),
        "elsewhere" => on_record_written(elsewhere),
        "environment" => on_record_written(environment),
        other => panic!("there is no {other}"),
    }
}

fn identity(e: WriteEvent, w: &mut RecordWriter) -> Done {
    Ok(w.write(e.record.as_ref())?)
}

/// Sends records whose key says so to the second of the output topics.
fn route(e: WriteEvent, w: &mut RecordWriter, second: &str) -> Done {
    if e.record.key().is_some_and(|key| key.starts_with(b"test-")) {
        return Ok(w.write_with_options(e.record.as_ref(), WriteOptions::to_topic(second))?);
    }
    identity(e, w)
}

/// Leaves out what does not say that it is to be kept.
fn filter(e: WriteEvent, w: &mut RecordWriter) -> Done {
    let value = e.record.value().unwrap_or_default();
    if value.windows(4).any(|part| part == b"keep") {
        return identity(e, w);
    }
    Ok(())
}

/// Fails, ends the program or loops, where the value says so.
fn fail(e: WriteEvent, w: &mut RecordWriter) -> Done {
    match e.record.value() {
        Some(b"bad") => Err("a bad record".into()),
        Some(b"exit") => process::exit(3),
        Some(b"loop") => loop {},
        _ => identity(e, w),
    }
}

fn tee(e: WriteEvent, w: &mut RecordWriter, second: &str) -> Done {
    w.write(e.record.as_ref())?;
    Ok(w.write_with_options(e.record.as_ref(), WriteOptions::to_topic(second))?)
}

/// Writes to a topic that nobody granted, and does not look at the error.
fn elsewhere(e: WriteEvent, w: &mut RecordWriter) -> Done {
    let _ = w.write_with_options(e.record.as_ref(), WriteOptions::to_topic("nobody-granted-it"));
    Ok(())
}

/// Makes the value what the program sees of the world.
fn environment(e: WriteEvent, w: &mut RecordWriter) -> Done {
    let variables: Vec<String> = env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    let seen = variables.join(" ");
    eprintln!("seen");
    Ok(w.write(BorrowedRecord::new(e.record.key(), Some(seen.as_bytes())))?)
}

/// The mask that the SDKs of this project begin with, as far as this ABI can say it: a
/// value with a zero byte is an error.
fn mask(e: WriteEvent, w: &mut RecordWriter, keep: usize, tests: &str) -> Done {
    let record = &e.record;
    if record.headers().iter().any(|h| h.key() == b"no-store") {
        return Ok(());
    }
    let Some(value) = record.value() else {
        return identity(e, w);
    };
    if value.contains(&0) {
        return Err("the value is binary".into());
    }

    let mut text = value.to_vec();
    let masked = mask_digits(&mut text, keep);
    let count = masked.to_string();
    let mut headers: Vec<BorrowedHeader> = record
        .headers()
        .iter()
        .filter(|h| masked == 0 || h.key() != b"masked")
        .map(|h| BorrowedHeader::new(h.key(), h.value()))
        .collect();
    if masked > 0 {
        headers.push(BorrowedHeader::new(b"masked", Some(count.as_bytes())));
    }

    let test = record.key().is_some_and(|key| key.starts_with(b"test-"));
    let options = WriteOptions::new(test.then_some(tests));
    let out = BorrowedRecord::new_with_headers(record.key(), Some(&text), headers);
    Ok(w.write_with_options(out, options)?)
}

/// Masks the runs of digits in a text, where they lie, and counts them.
fn mask_digits(text: &mut [u8], keep: usize) -> u32 {
    let mut masked = 0;
    let mut start = 0;
    while start < text.len() {
        let run = text[start..].iter().take_while(|c| c.is_ascii_digit()).count();
        if (12..=19).contains(&run) {
            text[start..start + run - keep].fill(b'*');
            masked += 1;
        }
        start += run + 1;
    }
    masked
}
