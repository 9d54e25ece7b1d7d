"""GDAL's ESRIJSON driver reads layers of a running server, page by page. Needs Debian's GDAL bindings.

runs with: system python
"""
import json
import os
import subprocess

import harness as h

SERVER = h.Server()


def ogr(*args):
    done = subprocess.run(args, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise AssertionError(f"{' '.join(args)[:300]}: {done.stderr[-800:]}")
    return done.stdout


@h.test
def gdal_reads_a_layer_page_by_page():
    want = h.rows(SERVER.service())
    out = os.path.join(h.folder(), "pages.geojson")
    url = f"{SERVER.service()}/0/query?where=1%3D1&outFields=*&resultRecordCount=37&f=json"
    ogr("ogr2ogr", "-f", "GeoJSON", out, "ESRIJSON:" + url, "-oo", "FEATURE_SERVER_PAGING=YES")
    features = json.load(open(out))["features"]
    h.equal("as many features as the layer has", len(features), len(want))
    ids = {f["properties"]["GlobalID"].strip("{}").lower() for f in features}
    h.equal("each of them once", ids, set(want))


@h.test
def gdal_reads_lines_and_areas_with_their_parts():
    for layer, kind in ((1, "Line String"), (2, "Polygon")):
        text = ogr("ogrinfo", "-ro", "-al", "-so", f"ESRIJSON:{SERVER.service()}/{layer}/query?where=1%3D1&outFields=*&f=json")
        count = int(next(line for line in text.splitlines() if line.startswith("Feature Count")).split(":")[1])
        h.equal(f"layer {layer} has all its features", count, len(h.rows(SERVER.service(), layer)))
        h.check(f"layer {layer} is made of {kind}s", kind.lower() in text.lower(), text[:600])


@h.test
def gdal_reads_geojson_with_the_same_attributes():
    out = os.path.join(h.folder(), "out.csv")
    ogr("ogr2ogr", "-f", "CSV", out, f"{SERVER.service('Ports')}/0/query?where=1%3D1&outFields=*&f=geojson")
    names = [line.split(",") for line in open(out)]
    h.equal("every port is there", len(names) - 1, len(h.rows(SERVER.service("Ports"))))


@h.test
def ogrinfo_opens_the_files_of_the_data_directory():
    services = os.path.join(SERVER.data, "services")
    files = [os.path.join(services, name) for name in sorted(os.listdir(services)) if name.endswith(".gpkg")]
    h.check("a service is a GeoPackage file", len(files) >= 2, os.listdir(services))
    for path in files:
        text = ogr("ogrinfo", "-ro", "-al", "-so", path)
        h.check(f"ogrinfo reads {os.path.basename(path)}", "Feature Count" in text, text[-500:])
        ours = [line for line in text.splitlines() if "haversack_" in line]
        h.check("of our own tables it lists the conflicts alone", ours in ([], ["Layer name: haversack_conflicts"]), ours)


h.run()
