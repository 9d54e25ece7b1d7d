"""Replica files edited by GIS programs that we did not write: QGIS in an edit session (add, move, change, delete, undo, paste, a new column),
`ogr2ogr -append` and `-upsert`, SpatiaLite. Then synced by the real command: every edit arrives, and file and server are equal.

runs with: system python
"""
import os
import subprocess
import sys

from osgeo import gdal, ogr

import harness as h

ogr.UseExceptions()
gdal.UseExceptions()
os.environ["QT_QPA_PLATFORM"] = "offscreen"
HAS_QGIS = subprocess.run([sys.executable, "-c", "import qgis.core"], capture_output=True).returncode == 0
SERVER = h.Server()

# Runs the edits that it is given as text, with `layer` as the layer of the file, and prints what they put into `told`.
QGIS = """
import json, sys
from qgis.core import (NULL, QgsApplication, QgsFeature, QgsField, QgsGeometry, QgsPointXY, QgsProject, QgsVectorLayer, QgsVectorLayerUtils)
from qgis.PyQt.QtCore import QVariant
application = QgsApplication([], False)
application.initQgis()
layer = QgsVectorLayer(f"{sys.argv[1]}|layername={sys.argv[2]}", "points", "ogr")
QgsProject.instance().addMapLayer(layer)
assert layer.isValid()
told = {}
index = lambda name: layer.fields().indexOf(name)
row = lambda number: sorted(layer.getFeatures(), key=lambda feature: feature.id())[number]
def new(name, x, y):
    feature = QgsVectorLayerUtils.createFeature(layer, QgsGeometry.fromPointXY(QgsPointXY(x, y)), {index("name"): name})
    assert layer.addFeature(feature)
    return feature
def save():
    assert layer.commitChanges(), layer.commitErrors()
exec(sys.argv[3])
QgsProject.instance().clear()
del layer
application.exitQgis()
print("told", json.dumps(told))
"""


def qgis(path, table, edits):
    if not HAS_QGIS:
        raise h.Skipped("QGIS is not installed")
    done = subprocess.run([sys.executable, "-c", QGIS, path, table, edits], capture_output=True, text=True, timeout=300)
    line = next((line for line in done.stdout.splitlines() if line.startswith("told ")), None)
    h.check("QGIS ends in good order", line is not None, done.stderr[-1500:])
    return h.json.loads(line[5:])


def checkout(*more, service="WildfireSync"):
    path = os.path.join(h.folder(), "field.gpkg")
    h.cli("checkout", SERVER.service(service), "-o", path, *more)
    return path, h.cli("status", path)["layers"][0]["table"]


def online():
    return h.rows(SERVER.service())


def key(text):
    return text.strip("{}").lower()


def edits(path):
    """What waits: verbs in order, and the fields that updates change."""
    diff = h.cli("diff", path)
    return sorted(d["edit"] for d in diff), sorted(sum((d["fields"] for d in diff if d["edit"] == "update"), []))


def comes_home(path, sent, what):
    done = h.cli("sync", path)
    h.equal(f"{what}: every edit is stored as it was sent", (done["applied"], done["rejected"]), (sent, []))
    h.check(f"{what}: file and server are equal", h.cli("verify", path)["equal"])
    h.equal(f"{what}: the file is sound", h.integrity(path), "ok")


@h.test
def qgis_saves_an_edit_session_and_every_edit_comes_home():
    path, table = checkout()
    told = qgis(path, table, """
layer.startEditing()
for number, what in enumerate(("changed", "moved", "deleted", "untouched")):
    told[what] = row(number)["GlobalID"]
layer.changeAttributeValue(row(0).id(), index("name"), "changed in QGIS")
layer.changeAttributeValue(row(0).id(), index("acres"), 12.5)
layer.changeGeometry(row(1).id(), QgsGeometry.fromPointXY(QgsPointXY(-13100000, 4100000)))
layer.deleteFeature(row(2).id())
new("drawn in QGIS", -13200000, 4200000)
save()
""")
    h.equal("an update of two fields, a move, a deletion, an addition", edits(path), (["add", "delete", "update", "update"], ["acres", "geom", "name"]))
    comes_home(path, 4, "an edit session of QGIS")
    rows = online()
    changed = rows[key(told["changed"])]["attributes"]
    h.equal("the change", (changed["name"], changed["acres"]), ("changed in QGIS", 12.5))
    h.equal("the move", (round(rows[key(told["moved"])]["geometry"]["x"]), round(rows[key(told["moved"])]["geometry"]["y"])), (-13100000, 4100000))
    h.check("the deletion", key(told["deleted"]) not in rows)
    [drawn] = [row for row in rows.values() if row["attributes"]["name"] == "drawn in QGIS"]
    h.equal("the addition, in its place", (round(drawn["geometry"]["x"]), round(drawn["geometry"]["y"])), (-13200000, 4200000))


