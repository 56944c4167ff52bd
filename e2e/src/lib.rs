//! Real processes: the `underpin` binary, real clients, kill -9.
