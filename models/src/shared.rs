//! Values that many states have in common.
//!
//! A step changes one replica of three, and a message crosses millions of states while it is under
//! way. So a state holds its replicas and messages by reference, each with its hash computed once;
//! a pool sees to it that equal ones are one. A state is then a few dozen bytes, and its hash the
//! hash of a few numbers.
//!
//! Two values with the same 64 bits are taken for equal, as the checker itself does with states.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, Mutex};

/// The hash of a value, the same in every run.
pub fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A map by digests: they need no hashing.
pub type DigestMap<V> = HashMap<u64, V, BuildHasherDefault<AsItIs>>;

/// Takes a digest for its own hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are digests");
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }
}

/// A value out of a [`Pool`].
pub struct Shared<T>(Arc<Hashed<T>>);

struct Hashed<T> {
    digest: u64,
    value: T,
}

impl<T> Shared<T> {
    /// Its hash.
    pub fn digest(&self) -> u64 {
        self.0.digest
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Shared<T>) -> bool {
        self.0.digest == other.0.digest
    }
}

impl<T> Eq for Shared<T> {}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.digest);
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}

const SHELVES: usize = 64;

/// All values of a kind that were ever seen, each once.
pub struct Pool<T> {
    shelves: Vec<Mutex<DigestMap<Shared<T>>>>,
}

impl<T> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool { shelves: (0..SHELVES).map(|_| Mutex::default()).collect() }
    }
}

impl<T: Hash> Pool<T> {
    /// The one value that is equal to `value`.
    pub fn share(&self, value: T) -> Shared<T> {
        let digest = digest(&value);
        let mut shelf = self.shelves[digest as usize % SHELVES].lock().expect("no panic inside");
        let new = || Shared(Arc::new(Hashed { digest, value }));
        shelf.entry(digest).or_insert_with(new).clone()
    }

    /// How many different values there are.
    pub fn len(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.lock().expect("no panic inside").len()).sum()
    }

    /// Whether nothing was ever shared.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