@h.test
def what_is_undone_within_an_edit_session_of_qgis_is_no_edit():
    path, table = checkout()
    before = online()
    told = qgis(path, table, """
layer.startEditing()
layer.beginEditCommand("change"); layer.changeAttributeValue(row(4).id(), index("name"), "not meant"); layer.endEditCommand()
layer.beginEditCommand("delete"); layer.deleteFeature(row(5).id()); layer.endEditCommand()
layer.beginEditCommand("draw"); new("not meant either", 0, 0); layer.endEditCommand()
for _ in range(3):
    layer.undoStack().undo()
layer.beginEditCommand("change"); layer.changeAttributeValue(row(6).id(), index("name"), "redone"); layer.endEditCommand()
layer.undoStack().undo()
layer.undoStack().redo()
told["redone"] = row(6)["GlobalID"]
save()
# Saved, and taken back by hand in a second session; a third one is rolled back.
layer.startEditing()
old = row(7)["name"]
layer.changeAttributeValue(row(7).id(), index("name"), "for a moment")
save()
layer.startEditing()
layer.changeAttributeValue(row(7).id(), index("name"), old)
gone = new("made and deleted", 5, 5)
save()
layer.startEditing()
layer.deleteFeatures([feature.id() for feature in layer.getFeatures() if feature["name"] == "made and deleted"])
save()
layer.startEditing()
layer.changeAttributeValue(row(8).id(), index("name"), "rolled back")
layer.rollBack()
""")
    h.equal("one update is left", edits(path), (["update"], ["name"]))
    comes_home(path, 1, "after undo")
    after = online()
    h.equal("nothing else has changed", [gid for gid in before if before[gid]["attributes"]["name"] != after[gid]["attributes"]["name"]], [key(told["redone"])])
    h.equal("nor been added or deleted", set(before), set(after))


@h.test
def qgis_cuts_copies_and_pastes_without_losing_an_identity():
    path, table = checkout()
    told = qgis(path, table, """
source, other = row(9), row(10)
told.update(source=source["GlobalID"], cut=other["GlobalID"])
layer.startEditing()
# Paste as QGIS does: all attributes but the key, the GlobalID of the original included.
pasted = QgsFeature(layer.fields())
pasted.setAttributes(source.attributes())
pasted.setAttribute(index("OBJECTID"), NULL)
pasted.setAttribute(index("name"), "pasted in QGIS")
pasted.setGeometry(source.geometry())
assert layer.addFeature(pasted)
save()
# Cut in one session, pasted in the next, with its GlobalID.
layer.startEditing()
layer.deleteFeature(other.id())
save()
layer.startEditing()
other.setAttribute(index("OBJECTID"), NULL)
other.setAttribute(index("name"), "cut and pasted")
assert layer.addFeature(other)
save()
""")
    h.equal("a copy is an addition, what was cut and pasted an update", edits(path), (["add", "update"], ["name"]))
    comes_home(path, 2, "after paste")
    rows = online()
    h.check("the original is as it was", rows[key(told["source"])]["attributes"]["name"] != "pasted in QGIS")
    h.equal("the copy is a record of its own", [row["attributes"]["name"] for row in rows.values()].count("pasted in QGIS"), 1)
    h.equal("what was cut kept its identity", rows[key(told["cut"])]["attributes"]["name"], "cut and pasted")


@h.test
def a_column_that_qgis_adds_stays_in_the_file_and_nothing_is_lost():
    path, table = checkout()
    told = qgis(path, table, """
layer.startEditing()
assert layer.addAttribute(QgsField("my notes", QVariant.String, len=80))
layer.updateFields()
layer.changeAttributeValue(row(11).id(), index("my notes"), "mine alone")
layer.changeAttributeValue(row(12).id(), index("name"), "beside my notes")
told["named"] = row(12)["GlobalID"]
save()
""")
    h.equal("only the field of the schema is an edit", edits(path), (["update"], ["name"]))
    comes_home(path, 1, "with a column of one's own")
    h.equal("the change arrived", online()[key(told["named"])]["attributes"]["name"], "beside my notes")
    h.equal("the column and its value stay", h.sql(path, f'SELECT "my notes" FROM "{table}" WHERE "my notes" IS NOT NULL'), [("mine alone",)])
    told = qgis(path, table, """
layer.startEditing()
layer.changeAttributeValue(row(11).id(), index("name"), "and later")
told["named"] = row(11)["GlobalID"]
save()
""")
    comes_home(path, 1, "a later session")
    h.equal("its edit arrived", online()[key(told["named"])]["attributes"]["name"], "and later")


