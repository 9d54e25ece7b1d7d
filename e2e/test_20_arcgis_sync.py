"""Two replicas through every sync model and direction with the ArcGIS API for Python, unmodified.

The script keeps each replica's rows itself, as an offline client would, and compares them with the server's after every
round. Lost answers are made by a proxy that lets the request through and throws the answer away.
"""
import json
import math
import os
import urllib.request
import warnings

import harness as h

warnings.simplefilter("ignore")
from arcgis.features import FeatureLayerCollection  # noqa: E402
from arcgis.gis import GIS  # noqa: E402

SERVER = h.Server()
PROXY = h.FaultProxy(SERVER.port)
BASE = f"https://127.0.0.1:{PROXY.port}/arcgis"
FLC = FeatureLayerCollection(f"{BASE}/rest/services/WildfireSync/FeatureServer", GIS(BASE, verify_cert=False))
NUMBER = next(f["name"] for f in FLC.layers[0].properties.fields
              if f["type"] in ("esriFieldTypeDouble", "esriFieldTypeInteger", "esriFieldTypeSmallInteger") and f["editable"] and not f.get("domain"))


def fetch(url):
    with urllib.request.urlopen(url, context=h.unverified(), timeout=60) as answer:
        return json.load(answer)


def key(text):
    return text.strip("{}").lower()


def content(feature):
    """What must be equal on both sides: everything but the server's object ids."""
    attributes = {name: value for name, value in feature["attributes"].items() if name != "OBJECTID"}
    geometry = feature.get("geometry") or None
    if geometry:
        geometry = {name: rounded(value) for name, value in geometry.items() if name != "spatialReference"}
    return attributes, geometry


def rounded(value):
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 6) if isinstance(value, float) and math.isfinite(value) else value


