-- How far each service was at some times, by which history is kept for a time.
CREATE TABLE course (
    service TEXT NOT NULL,
    at INTEGER NOT NULL,
    history TEXT NOT NULL,
    generation INTEGER NOT NULL,
    PRIMARY KEY (service, at)
) STRICT;
