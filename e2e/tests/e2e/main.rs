//! All end-to-end tests: one program, so that it links once.

#![allow(clippy::print_stdout)]

mod connections;
mod damage;
mod dev;
mod full;
mod guide;
mod harness;
mod hell;
mod keys;
mod kill;
mod million;
mod oracle;
mod redis_py;
mod snapshot;
mod sync;
