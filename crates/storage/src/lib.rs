//! The write-ahead log, memtables, tables on disk and snapshots of an Underpin node.
