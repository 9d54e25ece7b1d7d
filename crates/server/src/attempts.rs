//! Limits on password guessing, per account and per address. Only wrong passwords count.
//!
//! The machine itself gets a limit of its own, so high that some dozens of wrong passwords lock nobody out of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::Config;

/// Counts wrong passwords and tells who must wait.
#[derive(Debug)]
pub(crate) struct Attempts {
    remote: DefaultKeyedRateLimiter<String>,
    loopback: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
    blocked: Mutex<HashMap<String, Instant>>,
}

impl Attempts {
    pub(crate) fn new(config: &Config) -> Self {
        let refill = Duration::from_secs(u64::from(config.login_refill_s.max(1)));
        let quota = |burst: u32, period| {
            Quota::with_period(period)
                .expect("the period is not zero")
                .allow_burst(NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN))
        };
        Self {
            remote: RateLimiter::keyed(quota(config.login_attempts, refill)),
            loopback: RateLimiter::keyed(quota(config.login_attempts_loopback, refill / 100)),
            clock: DefaultClock::default(),
            blocked: Mutex::new(HashMap::new()),
        }
    }

    /// How long this account from this address must wait; `None` if it may try.
    pub(crate) fn wait(&self, account: &str, address: &str, now: Instant) -> Option<Duration> {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        keys(account, address)
            .1
            .iter()
            .filter_map(|key| {
                let until = *blocked.get(key)?;
                if until <= now {
                    blocked.remove(key);
                    return None;
                }
                Some(until - now)
            })
            .max()
    }

    /// Counts a wrong password.
    pub(crate) fn count_failure(&self, account: &str, address: &str, now: Instant) {
        let (is_loopback, keys) = keys(account, address);
        let limiter = if is_loopback {
            &self.loopback
        } else {
            &self.remote
        };
        for key in keys {
            if let Err(refused) = limiter.check_key(&key) {
                let wait = refused.wait_time_from(self.clock.now());
                let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
                blocked.insert(key, now + wait);
            }
        }
    }

    /// Forgets what is no longer needed, so that a flood of names fills no memory.
    pub(crate) fn sweep(&self, now: Instant) {
        self.remote.retain_recent();
        self.loopback.retain_recent();
        self.blocked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, until| *until > now);
    }
}

/// Keys to count under. Guesses from the machine itself do not count against the account elsewhere, nor the other way round.
fn keys(account: &str, address: &str) -> (bool, Vec<String>) {
    let ip: Option<IpAddr> = address.parse().ok();
    let is_loopback = ip.is_some_and(|ip| ip.to_canonical().is_loopback());
    let account = account.to_lowercase();
    if is_loopback {
        return (true, vec![format!("local account {account}")]);
    }
    // One household or attacker owns a whole /64.
    let address = match ip.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V6(v6)) => format!("{:x?}", &v6.segments()[..4]),
        Some(IpAddr::V4(v4)) => v4.to_string(),
        None => address.to_owned(),
    };
    (
        false,
        vec![format!("account {account}"), format!("address {address}")],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dozens_of_wrong_passwords_from_the_machine_itself_lock_nobody_out() {
        let attempts = Attempts::new(&Config::default());
        let now = Instant::now();
        for _ in 0..100 {
            attempts.count_failure("editor", "127.0.0.1", now);
        }
        assert_eq!(attempts.wait("editor", "127.0.0.1", now), None);
    }

    #[test]
    fn a_remote_address_must_wait_after_its_attempts_and_may_then_try_again() {
        let config = Config::default();
        let attempts = Attempts::new(&config);
        let now = Instant::now();
        for _ in 0..config.login_attempts {
            attempts.count_failure("editor", "203.0.113.7", now);
        }
        assert_eq!(attempts.wait("editor", "203.0.113.7", now), None);
        attempts.count_failure("editor", "203.0.113.7", now);
        let wait = attempts.wait("someone", "203.0.113.7", now).unwrap();
        assert!(wait <= Duration::from_secs(11), "{wait:?}");
        assert_eq!(
            attempts.wait("editor", "127.0.0.1", now),
            None,
            "strangers must not lock the machine's own people out"
        );
        assert_eq!(attempts.wait("someone", "203.0.113.7", now + wait), None);
    }
}
