//! The events of one case: always hashed, so that two runs can be compared, and printed when one seed is replayed.

use std::hash::{DefaultHasher, Hasher};

/// A log of events.
#[derive(Debug)]
pub struct Trace {
    hasher: DefaultHasher,
    print: bool,
    count: u64,
}

impl Trace {
    pub fn new(print: bool) -> Self {
        Self {
            hasher: DefaultHasher::new(),
            print,
            count: 0,
        }
    }

    #[allow(clippy::print_stdout, reason = "a replay is read by a person")]
    pub fn note(&mut self, event: &str) {
        self.count += 1;
        self.hasher.write(event.as_bytes());
        if self.print {
            println!("{:5}  {event}", self.count);
        }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Equal for equal events in equal order.
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}
