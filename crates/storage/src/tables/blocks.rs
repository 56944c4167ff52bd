//! Where in a table the damage is.
//!
//! A table begins with its blocks, one behind the other, each with a head that has a checksum of its
//! own and names the checksum of what follows. Behind them come one byte, the version, then a block
//! about the table itself, then the list of all these parts. So walking from block to block finds
//! the first that is not what it says; if all blocks are whole, it is the list that is damaged.

use lsm_tree::coding::Decode;
use lsm_tree::table::block::Header;
use xxhash_rust::xxh3::xxh3_128;

/// What stands between the blocks of rows and the one about the table.
const TABLE_VERSION: u8 = 3;

/// The byte at which the first block begins that can't be read; the end of the last one if all can.
pub(super) fn first_bad(table: &[u8]) -> u64 {
    let end = walk(table, 0);
    let behind_version = match table.get(end) {
        Some(&TABLE_VERSION) if header(&table[end + 1..]).is_some() => walk(table, end + 1),
        _ => end,
    };
    behind_version as u64
}

/// Goes from whole block to whole block.
fn walk(table: &[u8], mut at: usize) -> usize {
    while let Some(bytes) = table.get(at..).and_then(whole_block) {
        at += bytes;
    }
    at
}

fn header(bytes: &[u8]) -> Option<Header> {
    Header::decode_from(&mut &*bytes).ok()
}

/// Bytes of the block that `bytes` begin with, if it is one and whole.
fn whole_block(bytes: &[u8]) -> Option<usize> {
    let header = header(bytes)?;
    let begin = Header::serialized_len();
    let end = begin.checked_add(header.data_length as usize)?;
    let data = bytes.get(begin..end)?;
    (xxh3_128(data) == header.checksum.into_u128()).then_some(end)
}