class Replica:
    """An offline client in memory: rows, generations, and the edits that it has not sent."""

    def __init__(self, name, model, layers=(0, 1), **options):
        self.model, self.layers, self.rows, self.pending = model, list(layers), {i: {} for i in layers}, {}
        made = FLC.replicas.create(name, self.layers, sync_model=model, transport_type="esriTransportTypeEmbedded", **options)
        self.id = made["replicaID"]
        self.take(made)
        for layer in made["layers"]:
            self.rows[layer["id"]] = {key(f["attributes"]["GlobalID"]): f for f in layer.get("features", [])}

    def take(self, answer):
        """Remembers the generations of an answer."""
        if "replicaServerGen" in answer:
            self.gen = answer["replicaServerGen"]
        if "layerServerGens" in answer:
            self.gens = {one["id"]: one["serverGen"] for one in answer["layerServerGens"]}

    def edit(self, layer, kind, feature):
        edits = self.pending.setdefault(layer, {"adds": [], "updates": [], "deleteIds": []})
        edits[kind].append(feature)
        if kind == "deleteIds":
            self.rows[layer].pop(key(feature), None)
        elif kind == "adds":
            self.rows[layer][key(feature["attributes"]["GlobalID"])] = feature
        else:
            row = self.rows[layer][key(feature["attributes"]["GlobalID"])]
            row["attributes"].update(feature["attributes"])

    def add(self, name, layer=0):
        gid = h.guid()
        self.edit(layer, "adds", {"attributes": {"GlobalID": gid, "name": name}, "geometry": {"x": -13000000.5, "y": 4000000.25}})
        return gid

    def set(self, gid, layer=0, **values):
        self.edit(layer, "updates", {"attributes": {"GlobalID": gid, **values}})

    def delete(self, gid, layer=0):
        self.edit(layer, "deleteIds", gid)

    def request(self, direction, edits, **more):
        if self.model == "perReplica":
            more["replica_server_gen"] = self.gen
        else:
            more["sync_layers"] = json.dumps([{"id": i, "serverGen": self.gens[i], "syncDirection": direction} for i in self.layers])
        return FLC.replicas.synchronize(self.id, sync_direction=direction, edits=edits, **more)

    def edits(self):
        return [{"id": layer, "features": edits} for layer, edits in sorted(self.pending.items())]

    def sync(self, direction="bidirectional", transport="esriTransportTypeEmbedded", **more):
        sends = direction in ("bidirectional", "upload")
        answer = self.request(direction, self.edits() if sends and self.pending else None, transport_type=transport, **more)
        if "statusUrl" in answer:
            answer = h.wait_until(lambda: finished(answer["statusUrl"]), 60, "the job")
        url = answer.get("resultUrl") or answer.get("responseUrl") or answer.get("URL")
        if url:
            answer = fetch(url)
        if sends:
            refused = [r for layer in answer.get("edits", []) for results in ("addResults", "updateResults", "deleteResults")
                       for r in layer.get(results, []) if not r["success"]]
            if refused:
                raise AssertionError(f"refused: {refused}")
            self.pending = {}
        if direction != "upload":
            self.take(answer)
        for layer in answer.get("layers", []) if direction == "snapshot" else []:
            self.rows[layer["id"]] = {key(f["attributes"]["GlobalID"]): f for f in layer.get("features", [])}
        for layer in answer.get("edits", []):
            features = layer.get("features", {})
            for feature in features.get("adds", []) + features.get("updates", []):
                self.rows[layer["id"]][key(feature["attributes"]["GlobalID"])] = feature
            for gid in features.get("deleteIds", []):
                self.rows[layer["id"]].pop(key(gid), None)
        return answer

    def equals_server(self, what):
        for layer in self.layers:
            here, there = self.rows[layer], h.rows(SERVER.service(), layer)
            missing, extra = sorted(there.keys() - here.keys()), sorted(here.keys() - there.keys())
            h.check(f"{what}: layer {layer} has the server's {len(there)} rows", not missing and not extra, {"missing": missing[:3], "extra": extra[:3]})
            names = set(next(iter(here.values()))["attributes"]) if here else set()
            differ = [(content(here[g]), content(there[g])) for g in there if content(here[g]) != content(there[g])]
            h.check(f"{what}: layer {layer} equals the server in all {len(names)} attributes and the geometry", not differ, differ[:1])


def finished(url):
    job = fetch(url + "?f=json")
    if job["status"] == "Failed":
        raise AssertionError(job)
    return job if job["status"] == "Completed" else None


def any_gids(replica, count, layer=0):
    return ["{" + gid.upper() + "}" for gid in sorted(replica.rows[layer])[:count]]


def both_ways(model, **options):
    one, two = Replica(f"one {model}", model), Replica(f"two {model}", model)
    one.equals_server(f"{model}: a new replica")
    a, b, c, d = any_gids(one, 4)
    new = one.add("made by one")
    one.set(a, name="one was here")
    one.delete(c)
    two.set(b, name="two was here", **{NUMBER: 7})
    two.delete(d)
    made_by_two = two.add("made by two")
    one.sync(**options)
    two.sync(**options)
    one.sync(**options)
    one.equals_server(f"{model} {options or ''}: the first replica")
    two.equals_server(f"{model} {options or ''}: the second replica")
    h.check("each has what the other made", key(new) in two.rows[0] and key(made_by_two) in one.rows[0])
    h.check("each has lost what the other deleted", key(c) not in two.rows[0] and key(d) not in one.rows[0])
    h.equal("the other's values arrived", (two.rows[0][key(a)]["attributes"]["name"], one.rows[0][key(b)]["attributes"][NUMBER]), ("one was here", 7))
    for replica in (one, two):
        h.check("unregister", FLC.replicas.unregister(replica.id)["success"] is True)


@h.test
def per_replica_both_ways_embedded():
    both_ways("perReplica")


@h.test
def per_layer_both_ways_embedded():
    both_ways("perLayer")


