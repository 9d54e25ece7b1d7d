"""python-arango, unmodified, between two servers: databases, collections, documents, queries, and the copy of a collection."""
import json
import time
import urllib.error
import urllib.request
import warnings

from arango import ArangoClient
from arango.exceptions import ArangoServerError, AsyncJobResultError, DocumentInsertError

import harness
from harness import Server, check, equal, test, wait_until

warnings.simplefilter("ignore")  # the client says at every call that ArangoDB has removed it

primary = Server(sample=True)
secondary = Server(sample=False, extra=["--allow-endpoint", "tcp://127.0.0.1:*"])
ENDPOINT = f"tcp://127.0.0.1:{primary.port}"


def database(server, name="_system"):
    return ArangoClient(hosts=server.http).db(name, username=Server.USER, password=Server.PASSWORD, verify=True)


def content(collection):
    return {document["_key"]: document for document in collection.all()}


def sync(db=None, names=("test",), incremental=False, **more):
    db = db or database(secondary)
    return db.replication.synchronize(
        ENDPOINT, database="_system", username=Server.USER, password=Server.PASSWORD, incremental=incremental,
        restrict_type="include", restrict_collections=list(names), **more)


def error_of(call):
    try:
        call()
    except ArangoServerError as error:
        return error.http_code, error.error_code
    raise AssertionError("no error")


@test
def the_server_is_found_and_logs_in_both_ways():
    client = ArangoClient(hosts=primary.http)
    check("the version is of the 3 series", database(primary).version().startswith("3."))
    check("a JWT is given and accepted", client.db("_system", Server.USER, Server.PASSWORD, auth_method="jwt", verify=True).properties()["name"] == "_system")
    equal("a wrong password", error_of(lambda: client.db("_system", Server.USER, "wrong!").version()), (401, 11))
    equal("an unknown database", error_of(lambda: client.db("nowhere", Server.USER, Server.PASSWORD).properties()), (404, 1228))


@test
def databases_and_users_are_made_and_removed():
    system = database(primary)
    equal("a database is made", system.create_database("shop", users=[{"username": "shopkeeper", "password": "secret1", "active": True}]), True)
    check("it is listed", "shop" in system.databases())
    equal("its name is taken now", error_of(lambda: system.create_database("shop")), (409, 1207))
    shop = ArangoClient(hosts=primary.http).db("shop", "shopkeeper", "secret1", verify=True)
    shop.create_collection("goods").insert({"_key": "pen"})
    check("its user works in it", shop.collection("goods").has("pen"))
    other = ArangoClient(hosts=primary.http).db("_system", "shopkeeper", "secret1")
    equal("and nowhere else", error_of(other.collections), (403, 11))
    equal("its permission", system.permission("shopkeeper", "shop"), "rw")
    system.update_permission("shopkeeper", "ro", "shop")
    equal("read only it cannot write", error_of(lambda: shop.collection("goods").insert({})), (403, 11))
    check("the user is removed", system.delete_user("shopkeeper"))
    equal("the database is removed", system.delete_database("shop"), True)


@test
def collections_are_granted_one_by_one():
    system = database(primary)
    system.create_database("depot", users=[{"username": "clerk", "password": "secret1", "active": True}])
    depot = database(primary, "depot")
    for name in ("parts", "wages"):
        depot.create_collection(name).insert({"_key": "one"})
    clerk = ArangoClient(hosts=primary.http).db("depot", "clerk", "secret1", verify=True)
    equal("a database's grant covers its collections", system.permission("clerk", "depot", "wages"), "rw")
    check("one collection is closed", system.update_permission("clerk", "none", "depot", "wages"))
    equal("and told so", system.permission("clerk", "depot", "wages"), "none")
    equal("it is not listed", [c["name"] for c in clerk.collections()], ["parts"])
    for call in (lambda: clerk.collection("wages").get("one"), lambda: clerk.collection("wages").insert({}),
                 lambda: list(clerk.aql.execute("FOR w IN wages RETURN w"))):
        equal("nothing of it can be had", error_of(call), (403, 11))
    system.update_permission("clerk", "ro", "depot")
    equal("read only", error_of(lambda: clerk.collection("parts").insert({})), (403, 11))
    system.update_permission("clerk", "rw", "depot", "parts")
    check("but one collection may be written", clerk.collection("parts").insert({})["_key"])
    equal("all that was granted", system.permissions("clerk")["depot"],
          {"permission": "ro", "collections": {"parts": "rw", "wages": "none", "*": "undefined"}})
    system.update_permission("clerk", "none", "depot", "*")
    check("it is taken back", system.reset_permission("clerk", "depot", "parts"))
    equal("what holds for all collections holds then", system.permission("clerk", "depot", "parts"), "none")
    equal("there is no such collection", error_of(lambda: system.update_permission("clerk", "ro", "depot", "nothing")), (404, 1203))
    system.delete_user("clerk")
    system.delete_database("depot")


