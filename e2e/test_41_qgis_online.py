"""QGIS reads the layers of a running server through its own provider. Skipped where QGIS is not installed;
QGIS 3.22 reads layers and edits none, and opens no tables.

runs with: system python
"""
import os
import subprocess
import sys

import harness as h

os.environ["QT_QPA_PLATFORM"] = "offscreen"
# An import that is not there, or a provider that crashes, must not take this script with it.
HAS_QGIS = subprocess.run([sys.executable, "-c", "import qgis.core"], capture_output=True).returncode == 0
SERVER = h.Server()
READ = """
import json, sys
from qgis.core import QgsApplication, QgsFeatureRequest, QgsRectangle, QgsVectorLayer
application = QgsApplication([], False)
application.initQgis()
told = []
for url, reference in json.loads(sys.argv[1]):
    layer = QgsVectorLayer(f"crs='{reference}' url='{url}'", "layer", "arcgisfeatureserver")
    features = list(layer.getFeatures())
    part = QgsRectangle(layer.extent())
    part.setXMaximum(part.center().x())
    told.append({
        "valid": layer.isValid(), "count": layer.featureCount(), "read": len(features), "type": layer.geometryType(),
        "ids": [feature["GlobalID"] for feature in features],
        "places": all(not feature.geometry().isNull() for feature in features),
        "west": sum(1 for _ in layer.getFeatures(QgsFeatureRequest().setFilterRect(part))),
    })
application.exitQgis()
print("told", json.dumps(told))
"""


@h.test
def qgis_reads_every_layer_and_a_part_of_it():
    if not HAS_QGIS:
        raise h.Skipped("QGIS is not installed")
    layers = [(SERVER.service(), number, "EPSG:3857") for number in range(3)] + [(SERVER.service("Ports"), 0, "EPSG:4326")]
    asked = h.json.dumps([(f"{service}/{number}", reference) for service, number, reference in layers])
    done = subprocess.run([sys.executable, "-c", READ, asked], capture_output=True, text=True, timeout=300)
    line = next((line for line in done.stdout.splitlines() if line.startswith("told ")), None)
    h.check("QGIS ends in good order", line is not None, done.stderr[-800:])
    for (service, number, _), told in zip(layers, h.json.loads(line[5:])):
        want = h.rows(service, number)
        name = f"{service.split('/')[-2]}/{number}"
        h.equal(f"{name} is a layer with all its features", (told["valid"], told["count"], told["read"]), (True, len(want), len(want)))
        h.equal("each of them once", {text.strip("{}").lower() for text in told["ids"]}, set(want))
        h.check("each has its place, and the western half has fewer", told["places"] and 0 < told["west"] < len(want), told["west"])


h.run()
