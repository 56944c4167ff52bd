//! Which mutant lives, chosen at run time.
//!
//! In the zoo's copy of the sources this file is the module `base::zoo`, and every mutant asks it.
//! Here, where there are no mutants, it switches nothing; it is compiled so that it stays sound.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The number of the mutant, 0 for none. Test programs are told by their environment.
static CHOSEN: LazyLock<AtomicU32> = LazyLock::new(|| {
    let told = std::env::var("UNDERPIN_ZOO").ok();
    AtomicU32::new(told.and_then(|number| number.parse().ok()).unwrap_or(0))
});

/// Whether the cores' own assertions say nothing.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Lets a mutant live, and no other.
pub fn choose(number: u32) {
    CHOSEN.store(number, Ordering::Relaxed);
}

/// Whether this mutant lives. Only mutants ask.
#[allow(dead_code)]
pub fn is(number: u32) -> bool {
    CHOSEN.load(Ordering::Relaxed) == number
}

/// Switches the cores' own assertions off, or on.
pub fn silence(silent: bool) {
    SILENT.store(silent, Ordering::Relaxed);
}

/// Whether the cores' own assertions count. Only assertions of the copy ask.
#[allow(dead_code)]
pub fn asserts() -> bool {
    !SILENT.load(Ordering::Relaxed)
}

/// What `assert!` becomes in the copy: the condition is always evaluated, and counts unless
/// assertions are switched off.
#[macro_export]
macro_rules! zoo_assert {
    ($condition:expr $(,)?) => {
        if !$condition && $crate::zoo::asserts() {
            panic!("assertion failed: {}", stringify!($condition))
        }
    };
    ($condition:expr, $($text:tt)+) => {
        if !$condition && $crate::zoo::asserts() {
            panic!($($text)+)
        }
    };
}

/// What `assert_eq!` becomes.
#[macro_export]
macro_rules! zoo_assert_eq {
    ($left:expr, $right:expr $(, $($text:tt)*)?) => {
        match (&$left, &$right) {
            (left, right) if *left != *right && $crate::zoo::asserts() => {
                panic!("{left:?} differs from {right:?}{}", $crate::zoo_text!($($($text)*)?))
            }
            _ => {}
        }
    };
}

/// What `assert_ne!` becomes.
#[macro_export]
macro_rules! zoo_assert_ne {
    ($left:expr, $right:expr $(, $($text:tt)*)?) => {
        match (&$left, &$right) {
            (left, right) if *left == *right && $crate::zoo::asserts() => {
                panic!("{left:?} equals {right:?}{}", $crate::zoo_text!($($($text)*)?))
            }
            _ => {}
        }
    };
}

/// The text of an assertion, if it has one.
#[macro_export]
macro_rules! zoo_text {
    () => {
        ""
    };
    ($($text:tt)+) => {
        format!(": {}", format!($($text)+))
    };
}