@h.test
def per_replica_both_ways_by_url():
    both_ways("perReplica", transport="esriTransportTypeUrl")


@h.test
def per_layer_both_ways_by_url():
    both_ways("perLayer", transport="esriTransportTypeUrl")


@h.test
def per_replica_both_ways_as_jobs():
    both_ways("perReplica", transport="esriTransportTypeUrl", asynchronous=True)


@h.test
def upload_alone_hands_out_no_generation_and_skips_nothing():
    for model in ("perReplica", "perLayer"):
        one, two = Replica(f"up {model}", model), Replica(f"down {model}", model)
        a, b = any_gids(one, 2)
        two.set(b, name=f"meanwhile {model}")
        two.sync()
        one.set(a, name=f"sent alone {model}")
        one.sync("upload")
        h.equal(f"{model}: the upload reached the server", h.rows(SERVER.service())[key(a)]["attributes"]["name"], f"sent alone {model}")
        h.check(f"{model}: the other's change has not been seen yet", one.rows[0][key(b)]["attributes"]["name"] != f"meanwhile {model}")
        one.sync("download")
        one.equals_server(f"{model}: after the download")
        two.sync("download")
        two.equals_server(f"{model}: the other after its download")
        for replica in (one, two):
            FLC.replicas.unregister(replica.id)


@h.test
def a_download_sends_nothing_and_an_empty_one_has_no_edits():
    one = Replica("download", "perReplica")
    [a] = any_gids(one, 1)
    before = h.rows(SERVER.service())[key(a)]["attributes"]["name"]
    one.set(a, name="stays here")
    answer = one.sync("download")
    h.equal("the server kept its value", h.rows(SERVER.service())[key(a)]["attributes"]["name"], before)
    h.check("nothing came down", not [e for e in answer.get("edits", []) if any(e.get("features", {}).values())], answer)
    FLC.replicas.unregister(one.id)


@h.test
def a_snapshot_replaces_the_replica():
    one, two = Replica("snapshot", "perReplica"), Replica("editor", "perReplica")
    gid = two.add("for the snapshot")
    two.sync()
    one.rows[0].clear()
    one.sync("snapshot")
    one.equals_server("after a snapshot")
    h.check("the new row is in it", key(gid) in one.rows[0])
    for replica in (one, two):
        FLC.replicas.unregister(replica.id)


@h.test
def an_extract_registers_nothing():
    before = FLC.replicas.get_list()
    out = FLC.replicas.create("extract", [0], sync_model="none", data_format="json", out_path=h.folder())
    path = out if isinstance(out, str) else out["download_url"]
    document = json.load(open(path))
    h.equal("all rows are in the extract", len(document["layers"][0]["features"]), len(h.rows(SERVER.service())))
    h.equal("no replica was registered", FLC.replicas.get_list(), before)
    os.remove(path)


@h.test
def a_lost_answer_is_asked_for_again_and_takes_effect_once():
    for model in ("perReplica", "perLayer"):
        one = Replica(f"lost {model}", model)
        a, b = any_gids(one, 2)
        count = len(h.rows(SERVER.service()))
        new = one.add(f"once only {model}")
        one.set(a, name=f"once {model}")
        one.delete(b)
        PROXY.swallow = lambda data: data[:1] == b"\x17" and len(data) > 300
        lost = PROXY.swallowed
        try:
            one.request("bidirectional", one.edits(), transport_type="esriTransportTypeEmbedded")
        except Exception as error:  # the client names its own error types for a broken connection
            print("     the client heard:", type(error).__name__)
        h.check(f"{model}: an answer was lost on the way", PROXY.swallowed > lost)
        PROXY.heal()
        h.wait_until(lambda: key(new) in h.rows(SERVER.service()), 20, "the first request's effect")
        answer = one.sync()
        h.equal(f"{model}: one row more and one less, not two", len(h.rows(SERVER.service())), count)
        h.check(f"{model}: the repeat is told that all went well", all(r["success"] for e in answer["edits"] for r in e.get("addResults", [])))
        one.equals_server(f"{model}: after the repeat")
        one.sync("download")
        one.equals_server(f"{model}: after one more download")
        FLC.replicas.unregister(one.id)


