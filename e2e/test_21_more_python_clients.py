"""Other people's Python clients, unmodified: esridump copies layers, bmi-arcgis-restapi reads, edits, logs in and makes a replica."""
import contextlib
import io
import json
import os
import warnings

import harness as h

warnings.simplefilter("ignore")
import restapi  # noqa: E402
from esridump.dumper import EsriDumper  # noqa: E402

SERVER = h.Server()
ROOT = f"{SERVER.http}/arcgis"


def quietly(call, *args, **options):
    """The client prints what it does; only the lines of the checks belong into the output."""
    with contextlib.redirect_stdout(io.StringIO()):
        return call(*args, **options)


@h.test
def esridump_copies_each_layer_and_the_table_whole():
    for layer in range(4):
        url = f"{SERVER.service()}/{layer}"
        copied = list(EsriDumper(url, max_page_size=61, pause_seconds=0))
        want = h.rows(SERVER.service(), layer)
        h.equal(f"layer {layer} has all its rows, in pages of 61", len(copied), len(want))
        ids = {feature["properties"]["GlobalID"].strip("{}").lower() for feature in copied}
        h.equal("each of them once", ids, set(want))


@h.test
def restapi_reads_edits_and_attaches():
    layer = quietly(restapi.FeatureLayer, f"{SERVER.service()}/0")
    h.equal("it reads a part", len(layer.query(where="OBJECTID < 5").features), 4)
    place = {"x": -13700000, "y": 4800000, "spatialReference": {"wkid": 102100}}
    added = json.loads(str(quietly(layer.addFeatures, [{"attributes": {"name": "by restapi"}, "geometry": place}])))
    number = added["addResults"][0]["objectId"]
    quietly(layer.updateFeatures, [{"attributes": {"OBJECTID": number, "name": "changed"}}])
    h.equal("an update arrives", layer.query(where=f"OBJECTID = {number}").features[0].properties["name"], "changed")
    path = os.path.join(h.folder(), "note.txt")
    with open(path, "w") as file:
        file.write("a note")
    quietly(layer.addAttachment, number, path)
    h.equal("an attachment is listed", [attachment.name for attachment in layer.attachments(number)], ["note.txt"])
    quietly(layer.deleteFeatures, [number])
    h.equal("a deletion arrives", len(layer.query(where=f"OBJECTID = {number}").features), 0)


@h.test
def restapi_logs_in_and_takes_a_layer_offline():
    token = quietly(restapi.generate_token, f"{ROOT}/rest/services", "editor", "secret")
    h.check("generate_token gives a token", len(str(token)) > 20, str(token))
    service = quietly(restapi.FeatureService, SERVER.service())
    made = json.loads(str(quietly(service.createReplica, [0], "by restapi", geometry="", returnReplicaObject=False)))
    content = h.get(made["URL"])
    h.equal("the replica's file holds the layer", len(content["layers"][0]["features"]), len(h.rows(SERVER.service())))
    names = [replica.replicaName for replica in quietly(restapi.FeatureService, SERVER.service()).replicas]
    h.check("the replica is listed", "by restapi" in names, names)


h.run()
