// What scripts know as `@arangodb/replication`.
"use strict";
const { ArangoError, checked } = require("./connection.js");

const BASE = "/_api/replication/";
// How often it is asked whether a synchronisation is done, in milliseconds.
const GLANCE = 50;

function sleep(milliseconds) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

// Compares two ticks, which are decimal texts.
function compareTicks(left, right) {
  const strip = (tick) => String(tick === null || tick === undefined ? "0" : tick).replace(/^0+/, "");
  const [a, b] = [strip(left), strip(right)];
  if (a.length !== b.length) {
    return a.length < b.length ? -1 : 1;
  }
  return a < b ? -1 : Number(a > b);
}

module.exports = (connection, print) => {
  const get = (command) => checked(connection.request("GET", BASE + command));
  const put = (command, body) => checked(connection.request("PUT", BASE + command, body === undefined ? "" : body));

  function showProgress() {
    try {
      const { time, message } = get("applier-state").state.progress;
      return message ? `${time}: ${message}` : "";
    } catch {
      return "";
    }
  }

  function waitFor(id, config) {
    let shown = "";
    for (let polls = 1; ; polls++) {
      const answer = connection.request("PUT", `/_api/job/${encodeURIComponent(id)}`);
      if (answer.code !== 204) {
        return checked(answer);
      }
      if (config.progress !== false && polls % 3 === 0) {
        const text = showProgress();
        if (text && text !== shown) {
          print("still synchronizing... last received status: " + text);
        }
        shown = text;
      }
      sleep(GLANCE);
    }
  }

  function order(path, config) {
    if (typeof config !== "object" || config === null) {
      throw new ArangoError({ code: 400, errorNum: 10, errorMessage: "a configuration is needed" });
    }
    const answer = connection.raw("PUT", path, config, { "X-Arango-Async": "store" });
    const id = answer.headers["x-arango-async-id"];
    if (!id) {
      let problem = { code: answer.code, errorNum: answer.code, errorMessage: answer.body };
      try {
        problem = JSON.parse(answer.body);
      } catch {
        // No document: the status says it.
      }
      throw new ArangoError(problem);
    }
    return config.async ? id : waitFor(id, config);
  }

  return {
    compareTicks,
    // Copies what the configuration names; the result, or with `async` the id under which it can be fetched.
    sync: (config) => order(BASE + "sync", config),
    syncGlobal: (config) => order(`/_db/_system${BASE}sync?global=true`, config),
    // Copies one collection.
    syncCollection(name, config = {}) {
      Object.assign(config, { restrictType: "include", restrictCollections: [name], includeSystem: true });
      return order(BASE + "sync", config);
    },
    // The result of an order with `async`, once; false as long as it is not done.
    getSyncResult(id) {
      const answer = connection.raw("PUT", `/_api/job/${encodeURIComponent(id)}`);
      const document = answer.body ? JSON.parse(answer.body) : {};
      if (answer.code >= 400) {
        throw new ArangoError({ code: answer.code, errorNum: answer.code, errorMessage: "", ...document });
      }
      return answer.headers["x-arango-async-id"] === undefined ? false : checked(document);
    },
    serverId: () => get("server-id").serverId,
    applier: {
      start(from, barrierId) {
        const given = Object.entries({ from, barrierId }).filter(([, value]) => value !== undefined);
        return put("applier-start?" + new URLSearchParams(given));
      },
      stop: () => put("applier-stop"),
      shutdown: () => put("applier-stop"),
      state: () => get("applier-state"),
      stateAll: () => get("applier-state-all"),
      forget: () => checked(connection.request("DELETE", BASE + "applier-state")),
      properties: (config) => (config === undefined ? get("applier-config") : put("applier-config", config)),
    },
    logger: {
      state: () => get("logger-state"),
      tickRanges: () => get("logger-tick-ranges"),
      firstTick: () => get("logger-first-tick").firstTick,
    },
  };
};
