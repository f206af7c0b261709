/// A closed catalogue of reasons. `reasons!` makes one.
pub trait Reason: Copy + PartialEq + core::fmt::Debug {
    /// The number in the catalogue, from 1; 0 is "unspecified".
    fn number(self) -> u16;
    /// The name in the catalogue.
    fn name(self) -> &'static str;
}

/// The reason of a transform that has none to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoReason;

impl Reason for NoReason {
    fn number(self) -> u16 {
        0
    }
    fn name(self) -> &'static str {
        "unspecified"
    }
}

/// A closed catalogue of what a module counts. `metrics!` makes one.
pub trait Metric: Copy + PartialEq + core::fmt::Debug {
    /// The number in the catalogue, from 1.
    fn number(self) -> u16;
    /// The name in the catalogue.
    fn name(self) -> &'static str;
}

/// Declares the reasons of a module, and puts their names into the section that makes
/// them part of the signed bytes. Names are `[a-z0-9_.]{1,64}`; others do not compile.
#[macro_export]
macro_rules! reasons {
    ($($catalogue:tt)+) => { $crate::__catalogue!("guardlock.reasons", Reason, $($catalogue)+); };
}

/// Declares what a module counts with [`crate::host::metric`], in the same way.
#[macro_export]
macro_rules! metrics {
    ($($catalogue:tt)+) => { $crate::__catalogue!("guardlock.metrics", Metric, $($catalogue)+); };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __catalogue {
    ($section:literal, $of:ident,
     $(#[$meta:meta])* $visible:vis enum $name:ident { $($(#[$each:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visible enum $name { $($(#[$each])* $variant),+ }

        impl $crate::$of for $name {
            fn number(self) -> u16 {
                self as u16 + 1
            }
            fn name(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        const _: () = {
            const CATALOGUE: &str = concat!($($text, "\n"),+);
            $(assert!($crate::abi::is_reason($text), "a name is [a-z0-9_.]{{1,64}}");)+

            #[used]
            #[cfg_attr(target_arch = "wasm32", link_section = $section)]
            static SECTION: [u8; CATALOGUE.len()] = $crate::abi::bytes(CATALOGUE);
        };
    };
}
