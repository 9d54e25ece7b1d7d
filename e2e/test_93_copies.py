"""Copies between two real servers: killed on either side at many points, natively, by prepared file and by ArangoDB's protocol; the commands from a server
that speaks nothing else; and the script of docs/from-arangodb.md as it is printed.
"""
import base64
import contextlib
import http.client
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import harness
from harness import BIN, FaultProxy, Server, check, cli, cli_raw, equal, folder, test, wait_until

BASIC = "Basic " + base64.b64encode(f"{Server.USER}:{Server.PASSWORD}".encode()).decode()
LOGIN = {"HAVERSACK_USER": Server.USER, "HAVERSACK_PASSWORD": Server.PASSWORD}
POINTS = 5
LARGE = 60_000  # documents; a secondary writes down every 20,000 of them


def ask(server, method, path, body=None, timeout=120):
    """A request as ArangoDB's clients make them: status and body."""
    data = None if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    request = urllib.request.Request(server.http + path, data=data, method=method, headers={"Authorization": BASIC})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


class Hiding:
    """A way to a server on which it looks like one that speaks only ArangoDB's protocols."""

    def __init__(self, port):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self):
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                if self.path.startswith("/v1"):
                    self.answer(404, [], b'{"error":true,"code":404,"errorNum":404,"errorMessage":"unknown path"}')
                    return
                try:
                    there = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                    kept = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
                    there.request(self.command, self.path, body=body, headers=kept)
                    told = there.getresponse()
                    self.answer(told.status, told.getheaders(), told.read().replace(b'"haversack":', b'"other":'))
                    there.close()
                except OSError:
                    self.close_connection = True

            def answer(self, status, headers, body):
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_DELETE = forward

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def fill(server, version, count=4000, text=lambda: "x" * 80):
    lines = "\n".join(json.dumps({"_key": f"k{n}", "n": n, "version": version, "text": text()}) for n in range(count))
    status, told = ask(server, "POST", "/_api/import?collection=c&type=documents&onDuplicate=replace", lines)
    assert status == 201 and told["errors"] == 0, told


def checksum(server):
    status, told = ask(server, "GET", "/_api/collection/c/checksum?withRevisions=true&withData=true")
    return told["checksum"] if status == 200 else None


def order(server, port, incremental, patience=8):
    return ask(server, "PUT", "/_api/replication/sync", {
        "endpoint": f"tcp://127.0.0.1:{port}", "username": Server.USER, "password": Server.PASSWORD, "restrictType": "include",
        "restrictCollections": ["c"], "incremental": incremental, "initialSyncMaxWaitTime": patience})


