// arangojs, unmodified, between two servers; and scripts of arangosh, run by clients/arangosh-compat.
"use strict";
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const { Database, aql } = require("arangojs");
const { equal, run, serve, test } = require("./harness.cjs");

const auth = { username: "editor", password: "secret" };
const RUN = path.join(__dirname, "..", "clients", "arangosh-compat", "run.js");

async function all(cursor) {
  return (await cursor.all()).sort((a, b) => (a._key < b._key ? -1 : 1));
}

async function errorOf(promise) {
  try {
    await promise;
  } catch (error) {
    return error.errorNum;
  }
  throw new Error("no error");
}

run(async (base, folder) => {
  const here = new Database({ url: new URL(base).origin, auth });
  const port = await serve(folder, ["--allow-endpoint", "tcp://127.0.0.1:*"], "secondary");
  const there = new Database({ url: `http://127.0.0.1:${port}`, auth });
  const endpoint = `tcp://127.0.0.1:${new URL(base).port}`;
  const things = here.collection("things");

  await test("documents are written and read", async () => {
    await things.create();
    equal("it exists", await things.exists(), true);
    const made = await things.save({ _key: "pen", colour: "blue" }, { returnNew: true });
    equal("what was saved comes back", made.new.colour, "blue");
    equal("a key is taken once", await errorOf(things.save({ _key: "pen" })), 1210);
    const many = await things.saveAll([{ _key: "cup" }, { _key: "pen" }, { _key: "50%" }]);
    equal("one of many fails alone", many.map((m) => m.errorNum || 0), [0, 1210, 0]);
    equal("a key with a percent sign is read", (await things.document("50%"))._key, "50%");
    await things.update("pen", { size: 3 });
    equal("an update merges", (({ colour, size }) => ({ colour, size }))(await things.document("pen")), { colour: "blue", size: 3 });
    await things.replace("cup", { full: true });
    await things.remove("cup");
    equal("a removed one is gone", await things.documentExists("cup"), false);
    equal("the count", (await things.count()).count, 2);
    const lines = Array.from({ length: 5000 }, (_, n) => ({ _key: `n${String(n).padStart(4, "0")}`, n }));
    equal("an import", (await things.import(lines)).created, 5000);
  });

  await test("queries made by templates are answered", async () => {
    const found = await here.query(aql`FOR t IN ${things} FILTER t.n >= ${10} && t.n < ${13} SORT t.n RETURN t.n`);
    equal("a range", await found.all(), [10, 11, 12]);
    const paged = await here.query(aql`FOR t IN ${things} RETURN t._key`, { batchSize: 400, count: true });
    equal("counted", paged.count, 5002);
    equal("page by page", (await paged.all()).length, 5002);
    equal("what is not understood is refused", await errorOf(here.query("FOR t IN things COLLECT n = t.n RETURN n")), 1501);
  });

  await test("databases and a JWT", async () => {
    const other = await here.createDatabase("other");
    equal("it is listed", (await here.databases()).map((d) => d.name).includes("other"), true);
    await other.collection("c").create();
    await here.dropDatabase("other");
    equal("a login gives a token", typeof (await new Database({ url: new URL(base).origin }).login("editor", "secret")), "string");
  });

  await test("users are granted collections", async () => {
    await here.createUser("ben", { passwd: "secret2" });
    await here.setUserAccessLevel("ben", { database: "_system" }, "ro");
    const ben = new Database({ url: new URL(base).origin, auth: { username: "ben", password: "secret2" } }).collection("things");
    equal("it is read", (await ben.document("pen")).colour, "blue");
    equal("and not written", await errorOf(ben.save({})), 11);
    await here.setUserAccessLevel("ben", { collection: things }, "rw");
    equal("the level is told", await here.getUserAccessLevel("ben", { collection: things }), "rw");
    const made = await ben.save({});
    await ben.remove(made._key);
    await here.setUserAccessLevel("ben", { collection: things }, "none");
    equal("it is closed", await errorOf(ben.document("pen")), 11);
    equal("and gone from the list", (await here.getUserDatabases("ben", true))._system.collections.things, "none");
    await here.clearUserAccessLevel("ben", { collection: things });
    equal("the database's level holds again", await here.getUserAccessLevel("ben", { collection: things }), "ro");
    await here.removeUser("ben");
  });

  const order = { endpoint, username: "editor", password: "secret", restrictType: "include", restrictCollections: ["things"], includeSystem: true };
  await test("an order through a route copies a collection", async () => {
    const { parsedBody, body } = await there.route("_api/replication").put("sync", order);
    equal("the result", (parsedBody || body).collections.map((c) => c.name), ["things"]);
    const query = "FOR t IN things RETURN t";
    equal("the copy is equal", await all(await there.query(query)), await all(await here.query(query)));
  });

  const shell = (script) => {
    const file = path.join(folder, "script.js");
    fs.writeFileSync(file, script);
    const words = [RUN, "--server.endpoint", `tcp://127.0.0.1:${port}`, "--server.username", "editor", "--server.password", "secret", file];
    return execFileSync(process.execPath, words, { encoding: "utf8", timeout: 60000 }).trim().split("\n").pop();
  };

  await test("the published snippet runs", async () => {
    await things.update("pen", { size: 4 });
    const text = shell(`
      var result = require("@arangodb/replication").syncCollection("things", {
        endpoint: "${endpoint}",
        username: "editor",
        password: "secret",
        incremental: true
      });
      print({ names: result.collections.map((c) => c.name), size: db.things.toArray().find((d) => d._key === "pen").size, tick: /^[1-9]\\d*$/.test(result.lastLogTick) });`);
    equal("it waits for the result", JSON.parse(text), { names: ["things"], size: 4, tick: true });
  });

  await test("the published snippet runs asynchronously", async () => {
    await things.update("pen", { size: 5 });
    const text = shell(`
      var replication = require("@arangodb/replication");
      var id = replication.syncCollection("things", { endpoint: "${endpoint}", username: "editor", password: "secret", async: true });
      var result = false;
      for (var n = 0; n < 100000 && result === false; n++) {
        result = replication.getSyncResult(id);
      }
      var again = null;
      try { replication.getSyncResult(id); } catch (error) { again = error.errorNum; }
      print({ id: typeof id, names: result.collections.map((c) => c.name), size: db._collection("things").toArray().find((d) => d._key === "pen").size, again: again });`);
    equal("the result is fetched once", JSON.parse(text), { id: "string", names: ["things"], size: 5, again: 404 });
  });

  await test("a script that fails says why", async () => {
    const text = shell(`
      try { require("@arangodb/replication").syncCollection("things", { endpoint: "tcp://127.0.0.1:${port}", username: "editor", password: "secret" }); }
      catch (error) { print([error.name, error.errorNum, error.code]); }`);
    equal("the error of the server", JSON.parse(text), ["ArangoError", 1405, 500]);
  });
});
