// A PouchDB that does what it is told line by line, and answers each with one line of JSON.
//
//   fill N      makes N documents            edit D      changes D of them, scattered
//   serve       listens, tells its port      pull URL    replicates from there
"use strict";

const path = require("node:path");
const readline = require("node:readline");
const express = require("express");
const PouchDB = require("pouchdb");

const folder = process.argv[2] + path.sep;
const Here = PouchDB.defaults({ prefix: folder });
const documents = new Here("documents");
const AT_ONCE = 1000;
const NAME = "x".repeat(88);

const keyOf = (n) => ((BigInt(n) * 0x9e3779b97f4a7c15n) & 0xffffffffffffffffn).toString(16).padStart(16, "0");

async function store(bodies) {
  for (const told of await documents.bulkDocs(bodies)) {
    if (told.error) throw new Error(`${told.id}: ${told.reason}`);
  }
}

async function fill(count) {
  for (let from = 0; from < count; from += AT_ONCE) {
    const length = Math.min(AT_ONCE, count - from);
    await store(Array.from({ length }, (_, at) => ({ _id: keyOf(from + at), n: from + at, version: 0, name: NAME })));
  }
  return { count };
}

async function edit(count) {
  const all = (await documents.info()).doc_count;
  for (let from = 0; from < count; from += AT_ONCE) {
    const length = Math.min(AT_ONCE, count - from);
    const keys = Array.from({ length }, (_, at) => keyOf(((from + at) * Math.floor(all / count)) % all));
    const found = await documents.allDocs({ keys, include_docs: true });
    await store(found.rows.map(({ doc }) => ({ ...doc, version: doc.version + 1 })));
  }
  return { count };
}

function serve() {
  const app = express();
  app.use(require("express-pouchdb")(Here, { inMemoryConfig: true, logPath: path.join(folder, "log.txt") }));
  return new Promise((resolve) => {
    const server = app.listen(0, "127.0.0.1", () => resolve({ port: server.address().port }));
  });
}

async function pull(url) {
  const begun = process.hrtime.bigint();
  const told = await documents.replicate.from(url, { batch_size: 1000 });
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
  return { seconds, written: told.docs_written, failed: told.doc_write_failures };
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [word, what] = line.split(" ");
    const work = { fill: () => fill(Number(what)), edit: () => edit(Number(what)), serve, pull: () => pull(what) }[word];
    console.log(JSON.stringify(await work()));
  }
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
