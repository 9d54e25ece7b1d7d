// A connection that waits for its answers, as that of arangosh does: requests run in a worker, this thread sleeps until it is told.
"use strict";
const { MessageChannel, receiveMessageOnPort, Worker } = require("node:worker_threads");

const WORKER = `
const { parentPort, workerData } = require("node:worker_threads");
const http = require("node:http"), https = require("node:https");
parentPort.on("message", ({ url, options, body, port, signal }) => {
  const done = (answer) => { port.postMessage(answer); Atomics.store(signal, 0, 1); Atomics.notify(signal, 0); };
  const request = (url.startsWith("https:") ? https : http).request(url, options, (response) => {
    const parts = [];
    response.on("data", (part) => parts.push(part));
    response.on("error", (error) => done({ problem: error.message }));
    response.on("end", () => done({ code: response.statusCode, headers: response.headers, body: Buffer.concat(parts).toString() }));
  });
  request.on("error", (error) => done({ problem: error.message }));
  request.end(body);
});`;

class ArangoError extends Error {
  constructor({ code, errorNum, errorMessage }) {
    super(errorMessage);
    Object.assign(this, { name: "ArangoError", error: true, code, errorNum, errorMessage });
  }
}

function urlOf(endpoint) {
  const [, scheme, rest] = /^([a-z+]+):\/\/([^/]+)\/?$/i.exec(endpoint) || [];
  const secure = { tcp: false, http: false, "http+tcp": false, ssl: true, https: true, "http+ssl": true }[(scheme || "").toLowerCase()];
  if (secure === undefined) {
    throw new ArangoError({ code: 400, errorNum: 10, errorMessage: `the endpoint ${endpoint} is none` });
  }
  const port = /:\d+$/.test(rest) ? "" : ":8529";
  return `${secure ? "https" : "http"}://${rest}${port}`;
}

class Connection {
  constructor({ endpoint, username = "root", password = "", database = "_system", ca }) {
    this.url = urlOf(endpoint);
    this.authorization = "Basic " + Buffer.from(`${username}:${password}`).toString("base64");
    this.database = database;
    this.ca = ca;
    this.worker = new Worker(WORKER, { eval: true });
    this.worker.unref();
  }

  // One request; the answer with its headers.
  raw(method, path, body = "", headers = {}) {
    const { port1, port2 } = new MessageChannel();
    const signal = new Int32Array(new SharedArrayBuffer(4));
    const below = path.startsWith("/_db/") ? path : `/_db/${encodeURIComponent(this.database)}${path}`;
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const options = { method, ca: this.ca, headers: { authorization: this.authorization, "content-length": Buffer.byteLength(text), ...headers } };
    this.worker.postMessage({ url: this.url + below, options, body: text, port: port2, signal }, [port2]);
    Atomics.wait(signal, 0, 0);
    const answer = receiveMessageOnPort(port1).message;
    port1.close();
    if (answer.problem) {
      throw new ArangoError({ code: 500, errorNum: 2001, errorMessage: `could not connect: ${answer.problem}` });
    }
    return answer;
  }

  // One request; its document, in which `error` is true if it failed.
  request(method, path, body, headers) {
    const { code, body: text } = this.raw(method, path, body, headers);
    if (text) {
      try {
        return JSON.parse(text);
      } catch {
        // Told below.
      }
    }
    if (code < 400) {
      return { error: false, code };
    }
    return { error: true, code, errorNum: code, errorMessage: text || `HTTP ${code}` };
  }
}

// Throws what failed; otherwise the document without `error`.
function checked(document) {
  if (document === undefined || document === null) {
    throw new ArangoError({ code: 500, errorNum: 4, errorMessage: "the server did not answer" });
  }
  if (document.error === true) {
    throw new ArangoError(document);
  }
  if (!Array.isArray(document)) {
    delete document.error;
  }
  return document;
}

module.exports = { ArangoError, Connection, checked };