@h.test
def one_bad_edit_does_not_block_the_others():
    one = Replica("bad edit", "perReplica")
    [a] = any_gids(one, 1)
    good, bad = h.guid(), h.guid()
    edits = [{"id": 0, "features": {"adds": [
        {"attributes": {"GlobalID": good, "name": "good"}, "geometry": {"x": 1, "y": 2}},
        {"attributes": {"GlobalID": bad, "name": "bad"}, "geometry": {"paths": [[[0, 0], [1, 1]]]}}],
        "updates": [{"attributes": {"GlobalID": a, "name": "good, too"}}], "deleteIds": [h.guid()]}}]
    answer = one.request("bidirectional", edits, transport_type="esriTransportTypeEmbedded")
    results = answer["edits"][0]
    h.equal("each add has its own result", [r["success"] for r in results["addResults"]], [True, False])
    h.check("the refusal has a code and a sentence", results["addResults"][1]["error"]["code"] and results["addResults"][1]["error"]["description"], results)
    h.check("deleting what is not there is a success", results["deleteResults"][0]["success"])
    rows = h.rows(SERVER.service())
    h.check("the good ones are stored, the bad one is not", key(good) in rows and key(bad) not in rows and rows[key(a)]["attributes"]["name"] == "good, too")
    before = len(rows)
    try:
        FLC.replicas.synchronize(one.id, replica_server_gen=one.gen, sync_direction="bidirectional", rollback_on_failure=True, transport_type="esriTransportTypeEmbedded",
                                 edits=[{"id": 0, "features": {"adds": [{"attributes": {"GlobalID": h.guid(), "name": "x"}, "geometry": {"x": 1, "y": 2}}, edits[0]["features"]["adds"][1]]}}])
        raised = ""
    except Exception as error:
        raised = str(error)
    h.check("with rollback the request fails as a whole", raised)
    h.equal("and leaves nothing behind", len(h.rows(SERVER.service())), before)
    FLC.replicas.unregister(one.id)


@h.test
def edits_arrive_as_an_upload():
    one = Replica("upload", "perReplica")
    new = h.guid()
    edits = [{"id": 0, "features": {"adds": [{"attributes": {"GlobalID": new, "name": "by file"}, "geometry": {"x": 3, "y": 4}}]}}]
    path = os.path.join(h.folder(), "edits.json")
    with open(path, "w") as file:
        json.dump(edits, file)
    item = FLC.upload(path)
    one.sync(edits_upload_id=item, edits_upload_format="json")
    h.check("the row of the uploaded file is there", key(new) in h.rows(SERVER.service()))
    big = [{"id": 0, "features": {"adds": [{"attributes": {"GlobalID": h.guid(), "name": f"part {i}"}, "geometry": {"x": i, "y": 4}} for i in range(500)]}}]
    path = os.path.join(h.folder(), "big.json")
    with open(path, "w") as file:
        # JSON may hold any white space: enough of it to need many parts.
        json.dump(big, file)
        file.write(" " * 10_500_000)
    before = len(h.rows(SERVER.service()))
    item = FLC.upload(path, upload_size=4_000_000)
    item = item if isinstance(item, str) else (item[1] if isinstance(item, tuple) else item)
    item = item["item"]["itemID"] if isinstance(item, dict) else item
    one.sync(edits_upload_id=item, edits_upload_format="json")
    h.equal("all rows of a file in many parts are there", len(h.rows(SERVER.service())), before + 500)
    one.equals_server("after the uploads")
    FLC.replicas.unregister(one.id)


