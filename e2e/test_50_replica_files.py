"""Replica files edited by other programs: GDAL (as QGIS saves), ogr2ogr, Python's sqlite3; then synced by the real command.

After every round `haversack verify` must find file and server equal. Needs Debian's GDAL bindings.

runs with: system python
"""
import os
import shutil
import subprocess
import time

from osgeo import ogr, gdal

import harness as h

ogr.UseExceptions()
gdal.UseExceptions()
SERVER = h.Server()


def checkout(name="parks.gpkg", *more):
    path = os.path.join(h.folder(), name)
    h.cli("checkout", SERVER.service(), "-o", path, *more)
    return path


def table(path, layer=0):
    """The table of a layer; the file lists its layers in `haversack status`."""
    return next(one["table"] for one in h.cli("status", path, check_code=(0, 3))["layers"] if one["id"] == layer)


def online(layer=0):
    return {gid: feature["attributes"] for gid, feature in h.rows(SERVER.service(), layer).items()}


def key(text):
    return text.strip("{}").lower()


def in_sync(path, what):
    document = h.cli("verify", path)
    h.check(f"{what}: file and server are equal", document["equal"], document)
    h.equal(f"{what}: the file is sound", h.integrity(path), "ok")


@h.test
def a_checkout_is_a_geopackage_that_gdal_opens():
    path = checkout("all.gpkg", "--attachments")
    source = ogr.Open(path)
    names = [source.GetLayer(i).GetName() for i in range(source.GetLayerCount())]
    h.check("three layers, a table and the attachments of the points; no table of ours", len(names) == 5 and not any(n.startswith("haversack_") for n in names), names)
    layer = source.GetLayerByName(table(path))
    h.equal("all rows came", layer.GetFeatureCount(), len(online()))
    layer.SetSpatialFilterRect(*[layer.GetExtent()[i] for i in (0, 2, 1, 3)])
    h.equal("the spatial index finds all of them", layer.GetFeatureCount(), len(online()))
    in_sync(path, "a fresh checkout")
    status = h.cli("status", path)
    h.equal("nothing is pending", status["pending"], 0)


@h.test
def features_edited_by_gdal_come_home():
    path = checkout()
    name = table(path)
    source = ogr.Open(path, 1)
    layer = source.GetLayerByName(name)
    first = layer.GetNextFeature()
    updated = key(first.GetField("GlobalID"))
    first.SetField("name", "saved by GDAL")
    layer.SetFeature(first)
    second = layer.GetNextFeature()
    moved = key(second.GetField("GlobalID"))
    second.SetGeometry(ogr.CreateGeometryFromWkt("POINT (-13100000 4100000)"))
    layer.SetFeature(second)
    third = layer.GetNextFeature()
    deleted = key(third.GetField("GlobalID"))
    layer.DeleteFeature(third.GetFID())
    new = ogr.Feature(layer.GetLayerDefn())
    new.SetField("name", "drawn in a GIS")
    new.SetGeometry(ogr.CreateGeometryFromWkt("POINT (-13200000 4200000)"))
    layer.CreateFeature(new)
    layer = source = None

    status = h.cli("status", path)
    h.equal("four edits wait", status["pending"], 4)
    diff = h.cli("diff", path)
    h.equal("diff names each", sorted(d["edit"] for d in diff), ["add", "delete", "update", "update"])
    h.check("an update names its field alone", any(d["fields"] == ["name"] for d in diff if d["edit"] == "update"), diff)
    plan = h.cli("sync", path, "--dry-run")
    h.check("the dry run sends nothing", online()[updated]["name"] != "saved by GDAL" and len(plan["uploads"]) == 4, plan)
    h.cli("sync", path)
    rows = h.rows(SERVER.service())
    h.equal("the update arrived", rows[updated]["attributes"]["name"], "saved by GDAL")
    h.equal("the move arrived", round(rows[moved]["geometry"]["x"]), -13100000)
    h.check("the deletion arrived", deleted not in rows)
    h.check("the new feature arrived with an identity", "drawn in a GIS" in [r["attributes"]["name"] for r in rows.values()])
    in_sync(path, "after GDAL's edits")


