//! A value that is cheap to copy until it is changed: a transaction begins with a copy of everything.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Shared until someone writes to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cheap<T>(Arc<T>);

impl<T> Cheap<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Deref for Cheap<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Cheap<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}
