//! Pure algorithms: Raft, store liveness; no I/O, no clock, no threads.
