//! NAME: masks numbers that may be of payment cards.
//!
//! Each run of 12 to 19 digits in a value becomes stars, but for its last digits: as
//! many as the configuration says, a number from 0 to 8 (default 4). The header
//! `masked` then says how many there were. A value with a zero byte is refused, one
//! with the header `no-store` is dropped, one whose key begins with `test-` goes to
//! the first topic of the grant's routes. A tombstone passes.
//!
//! It is a beginning: write what your records need, and change `cases/mask.yaml` with it.

use guardlock::{Record, Refused, Transform, Verdict};

guardlock::reasons! {
    pub enum Reason {
        Masked = "mask.masked",
        Binary = "mask.binary",
        NoStore = "mask.no_store",
        Test = "mask.test",
    }
}

pub struct Mask {
    keep: usize,
}

impl Default for Mask {
    fn default() -> Self {
        Mask { keep: 4 }
    }
}

impl Transform for Mask {
    type Reason = Reason;

    fn configure(&mut self, config: &[u8]) -> Result<(), Refused> {
        match config {
            [] => Ok(()),
            [digit @ b'0'..=b'8'] => {
                self.keep = usize::from(digit - b'0');
                Ok(())
            }
            _ => Err(Refused),
        }
    }

    fn apply(&mut self, record: &mut Record) -> Verdict<Reason> {
        if record.header("no-store").is_some() {
            return Verdict::Drop(Reason::NoStore);
        }
        let test = record.key().is_some_and(|key| key.starts_with(b"test-"));
        let Some(value) = record.value_mut() else {
            return Verdict::Pass;
        };
        if value.contains(&0) {
            return Verdict::Reject(Reason::Binary);
        }

        let masked = mask(value, self.keep);
        if masked > 0 {
            record.set_header("masked", Some(masked.to_string().as_bytes()));
        }
        if test {
            return Verdict::Route(0, Reason::Test);
        }
        if masked > 0 {
            return Verdict::Modify(Reason::Masked);
        }
        Verdict::Pass
    }
}

guardlock::export!(Mask);

/// Masks the runs of digits in a text, where they lie, and counts them.
fn mask(text: &mut [u8], keep: usize) -> u32 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use guardlock::testing::{record, run};

    #[test]
    fn a_card_number_is_masked() {
        let out = run(&mut Mask::default(), record().value(b"card 4111111111111111, paid"));
        assert_eq!(out.verdict, Verdict::Modify(Reason::Masked));
        assert_eq!(out.value.unwrap(), b"card ************1111, paid");
        assert_eq!(out.headers, [(b"masked".to_vec(), Some(b"1".to_vec()))]);
    }

    #[test]
    fn other_numbers_pass() {
        let out = run(&mut Mask::default(), record().value(b"order 12345678901"));
        assert_eq!(out.verdict, Verdict::Pass);
    }

    #[test]
    fn a_configuration_that_is_no_digit_is_refused() {
        assert_eq!(Mask::default().configure(b"9"), Err(Refused));
        assert_eq!(Mask::default().configure(b"0"), Ok(()));
    }
}
