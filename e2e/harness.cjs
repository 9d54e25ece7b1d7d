// What the scripts for JavaScript clients share: a server of the real binary and the lines `ok` and `FAIL` that `cargo xtask` adds up.
"use strict";
const assert = require("node:assert");
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const readline = require("node:readline");

const tally = { ok: 0, fail: 0 };

function ok(text) {
  tally.ok++;
  console.log("ok  ", text);
}

async function test(name, body) {
  try {
    await body();
  } catch (error) {
    tally.fail++;
    console.log("FAIL", name + ":", (error && (error.stack || error.message)) || error);
  }
}

function equal(text, got, want) {
  assert.deepStrictEqual(got, want, text);
  ok(text);
}

// A server with its data in a folder; gives its port.
function serve(folder, extra = ["--sample"], data = "data") {
  const child = spawn(process.env.HAVERSACK_BIN, ["--json", "serve", path.join(folder, data), "--port", "0", "--user", "editor", "--password", "secret", ...extra], {
    stdio: ["ignore", "pipe", fs.openSync(path.join(folder, "log"), "a")],
  });
  process.on("exit", () => child.kill("SIGKILL"));
  return new Promise((resolve, reject) => {
    child.once("exit", () => reject(new Error("the server did not start: " + fs.readFileSync(path.join(folder, "log")))));
    readline.createInterface({ input: child.stdout }).once("line", (line) => resolve(new URL(JSON.parse(line).url).port));
  });
}

// Starts a server, runs the tests with the URL of its ArcGIS root, prints the sum and exits.
async function run(tests) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "haversack-e2e-"));
  process.on("exit", () => fs.rmSync(folder, { recursive: true, force: true }));
  try {
    await tests(`http://127.0.0.1:${await serve(folder)}/arcgis`, folder);
  } catch (error) {
    tally.fail++;
    console.log("FAIL", error.stack || error);
  }
  console.log(`${tally.ok} passed, ${tally.fail} failed, 0 skipped`);
  process.exit(tally.fail ? 1 : 0);
}

module.exports = { equal, ok, run, serve, test };