@h.test
def plain_sql_without_gis_functions_is_captured():
    path = checkout()
    name = table(path)
    [(fid, gid)] = h.sql(path, f'SELECT OBJECTID, GlobalID FROM "{name}" ORDER BY OBJECTID DESC LIMIT 1')
    h.sql(path, f'UPDATE "{name}" SET name = ? WHERE OBJECTID = ?', "by sqlite3", fid)
    h.sql(path, f'UPDATE "{name}" SET GlobalID = ? WHERE OBJECTID = ?', h.guid(), fid)
    h.equal("a changed GlobalID is set back", key(h.sql(path, f'SELECT GlobalID FROM "{name}" WHERE OBJECTID = ?', fid)[0][0]), key(gid))
    subprocess.run(["ogrinfo", path, "-sql", f"UPDATE \"{name}\" SET name = 'by ogrinfo' WHERE OBJECTID = {fid - 1}"], check=True, capture_output=True)
    h.equal("two edits wait", h.cli("status", path)["pending"], 2)
    h.cli("sync", path)
    h.equal("the value arrived", online()[key(gid)]["name"], "by sqlite3")
    in_sync(path, "after plain SQL")


@h.test
def an_upsert_keeps_the_identity_and_a_pasted_copy_gets_its_own():
    path = checkout()
    name = table(path)
    source = ogr.Open(path, 1)
    layer = source.GetLayerByName(name)
    feature = layer.GetNextFeature()
    fid, gid = feature.GetFID(), key(feature.GetField("GlobalID"))
    source = layer = None
    # What UpsertFeature does in GDAL 3.6: REPLACE with the fid and without a GlobalID, recursive triggers on.
    source = ogr.Open(path, 1)
    source.ExecuteSQL("PRAGMA recursive_triggers = ON")
    source.ExecuteSQL(f"INSERT OR REPLACE INTO \"{name}\" (OBJECTID, geom, name) SELECT OBJECTID, geom, 'upserted' FROM \"{name}\" WHERE OBJECTID = {fid}")
    layer = source.GetLayerByName(name)
    copy = layer.GetFeature(fid).Clone()
    copy.SetFID(-1)
    copy.SetField("name", "pasted")
    layer.CreateFeature(copy)
    source = layer = None
    diff = h.cli("diff", path)
    h.equal("one update and one add", sorted(d["edit"] for d in diff), ["add", "update"])
    h.cli("sync", path)
    rows = online()
    h.equal("the upsert kept the identity", rows[gid]["name"], "upserted")
    h.equal("the copy is a row of its own", [r["name"] for g, r in rows.items() if g != gid].count("pasted"), 1)
    in_sync(path, "after upsert and paste")


@h.test
def a_thousand_appended_rows_come_home():
    path = checkout()
    name = table(path)
    source = os.path.join(h.folder(), "more.geojson")
    with open(source, "w") as file:
        file.write('{"type":"FeatureCollection","crs":{"type":"name","properties":{"name":"urn:ogc:def:crs:EPSG::3857"}},"features":[')
        file.write(",".join(f'{{"type":"Feature","properties":{{"name":"row {i}"}},"geometry":{{"type":"Point","coordinates":[{-13000000 + i},{4000000 + i}]}}}}' for i in range(1081)))
        file.write("]}")
    subprocess.run(["ogr2ogr", "-append", "-nln", name, path, source], check=True, capture_output=True)
    h.equal("1,081 adds wait", h.cli("status", path)["pending"], 1081)
    before = len(online())
    h.cli("sync", path)
    h.equal("all of them arrived", len(online()), before + 1081)
    in_sync(path, "after ogr2ogr -append")


