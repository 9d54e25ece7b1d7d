-- What users may do with single collections, where that is not what their grant for the service says. service: '*' all of them.
-- collection: its number, or -1 for all without a row of their own, and always so if the service is '*'. level: none, ro or rw.
CREATE TABLE collection_access (
    principal TEXT NOT NULL COLLATE NOCASE,
    service TEXT NOT NULL,
    collection INTEGER NOT NULL,
    level TEXT NOT NULL,
    PRIMARY KEY (principal, service, collection)
) STRICT;