def killed_at_every_step(natively):
    primary = Server(sample=False)
    secondary = Server(sample=False, extra=["--allow-endpoint", "tcp://127.0.0.1:*"])
    ask(primary, "POST", "/_api/collection", {"name": "c"})
    way = primary if natively else Hiding(primary.port)
    proxy = FaultProxy(way.port)
    version = 0
    for incremental in (False, True):
        for victim in ("secondary", "primary", "primary, restarted at once"):
            version += 1
            fill(primary, version)
            proxy.count_anew()
            status, told = order(secondary, proxy.port, incremental)
            equal(f"an undisturbed order ({incremental=})", (status, checksum(secondary)), (200, checksum(primary)))
            whole = proxy.bytes_down
            ends = []
            for point in range(POINTS):
                version += 1
                fill(primary, version)
                old, new = checksum(secondary), checksum(primary)
                assert old != new
                proxy.count_anew()
                proxy.held.clear()
                proxy.hold_down = max(1, whole * point // POINTS)
                answered = []
                # A primary that stays dead is not asked again: that wait would show nothing.
                asked = (secondary, proxy.port, incremental, 1.9 if victim == "primary" and not natively else 8)
                ordering = threading.Thread(target=lambda: answered.append(order_or_cut(*asked)), daemon=True)
                ordering.start()
                wait_until(proxy.held.is_set, 60, "the way standing still")
                if victim == "secondary":
                    secondary.kill()
                    proxy.heal()
                    ordering.join(60)
                    secondary.start()
                else:
                    primary.kill()
                    if victim != "primary":
                        primary.start()
                    proxy.heal()
                    ordering.join(90)
                    assert answered and answered[0], "the order was never answered"
                found = checksum(secondary)
                assert found in (old, new), f"{victim} at {point}: neither the old nor the new"
                if answered and answered[0]:
                    status, told = answered[0]
                    assert (found == new) == (status == 200), f"{victim} at {point}: {status} {told}"
                    assert status == 200 or told["errorNum"] in (1400, 1401, 1402), told
                ends.append("new" if found == new else "old")
                if victim == "primary":
                    primary.start()
                status, told = order(secondary, proxy.port, incremental)
                assert status == 200 and checksum(secondary) == new, f"{victim} at {point}, ordered again: {told}"
            check(f"{victim} killed at {POINTS} points ({incremental=}): the old or the new, then the new ({' '.join(ends)})", True)
    pins = ask(primary, "GET", "/_api/replication/logger-state")[1]["clients"]
    check("no more batches than a kill can leave behind", len(pins) <= 2 * POINTS * 2, pins)


def order_or_cut(server, port, incremental, patience=8):
    try:
        return order(server, port, incremental, patience)
    except (OSError, http.client.HTTPException):
        return None


@test
def either_side_is_killed_at_every_step_of_a_native_copy():
    killed_at_every_step(natively=True)


@test
def either_side_is_killed_at_every_step_of_a_copy_by_arangodb_protocols():
    killed_at_every_step(natively=False)


def sizes(folder, ending):
    """Bytes of the files with that ending, the largest first."""
    found = []
    for one in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):
            found += [one.stat().st_size] if one.name.endswith(ending) else []
    return sorted(found, reverse=True)


