// What scripts of arangosh find under `@arangodb` and beside it, on a connection to a server.
"use strict";
const { ArangoError, Connection, checked } = require("./connection.js");
const makeReplication = require("./replication.js");

function collection(connection, name) {
  const path = `/_api/collection/${encodeURIComponent(name)}`;
  const get = (what) => checked(connection.request("GET", path + what));
  return {
    name: () => name,
    count: () => get("/count").count,
    properties: () => get("/properties"),
    checksum(withRevisions = false, withData = false) {
      const { checksum, revision } = get(`/checksum?withRevisions=${withRevisions}&withData=${withData}`);
      return { checksum, revision };
    },
    toArray() {
      const query = { query: "FOR d IN @@c RETURN d", bindVars: { "@c": name } };
      let page = checked(connection.request("POST", "/_api/cursor", query));
      const all = page.result;
      while (page.hasMore) {
        page = checked(connection.request("POST", `/_api/cursor/${page.id}`));
        all.push(...page.result);
      }
      return all;
    },
  };
}

// Connects, and gives the modules by the names under which scripts require them.
function connect(options, print = console.log) {
  const connection = new Connection(options);
  const methods = {
    _connection: connection,
    _name: () => connection.database,
    _useDatabase: (name) => ((connection.database = name), true),
    _collection: (name) => collection(connection, name),
  };
  const db = new Proxy(methods, {
    get: (target, name) => (name in target || typeof name !== "string" ? target[name] : collection(connection, name)),
  });
  const replication = makeReplication(connection, print);
  const modules = { db, ArangoError, print };
  return {
    "@arangodb": modules,
    "org/arangodb": modules,
    internal: modules,
    "@arangodb/replication": replication,
    "org/arangodb/replication": replication,
    "@arangodb/replication-common": { compareTicks: replication.compareTicks },
  };
}

module.exports = { ArangoError, connect };
