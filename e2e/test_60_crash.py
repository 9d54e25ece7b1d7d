"""kill -9 of the server and of the client at any moment: both recover, and no acknowledged edit is lost."""
import os
import random
import subprocess
import threading
import time

import harness as h

RANDOM = random.Random(int(os.environ.get("HAVERSACK_E2E_SEED", "20261122")))
SECONDS = float(os.environ.get("HAVERSACK_CRASH_SECONDS", "20"))


def wait(seconds):
    """Lets a real process run for a moment before it is killed: the moment is what this test is about."""
    threading.Event().wait(seconds)


@h.test
def a_killed_server_keeps_every_edit_that_it_acknowledged():
    server = h.Server()
    acked, counter, kills = {}, 0, 0
    stop = threading.Event()

    def writer(number):
        nonlocal counter
        mine = 0
        while not stop.is_set():
            mine += 1
            gid, name = h.guid(), f"writer {number} edit {mine}"
            try:
                answer = h.post(f"{server.service()}/0/applyEdits", timeout=10, useGlobalIds="true",
                                adds=[{"attributes": {"GlobalID": gid, "name": name}, "geometry": {"x": mine, "y": number}}])
            except (OSError, ValueError):
                stop.wait(0.01)
                continue
            if answer.get("addResults", [{}])[0].get("success"):
                acked[gid.strip("{}").lower()] = name

    writers = [threading.Thread(target=writer, args=(n,), daemon=True) for n in range(4)]
    for thread in writers:
        thread.start()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        wait(RANDOM.uniform(0.2, 1.0))
        server.kill()
        kills += 1
        server.start()
    stop.set()
    for thread in writers:
        thread.join()
    rows = h.rows(server.service())
    lost = [gid for gid, name in acked.items() if gid not in rows or rows[gid]["attributes"]["name"] != name]
    h.check(f"{kills} kills, {len(acked)} acknowledged edits, none lost", not lost and len(acked) > 20 and kills > 5, lost[:3])
    server.stop()
    for name in sorted(os.listdir(os.path.join(server.data, "services"))):
        if name.endswith(".gpkg"):
            h.equal(f"{name} is sound", h.integrity(os.path.join(server.data, "services", name)), "ok")


