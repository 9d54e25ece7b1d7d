"""Real data, imported, checked out over both wires and exported by GDAL: every attribute and every coordinate is what it was in the file.

The data is not in the repository; without it the tests are counted as skipped. GeoJSON is read with Python's own parser, what comes back with GDAL.

runs with: system python
"""
import json
import os
import subprocess

from osgeo import gdal, ogr

import harness as h

ogr.UseExceptions()
gdal.UseExceptions()
FIXTURES = os.path.join(os.environ.get("HAVERSACK_SHARED", ""), "fixtures", "geo")


def documents():
    if not os.path.isdir(FIXTURES):
        raise h.Skipped("the real data is not beside the checkout")
    for name in sorted(os.listdir(FIXTURES)):
        if name.endswith(".geojson"):
            with open(os.path.join(FIXTURES, name), encoding="utf-8") as file:
                yield name, json.load(file)


def turned(points):
    """A ring without its beginning and its direction, which say nothing of the area."""
    points = [tuple(point) for point in points[:-1]]
    both = []
    for way in (points, points[::-1]):
        first = way.index(min(way))
        both.append(way[first:] + way[:first])
    return min(both)


def shape(geometry):
    """A geometry as a comparable value: single ones are multi ones with one part."""
    if geometry is None:
        return None
    kind, places = geometry["type"], geometry["coordinates"]
    if not kind.startswith("Multi") and kind != "Point":
        places = [places]
    if kind.endswith("Polygon"):
        # Shells and holes belong together by their place.
        return "area", sorted(turned(ring) for polygon in places for ring in polygon), sorted(len(polygon) for polygon in places)
    if kind.endswith("LineString"):
        return "line", sorted([tuple(place) for place in line] for line in places)
    return "point", [tuple(places)] if kind == "Point" else sorted(tuple(place) for place in places)


def same(here, there):
    """Whether a value came back: numbers by value, since a column has one type for all its rows; an absent one is null."""
    if isinstance(there, bool):
        return here == int(there)
    if isinstance(there, (int, float)):
        return isinstance(here, (int, float)) and here == there
    return here == there


def differences(layer, features):
    """What GDAL reads otherwise than it stands in the file, in the order of the rows."""
    wrong = []
    definition = layer.GetLayerDefn()
    columns = [definition.GetFieldDefn(at).GetName() for at in range(definition.GetFieldCount())]
    compared = 0
    for read, written in zip(layer, features):
        properties = written["properties"]
        missing = [name for name in properties if name not in columns]
        if missing:
            return [f"columns are missing: {missing}"], 0
        for name, there in properties.items():
            here = read.GetField(name) if read.IsFieldSetAndNotNull(name) else None
            compared += 1
            if not same(here, there):
                wrong.append((name, here, there))
        found = read.GetGeometryRef()
        here = shape(json.loads(found.ExportToJson(["COORDINATE_PRECISION=17"]))) if found is not None else None
        if here != shape(written["geometry"]):
            wrong.append(("geometry", str(here)[:200], str(shape(written["geometry"]))[:200]))
    return wrong, compared


@h.test
def the_real_data_comes_back_attribute_by_attribute_and_geometry_by_geometry():
    files = list(documents())
    h.equal("six files", len(files), 6)
    server = h.Server(sample=False)
    login = ("--user", server.USER, "--password-stdin")
    secret = server.PASSWORD + "\n"
    for number, (name, document) in enumerate(files):
        features = document["features"]
        h.cli("import", os.path.join(FIXTURES, name), "--service", f"Real{number}", "--data", server.data)
        for wire in ([], ["--geoservices"]):
            path = os.path.join(h.folder(), "real.gpkg")
            h.cli("checkout", server.service(f"Real{number}"), "-o", path, *wire, *login, input=secret)
            exported = path.replace(".gpkg", ".geojson")
            subprocess.run(["ogr2ogr", "-f", "GeoJSON", exported, path, "-lco", "COORDINATE_PRECISION=17", "-lco", "SIGNIFICANT_FIGURES=17"], check=True, capture_output=True)
            for what, file in (("replica", path), ("export", exported)):
                source = ogr.Open(file)
                layer = source.GetLayer(0)
                h.equal(f"{name} {' '.join(wire)} {what}: all rows", layer.GetFeatureCount(), len(features))
                wrong, compared = differences(layer, features)
                h.check(f"{name} {' '.join(wire)} {what}: all {compared} attributes and {len(features)} geometries are as they were", not wrong and compared >= len(features), wrong[:5])
                layer = source = None
            h.check(f"{name} {' '.join(wire)}: verify agrees", h.cli("verify", path, *login, input=secret)["equal"])


@h.test
def the_real_data_survives_an_edit_of_everything_and_its_way_back():
    files = dict(documents())
    name = "ne_50m_populated_places_simple.geojson"
    server = h.Server(sample=False)
    login = ("--user", server.USER, "--password-stdin")
    secret = server.PASSWORD + "\n"
    h.cli("import", os.path.join(FIXTURES, name), "--service", "Places", "--data", server.data)
    one, two = (os.path.join(h.folder(), "one.gpkg") for _ in range(2))
    for path in (one, two):
        h.cli("checkout", server.service("Places"), "-o", path, *login, input=secret)
    table = h.tables(one)[0]
    # QGIS's field calculator, in effect: every row gets another value and then its own again, with a sync in between.
    column = next(key for key, value in files[name]["features"][0]["properties"].items() if isinstance(value, str))
    h.sql(one, f'UPDATE "{table}" SET "{column}" = "{column}" || ?', " ✎")
    h.equal("all rows were sent", h.cli("sync", one, *login, input=secret)["applied"], len(files[name]["features"]))
    source = ogr.Open(one)
    wrong, _ = differences(source.GetLayer(0), files[name]["features"])
    h.equal("each is seen to differ, in this field alone", (len(wrong), {field for field, _, _ in wrong}), (len(files[name]["features"]), {column}))
    source = None
    h.cli("sync", two, *login, input=secret)
    h.sql(two, f'UPDATE "{table}" SET "{column}" = substr("{column}", 1, length("{column}") - 2)')
    h.equal("and sent back as they were", h.cli("sync", two, *login, input=secret)["applied"], len(files[name]["features"]))
    h.cli("sync", one, *login, input=secret)
    for path in (one, two):
        source = ogr.Open(path)
        wrong, compared = differences(source.GetLayer(0), files[name]["features"])
        h.check(f"all {compared} attributes are what they were in the file", not wrong, wrong[:5])
        h.check("file and server are equal", h.cli("verify", path, *login, input=secret)["equal"])


h.run()
