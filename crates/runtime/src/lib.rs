//! The real world: sockets, threads, timers, files.