@h.test
def a_killed_client_goes_on_where_it_was():
    server = h.Server()
    path = os.path.join(h.folder(), "field.gpkg")
    h.cli("checkout", server.service(), "-o", path, "--layers", "0")
    table = h.cli("status", path)["layers"][0]["table"]
    gids = [gid for (gid,) in h.sql(path, f'SELECT GlobalID FROM "{table}" ORDER BY OBJECTID')]
    wanted, kills, edit = {}, 0, 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for gid in RANDOM.sample(gids, 20):
            edit += 1
            wanted[gid.strip("{}").lower()] = f"edit {edit}"
            h.sql(path, f'UPDATE "{table}" SET name = ? WHERE GlobalID = ?', f"edit {edit}", gid)
        child = subprocess.Popen([h.BIN, "sync", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        wait(RANDOM.uniform(0.0, 0.15))
        if child.poll() is None:
            child.kill()
            kills += 1
        child.wait()
        if RANDOM.random() < 0.2:
            server.kill()
            server.start()
    h.cli("sync", path)
    rows = h.rows(server.service())
    lost = [gid for gid, name in wanted.items() if rows[gid]["attributes"]["name"] != name]
    h.check(f"{kills} kills in {edit} edits: every last edit is on the server", not lost and kills > 5, lost[:3])
    document = h.cli("verify", path)
    h.check("file and server are equal", document["equal"], document)
    h.equal("the file is sound", h.integrity(path), "ok")


@h.test
def a_checkout_that_was_killed_can_be_made_again():
    server = h.Server()
    for _ in range(6):
        path = os.path.join(h.folder(), "again.gpkg")
        child = subprocess.Popen([h.BIN, "checkout", server.service(), "-o", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        wait(RANDOM.uniform(0.0, 0.2))
        child.kill()
        child.wait()
        if not os.path.exists(path):
            h.cli("checkout", server.service(), "-o", path)
        document = h.cli("verify", path)
        h.check("the file is whole or it is not there", document["equal"], document)


@h.test
def a_checkout_over_the_geoservices_wire_is_whole_or_not_there():
    server = h.Server()
    path = os.path.join(h.folder(), "foreign.gpkg")
    command = [h.BIN, "checkout", server.service("Ports"), "-o", path, "--geoservices", "--user", server.USER]
    login = ("--user", server.USER, "--password-stdin")
    for attempt in range(3):
        if os.path.exists(path):
            break  # The one before was done when it was killed.
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env={**os.environ, "HAVERSACK_PASSWORD": server.PASSWORD})
        # The file exists and its rows are being written.
        h.wait_until(lambda: child.poll() is not None or any(not n.endswith(".part") for n in os.listdir(os.path.dirname(path))), 60, "a file")
        child.kill()
        child.wait()
        whole = not os.path.exists(path) or h.cli("verify", path, *login, input=server.PASSWORD + "\n")["equal"]
        h.check(f"kill {attempt} leaves a whole file or none of that name", whole, os.listdir(os.path.dirname(path)))
    if not os.path.exists(path):
        h.cli("checkout", server.service("Ports"), "-o", path, "--geoservices", *login, input=server.PASSWORD + "\n")
    h.check("the same command makes it", h.cli("verify", path, *login, input=server.PASSWORD + "\n")["equal"])
    # One that was killed when the file had just got its name has no reserve yet.
    h.cli("sync", path, *login, input=server.PASSWORD + "\n")
    h.equal("nothing is left beside it but its reserve", sorted(os.listdir(os.path.dirname(path))), ["foreign.gpkg", "foreign.gpkg-reserve"])


@h.test
def a_checkout_that_was_killed_goes_on_where_it_was():
    server = h.Server()
    proxy = h.FaultProxy(server.port)
    service = server.service(base=proxy.http)
    for compress in ("never", "always"):
        options = ["--attachments", "--compress", compress]
        proxy.count_anew()
        whole = os.path.join(h.folder(), "whole.gpkg")
        h.cli("checkout", service, "-o", whole, *options)
        travelled, size = proxy.bytes_down, os.path.getsize(whole)
        known = len(h.cli("replicas", service))
        path = os.path.join(h.folder(), "field.gpkg")
        arrived = 0
        for kill in (1, 2):
            proxy.count_anew()
            proxy.hold_down = travelled // 3
            proxy.held.clear()
            child = subprocess.Popen([h.BIN, "checkout", service, "-o", path, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
            h.check(f"{compress}: it is under way", proxy.held.wait(60) and child.poll() is None)
            part, tries = path + ".part", 0
            while os.path.getsize(part) <= arrived and tries < 1000:
                tries += 1
                wait(0.02)
            child.kill()
            child.wait()
            proxy.heal()
            h.check(f"{compress}: there is no half file under the name", not os.path.exists(path))
            before, arrived = arrived, os.path.getsize(part)
            h.check(f"{compress}: kill {kill} left more than there was", arrived > before, [before, arrived])
        proxy.count_anew()
        h.cli("checkout", service, "-o", path, *options)
        missing = travelled * (size - arrived) / size
        h.check(f"{compress}: what had arrived was not sent again", proxy.bytes_down < missing + 64 * 1024, [proxy.bytes_down, missing])
        h.equal(f"{compress}: one registration more, not three", len(h.cli("replicas", service)), known + 1)
        h.equal(f"{compress}: nothing is left beside it but its reserve", sorted(os.listdir(os.path.dirname(path))), ["field.gpkg", "field.gpkg-reserve"])
        document = h.cli("verify", path)
        h.check(f"{compress}: file and server are equal", document["equal"], document)


@h.test
def a_killed_server_begins_an_import_anew_and_loads_nothing_twice():
    server = h.Server(sample=False)
    count = 60_000
    path = os.path.join(h.folder(), "many.geojson")
    with open(path, "w") as file:
        features = (f'{{"type":"Feature","properties":{{"n":{n}}},"geometry":{{"type":"Point","coordinates":[{n % 180},{n % 90}]}}}}' for n in range(count))
        file.write('{"type":"FeatureCollection","features":[' + ",".join(features) + "]}")
    client = subprocess.Popen([h.BIN, "import", path, "--service", "Many", "--data", server.data], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    services = os.path.join(server.data, "services")

    def under_way():
        """Bytes of the service that is being made, which nobody sees yet."""
        total = 0
        for folder, _, names in os.walk(services):
            for name in names if os.path.basename(folder).startswith(".new-") else []:
                with h.contextlib.suppress(OSError):
                    total += os.path.getsize(os.path.join(folder, name)) if "reserve" not in name else 0
        return total

    for _ in range(2):
        h.wait_until(lambda: under_way() > 1_000_000, 120, "an import that is under way")
        server.kill()
        h.check("it was killed in the middle, and nothing of it is published", not os.path.exists(os.path.join(services, "Many.gpkg")))
        server.start()
    client.kill()
    client.wait()
    h.wait_until(lambda: os.path.exists(os.path.join(services, "Many.gpkg")), 120, "the service")
    rows = h.rows(server.service("Many"), token=server.token())
    h.equal("every row once", (len(rows), len({r["attributes"]["n"] for r in rows.values()})), (count, count))
    h.equal("nothing half made is left", under_way(), 0)


@h.test
def a_torn_write_ahead_log_keeps_a_clean_beginning():
    server = h.Server()
    path = os.path.join(h.folder(), "torn.gpkg")
    h.cli("checkout", server.service(), "-o", path, "--layers", "0")
    table = h.cli("status", path)["layers"][0]["table"]
    server.stop()  # what was there before lies in the main file: only later commits can be torn off
    torn = 0
    for _ in range(5):
        server.start()
        for i in range(20):
            h.good(h.post(f"{server.service()}/0/addFeatures", features=[{"attributes": {"name": f"torn {i}"}, "geometry": {"x": i, "y": i}}]))
        server.kill()
        log = os.path.join(server.data, "services", "WildfireSync.gpkg-wal")
        if os.path.exists(log) and os.path.getsize(log) > 4096:
            with open(log, "r+b") as file:
                file.truncate(RANDOM.randrange(32, os.path.getsize(log)))
            torn += 1
    server.start()
    h.check(f"the server opens after {torn} torn logs", torn > 0)
    count = len(h.rows(server.service()))
    h.check("and serves what was whole", count > 100, count)
    # The log lost commits that a replica may have seen: it must not differ in silence.
    h.sql(path, f'UPDATE "{table}" SET name = ? WHERE OBJECTID = (SELECT min(OBJECTID) FROM "{table}")', "after the tear")
    h.cli("sync", path, check_code=(0, 3))
    document = h.cli("verify", path)
    h.check("a replica ends up equal", document["equal"], document)
    server.stop()
    h.equal("the file is sound", h.integrity(os.path.join(server.data, "services", "WildfireSync.gpkg")), "ok")


h.run()