@test
def either_side_is_killed_at_every_step_of_a_first_copy_by_a_prepared_file():
    primary = Server(sample=False)
    secondary = Server(sample=False, extra=["--allow-endpoint", "tcp://127.0.0.1:*"])
    ask(primary, "POST", "/_api/collection", {"name": "c"})
    # Text that hardly compresses: how far the way is until it stands still is the same for either kind of part.
    fill(primary, 1, 24_000, lambda: os.urandom(40).hex())
    new = checksum(primary)
    proxy = FaultProxy(primary.port)
    files, services = os.path.join(primary.data, "files"), os.path.join(secondary.data, "services")

    def begin():
        """Orders a first copy; gives the thread and what it is answered."""
        ask(secondary, "DELETE", "/_api/collection/c")
        proxy.count_anew()
        answered = []
        ordering = threading.Thread(target=lambda: answered.append(order_or_cut(secondary, proxy.port, False)), daemon=True)
        ordering.start()
        return ordering, answered

    def restart(victim, ordering):
        victim.kill()
        proxy.heal()
        if victim is secondary:
            ordering.join(60)
        victim.start()
        ordering.join(90)

    def old_or_new(what, answered):
        found = checksum(secondary)
        assert found in (None, new), f"{what}: neither nothing nor all"
        assert not answered[0] or answered[0][0] != 200 or found == new, f"{what}: {answered[0]}"
        proxy.count_anew()
        status, told = order(secondary, proxy.port, False)
        assert status == 200 and checksum(secondary) == new, f"{what}, ordered again: {told}"
        assert not sizes(services, ".part"), f"{what}: what arrived is still there"
        return proxy.bytes_down

    ordering, answered = begin()
    complete = wait_until(lambda: sizes(files, ".sqlite"), 60, "the file") and None
    ended = begun = None
    while ordering.is_alive():
        part, whole = sizes(services, ".part"), sizes(files, ".sqlite")
        if not begun and part and whole and part[0] == whole[0] > 1_000_000:
            begun, complete = time.monotonic(), part[0]
        if begun and not part:
            ended = ended or time.monotonic()
    if sys.platform == "linux":
        environment = open(f"/proc/{secondary.process.pid}/environ", "rb").read().split(b"\0")
        check("a server keeps memory for few threads", b"MALLOC_ARENA_MAX=2" in environment)
    check("an undisturbed copy is a file", answered[0][0] == 200 and checksum(secondary) == new and complete, answered)
    taking = (ended or time.monotonic()) - begun

    ordering, answered = begin()
    wait_until(lambda: sizes(files, ".sqlite"), 60, "the file")
    primary.kill()
    prepared = sizes(files, ".sqlite")[0]
    primary.start()
    ordering.join(90)
    old_or_new("the primary, preparing", answered)
    check(f"the primary killed while it prepared the file ({prepared} of {complete} bytes written): nothing, then all", True)

    for victim, name in ((primary, "primary"), (secondary, "secondary")):
        again = []
        for point in (400_000, 2_000_000):
            proxy.held.clear()
            proxy.hold_down = point
            ordering, answered = begin()
            wait_until(proxy.held.is_set, 60, "the way standing still")
            wait_until(lambda: max(sizes(services, ".part"), default=0) > 200_000, 60, "some of the file")
            arrived = sizes(services, ".part")[0]
            restart(victim, ordering)
            carried = old_or_new(f"the {name} at {point}", answered)
            again.append(f"{arrived} + {carried}")
            assert carried < complete - arrived + 100_000, f"{name} at {point}: the order did not go on: {again}"
        check(f"the {name} killed while the file was fetched: the next order went on (bytes {', '.join(again)} of {complete})", True)

    ends = []
    for point in (0, 0.4, 0.8):
        ordering, answered = begin()
        wait_until(lambda: sizes(services, ".part") == [complete], 60, "the whole file")
        time.sleep(taking * point)
        restart(secondary, ordering)
        ends.append("new" if checksum(secondary) == new else "nothing")
        old_or_new(f"the secondary, taking over, at {point}", answered)
    check(f"the secondary killed while it took the file over: nothing or all ({' '.join(ends)})", True)