@h.test
def two_people_edit_the_same_record():
    one, two = checkout("one.gpkg"), checkout("two.gpkg")
    name = table(one)
    [(gid, a)] = h.sql(one, f'SELECT GlobalID, OBJECTID FROM "{name}" ORDER BY OBJECTID LIMIT 1')
    columns = [row[1] for row in h.sql(one, f'PRAGMA table_info("{name}")') if row[2].upper() in ("REAL", "DOUBLE", "INTEGER", "MEDIUMINT", "SMALLINT")]
    number = next(c for c in columns if c not in ("OBJECTID",))
    h.sql(one, f'UPDATE "{name}" SET name = ? WHERE GlobalID = ?', "one says", gid)
    h.sql(two, f'UPDATE "{name}" SET name = ?, "{number}" = 1 WHERE GlobalID = ?', "two says", gid)
    h.cli("sync", one)
    outcome = h.cli("sync", two, check_code=3)
    h.equal("the second sync meets one conflict", outcome["conflicts"], 1)
    row = online()[key(gid)]
    h.equal("the field that clashed stays, the other one is merged", (row["name"], row[number]), ("one says", 1))
    [conflict] = h.cli("conflicts", "list", two, check_code=3)
    h.equal("the conflict names its field", conflict["fields"], ["name"])
    h.equal("and has mine and theirs", (conflict["mine"]["name"], conflict["theirs"]["name"]), ("two says", "one says"))
    h.cli("conflicts", "resolve", two, conflict["id"], "--keep", "mine")
    h.cli("sync", two)
    h.equal("the decision is stored", online()[key(gid)]["name"], "two says")
    h.equal("no conflict is open", h.cli("status", two)["openConflicts"], 0)
    there = [c for c in h.cli("conflicts", "list", SERVER.service(), "--all", check_code=(0, 3)) if c["id"] == conflict["id"]]
    h.equal("the server's row tells the decision", [c["resolution"]["kept"] for c in there], ["mine"])
    h.cli("sync", one)
    in_sync(one, "the first file")
    in_sync(two, "the second file")


@h.test
def a_conflict_is_decided_at_the_server():
    one, two = checkout("one.gpkg"), checkout("two.gpkg")
    name = table(one)
    [(gid,)] = h.sql(one, f'SELECT GlobalID FROM "{name}" ORDER BY OBJECTID LIMIT 1 OFFSET 2')
    for path, word in ((one, "one says"), (two, "two says")):
        h.sql(path, f'UPDATE "{name}" SET name = ? WHERE GlobalID = ?', word, gid)
    h.cli("sync", one)
    h.cli("sync", two, check_code=3)
    [conflict] = h.cli("conflicts", "list", SERVER.service(), check_code=3)
    h.cli("conflicts", "show", SERVER.service(), conflict["id"][:8], check_code=3)
    h.cli("conflicts", "resolve", SERVER.service(), conflict["id"][:8], "--set", "name=both say")
    h.equal("it holds at once", online()[key(gid)]["name"], "both say")
    h.equal("nothing is open at the server", h.cli("conflicts", "list", SERVER.service()), [])
    h.cli("sync", two)
    h.equal("nor in the file, after a sync", h.cli("status", two)["openConflicts"], 0)
    [closed] = h.cli("conflicts", "list", two, "--all")
    h.equal("which knows what was decided", closed["resolution"]["kept"], "edited")
    in_sync(two, "the file that met the conflict")


@h.test
def an_update_meets_a_deletion_and_neither_is_lost():
    one, two = checkout("one.gpkg"), checkout("two.gpkg")
    name = table(one)
    [(gid,)] = h.sql(one, f'SELECT GlobalID FROM "{name}" ORDER BY OBJECTID LIMIT 1 OFFSET 5')
    h.sql(one, f'DELETE FROM "{name}" WHERE GlobalID = ?', gid)
    h.sql(two, f'UPDATE "{name}" SET name = ? WHERE GlobalID = ?', "still needed", gid)
    h.cli("sync", one)
    h.cli("sync", two, check_code=3)
    [conflict] = h.cli("conflicts", "list", two, check_code=3)
    h.equal("the conflict keeps the edit", (conflict["mine"]["name"], conflict["theirs"]), ("still needed", None))
    h.cli("conflicts", "resolve", two, conflict["id"], "--keep", "mine")
    h.cli("sync", two)
    h.equal("the record is back by decision", online()[key(gid)]["name"], "still needed")
    h.cli("sync", one)
    in_sync(one, "the file that deleted it")
    in_sync(two, "the file that kept it")


