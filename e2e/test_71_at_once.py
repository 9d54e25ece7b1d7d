"""Two programs at once, servers that stop answering or crawl, and a server put back to before the checkout: each ends with the old state or
the complete new one, and says which.
"""
import os
import shutil
import subprocess

import harness as h

SERVER = h.Server()
LOGIN = ("--user", SERVER.USER, "--password-stdin")
SECRET = SERVER.PASSWORD + "\n"


def start(*args):
    return subprocess.Popen([h.BIN, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env={**os.environ, "XDG_CONFIG_HOME": h.CONFIG, "NO_COLOR": "1"})


def ended(child):
    out, err = child.communicate(timeout=120)
    return child.returncode, out, err


def checkout(server=SERVER, base=None):
    path = os.path.join(h.folder(), "field.gpkg")
    h.cli("checkout", server.service(base=base), "-o", path, "--layers", "0", "--no-spatial-index")
    return path, h.cli("status", path)["layers"][0]["table"]


def named(server, name):
    return sum(row["attributes"]["name"] == name for row in h.rows(server.service()).values())


def registrations():
    return len(h.cli("replicas", SERVER.service(), *LOGIN, input=SECRET))


@h.test
def two_syncs_of_one_file_at_once_send_every_edit_once():
    path, table = checkout()
    for round in range(3):
        word = f"at once {round}"
        h.sql(path, f"""INSERT INTO "{table}" (geom, name) SELECT geom, '{word}' FROM "{table}" LIMIT 300""")
        h.sql(path, f"""UPDATE "{table}" SET remarks = '{word}' WHERE OBJECTID <= 300""")
        h.good(h.post(f"{SERVER.service()}/0/calculate", where="OBJECTID > 300 AND OBJECTID <= 350", calcExpression=[{"field": "remarks", "value": word}]))
        children = [start("sync", path) for _ in range(3)]
        for code, _, err in map(ended, children):
            h.check(f"round {round}: each sync ends well", code == 0, [code, err])
        h.equal(f"round {round}: each addition is there once", named(SERVER, word), 300)
        h.equal("nothing is pending", h.cli("status", path)["pending"], 0)
        h.check("file and server are equal", h.cli("verify", path)["equal"])
    h.equal("the file is sound", h.integrity(path), "ok")


@h.test
def two_checkouts_to_one_name_make_one_file_and_one_registration():
    for wire in ([], ["--geoservices"]):
        path = os.path.join(h.folder(), "field.gpkg")
        before = registrations()
        ends = [ended(child) for child in [start("checkout", SERVER.service(), "-o", path, *wire) for _ in range(3)]]
        h.check("one of them at least has made the file", 0 in [code for code, _, _ in ends], ends)
        for code, _, err in ends:
            h.check("the others say why not", code == 0 or "another checkout" in err or "already" in err, [code, err])
        h.check("file and server are equal", h.cli("verify", path)["equal"])
        h.equal("one registration more", registrations() - before, 1)
        h.equal("nothing is left beside it but its reserve", sorted(os.listdir(os.path.dirname(path))), ["field.gpkg", "field.gpkg-reserve"])


@h.test
def a_server_that_crawls_only_takes_longer():
    proxy = h.FaultProxy(SERVER.port)
    path, table = checkout(base=proxy.http)
    h.sql(path, f"""UPDATE "{table}" SET name = 'slowly' WHERE OBJECTID <= 50""")
    h.good(h.post(f"{SERVER.service()}/0/calculate", where="OBJECTID > 100", calcExpression=[{"field": "remarks", "value": "y" * 300}]))
    # A few kilobytes at a time, each after a rest.
    proxy.count_anew()
    proxy.hold_down = 2000
    stop = h.threading.Event()

    def crawl():
        while not stop.wait(0.05):
            if proxy.hold_down is not None:
                proxy.hold_down, _ = None, proxy.held.clear()
                stop.wait(0.03)
                proxy.hold_down = proxy.bytes_down + 2000
    h.threading.Thread(target=crawl, daemon=True).start()
    child = start("sync", path)
    code, _, err = ended(child)
    stop.set()
    proxy.heal()
    h.check("the sync ends well", code == 0, [code, err])
    h.equal("the edits arrived", named(SERVER, "slowly"), 50)
    h.check("file and server are equal", h.cli("verify", path)["equal"])


@h.test
def a_server_that_stops_in_the_middle_of_an_answer_is_not_waited_for_for_ever():
    proxy = h.FaultProxy(SERVER.port)
    path, table = checkout(base=proxy.http)
    for wire in ([], ["--geoservices"]):
        target = os.path.join(h.folder(), "stuck.gpkg")
        proxy.count_anew()
        proxy.hold_down = 30_000
        proxy.held.clear()
        child = start("checkout", SERVER.service(base=proxy.http), "-o", target, "--patience", "1", "--compress", "never", *wire)
        h.check("it is stuck in the middle of an answer", proxy.held.wait(60) and child.poll() is None and not os.path.exists(target))
        known = proxy.connections
        h.wait_until(lambda: proxy.connections > known or child.poll() is not None, 30, "an end of the wait for that answer")
        proxy.heal()
        code, _, err = ended(child)
        h.check("it asks again or says why it ends", code == 0 or (code == 5 and "did not answer" in err), [code, err])
        if code:
            h.check("then there is no file", not os.path.exists(target))
            h.cli("checkout", SERVER.service(base=proxy.http), "-o", target, *wire)
        h.check("the file is whole", h.cli("verify", target)["equal"])
    for hold in (0, 60, 700):
        word = f"stuck after {hold}"
        h.sql(path, f'UPDATE "{table}" SET name = ? WHERE OBJECTID <= 20', word)
        h.good(h.post(f"{SERVER.service()}/0/calculate", where="OBJECTID > 200", calcExpression=[{"field": "remarks", "value": word * 10}]))
        proxy.count_anew()
        proxy.hold_down = hold
        code, _, err = ended(start("sync", path, "--patience", "1"))
        h.check(f"{word} bytes: the sync ends and says so", code == 5 and "did not answer" in err, [code, err])
        h.equal("the file is sound", h.integrity(path), "ok")
        proxy.heal()
        h.cli("sync", path)
        h.equal("with an answer it goes on", named(SERVER, word), 20)
        h.check("file and server are equal", h.cli("verify", path)["equal"])


@h.test
def a_server_put_back_to_before_the_checkout_gets_everything_again():
    server = h.Server()
    server.stop()
    backup = server.data + "-backup"
    shutil.copytree(server.data, backup)
    server.start()
    path, table = checkout(server)
    h.sql(path, f"""UPDATE "{table}" SET name = 'sent and forgotten' WHERE OBJECTID <= 3""")
    h.cli("sync", path)
    h.sql(path, f"""UPDATE "{table}" SET name = 'not sent yet' WHERE OBJECTID BETWEEN 4 AND 6""")
    h.sql(path, f"""DELETE FROM "{table}" WHERE OBJECTID = 7""")
    server.stop()
    shutil.rmtree(server.data)
    shutil.copytree(backup, server.data)
    server.start()
    h.equal("the server knows nothing of it", (named(server, "sent and forgotten"), len(h.rows(server.service()))), (0, 400))
    done = h.cli_raw("sync", path)
    h.check("the sync goes through and says what it found", done.returncode == 0 and "registered again" in done.stderr, [done.returncode, done.stderr])
    h.equal("everything is there", (named(server, "sent and forgotten"), named(server, "not sent yet"), len(h.rows(server.service()))), (3, 3, 399))
    h.check("file and server are equal", h.cli("verify", path)["equal"])


h.run()
