"""What the scripts in this folder share: a server of the real binary, temporary folders, a fault proxy, and the lines
`ok`, `FAIL` and `skip` that `cargo xtask` adds up. Standard library only.
"""
import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
import urllib.request
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.environ.get("HAVERSACK_BIN") or os.path.join(HERE, "..", "target", "release", "haversack")
_tally = {"ok": 0, "FAIL": 0, "skip": 0}
_tests = []


# ---------------------------------------------------------------- checks

def ok(text):
    _tally["ok"] += 1
    print("ok  ", text, flush=True)


def fail(text):
    _tally["FAIL"] += 1
    print("FAIL", text, flush=True)


def skip(text, reason):
    _tally["skip"] += 1
    print(f"skip {text}: {reason}", flush=True)


def check(text, truth, got=None):
    """One checked statement; a false one ends the test that it stands in."""
    if not truth:
        raise AssertionError(f"{text}" + ("" if got is None else f"; got {got!r}"[:1500]))
    ok(text)


def equal(text, got, want):
    check(text, got == want, {"got": got, "want": want})


def test(function):
    """Marks a function as a test; `run` calls it. Its name is a sentence."""
    _tests.append(function)
    return function


class Skipped(Exception):
    """Raised by a test that cannot run here."""


def run():
    """Runs all tests of the script (or those whose names contain an argument) and exits."""
    words = sys.argv[1:]
    for function in _tests:
        name = function.__name__.replace("_", " ")
        if words and not any(word in function.__name__ for word in words):
            continue
        begun = time.monotonic()
        try:
            function()
            print(f"     {name}: {time.monotonic() - begun:.1f} s", flush=True)
        except Skipped as reason:
            skip(name, reason)
        except BaseException as error:  # a test must not take the others with it
            if isinstance(error, KeyboardInterrupt):
                raise
            fail(f"{name}: {type(error).__name__}: {error}")
            if not isinstance(error, AssertionError):
                traceback.print_exc()
            sys.stderr.flush()
    print(f"{_tally['ok']} passed, {_tally['FAIL']} failed, {_tally['skip']} skipped", flush=True)
    sys.exit(1 if _tally["FAIL"] else 0)


# ---------------------------------------------------------------- folders and processes