@h.test
def a_part_of_a_service_gains_and_loses_rows():
    everything = online()
    ids = sorted(row["OBJECTID"] for row in everything.values())
    middle = ids[len(ids) // 2]
    part = checkout("part.gpkg", "--layers", "0", "--where", f"OBJECTID <= {middle}")
    h.equal("only the rows that match", h.cli("status", part)["layers"][0]["rows"], sum(i <= middle for i in ids))
    whole = checkout("named.gpkg", "--layers", "0", "--where", "name = 'enters and leaves'")
    h.equal("none matches yet", h.cli("status", whole)["layers"][0]["rows"], 0)
    oid = ids[0]
    edit = lambda name: h.good(h.post(f"{SERVER.service()}/0/updateFeatures", features=[{"attributes": {"OBJECTID": oid, "name": name}}]))
    edit("enters and leaves")
    h.equal("a row that enters is put", h.cli("sync", whole)["put"], 1)
    edit("somewhere else")
    h.equal("a row that leaves is removed", h.cli("sync", whole)["removed"], 1)
    in_sync(whole, "the filtered file")


@h.test
def the_geoservices_wire_carries_a_checkout_too():
    path = os.path.join(h.folder(), "foreign.gpkg")
    made = h.cli("checkout", SERVER.service(), "-o", path, "--layers", "0,3", "--geoservices")
    h.equal("it was spoken", made["protocol"], "geoservices")
    name = table(path)
    [(gid,)] = h.sql(path, f'SELECT GlobalID FROM "{name}" ORDER BY OBJECTID LIMIT 1 OFFSET 7')
    h.sql(path, f'UPDATE "{name}" SET name = ? WHERE GlobalID = ?', "over the foreign wire", gid)
    [(other,)] = h.sql(path, f'SELECT GlobalID FROM "{name}" ORDER BY OBJECTID LIMIT 1 OFFSET 8')
    h.sql(path, f'DELETE FROM "{name}" WHERE GlobalID = ?', other)
    done = h.cli("sync", path)
    h.equal("what was sent is not counted as fetched", (done["applied"], done["put"], done["removed"]), (2, 0, 0))
    h.equal("the edit arrived", online()[key(gid)]["name"], "over the foreign wire")
    in_sync(path, "a file that speaks GeoServices")
    h.cli("release", path)


@h.test
def dropped_triggers_are_noticed_and_repaired():
    path = checkout()
    name = table(path)
    triggers = [n for (n,) in h.sql(path, "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? AND name LIKE 'haversack%'", name)]
    h.check("capture is made of triggers", triggers)
    for trigger in triggers:
        h.sql(path, f'DROP TRIGGER "{trigger}"')
    [(gid,)] = h.sql(path, f'SELECT GlobalID FROM "{name}" ORDER BY OBJECTID LIMIT 1 OFFSET 9')
    h.sql(path, f'UPDATE "{name}" SET name = ? WHERE GlobalID = ?', "nobody saw me", gid)
    refused = h.cli_raw("sync", path)
    h.equal("sync refuses with the code for it", refused.returncode, 6)
    h.check("and says what to do", "haversack repair" in refused.stderr, refused.stderr)
    h.cli("repair", path)
    h.equal("the unseen edit was found", h.cli("status", path)["pending"], 1)
    h.cli("sync", path)
    h.equal("and arrived", online()[key(gid)]["name"], "nobody saw me")
    in_sync(path, "after the repair")


@h.test
def a_released_file_comes_home_with_what_it_had_not_sent():
    path = checkout()
    name = table(path)
    [(gid,), (other,)] = h.sql(path, f'SELECT GlobalID FROM "{name}" ORDER BY OBJECTID LIMIT 2 OFFSET 21')
    h.sql(path, f'UPDATE "{name}" SET name = ? WHERE GlobalID = ?', "after the release", gid)
    h.equal("a release refuses unsent edits", h.cli_raw("release", path).returncode, 1)
    h.cli("release", path, "--force")
    old = h.cli("status", path)["replica"]
    # And a program has replaced the table, as if that were not enough.
    for (trigger,) in h.sql(path, "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? AND name LIKE 'haversack%'", name):
        h.sql(path, f'DROP TRIGGER "{trigger}"')
    h.sql(path, f'UPDATE "{name}" SET name = ? WHERE GlobalID = ?', "not even captured", other)
    h.equal("sync wants a repair first", h.cli_raw("sync", path).returncode, 6)
    h.cli("repair", path)
    h.equal("both edits wait", h.cli("status", path)["pending"], 2)
    dry = h.cli_raw("sync", "--dry-run", path)
    h.check("a dry run says what would help", dry.returncode == 1 and "haversack sync" in dry.stderr, dry.stderr)
    done = h.cli_raw("sync", path)
    h.check("sync says that it registered the file again", done.returncode == 0 and "registered again" in done.stderr, [done.returncode, done.stderr])
    rows = online()
    h.equal("both arrived", (rows[key(gid)]["name"], rows[key(other)]["name"]), ("after the release", "not even captured"))
    h.check("it has another identity", h.cli("status", path)["replica"] != old)
    in_sync(path, "a released file")


@h.test
def a_copied_file_gets_a_new_identity_and_loses_nothing():
    path = checkout()
    name = table(path)
    (a,), (b,) = h.sql(path, f'SELECT GlobalID FROM "{name}" ORDER BY OBJECTID LIMIT 2 OFFSET 11')
    copy = path.replace(".gpkg", "-copy.gpkg")
    shutil.copy(path, copy)
    h.sql(path, f'UPDATE "{name}" SET name = ? WHERE GlobalID = ?', "by the original", a)
    h.sql(copy, f'UPDATE "{name}" SET name = ? WHERE GlobalID = ?', "by the copy", b)
    h.cli("sync", path)
    h.cli("sync", copy)
    rows = online()
    h.equal("both edits arrived", (rows[key(a)]["name"], rows[key(b)]["name"]), ("by the original", "by the copy"))
    h.check("they are two replicas now", h.cli("status", path)["replica"] != h.cli("status", copy)["replica"])
    h.cli("sync", path)
    in_sync(path, "the original")
    in_sync(copy, "the copy")


@h.test
def a_sync_waits_for_a_program_that_is_saving():
    path = checkout()
    name = table(path)
    # GDAL keeps its write transaction open while we start a sync.
    source = ogr.Open(path, 1)
    layer = source.GetLayerByName(name)
    source.StartTransaction()
    feature = layer.GetNextFeature()
    gid = key(feature.GetField("GlobalID"))
    feature.SetField("name", "saved while syncing")
    layer.SetFeature(feature)
    child = subprocess.Popen([h.BIN, "--json", "sync", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "XDG_CONFIG_HOME": h.CONFIG})
    end = time.monotonic() + 1.5
    h.wait_until(lambda: time.monotonic() > end, 5)
    h.check("the sync waits", child.poll() is None, child.returncode)
    source.CommitTransaction()
    source = layer = feature = None
    out, err = child.communicate(timeout=60)
    h.equal("and ends well", child.returncode, 0) if child.returncode == 0 else h.check("and ends well", False, err)
    h.cli("sync", path)
    h.equal("the saved value arrived", online()[gid]["name"], "saved while syncing")
    in_sync(path, "after a busy moment")


h.run()
