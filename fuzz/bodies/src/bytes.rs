//! Arbitrary bytes as a source of choices.

/// Hands out pieces of an input until it is used up, and zeros from then on.
#[derive(Debug)]
pub struct Choices<'a> {
    left: &'a [u8],
}

impl<'a> Choices<'a> {
    /// Choices made by `bytes`.
    pub fn new(bytes: &'a [u8]) -> Choices<'a> {
        Choices { left: bytes }
    }

    /// Whether the input is used up.
    pub fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// Two bytes.
    pub fn pair(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number that is often small, and sometimes at the edge of what numbers are.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=199 => u64::from(small),
            200..=229 => u64::from(self.pair()),
            230..=239 => u64::MAX - u64::from(self.byte()),
            240..=244 => (1 << 32) - 128 + u64::from(self.byte()),
            245..=249 => (1 << 63) - 128 + u64::from(self.byte()),
            _ => {
                let mut bytes = [0; 8];
                let taken = self.take(8);
                bytes[..taken.len()].copy_from_slice(taken);
                u64::from_le_bytes(bytes)
            }
        }
    }

    /// So many bytes, or what is left.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, left) = self.left.split_at(count.min(self.left.len()));
        self.left = left;
        taken
    }

    /// A byte that says how many follow, and those.
    pub fn some(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte());
        self.take(count)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }
}

/// Cuts `bytes` into pieces whose lengths follow from `seed`; never into none.
pub fn pieces(bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut left = bytes;
    let mut step = usize::from(seed);
    std::iter::from_fn(move || {
        if left.is_empty() {
            return None;
        }
        step = (step * 5 + 3) % 23;
        let (piece, rest) = left.split_at((step + 1).min(left.len()));
        left = rest;
        Some(piece)
    })
}
