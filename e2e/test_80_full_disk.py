"""A full disk on either side: an error that says so, nothing lost, and the work goes on when there is space.

Needs a small tmpfs of its own: root, or user namespaces. Where neither is allowed the tests are counted as skipped.
"""
import atexit
import os
import subprocess

import harness as h


def small_disk(megabytes):
    path = h.folder()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path], capture_output=True, text=True)
    if done.returncode:
        raise h.Skipped(f"no tmpfs may be mounted here ({done.stderr.strip()[:80]})")
    atexit.register(subprocess.run, ["umount", "-l", path], capture_output=True)
    return path


def fill(path, leave=0):
    """Fills a disk but for some bytes; gives the file that does it."""
    ballast = os.path.join(path, "ballast")
    free = os.statvfs(path).f_bavail * os.statvfs(path).f_frsize - leave
    with open(ballast, "wb") as file:
        try:
            for _ in range(max(0, free) // 65536):
                file.write(b"\0" * 65536)
        except OSError:
            pass
    return ballast


@h.test
def a_server_whose_disk_is_full_says_so_and_loses_nothing():
    disk = small_disk(48)
    server = h.Server(data=os.path.join(disk, "data"))
    acked = {}
    ballast = fill(disk, leave=600_000)
    refusal = None
    for i in range(400):
        gid = h.guid()
        answer = h.post(f"{server.service()}/0/applyEdits", useGlobalIds="true", adds=[{"attributes": {"GlobalID": gid, "name": f"full {i}"}, "geometry": {"x": i, "y": i}} for i in [i]])
        if "error" in answer:
            refusal = answer["error"]
            break
        result = answer["addResults"][0]
        if not result["success"]:
            refusal = result["error"]
            break
        acked[gid.strip("{}").lower()] = f"full {i}"
    h.check(f"after {len(acked)} edits the disk is full and the answer is an error", refusal is not None)
    h.check("the server lives on", server.healthy())
    os.remove(ballast)
    h.wait_until(lambda: "error" not in h.post(f"{server.service()}/0/addFeatures", features=[{"attributes": {"name": "space again"}, "geometry": {"x": 1, "y": 1}}]), 20, "an edit after the disk has space")
    rows = h.rows(server.service())
    h.check("every acknowledged edit is there", all(gid in rows and rows[gid]["attributes"]["name"] == name for gid, name in acked.items()))
    server.stop()
    h.equal("the file is sound", h.integrity(os.path.join(server.data, "services", "WildfireSync.gpkg")), "ok")


def names(server):
    return [row["attributes"]["name"] for row in h.rows(server.service()).values()]


def on_small_disk(server, megabytes, *options):
    """A replica file that is alone on a small disk: disk, file, table."""
    disk = small_disk(megabytes)
    path = os.path.join(disk, "field.gpkg")
    h.cli("checkout", server.service(), "-o", path, "--layers", "0", *options)
    return disk, path, h.cli("status", path)["layers"][0]["table"]


@h.test
def edits_come_home_from_a_disk_that_is_full():
    server = h.Server()
    disk, path, table = on_small_disk(server, 8)
    h.sql(path, f'UPDATE "{table}" SET name = ? WHERE OBJECTID <= 20', "before it was full")
    ballast = fill(disk)
    try:
        h.sql(path, f'UPDATE "{table}" SET name = ?', "no room for this")
        h.check("an edit of everything finds no room", False)
    except h.sqlite3.OperationalError as error:
        h.check("the program that edits is told", "full" in str(error) or "disk" in str(error), str(error))
    h.equal("the file is as it was before that edit", (h.integrity(path), h.cli("status", path)["pending"]), ("ok", 20))
    done = h.cli_raw("sync", path)
    h.check("sync uses the space that was kept for it and says so", done.returncode == 0 and "disk is full" in done.stderr, [done.returncode, done.stderr])
    h.equal("the edits arrived", names(server).count("before it was full"), 20)
    h.check("file and server are equal", h.cli("verify", path)["equal"])
    os.remove(ballast)
    h.sql(path, f'UPDATE "{table}" SET name = ? WHERE OBJECTID = 1', "space again")
    h.cli("sync", path)
    h.check("with space all goes on, and some is kept again", names(server).count("space again") == 1 and os.path.exists(path + "-reserve"))
    h.cli("release", path)
    h.equal("a release gives it back", os.listdir(disk), ["field.gpkg"])


@h.test
def a_client_whose_disk_is_full_keeps_its_edits():
    server = h.Server()
    disk, path, table = on_small_disk(server, 8)
    h.sql(path, f'UPDATE "{table}" SET name = ? WHERE OBJECTID <= 20', "before it was full")
    # More comes back than fits into what was kept.
    more = [{"attributes": {"name": f"theirs {i}", "remarks": "x" * 490}, "geometry": {"x": i, "y": i}} for i in range(4000)]
    h.good(h.post(f"{server.service()}/0/addFeatures", features=more))
    ballast = fill(disk)
    for attempt in ("with what was kept", "without it"):
        done = h.cli_raw("sync", path)
        h.check(f"{attempt} the sync fails with a sentence about the disk", done.returncode == 1 and "free some space" in done.stderr, [done.returncode, done.stderr])
        h.equal("the file is sound", h.integrity(path), "ok")
        h.equal("the edits have been sent all the same", names(server).count("before it was full"), 20)
    os.remove(ballast)
    h.cli("sync", path, check_code=(0, 3))
    document = h.cli("verify", path)
    h.check("with space the sync finishes", document["equal"], document)


@h.test
def a_file_that_qgis_left_in_its_own_journal_mode_meets_a_full_disk():
    server = h.Server()
    disk, path, table = on_small_disk(server, 8)
    h.sql(path, "PRAGMA journal_mode = WAL")
    h.sql(path, f'UPDATE "{table}" SET name = ? WHERE OBJECTID <= 20', "before it was full")
    os.remove(path + "-reserve")
    ballast = fill(disk)
    done = h.cli_raw("sync", path)
    h.check("the sync fails with a sentence about the disk", done.returncode == 1 and "free some space" in done.stderr, [done.returncode, done.stderr])
    os.remove(ballast)
    h.cli("sync", path)
    h.equal("with space the edits arrive", names(server).count("before it was full"), 20)
    h.check("file and server are equal", h.cli("verify", path)["equal"])


@h.test
def a_checkout_onto_a_full_disk_goes_on_when_there_is_space():
    server = h.Server()
    login = ("--user", server.USER, "--password-stdin")
    known = lambda: len(h.cli("replicas", server.service(), *login, input=server.PASSWORD + "\n"))
    for wire, kept in (([], True), (["--geoservices"], False)):
        disk = small_disk(2)
        ballast = fill(disk, leave=200_000)
        path = os.path.join(disk, "field.gpkg")
        before = known()
        for attempt in range(2):
            done = h.cli_raw("checkout", server.service(), "-o", path, *wire)
            h.check("the checkout fails with a sentence about the disk", done.returncode == 1 and "free some space" in done.stderr, [done.returncode, done.stderr])
            h.check("there is no half file under the name", not os.path.exists(path), os.listdir(disk))
        h.equal("the registration of a file that can go on is kept", known() - before, int(kept))
        os.remove(ballast)
        h.cli("checkout", server.service(), "-o", path, *wire)
        h.equal("with space the same command makes the file, under one registration", known() - before, 1)
        h.check("file and server are equal", h.cli("verify", path)["equal"])
        h.check("nothing but the reserve is left beside it", {"field.gpkg"} <= set(os.listdir(disk)) <= {"field.gpkg", "field.gpkg-reserve"}, os.listdir(disk))


h.run()
