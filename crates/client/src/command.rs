//! One request: its words, and whether sending it twice is harmless.

use bytes::Bytes;

/// A request as RESP has it, an array of byte strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    words: Vec<Bytes>,
    kind: Kind,
}

/// What a second sending would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    RepeatableWrite,
}

impl Command {
    /// Changes nothing, and so may be sent any number of times.
    pub fn read<W: Into<Bytes>>(words: impl IntoIterator<Item = W>) -> Command {
        Command::of(Kind::Read, words)
    }

    /// Changes something. Sent again only under a session's number.
    pub fn write<W: Into<Bytes>>(words: impl IntoIterator<Item = W>) -> Command {
        Command::of(Kind::Write, words)
    }

    /// Changes something, but the caller takes responsibility for repeats: a `SET` by the only
    /// writer of its key, say.
    pub fn repeatable<W: Into<Bytes>>(words: impl IntoIterator<Item = W>) -> Command {
        Command::of(Kind::RepeatableWrite, words)
    }

    /// The same with one more word.
    pub fn word(mut self, word: impl Into<Bytes>) -> Command {
        self.words.push(word.into());
        self
    }

    /// Its words, the command's name first.
    pub fn words(&self) -> &[Bytes] {
        &self.words
    }

    /// Whether sending it again is harmless without a session.
    pub fn may_repeat(&self) -> bool {
        self.kind != Kind::Write
    }

    /// Whether it changes something, so that a session numbers it.
    pub(crate) fn is_write(&self) -> bool {
        self.kind != Kind::Read
    }

    fn of<W: Into<Bytes>>(kind: Kind, words: impl IntoIterator<Item = W>) -> Command {
        Command { words: words.into_iter().map(Into::into).collect(), kind }
    }

    /// Appends its bytes, after the words in `before` (a session's prefix).
    pub(crate) fn encode(&self, before: &[Bytes], out: &mut Vec<u8>) {
        assert!(!self.words.is_empty(), "a command without a name");
        out.extend_from_slice(format!("*{}\r\n", before.len() + self.words.len()).as_bytes());
        for word in before.iter().chain(&self.words) {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
    }
}
