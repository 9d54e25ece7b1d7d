#!/usr/bin/env node
// Runs a script of arangosh: `run.js --server.endpoint tcp://host:port --server.username NAME --server.password SECRET SCRIPT`.
"use strict";
const fs = require("node:fs");
const { createRequire } = require("node:module");
const path = require("node:path");
const vm = require("node:vm");
const { connect } = require("./index.js");

const KNOWN = ["endpoint", "username", "password", "database", "ca"];

function parse(words) {
  const options = { endpoint: "tcp://127.0.0.1:8529" };
  let script;
  for (let at = 0; at < words.length; at++) {
    const [, name] = /^--server\.([a-z]+)$/.exec(words[at]) || [];
    if (KNOWN.includes(name)) {
      options[name] = words[++at];
    } else if (words[at] === "--javascript.execute") {
      script = words[++at];
    } else if (words[at].startsWith("-") || script) {
      throw new Error(`what is ${words[at]}?`);
    } else {
      script = words[at];
    }
  }
  if (!script) {
    throw new Error("use: run.js --server.endpoint tcp://host:port --server.username NAME --server.password SECRET [--server.database NAME] SCRIPT");
  }
  if (options.ca) {
    options.ca = fs.readFileSync(options.ca);
  }
  return { options, script: path.resolve(script) };
}

function main() {
  const { options, script } = parse(process.argv.slice(2));
  const print = (...values) => console.log(...values.map((v) => (typeof v === "object" && v !== null ? JSON.stringify(v) : v)));
  const modules = connect(options, print);
  const other = createRequire(script);
  const context = { ...globalThis, console, process, Buffer, db: modules["@arangodb"].db, print, require: (name) => modules[name] || other(name) };
  vm.runInNewContext(fs.readFileSync(script, "utf8"), context, { filename: script });
}

try {
  main();
} catch (error) {
  console.error(error.errorNum ? `ArangoError ${error.errorNum}: ${error.errorMessage}` : error.message);
  process.exitCode = 1;
}