def folder():
    """A fresh folder that goes when the script ends."""
    path = tempfile.mkdtemp(prefix="haversack-e2e-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def wait_until(truth, seconds=30, what="the condition"):
    """Polls until `truth()` gives something true, and gives it."""
    end = time.monotonic() + seconds
    while True:
        value = truth()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(0.02)


_children = []


def _end_children():
    for child in _children:
        if child.poll() is None:
            child.kill()
            child.wait()


atexit.register(_end_children)


def cli(*args, check_code=0, env=None, input=None, timeout=300):
    """Runs a command with --json and gives the document; any other exit code than the wanted ones fails."""
    done = cli_raw("--json", *args, env=env, input=input, timeout=timeout)
    codes = check_code if isinstance(check_code, tuple) else (check_code,)
    if done.returncode not in codes:
        raise AssertionError(f"haversack {' '.join(map(str, args))} ended with {done.returncode}: {done.stderr.strip()[-1500:]} {done.stdout[-500:]}")
    return json.loads(done.stdout) if done.stdout.strip() else None


def cli_raw(*args, env=None, input=None, timeout=300):
    return subprocess.run([BIN, *map(str, args)], capture_output=True, text=True, timeout=timeout, input=input if input is not None else "",
                          env={**os.environ, "XDG_CONFIG_HOME": CONFIG, "NO_COLOR": "1", **(env or {})})


CONFIG = tempfile.mkdtemp(prefix="haversack-config-")
atexit.register(shutil.rmtree, CONFIG, ignore_errors=True)


class Server:
    """`haversack serve` on a free port. The data directory outlives `kill`, so that a restart continues it."""

    USER, PASSWORD = "editor", "secret"

    def __init__(self, data=None, sample=True, extra=(), env=None):
        self.data = data or os.path.join(folder(), "data")
        self.extra, self.sample, self.env = list(extra), sample, env or {}
        self.port = 0
        self.start()

    def start(self):
        args = [BIN, "--json", "serve", self.data, "--port", str(self.port), "--user", self.USER, "--password", self.PASSWORD]
        args += (["--sample"] if self.sample else []) + self.extra
        self.log = open(self.data.rstrip("/") + ".log", "ab")
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=self.log, stdin=subprocess.DEVNULL, text=True, env={**os.environ, **self.env})
        _children.append(self.process)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the server did not start: " + open(self.log.name, errors="replace").read()[-1500:])
        self.port = int(urllib.parse.urlsplit(json.loads(line)["url"]).port)
        # Its further output must not fill the pipe.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        wait_until(lambda: self.healthy(), 20, "/health")
        return self

    def healthy(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; gives the seconds that it took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        return time.monotonic() - begun

    @property
    def http(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def https(self):
        return f"https://127.0.0.1:{self.port}"

    def service(self, name="WildfireSync", base=None):
        return f"{base or self.http}/arcgis/rest/services/{name}/FeatureServer"

    def token(self):
        answer = post(f"{self.http}/arcgis/sharing/rest/generateToken", username=self.USER, password=self.PASSWORD, client="referer", referer="http", expiration=60)
        return answer["token"]


# ---------------------------------------------------------------- requests

def post(url, timeout=60, **fields):
    """POST form, f=json; gives the document, error documents included."""
    fields.setdefault("f", "json")
    data = urllib.parse.urlencode({k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items() if v is not None}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=timeout) as answer:
        return json.loads(answer.read())


def get(url, timeout=60, **fields):
    fields.setdefault("f", "json")
    query = urllib.parse.urlencode({k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()})
    with urllib.request.urlopen(f"{url}?{query}", timeout=timeout) as answer:
        return json.loads(answer.read())


def good(document):
    """The document, if it is not an error."""
    if isinstance(document, dict) and "error" in document:
        raise AssertionError(f"the server answered {document['error']}")
    return document


def rows(service, layer=0, where="1=1", token=None, timeout=60):
    """All rows of a layer by GlobalID: attributes and geometry."""
    found, offset = {}, 0
    while True:
        page = good(post(f"{service}/{layer}/query", where=where, outFields="*", returnGeometry="true", resultOffset=str(offset), token=token, timeout=timeout))
        for feature in page["features"]:
            found[feature["attributes"]["GlobalID"].strip("{}").lower()] = feature
        offset += len(page["features"])
        if not page.get("exceededTransferLimit") or not page["features"]:
            return found


def guid():
    return "{" + str(uuid.uuid4()).upper() + "}"


# ---------------------------------------------------------------- replica files

def tables(path):
    """Layer and table names of a GeoPackage, in order."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return [name for (name,) in db.execute("SELECT table_name FROM gpkg_contents WHERE data_type IN ('features', 'attributes') ORDER BY rowid")]


def sql(path, statement, *values, timeout=30):
    """Runs one statement as any program would, and commits."""
    with contextlib.closing(sqlite3.connect(path, timeout=timeout)) as db:
        found = db.execute(statement, values).fetchall()
        db.commit()
        return found


def integrity(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA integrity_check").fetchone()[0]


# ---------------------------------------------------------------- a proxy that breaks things

class FaultProxy:
    """Forwards TCP to a server on this machine and breaks connections on demand.

    `cut_up` / `cut_down`: close both sides after so many bytes towards or from the server (counted per connection).
    `hold_down`: stand still after so many bytes from the server (of all connections), until `heal`; `held` is set then.
    `swallow`: a function of the request's first bytes; if true, the request reaches the server, the answer is thrown away.
    """

    def __init__(self, port):
        self.target = port
        self.cut_up = self.cut_down = self.hold_down = None
        self.held = threading.Event()
        self.swallow = None
        self.swallowed = self.cuts = self.connections = 0
        self.bytes_down = self.bytes_up = self.epoch = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def http(self):
        return f"http://127.0.0.1:{self.port}"

    def count_anew(self):
        """From here on only the bytes of new connections count."""
        self.epoch += 1
        self.bytes_down = self.bytes_up = 0

    def heal(self):
        self.cut_up = self.cut_down = self.hold_down = self.swallow = None

    def close(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            client.close()
            return
        state = {"swallow": False}
        epoch = self.epoch

        def pump(source, sink, up):
            passed = 0
            try:
                while True:
                    data = source.recv(65536)
                    if not data:
                        break
                    if up and self.swallow and self.swallow(data):
                        state["swallow"] = True
                    if not up and state["swallow"]:
                        # The server has answered: the request took effect. The client hears nothing.
                        self.swallowed += 1
                        self.swallow = None
                        break
                    limit = self.cut_up if up else self.cut_down
                    if limit is not None and passed + len(data) > limit:
                        sink.sendall(data[: max(0, limit - passed)])
                        self.cuts += 1
                        break
                    hold = None if up or epoch != self.epoch else self.hold_down
                    if hold is not None and self.bytes_down + len(data) > hold:
                        room = max(0, hold - self.bytes_down)
                        sink.sendall(data[:room])
                        data = data[room:]
                        self.held.set()
                        while self.hold_down is not None:
                            threading.Event().wait(0.02)
                    sink.sendall(data)
                    passed += len(data)
                    if epoch != self.epoch:
                        continue
                    if up:
                        self.bytes_up += len(data)
                    else:
                        self.bytes_down += len(data)
            except OSError:
                pass
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        threads = [threading.Thread(target=pump, args=(client, server, True), daemon=True), threading.Thread(target=pump, args=(server, client, False), daemon=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()
        server.close()


def unverified():
    """A TLS context for the self-made certificate of a fresh data directory."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
