//! When the next round begins: after a while, when somebody asks for one, or never again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The rounds that were asked for and done.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    asked: u64,
    done: u64,
    is_over: bool,
}

impl Turns {
    /// Before a round: gives what it serves.
    pub(super) fn begin(&self) -> u64 {
        self.state().asked
    }
    /// After a round. Waits for the next one; `false` if there is none.
    pub(super) fn wait(&self, served: u64, how_long: Duration) -> bool {
        let mut state = self.state();
        state.done = served;
        self.bell.notify_all();
        let waited = self.bell.wait_timeout_while(state, how_long, |state| {
            !state.is_over && state.asked == state.done
        });
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_over
    }
    /// Asks for a round that begins from now on, and waits for its end; `false` if that takes too long.
    pub(super) fn ask(&self, patience: Duration) -> bool {
        let mut state = self.state();
        state.asked += 1;
        let mine = state.asked;
        self.bell.notify_all();
        let waited = self
            .bell
            .wait_timeout_while(state, patience, |state| !state.is_over && state.done < mine);
        waited.unwrap_or_else(PoisonError::into_inner).0.done >= mine
    }
    /// Has a round begin at once.
    pub(super) fn hurry(&self) {
        self.state().asked += 1;
        self.bell.notify_all();
    }
    /// No more rounds.
    pub(super) fn end(&self) {
        self.state().is_over = true;
        self.bell.notify_all();
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn who_asks_waits_for_a_round_that_began_afterwards() {
        let turns = Arc::new(Turns::default());
        // A round is under way, which does not count.
        let served = turns.begin();
        let (asking, turns_of) = (Arc::clone(&turns), Arc::clone(&turns));
        let asker = std::thread::spawn(move || asking.ask(Duration::from_mins(1)));
        let worker = std::thread::spawn(move || {
            let mut served = served;
            let mut rounds = 0;
            while turns_of.wait(served, Duration::from_mins(1)) {
                served = turns_of.begin();
                rounds += 1;
            }
            rounds
        });
        assert!(asker.join().unwrap());
        turns.end();
        assert_eq!(worker.join().unwrap(), 1);
        assert!(!turns.ask(Duration::from_mins(1)), "there are no more");
    }
}
