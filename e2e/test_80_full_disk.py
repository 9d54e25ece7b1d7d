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


@h.test
def a_client_whose_disk_is_full_keeps_its_edits():
    server = h.Server()
    disk = small_disk(8)
    path = os.path.join(disk, "field.gpkg")
    h.cli("checkout", server.service(), "-o", path, "--layers", "0")
    table = h.cli("status", path)["layers"][0]["table"]
    h.sql(path, f'UPDATE "{table}" SET name = ? WHERE OBJECTID <= 20', "before it was full")
    h.good(h.post(f"{server.service()}/0/calculate", where="OBJECTID > 20", calcExpression=[{"field": "remarks", "value": "x" * 400}]))
    ballast = fill(disk)
    done = h.cli_raw("sync", path)
    h.check("the sync fails with a sentence about the disk", done.returncode == 1 and "full" in done.stderr.lower(), [done.returncode, done.stderr])
    h.equal("the file is sound", h.integrity(path), "ok")
    os.remove(ballast)
    h.cli("sync", path, check_code=(0, 3))
    document = h.cli("verify", path)
    h.check("with space the sync finishes", document["equal"], document)
    names = [row["attributes"]["name"] for row in h.rows(server.service()).values()]
    h.check("the edits arrived", names.count("before it was full") >= 19, names.count("before it was full"))


h.run()
