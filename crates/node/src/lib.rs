//! One deterministic node: hosts shards, routes requests, orders them through the shards' logs,
//! applies what was committed and answers.

pub mod api;
