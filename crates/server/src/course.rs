//! How far each service was at some times: generations carry no dates that retention could go by.
//!
//! A point is noted once an hour, so history is kept up to an hour longer than asked for. Points of a former history count
//! for nothing.

use rusqlite::{OptionalExtension as _, params};

use haversack_model::store::Head;
use haversack_model::{Generation, Timestamp};

use crate::db::Db;
use crate::error::{Result, while_doing};

const HOUR_MS: i64 = 3_600_000;

/// The points in a database.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    db: Db,
}

impl Course {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    /// Notes how far a service is, unless that was done within the hour, and gives the last generation that it had reached
    /// by `before`. Older points are forgotten.
    pub(crate) fn reached(
        &self,
        service: &str,
        head: &Head,
        now: Timestamp,
        before: Timestamp,
    ) -> Result<Generation> {
        let doing = "noting how far a service is";
        let connection = self.db.lock();
        let history = head.history.to_string();
        let generation = i64::try_from(head.generation.0).unwrap_or(i64::MAX);
        connection
            .execute(
                "INSERT INTO course (service, at, history, generation) SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS
                   (SELECT 1 FROM course WHERE service = ?1 AND history = ?3 AND at BETWEEN ?2 - ?5 AND ?2)
                 ON CONFLICT (service, at) DO UPDATE SET history = excluded.history, generation = excluded.generation",
                params![service, now.0, history, generation, HOUR_MS - 1],
            )
            .map_err(while_doing(doing))?;
        let found: Option<(i64, i64)> = connection
            .query_row(
                "SELECT at, generation FROM course WHERE service = ?1 AND history = ?2 AND at <= ?3 ORDER BY at DESC LIMIT 1",
                params![service, history, before.0],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
            .map_err(while_doing(doing))?;
        let Some((at, reached)) = found else {
            return Ok(Generation::ZERO);
        };
        connection
            .execute(
                "DELETE FROM course WHERE service = ?1 AND at < ?2",
                params![service, at],
            )
            .map_err(while_doing(doing))?;
        Ok(Generation(reached.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use haversack_model::{HistoryId, Revision};
    use uuid::Uuid;

    use super::*;

    fn head(history: u128, generation: u64) -> Head {
        Head {
            history: HistoryId(Uuid::from_u128(history)),
            generation: Generation(generation),
            stamp: Timestamp(0),
            revision: Revision(0),
            floor: Generation::ZERO,
        }
    }

    #[test]
    fn what_was_reached_by_a_time_is_known_to_the_hour() {
        let dir = tempfile::tempdir().unwrap();
        let course = Course::new(Db::open(&dir.path().join("haversack.db")).unwrap());
        let at = |hours: i64| Timestamp(1_700_000_000_000 + hours * HOUR_MS);
        let reached = |history, generation, now: i64, before: i64| {
            let head = head(history, generation);
            course.reached("S", &head, at(now), at(before)).unwrap().0
        };
        assert_eq!(reached(1, 10, 0, -1), 0, "nothing is known of before");
        assert_eq!(reached(1, 20, 5, 0), 10);
        assert_eq!(
            reached(1, 30, 9, 4),
            10,
            "not to the minute, and never too late"
        );
        assert_eq!(reached(1, 40, 10, 5), 20);
        assert_eq!(
            reached(2, 1 << 40, 11, 10),
            0,
            "another history counts anew"
        );
        let other = course.reached("T", &head(1, 5), at(12), at(12)).unwrap();
        assert_eq!(other, Generation(5));
    }
}
