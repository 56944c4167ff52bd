//! One deterministic node: hosts shards, routes, orders, applies.
