//! Whether what clients saw can be true.

pub mod bank;
pub mod counter;
pub mod expiry;
pub mod linear;
pub mod sequential;
pub mod session;