@test
def either_side_is_killed_amid_a_large_dump_and_the_next_order_goes_on():
    primary = Server(sample=False)
    secondary = Server(sample=False, extra=["--allow-endpoint", "tcp://127.0.0.1:*"])
    ask(primary, "POST", "/_api/collection", {"name": "c"})
    proxy = FaultProxy(Hiding(primary.port).port)
    text = lambda: os.urandom(40).hex()
    fill(primary, 0, LARGE, text)
    proxy.count_anew()
    status, told = order(secondary, proxy.port, False)
    equal("an undisturbed dump", (status, checksum(secondary)), (200, checksum(primary)))
    whole = proxy.bytes_down
    for version, (victim, name) in enumerate(((secondary, "secondary"), (primary, "primary")), 1):
        fill(primary, version, LARGE, text)
        old, new = checksum(secondary), checksum(primary)
        proxy.count_anew()
        proxy.held.clear()
        proxy.hold_down = whole * 9 // 10
        answered = []
        # A primary that is gone for longer than anyone waits: an order that finds it back goes on by itself.
        asked = (secondary, proxy.port, False, 8 if victim is secondary else 1.9)
        ordering = threading.Thread(target=lambda: answered.append(order_or_cut(*asked)), daemon=True)
        ordering.start()
        wait_until(proxy.held.is_set, 60, "the way standing still")
        victim.kill()
        proxy.heal()
        ordering.join(90)
        victim.start()
        assert checksum(secondary) == old, f"the {name} killed: not the old"
        assert victim is secondary or answered[0][0] != 200, answered
        proxy.count_anew()
        status, told = order(secondary, proxy.port, False)
        check(f"ordered again after the {name} was killed", (status, checksum(secondary)) == (200, new), told)
        check(f"the {name} killed amid a dump of {LARGE} documents: the next order carried {proxy.bytes_down} bytes of {whole}",
              proxy.bytes_down < whole * 9 // 10)


@test
def a_first_pull_that_is_killed_leaves_nothing_that_is_seen():
    primary, secondary = Server(sample=False), Server(sample=False, extra=["--allow-endpoint", "tcp://127.0.0.1:*"])
    ask(primary, "POST", "/_api/collection", {"name": "c"})
    # An empty database beside it, so that its file is there.
    ask(secondary, "GET", "/_api/collection")
    fill(primary, 1, 6000)
    new, login = checksum(primary), {"user": Server.USER, "password": Server.PASSWORD}

    def pull(way):
        asked = {"from": f"tcp://127.0.0.1:{way.port}", "max_wait_s": 5, "login": login}
        return ask(secondary, "POST", "/v1/services/_system/collections/c/pull", asked)[1]["id"]

    def ended(job):
        told = ask(secondary, "GET", f"/v1/jobs/{job}")[1]
        return told if told["status"] in ("Completed", "Failed") else None

    def seen():
        native = [one["name"] for one in ask(secondary, "GET", "/v1/services/_system")[1]["service"]["collections"]]
        listed = [one["name"] for one in ask(secondary, "GET", "/_api/collection")[1]["result"]]
        assert native == listed, (native, listed)
        assert checksum(secondary) in ((new,) if "c" in native else (None,)), "it is seen, and not whole"
        return native

    proxy = FaultProxy(primary.port)
    job = pull(proxy)
    equal("an undisturbed pull", wait_until(lambda: ended(job), 60, "the job")["status"], "Completed")
    whole = proxy.bytes_down
    for victim, name in ((secondary, "secondary"), (primary, "primary")):
        ends = []
        for point in range(POINTS):
            ask(secondary, "DELETE", "/_api/collection/c")
            # A way of its own: connections to the other are kept and were counted.
            proxy = FaultProxy(primary.port)
            proxy.hold_down = max(1, whole * point // POINTS)
            job = pull(proxy)
            wait_until(proxy.held.is_set, 60, "the way standing still")
            victim.kill()
            if victim is primary:
                proxy.heal()
                wait_until(lambda: ended(job), 60, "the job to fail")
                ends.append(seen())
            proxy.heal()
            victim.start()
            ends.append(seen())
            job = pull(primary)
            told = wait_until(lambda: ended(job), 60, "the job")
            assert told["status"] == "Completed" and seen() == ["c"], f"{name} at {point}, pulled again: {told}"
        check(f"the {name} killed at {POINTS} points of a first pull: nothing or all is seen, then all", all(one in ([], ["c"]) for one in ends), ends)


@test
def the_commands_work_from_a_server_that_speaks_only_arangodb():
    primary, secondary = Server(sample=False), Server(sample=False)
    ask(primary, "POST", "/_api/collection", {"name": "c"})
    fill(primary, 1, 500)
    way = ["--from", f"tcp://127.0.0.1:{Hiding(primary.port).port}", "--data", secondary.data, "--max-wait", "20"]
    first = cli("pull", "c", *way, env=LOGIN)
    equal("the first copy", (first["created"], first["walk"]["inserted"], "tick" in first), (True, 500, True))
    equal("it has the revisions", checksum(secondary), checksum(primary))
    ask(primary, "DELETE", "/_api/document/c/k1")
    ask(primary, "POST", "/_api/document/c", {"_key": "new"})
    ask(secondary, "PATCH", "/_api/document/c/k2", {"n": -2})
    before = checksum(secondary)
    expected = [{"key": "k1", "change": "remove"}, {"key": "k2", "change": "replace"}, {"key": "new", "change": "insert"}]
    equal("a dry run", cli("pull", "c", *way, "--dry-run", env=LOGIN, check_code=3)["differences"], expected)
    equal("a comparison", cli("compare", "c", *way, env=LOGIN, check_code=3)["differences"], expected)
    equal("changes nothing", checksum(secondary), before)
    job = cli("pull", "c", *way, "--incremental", "--async", env=LOGIN)["job"]
    done = cli("job", job, "--wait", "--data", secondary.data)
    equal("a job does it", (done["result"]["walk"]["inserted"], done["result"]["walk"]["removed"], checksum(secondary)), (1, 1, checksum(primary)))
    equal("then nothing differs", cli("compare", "c", *way, env=LOGIN)["differences"], [])
    follow = subprocess.Popen([BIN, "pull", "c", *way, "--incremental", "--follow"], env={**os.environ, **LOGIN, "XDG_CONFIG_HOME": harness.CONFIG}, stdout=subprocess.DEVNULL)
    harness._children.append(follow)
    for n in range(3):
        ask(primary, "POST", "/_api/document/c", {"_key": f"followed{n}"})
        wait_until(lambda: checksum(secondary) == checksum(primary), 30, "the copy to follow")
    check("it follows", follow.poll() is None)
    follow.kill()
    refused = cli_raw("pull", "c", *way, "--deep", env=LOGIN)
    check("what cannot be done is said", refused.returncode != 0 and "--deep" in refused.stderr, refused.stderr)


@test
def a_pull_follows_a_primary_with_a_certificate_of_its_own():
    primary, secondary = Server(sample=False), Server(sample=False)
    ask(primary, "POST", "/_api/collection", {"name": "c"})
    fill(primary, 1, 500)
    way = ["--from", f"ssl://127.0.0.1:{primary.port}", "--data", secondary.data]
    refused = cli_raw("pull", "c", *way, env=LOGIN)
    check("its certificate is unknown", refused.returncode != 0 and "cannot be reached" in refused.stderr, refused.stderr)
    way += ["--ca", os.path.join(primary.data, "certificate.pem")]
    equal("it is named", cli("pull", "c", *way, env=LOGIN)["walk"]["inserted"], 500)
    equal("a comparison", cli("compare", "c", *way, env=LOGIN)["differences"], [])
    follow = subprocess.Popen([BIN, "pull", "c", *way, "--follow"], env={**os.environ, **LOGIN, "XDG_CONFIG_HOME": harness.CONFIG}, stdout=subprocess.DEVNULL)
    harness._children.append(follow)
    for n in range(5):
        ask(primary, "POST", "/_api/document/c", {"_key": f"followed{n}"})
        wait_until(lambda: checksum(secondary) == checksum(primary), 20, "the copy to follow")
    check("it follows", follow.poll() is None)
    follow.kill()


@test
def the_script_for_moving_house_runs_as_it_is_printed():
    page = open(os.path.join(harness.HERE, "..", "docs", "from-arangodb.md"), encoding="utf-8").read()
    script = re.search(r"```sh\n(.*?)```", page, re.S).group(1)
    for printed in ("8529", "8530"):
        with harness.socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        script = script.replace(printed, str(port))
    path = os.path.join(folder(), "bin")
    os.mkdir(path)
    os.symlink(os.path.abspath(BIN), os.path.join(path, "haversack"))
    env = {**os.environ, "PATH": path + os.pathsep + os.environ["PATH"], "TMPDIR": folder()}
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=120, env=env)
    equal("it ends well", done.returncode, 0)
    sums = re.findall(r'"checksum":"([^"]+)"', done.stdout)
    check("it tells two equal checksums", len(sums) == 2 and sums[0] == sums[1], done.stdout[-800:] + done.stderr[-400:])
    check("and what was copied", '"lastLogTick"' in done.stdout and '"name":"test"' in done.stdout, done.stdout[-800:])


harness.run()