@test
def documents_are_written_and_read():
    test_db = database(primary)
    people = test_db.create_collection("people")
    meta = people.insert({"_key": "ada", "name": "Ada", "at": {"x": 1}, "nul": "\u0000"}, return_new=True)
    equal("what was inserted comes back", meta["new"]["nul"], "\u0000")
    equal("a key is taken once", error_of(lambda: people.insert({"_key": "ada"})), (409, 1210))
    equal("an insert that is not in doubt", error_of(lambda: people.insert({"_key": "a/b"})), (400, 1221))
    many = people.insert_many([{"_key": "bob", "name": "Bob"}, {"_key": "ada"}, {"name": "no key"}])
    equal("one of many fails alone", [isinstance(m, DocumentInsertError) for m in many], [False, True, False])
    updated = people.update({"_key": "ada", "at": {"y": 2}}, return_new=True)
    equal("an update merges", updated["new"]["at"], {"x": 1, "y": 2})
    check("the revision changed", updated["_rev"] != updated["_old_rev"])
    equal("an old revision is refused", error_of(lambda: people.update({"_key": "ada", "_rev": meta["_rev"], "z": 1})), (412, 1200))
    people.replace({"_key": "bob", "age": 7})
    equal("a replacement is whole", {k: v for k, v in people.get("bob").items() if not k.startswith("_")}, {"age": 7})
    equal("some are read at once", [d["_key"] for d in people.get_many(["ada", "nobody", "bob"])], ["ada", "bob"])
    check("one is deleted", people.delete("bob"))
    check("and gone", people.get("bob") is None and not people.has("bob"))
    equal("what is counted", people.count(), 2)
    key = "testi$!%20%44+abc="
    people.insert({"_key": key})
    check("a key with percent signs", key in set(people.keys()))


@test
def queries_of_the_driver_are_answered():
    points = database(primary).create_collection("points")
    done = points.import_bulk([{"_key": f"k{n:05}", "n": n, "odd": n % 2 == 1, "at": {"x": n % 7}} for n in range(3000)])
    equal("an import", (done["created"], done["errors"]), (3000, 0))
    equal("all, page by page", len(list(points.all())), 3000)
    equal("with skip and limit", len(list(points.all(skip=2990, limit=100))), 10)
    equal("found by attributes", len(list(points.find({"odd": True, "at.x": 3}))), sum(1 for n in range(3000) if n % 2 and n % 7 == 3))
    equal("sorted", [d["n"] for d in points.find({"odd": True}, limit=3, sort=[{"sort_by": "n", "sort_order": "desc"}])], [5, 3, 1])
    equal("a range", sorted(d["n"] for d in points.find_in_range("n", 5, 9)), [5, 6, 7, 8])
    check("a random one", points.random()["_id"].startswith("points/"))
    equal("ids", len(list(points.ids())), 3000)
    rows = database(primary).aql.execute("FOR p IN points FILTER p.n IN [1, 2] SORT p.n DESC RETURN {k: p._key}", count=True)
    equal("a query of one's own", list(rows), [{"k": "k00002"}, {"k": "k00001"}])
    equal("changed where an attribute is", points.update_match({"odd": True}, {"at": {"y": 1}}, limit=4), 4)
    equal("what they are now", [d["at"] for d in points.find({"at.y": 1}, limit=1)], [{"x": 1, "y": 1}])
    equal("replaced", points.replace_match({"n": 8}, {"n": 8, "new": True}), 1)
    equal("removed", (points.delete_match({"new": True}), points.count()), (1, 2999))
    points.insert({"_key": "k00008", "n": 8})
    equal("graphs", database(primary).graphs(), [])
    equal("what is not understood is refused", error_of(lambda: database(primary).aql.execute("FOR p IN points COLLECT x = p.n RETURN x")), (400, 1501))


@test
def a_collection_is_copied_whole_and_kept_up():
    one, two = database(primary), database(secondary)
    source = one.collection("test")
    check("the sample has some hundred documents there", 200 <= source.count() < 1000)
    source.truncate()
    source.insert_many([{"_key": f"k{n}", "n": n, "text": "x" * 50} for n in range(1000)])
    source.insert({"_key": "testi$!%20%44+abc=", "_from": "no edge"})
    source.add_index({"type": "persistent", "fields": ["n"], "unique": True, "sparse": True, "name": "by_n"})
    result = sync()
    equal("what was copied", [c["name"] for c in result["collections"]], ["test"])
    check("the tick of the snapshot", int(result["last_log_tick"]) > 0)
    copy = two.collection("test")
    equal("every document with its revision", content(copy), content(source))
    equal("the checksums", copy.checksum(with_rev=True, with_data=True), source.checksum(with_rev=True, with_data=True))
    equal("the indexes", [i["name"] for i in copy.indexes()], ["primary", "by_n"])
    equal("the unique one holds", error_of(lambda: copy.insert({"n": 7})), (409, 1210))
    # Drift on both sides.
    source.update({"_key": "k1", "text": "changed"})
    source.delete("k2")
    source.insert({"_key": "new"})
    copy.update({"_key": "k3", "text": "changed here"})
    copy.delete("k4")
    copy.insert({"_key": "only"})
    # Values of the unique index change places.
    for n in (10, 11):
        source.update({"_key": f"k{n}", "n": -n})
    source.update({"_key": "k10", "n": 11})
    source.update({"_key": "k11", "n": 10})
    sync(incremental=True)
    equal("the difference is made up", content(copy), content(source))
    sync(incremental=True)
    equal("and nothing is left to do", content(copy), content(source))
    source.truncate()
    sync(incremental=True)
    equal("emptied like the primary", copy.count(), 0)


