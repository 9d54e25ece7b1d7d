"""Replica files edited by the Python libraries that people have: GeoPandas, pyogrio and Fiona, which bring newer GDALs of their own than
Debian's. What they append, change and delete comes home; what overwrites the table is noticed and repaired.
"""
import os

import fiona
import geopandas
import pyogrio
import shapely

import harness as h

SERVER = h.Server()


def checkout(*more):
    path = os.path.join(h.folder(), "field.gpkg")
    h.cli("checkout", SERVER.service(), "-o", path, *more)
    return path, h.cli("status", path)["layers"][0]["table"]


def names():
    return sorted(row["attributes"]["name"] or "" for row in h.rows(SERVER.service()).values())


def comes_home(path, sent, what):
    done = h.cli("sync", path)
    h.equal(f"{what}: every edit is stored as it was sent", (done["applied"], done["rejected"]), (sent, []))
    h.check(f"{what}: file and server are equal", h.cli("verify", path)["equal"])
    h.equal(f"{what}: the file is sound", h.integrity(path), "ok")


@h.test
def geopandas_reads_a_replica_and_appends_to_it():
    path, table = checkout()
    print("     GDAL", pyogrio.__gdal_version_string__, "and", fiona.__gdal_version__)
    layers = [str(name) for name, _ in pyogrio.list_layers(path)]
    h.check("the layers are listed and none of our tables", table in layers and not any(name.startswith("haversack_") for name in layers), layers)
    frame = geopandas.read_file(path, layer=table)
    here = h.sql(path, f'SELECT GlobalID, name FROM "{table}" ORDER BY OBJECTID')
    h.equal("all rows, in order, with their attributes", list(zip(frame["GlobalID"], frame["name"].where(frame["name"].notna(), None))), here)
    h.equal("in the right place", (frame.crs.to_epsg(), frame.geometry.notna().all()), (3857, True))
    more = geopandas.GeoDataFrame({"name": [f"frame {n}" for n in range(200)], "acres": [n / 4 for n in range(200)]}, geometry=[shapely.Point(-13000000 + n, 4000000) for n in range(200)], crs=3857)
    more.to_file(path, layer=table, driver="GPKG", mode="a")
    h.equal("appended rows are additions", h.cli("status", path)["pending"], 200)
    comes_home(path, 200, "after GeoPandas")
    h.equal("each arrived once", [name for name in names() if name.startswith("frame ")], sorted(more["name"]))


@h.test
def pyogrio_appends_without_a_geometry_and_an_overwritten_table_is_repaired():
    path, table = checkout()
    inspections = h.tables(path)[-1]
    rows = pyogrio.read_dataframe(path, layer=inspections, read_geometry=False).head(3)[["name", "score"]]
    rows["name"] = [f"pyogrio {n}" for n in range(3)]
    pyogrio.write_dataframe(rows, path, layer=inspections, driver="GPKG", append=True)
    comes_home(path, 3, "rows of a table")
    # The way that most scripts take: read all, change, write all.
    frame = pyogrio.read_dataframe(path, layer=table)
    gid = frame.loc[0, "GlobalID"].strip("{}").lower()
    gone = frame.loc[1, "GlobalID"].strip("{}").lower()
    frame.loc[0, "name"] = "written over everything"
    frame = frame.drop(index=1)
    pyogrio.write_dataframe(frame, path, layer=table, driver="GPKG")
    refused = h.cli_raw("sync", path)
    h.check("sync refuses and says what to do", refused.returncode == 6 and "haversack repair" in refused.stderr, [refused.returncode, refused.stderr])
    h.cli("repair", path)
    h.equal("repair finds the two edits and no other", sorted((d["edit"], tuple(d["fields"])) for d in h.cli("diff", path) if d["edit"] != "delete") + [d["edit"] for d in h.cli("diff", path) if d["edit"] == "delete"], [("update", ("name",)), "delete"])
    comes_home(path, 2, "after the repair")
    online = h.rows(SERVER.service())
    h.equal("the change arrived", online[gid]["attributes"]["name"], "written over everything")
    h.check("and the deletion", gone not in online)


@h.test
def fiona_appends_features_with_every_kind_of_value():
    path, table = checkout()
    with fiona.open(path, "a", layer=table) as layer:
        known = layer.schema["properties"]
        properties = dict.fromkeys(known)
        for n in range(5):
            layer.write({"type": "Feature", "geometry": {"type": "Point", "coordinates": (-13010000 + n, 4010000)}, "properties": {**properties, "name": f"Fiona {n}", "severity": n % 3 + 1, "acres": n + 0.5, "reported_at": f"2026-05-0{n + 1}T10:20:30Z", "remarks": "Ärger – 猫 🐈" if n else None}, "id": None})
    h.equal("additions wait", h.cli("status", path)["pending"], 5)
    comes_home(path, 5, "after Fiona")
    online = {row["attributes"]["name"]: row["attributes"] for row in h.rows(SERVER.service()).values()}
    h.equal("text in any script", [online[f"Fiona {n}"]["remarks"] for n in range(2)], [None, "Ärger – 猫 🐈"])
    h.equal("numbers", [(online[f"Fiona {n}"]["severity"], online[f"Fiona {n}"]["acres"]) for n in range(3)], [(1, 0.5), (2, 1.5), (3, 2.5)])
    h.equal("dates, in UTC", online["Fiona 0"]["reported_at"], 1_777_630_830_000)


h.run()
