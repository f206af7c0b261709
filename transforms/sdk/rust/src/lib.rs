//! Write Guardlock transforms in Rust (guest ABI v1, docs/abi.md), for
//! `wasm32-unknown-unknown`. No dependencies but `core` and `alloc`.
//!
//! A transform names its reasons, says how it is configured, and decides about one
//! record at a time:
//!
//! ```
//! use guardlock::{Record, Refused, Transform, Verdict};
//!
//! guardlock::reasons! {
//!     pub enum Reason {
//!         Empty = "demo.empty",
//!     }
//! }
//!
//! #[derive(Default)]
//! pub struct Demo;
//!
//! impl Transform for Demo {
//!     type Reason = Reason;
//!
//!     fn configure(&mut self, config: &[u8]) -> Result<(), Refused> {
//!         if config.is_empty() { Ok(()) } else { Err(Refused) }
//!     }
//!
//!     fn apply(&mut self, record: &mut Record) -> Verdict<Reason> {
//!         match record.value() {
//!             Some([]) => Verdict::Reject(Reason::Empty),
//!             _ => Verdict::Pass,
//!         }
//!     }
//! }
//!
//! guardlock::export!(Demo);
//!
//! let out = guardlock::testing::run(&mut Demo, guardlock::testing::record().value(b""));
//! assert_eq!(out.verdict, Verdict::Reject(Reason::Empty));
//! ```
//!
//! Trust: what the host writes in a frame is believed; every byte of a key, value or
//! header comes from a producer and is not. A panic is a trap: the batch fails.
#![no_std]
#![deny(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[doc(hidden)]
pub mod abi;
pub mod host;
mod record;
mod reasons;
pub mod testing;

pub use reasons::{Metric, NoReason, Reason};
pub use record::{Header, Headers, Record};

/// What is to become of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<R> {
    /// It is stored: as it came, or as it was changed.
    Pass,
    /// It is stored as it was changed, for a reason.
    Modify(R),
    /// It is acknowledged and not stored.
    Drop(R),
    /// Its whole batch is refused, and the producer told which record and why.
    Reject(R),
    /// It is stored in a granted topic instead: the index in the grant's routes.
    Route(u8, R),
    /// The transform cannot go on. The batch fails.
    Fail,
}

/// The configuration is not one that the transform takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// A transform. There are several instances of one, each in a memory of its own, and
/// one may be thrown away at any time: what it remembers it may forget.
pub trait Transform: Default {
    /// Why it does what it does.
    type Reason: Reason;

    /// Takes the exact bytes of the approved configuration, before any record. Without
    /// this function it takes none.
    fn configure(&mut self, config: &[u8]) -> Result<(), Refused> {
        if config.is_empty() {
            Ok(())
        } else {
            Err(Refused)
        }
    }

    /// Decides about one record, and may change it.
    fn apply(&mut self, record: &mut Record) -> Verdict<Self::Reason>;
}

/// Makes a transform the one of this module.
#[macro_export]
macro_rules! export {
    ($transform:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            static GUEST: $crate::abi::Guest<$transform> = $crate::abi::Guest::new();

            #[no_mangle]
            extern "C" fn guardlock_alloc(size: u32, align: u32) -> u32 {
                $crate::abi::allocate(size, align)
            }

            #[no_mangle]
            unsafe extern "C" fn guardlock_init_v1(config: *const u8, len: u32) -> i32 {
                GUEST.configure(config, len)
            }

            #[no_mangle]
            unsafe extern "C" fn guardlock_transform_v1(frame: *mut $crate::abi::Frame) -> i32 {
                GUEST.run(frame)
            }
        };
    };
}
