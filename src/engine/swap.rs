//! A value that is replaced as a whole while others read it.

use std::fmt;
use std::sync::{Arc, RwLock};

/// What is in force now. Who has taken it keeps what was in force then.
pub struct Swap<T>(RwLock<Arc<T>>);

impl<T> Swap<T> {
    /// In force from the beginning.
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// What is in force.
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.0.read().expect("no holder of this lock panics"))
    }

    /// Puts `value` in force.
    pub fn put(&self, value: T) {
        *self.0.write().expect("no holder of this lock panics") = Arc::new(value);
    }
}

impl<T: fmt::Debug> fmt::Debug for Swap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().fmt(f)
    }
}
