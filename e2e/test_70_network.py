"""Connections cut after any number of bytes, answers lost, half-sent files: a sync goes on where it was."""
import os

import harness as h

SERVER = h.Server()


def proxied(proxy):
    return SERVER.service(base=proxy.http)


def edit_some(path, table, word, count=30):
    with h.contextlib.closing(h.sqlite3.connect(path)) as db:
        rows = db.execute(f'SELECT GlobalID FROM "{table}" ORDER BY OBJECTID LIMIT ?', (count,)).fetchall()
        for (gid,) in rows:
            db.execute(f'UPDATE "{table}" SET name = ? WHERE GlobalID = ?', (word, gid))
        db.commit()
    return [gid.strip("{}").lower() for (gid,) in rows]


def until_through(proxy, path, cut, start, step):
    """Syncs again and again through connections that live a little longer each time; gives the number of tries."""
    limit, tries = start, 0
    while True:
        setattr(proxy, cut, limit)
        tries += 1
        done = h.cli_raw("--json", "sync", path, timeout=120)
        if done.returncode in (0, 3):
            proxy.heal()
            return tries
        if done.returncode != 5:
            raise AssertionError(f"a cut connection must end with code 5, not {done.returncode}: {done.stderr}")
        limit += step
        if tries > 60:
            raise AssertionError(f"no sync got through with {limit} bytes: {done.stderr}")


@h.test
def a_sync_survives_cuts_in_either_direction():
    proxy = h.FaultProxy(SERVER.port)
    path = os.path.join(h.folder(), "cut.gpkg")
    h.cli("checkout", proxied(proxy), "-o", path, "--layers", "0")
    table = h.cli("status", path)["layers"][0]["table"]
    for cut, start, step in (("cut_up", 60, 331), ("cut_down", 40, 257)):
        gids = edit_some(path, table, f"through {cut}")
        tries = until_through(proxy, path, cut, start, step)
        rows = h.rows(SERVER.service())
        h.check(f"{cut}: all edits arrived after {tries} tries", tries > 1 and all(rows[g]["attributes"]["name"] == f"through {cut}" for g in gids), tries)
        document = h.cli("verify", path)
        h.check(f"{cut}: file and server are equal", document["equal"], document)


@h.test
def a_lost_answer_is_not_applied_twice():
    proxy = h.FaultProxy(SERVER.port)
    path = os.path.join(h.folder(), "lost.gpkg")
    h.cli("checkout", proxied(proxy), "-o", path, "--layers", "0", "--no-spatial-index")
    table = h.cli("status", path)["layers"][0]["table"]
    before = len(h.rows(SERVER.service()))
    h.sql(path, f'INSERT INTO "{table}" (geom, name) SELECT geom, ? FROM "{table}" LIMIT 5', "only once")
    proxy.swallow = lambda data: data.startswith(b"POST") and b"/batches/" in data[:300]
    done = h.cli_raw("--json", "sync", path)
    h.check("the answer was lost", proxy.swallowed == 1, proxy.swallowed)
    if done.returncode != 0:
        h.equal("the client says that the network failed", done.returncode, 5)
        h.cli("sync", path)
    h.equal("five rows more, not ten", len(h.rows(SERVER.service())), before + 5)
    document = h.cli("verify", path)
    h.check("file and server are equal", document["equal"], document)


@h.test
def a_checkout_goes_on_where_it_was_cut():
    proxy = h.FaultProxy(SERVER.port)
    whole = os.path.join(h.folder(), "whole.gpkg")
    h.cli("checkout", proxied(proxy), "-o", whole)
    size = proxy.bytes_down
    path = os.path.join(h.folder(), "resumed.gpkg")
    proxy.bytes_down = 0
    proxy.cut_down = size // 3
    tries = 0
    while tries < 20:
        tries += 1
        done = h.cli_raw("--json", "checkout", proxied(proxy), "-o", path)
        if done.returncode == 0:
            break
        h.check(f"try {tries} ends with the code of a broken network", done.returncode == 5, [done.returncode, done.stderr])
        h.check("and leaves no half file under the name", not os.path.exists(path))
    h.check(f"the checkout got through in {tries} tries although no connection carried it whole", done.returncode == 0, done.stderr)
    h.check("what had arrived was not fetched again", proxy.bytes_down < 2 * size, [proxy.bytes_down, size])
    proxy.heal()
    document = h.cli("verify", path)
    h.check("file and server are equal", document["equal"], document)


@h.test
def a_checkout_that_was_begun_waits_for_the_network():
    proxy = h.FaultProxy(SERVER.port)
    folder = h.folder()
    path = os.path.join(folder, "begun.gpkg")
    known = len(h.cli("replicas", SERVER.service(), "--user", SERVER.USER, "--password-stdin", input=SERVER.PASSWORD + "\n"))
    h.cli("checkout", proxied(proxy), "-o", os.path.join(folder, "whole.gpkg"), "--compress", "never")
    size = proxy.bytes_down
    proxy.count_anew()
    proxy.cut_down = size // 2
    # Every connection breaks there, and later ones do not even begin.
    stop = h.threading.Event()

    def tighten():
        while not stop.is_set():
            if proxy.cuts:
                proxy.cut_down = 0
            stop.wait(0.001)
    h.threading.Thread(target=tighten, daemon=True).start()
    h.equal("the first run is cut", h.cli_raw("checkout", proxied(proxy), "-o", path, "--compress", "never").returncode, 5)
    left = {name: open(os.path.join(folder, name), "rb").read() for name in os.listdir(folder)}
    arrived = len(left["begun.gpkg.part"])
    h.check("a part has arrived", 0 < arrived < size, arrived)
    for more in ([], ["--layers", "0"]):
        done = h.cli_raw("checkout", proxied(proxy), "-o", path, "--compress", "never", *more)
        h.equal("without a network the command says so", done.returncode, 5)
        h.equal("and everything stays as it was", {name: open(os.path.join(folder, name), "rb").read() for name in os.listdir(folder)}, left)
    stop.set()
    proxy.heal()
    proxy.count_anew()
    h.cli("checkout", proxied(proxy), "-o", path, "--compress", "never")
    h.check("with a network only what was missing is fetched", proxy.bytes_down < size - arrived + 64 * 1024, [proxy.bytes_down, size, arrived])
    h.equal("two registrations in all", len(h.cli("replicas", SERVER.service(), "--user", SERVER.USER, "--password-stdin", input=SERVER.PASSWORD + "\n")), known + 2)
    h.check("file and server are equal", h.cli("verify", path)["equal"])


@h.test
def a_server_that_is_away_is_said_so():
    path = os.path.join(h.folder(), "away.gpkg")
    h.cli("checkout", SERVER.service(), "-o", path, "--layers", "0")
    table = h.cli("status", path)["layers"][0]["table"]
    edit_some(path, table, "while it was away", 3)
    SERVER.stop()
    done = h.cli_raw("sync", path)
    h.equal("the code of a broken network", done.returncode, 5)
    h.check("a sentence without internals", done.stderr.strip() and "Error {" not in done.stderr, done.stderr)
    h.equal("the edits are still there", h.cli("status", path)["pending"], 3)
    SERVER.start()
    h.cli("sync", path)
    h.equal("and go out when it is back", h.cli("status", path)["pending"], 0)


h.run()