@h.test
def a_sync_while_qgis_has_the_file_open_meets_neither_a_lock_nor_stale_rows():
    path, table = checkout()
    told = qgis(path, table, f"""
import subprocess
layer.startEditing()
layer.changeAttributeValue(row(13).id(), index("name"), "saved, not closed")
told["saved"] = row(13)["GlobalID"]
save()
layer.startEditing()
layer.changeAttributeValue(row(14).id(), index("name"), "not saved yet")
done = subprocess.run([{h.BIN!r}, "sync", sys.argv[1]], capture_output=True, text=True, env={{**__import__("os").environ, "XDG_CONFIG_HOME": {h.CONFIG!r}}})
told["code"], told["error"] = done.returncode, done.stderr[-300:]
save()
""")
    h.equal("the sync went through", told["code"], 0)
    h.equal("what was saved arrived", online()[key(told["saved"])]["attributes"]["name"], "saved, not closed")
    h.equal("what was saved after it waits", edits(path), (["update"], ["name"]))
    comes_home(path, 1, "after QGIS was closed")


@h.test
def ogr2ogr_upserts_and_appends_as_a_nightly_job_would():
    path, table = checkout()
    before = online()
    run = lambda *args: subprocess.run(["ogr2ogr", *args], check=True, capture_output=True, text=True)
    two = h.sql(path, f'SELECT OBJECTID, GlobalID FROM "{table}" ORDER BY OBJECTID LIMIT 2 OFFSET 15')
    # The office has two rows, without the GlobalID that it knows nothing of, and a new one.
    office = os.path.join(h.folder(), "office.gpkg")
    keys = ", ".join(str(fid) for fid, _ in two)
    run("-f", "GPKG", office, path, table, "-where", f"OBJECTID IN ({keys})")
    source = ogr.Open(office, 1)
    source.ExecuteSQL(f'ALTER TABLE "{table}" DROP COLUMN "GlobalID"')
    source = None
    source = ogr.Open(office, 1)
    layer = source.GetLayer(0)
    for feature in list(layer):
        feature.SetField("name", f"upserted {feature.GetFID()}")
        layer.SetFeature(feature)
    new = ogr.Feature(layer.GetLayerDefn())
    new.SetFID(900_000)
    new.SetField("name", "upserted anew")
    new.SetGeometry(ogr.CreateGeometryFromWkt("POINT (-13150000 4150000)"))
    layer.CreateFeature(new)
    layer = source = new = feature = None
    run("-upsert", "-preserve_fid", path, office, table)
    h.equal("two updates of the name alone, one addition", edits(path), (["add", "update", "update"], ["name", "name"]))
    run("-append", path, office, table, "-unsetFid")
    h.equal("appended rows are additions, whatever they look like", edits(path)[0], ["add"] * 4 + ["update"] * 2)
    comes_home(path, 6, "after ogr2ogr")
    rows = online()
    h.equal("the rows kept their identities", [rows[key(gid)]["attributes"]["name"] for _, gid in two], [f"upserted {fid}" for fid, _ in two])
    h.equal("four are new and none has gone", (len(set(rows) - set(before)), set(before) - set(rows)), (4, set()))


@h.test
def spatialite_moves_and_adds_points_in_a_layer_with_an_index():
    path, table = checkout()
    edit = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.enable_load_extension(True)
db.load_extension("mod_spatialite")
db.execute("SELECT EnableGpkgAmphibiousMode()")
point = "AsGPB(GeomFromText('POINT(%f %f)', 3857))"
fid, gid = db.execute(f'SELECT OBJECTID, GlobalID FROM "{sys.argv[2]}" ORDER BY OBJECTID LIMIT 1 OFFSET 20').fetchone()
db.execute(f'UPDATE "{sys.argv[2]}" SET geom = {point % (-13110000, 4110000)} WHERE OBJECTID = ?', (fid,))
db.execute(f'INSERT INTO "{sys.argv[2]}" (name, geom) VALUES (?, {point % (-13120000, 4120000)})', ("by SpatiaLite",))
db.commit()
print(gid)
"""
    if subprocess.run([sys.executable, "-c", "import sqlite3; db = sqlite3.connect(':memory:'); db.enable_load_extension(True); db.load_extension('mod_spatialite')"], capture_output=True).returncode:
        raise h.Skipped("SpatiaLite is not installed")
    moved = key(subprocess.run([sys.executable, "-c", edit, path, table], check=True, capture_output=True, text=True).stdout.strip())
    h.equal("a move and an addition", edits(path), (["add", "update"], ["geom"]))
    comes_home(path, 2, "after SpatiaLite")
    rows = online()
    h.equal("the move arrived", round(rows[moved]["geometry"]["x"]), -13110000)
    [new] = [row for row in rows.values() if row["attributes"]["name"] == "by SpatiaLite"]
    h.equal("the addition arrived in its place", round(new["geometry"]["y"]), 4120000)
    source = ogr.Open(path)
    layer = source.GetLayerByName(table)
    layer.SetSpatialFilterRect(-13120001, 4119999, -13119999, 4120001)
    h.equal("and the index finds it", [feature.GetField("name") for feature in layer], ["by SpatiaLite"])


h.run()