@h.test
def attachments_travel_both_ways():
    layer = FLC.layers[0]
    oid = layer.query(where="1=1", result_record_count=1, return_all_records=False).features[0].attributes["OBJECTID"]
    path = os.path.join(h.folder(), "note.txt")
    with open(path, "w") as file:
        file.write("smoke in the north\n")
    added = layer.attachments.add(oid, path)
    h.check("an attachment is added online", added["addAttachmentResult"]["success"], added)
    infos = layer.attachments.get_list(oid)
    h.check("it is listed with its name and size", any(i["name"] == "note.txt" and i["size"] == 19 for i in infos), infos)
    got = layer.attachments.download(oid, infos[-1]["id"], h.folder())
    h.equal("and comes back byte for byte", open(got[0], "rb").read(), b"smoke in the north\n")

    one = FLC.replicas.create("attachments", [0], sync_model="perReplica", transport_type="esriTransportTypeEmbedded", return_attachments=True,
                              return_attachments_databy_url=False, attachments_sync_direction="bidirectional")
    attachments = one["layers"][0].get("attachments", [])
    h.check("a replica brings the attachments' content", any(a["name"] == "note.txt" and a.get("data") for a in attachments), attachments[:2])
    parent = attachments[0]["parentGlobalId"]
    gid = h.guid()
    answer = FLC.replicas.synchronize(one["replicaID"], replica_server_gen=one["replicaServerGen"], sync_direction="bidirectional", transport_type="esriTransportTypeEmbedded", edits=[
        {"id": 0, "attachments": {"adds": [{"globalId": gid, "parentGlobalId": parent, "contentType": "text/plain", "name": "field.txt", "data": "aGVsbG8="}]}}])
    found = h.good(h.post(f"{SERVER.service()}/0/queryAttachments", definitionExpression="1=1", keywords=""))
    infos = [i for group in found["attachmentGroups"] for i in group["attachmentInfos"]]
    h.check("an attachment of a sync is stored under its own GlobalID", any(key(i["globalId"]) == key(gid) and i["name"] == "field.txt" for i in infos), [answer, infos[-2:]])
    FLC.replicas.unregister(one["replicaID"])


@h.test
def changes_are_extracted_without_a_replica():
    gens = FLC.properties.changeTrackingInfo["layerServerGens"]
    since = [g for g in h.good(h.get(SERVER.service()))["changeTrackingInfo"]["layerServerGens"] if g["id"] == 0]
    new = h.guid()
    h.good(h.post(f"{SERVER.service()}/0/applyEdits", adds=[{"attributes": {"GlobalID": new, "name": "extracted"}, "geometry": {"x": 5, "y": 6}}], useGlobalIds="true"))
    out = FLC.extract_changes(layers=[0], layer_servergen=since, return_inserts=True, return_updates=True, return_deletes=True)
    if isinstance(out, dict) and "statusUrl" in out:
        out = fetch(h.wait_until(lambda: finished(out["statusUrl"]), 60, "the job")["resultUrl"])
    adds = out["edits"][0]["features"]["adds"]
    h.equal("exactly the new row", [key(f["attributes"]["GlobalID"]) for f in adds], [key(new)])
    h.check("the service tells its generations", len(gens) >= 3)


@h.test
def a_job_survives_a_restart_of_the_server():
    one = Replica("restart", "perReplica")
    new = one.add("before the restart")
    answer = one.request("bidirectional", one.edits(), transport_type="esriTransportTypeUrl", asynchronous=True)
    SERVER.kill()
    SERVER.start()
    job = h.wait_until(lambda: finished(answer["statusUrl"]), 60, "the job after the restart")
    document = fetch(job["resultUrl"])
    h.check("the job finished and its result can be fetched", document["replicaID"], document)
    h.check("its edit is stored once", key(new) in h.rows(SERVER.service()))
    one.pending = {}
    one.sync("download")
    one.equals_server("after the restart")
    FLC.replicas.unregister(one.id)


h.run()