@test
def edges_and_layers_are_copied_too():
    one, two = database(primary), database(secondary)
    roads = one.create_collection("roads", edge=True)
    roads.insert({"_from": "test/a", "_to": "test/b", "km": 3.0})
    equal("an edge needs its ends", error_of(lambda: roads.insert({"km": 1})), (400, 1233))
    sync(names=["roads"])
    equal("it is an edge collection", two.collection("roads").properties()["edge"], True)
    equal("its edges", content(two.collection("roads")), content(roads))
    layer = next(c["name"] for c in database(primary, "WildfireSync").collections())
    two.replication.synchronize(ENDPOINT, database="WildfireSync", username=Server.USER, password=Server.PASSWORD, restrict_type="include", restrict_collections=[layer])
    features = content(database(primary, "WildfireSync").collection(layer))
    equal("a layer of a feature service as documents", content(two.collection(layer)), features)
    check("with GeoJSON", any(isinstance(v, dict) and "coordinates" in v for v in next(iter(features.values())).values()))
    equal("a layer is read only here", error_of(lambda: database(primary, "WildfireSync").collection(layer).insert({})), (403, 1004))


@test
def orders_that_cannot_be_done_change_nothing():
    two = database(secondary)
    before = content(two.collection("roads"))
    replication = two.replication
    order = dict(username=Server.USER, password=Server.PASSWORD, restrict_type="include", restrict_collections=["roads"], initial_sync_wait_time=5)
    equal("a collection that is not there is no error", replication.synchronize(ENDPOINT, username=Server.USER, password=Server.PASSWORD, restrict_type="include", restrict_collections=["nowhere"])["collections"], [])
    equal("a wrong password", error_of(lambda: replication.synchronize(ENDPOINT, **{**order, "password": "wrong!"})), (500, 1402))
    equal("an unknown database", error_of(lambda: replication.synchronize(ENDPOINT, database="nowhere", **order)), (500, 1402))
    equal("an endpoint that is not listed", error_of(lambda: replication.synchronize("tcp://localhost:1", **order)), (403, 11))
    equal("ourselves", error_of(lambda: replication.synchronize(f"tcp://127.0.0.1:{secondary.port}", **order)), (500, 1405))
    equal("nobody there", error_of(lambda: replication.synchronize("tcp://127.0.0.1:1", **order)), (500, 1400))
    equal("no endpoint", error_of(lambda: replication.synchronize("", **order)), (400, 400))
    equal("names without a type", error_of(lambda: replication.synchronize(ENDPOINT, restrict_collections=["roads"])), (400, 1410))
    equal("what is here is as it was", content(two.collection("roads")), before)


@test
def an_order_can_be_given_and_its_result_fetched_later():
    two = database(secondary)
    job = two.begin_async_execution(return_result=True).replication.synchronize(
        ENDPOINT, username=Server.USER, password=Server.PASSWORD, restrict_type="include", restrict_collections=["roads"])
    wait_until(lambda: job.status() == "done", 30, "the job")
    equal("the result", [c["name"] for c in job.result()["collections"]], ["roads"])
    try:
        job.result()
        raise AssertionError("a result was given twice")
    except AsyncJobResultError as error:
        equal("once fetched it is forgotten", error.error_code, 404)


@test
def a_primary_is_read_by_batch_inventory_and_dump():
    one = database(primary)
    replication = one.replication
    batch = replication.create_dump_batch(ttl=600)
    inventory = replication.inventory(batch["id"])
    check("the inventory names the collections", {"people", "points", "roads"} <= {c["parameters"]["name"] for c in inventory["collections"]})
    one.collection("points").insert({"_key": "after"})
    lines = []
    while True:
        part = replication.dump("points", batch_id=batch["id"], chunk_size=20_000, deserialize=True)
        lines += part["content"][0]
        if not part["check_more"]:
            break
    equal("the dump is of the snapshot", len(lines), 3000)
    equal("in envelopes", {line["type"] for line in lines}, {2300})
    check("the batch is prolonged", replication.extend_dump_batch(batch["id"], 700))
    check("and released", replication.delete_dump_batch(batch["id"]))
    equal("then it is unknown", error_of(lambda: replication.inventory(batch["id"])), (404, 1600))
    state = replication.logger_state()
    check("the logger runs", state["state"]["running"] and state["server"]["version"].startswith("3."))
    check("the server has a number", int(replication.server_id()) > 0)
    one.collection("points").delete("after")
    tail = one.wal.tail(lower=int(batch["last_tick"]))
    equal("the tail tells the removal alone", ['"type":2302' in tail["content"], '"type":2300' in tail["content"]], [True, False])


harness.run()
