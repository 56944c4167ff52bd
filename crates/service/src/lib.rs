//! What a committed command does: key-value, sessions, the cluster's own records.
