"""dhis2.py and dhis2-client, unmodified: metadata, tracker and aggregate data, jobs and reserved values, over kill -9 as well."""
import json
import os
import threading
import time

from dhis2 import Api, RequestException
from dhis2_client import DHIS2Client
from dhis2_client.errors import DHIS2HTTPError

from harness import HERE, Server, check, equal, run, test, wait_until

server = Server(sample=False)
METADATA = json.load(open(os.path.join(HERE, "..", "crates", "dhis2", "samples", "metadata.json"), encoding="utf-8"))
DESCENDANTS = {"program": "hvProgram01", "orgUnits": "hvOuRoot001", "orgUnitMode": "DESCENDANTS"}


def api(version=None):
    return Api(server.http, Server.USER, Server.PASSWORD, api_version=version)


def family(n, unit="hvOuFacil01"):
    return {
        "trackedEntity": f"hvTe{n:07}", "trackedEntityType": "hvTeType001", "orgUnit": unit,
        "enrollments": [{
            "enrollment": f"hvEn{n:07}", "program": "hvProgram01", "orgUnit": unit, "enrolledAt": "2025-10-01", "occurredAt": "2025-10-01",
            "attributes": [{"attribute": "hvAttrName1", "value": f"Name {n}"}],
            "events": [{"event": f"hvEv{n:07}", "programStage": "hvStage0001", "orgUnit": unit, "occurredAt": "2025-10-02",
                        "dataValues": [{"dataElement": "hvDeWeight1", "value": "10"}]}],
        }],
    }


def finished(job):
    entries = api().get(f"tracker/jobs/{job}").json()
    return any(entry["completed"] for entry in entries)


def error_of(call):
    try:
        call()
    except RequestException as error:
        return error.code
    raise AssertionError("no error")


@test
def metadata_is_loaded_and_read_page_by_page():
    told = api().post("metadata", json=METADATA).json()
    equal("everything is loaded", (told["status"], told["response"]["stats"]["ignored"]), ("OK", 0))
    equal("the version", api().get_version(), "2.41.0")
    equal("the version as a number", api(41).version_int, 41)
    pages = list(api(41).get_paged("organisationUnits", page_size=1, params={"fields": "id,name,parent[name]"}))
    equal("a page each", [page["pager"]["page"] for page in pages], [1, 2, 3])
    merged = api().get_paged("organisationUnits", page_size=2, merge=True)["organisationUnits"]
    equal("every unit once", sorted(unit["id"] for unit in merged), ["hvOuFacil01", "hvOuFacil02", "hvOuRoot001"])
    parts = list(api().post_partitioned("metadata", json={"dataElements": METADATA["dataElements"] * 2}, thresh=2))
    check("parts of a payload are taken one by one", all(part.status_code == 200 for part in parts))
    equal("an unknown object", error_of(lambda: api().get("programs/aBcDeFgHiJk")), 404)
    equal("an object that is refused", error_of(lambda: api().post("metadata", json={"programs": [{"id": "x"}]})), 409)
    equal("a wrong password", error_of(lambda: Api(server.http, Server.USER, "wrong").get("me")), 401)


@test
def the_other_client_reads_all_pages_and_the_bodies_of_refusals():
    client = DHIS2Client(server.http, username=Server.USER, password=Server.PASSWORD, retries=0)
    units = list(client.fetch_all("/api/organisationUnits", params={"fields": "id", "pageSize": 1}, item_key="organisationUnits"))
    equal("every unit once", sorted(unit["id"] for unit in units), ["hvOuFacil01", "hvOuFacil02", "hvOuRoot001"])
    try:
        client.post("/api/tracker?async=false", json={"events": [{"event": "hvEv9999999"}]})
        raise AssertionError("no error")
    except DHIS2HTTPError as error:
        equal("the report of a refused import", error.payload["validationReport"]["errorReports"][0]["errorCode"], "E1123")


@test
def single_objects_are_made_changed_and_deleted_by_both_clients():
    client = DHIS2Client(server.http, username=Server.USER, password=Server.PASSWORD, retries=0)
    element = {"id": "pyElement01", "name": "Beds", "shortName": "Beds", "valueType": "INTEGER", "domainType": "AGGREGATE"}
    equal("made", client.create_data_element(element)["response"]["uid"], "pyElement01")
    client.update_data_element("pyElement01", dict(element, name="Free beds"))
    equal("replaced", client.get_data_element("pyElement01", fields="name")["name"], "Free beds")
    # This client sends the members that change, as servers before 2.36 took them.
    api().patch("dataElements/pyElement01", json={"name": "Cots"})
    equal("patched", api().get("dataElements/pyElement01").json()["name"], "Cots")
    api().put("dataElements/pyElement01", json=element)
    equal("replaced by the other client", api().get("dataElements/pyElement01").json()["name"], "Beds")
    client.delete_data_element("pyElement01")
    equal("gone", error_of(lambda: api().get("dataElements/pyElement01")), 404)
    client.create_org_unit({"id": "pyUnit00001", "name": "Ward", "shortName": "Ward", "openingDate": "2020-01-01", "parent": {"id": "hvOuFacil01"}})
    equal("a unit has its place", client.get_org_unit("pyUnit00001", fields="path")["path"], "/hvOuRoot001/hvOuFacil01/pyUnit00001")
    api().post("users", json={"id": "pyUser00001", "username": "nurse", "organisationUnits": [{"id": "hvOuFacil01"}]})
    client.add_user_org_unit_scopes("pyUser00001", capture=["pyUnit00001", "hvOuFacil01"], tei=["hvOuRoot001"])
    client.remove_user_org_unit_scopes("pyUser00001", capture=["hvOuFacil01"])
    user = client.get_user("pyUser00001", fields="organisationUnits[id],teiSearchOrganisationUnits[id]")
    equal("scopes of a user", user, {"organisationUnits": [{"id": "pyUnit00001"}], "teiSearchOrganisationUnits": [{"id": "hvOuRoot001"}]})
    client.delete_org_unit("pyUnit00001")


@test
def aggregate_values_files_and_the_data_store_of_apps():
    client = DHIS2Client(server.http, username=Server.USER, password=Server.PASSWORD, retries=0)
    value = {"dataElement": "hvDeCases01", "period": "202601", "orgUnit": "hvOuFacil01", "value": "12"}
    told = client.post_data_value_set({"dataSet": "hvDataSet01", "dataValues": [value]})
    equal("one is stored", told["response"]["importCount"]["imported"], 1)
    asked = {"dataSet": "hvDataSet01", "period": "202601", "orgUnit": "hvOuRoot001", "children": "true"}
    equal("and told", [one["value"] for one in client.get_data_value_set(asked)["dataValues"]], ["12"])
    client.set_data_value(de="hvDeCases01", pe="202601", ou="hvOuFacil01", co="hvCatOptCb1", value="13")
    equal("one by itself", client.get_data_value(de="hvDeCases01", pe="202601", ou="hvOuFacil01", co="hvCatOptCb1"), ["13"])
    try:
        client.post_data_value_set({"dataValues": [dict(value, value="many")]})
        raise AssertionError("no error")
    except DHIS2HTTPError as error:
        equal("what is refused is told with 409", error.payload["response"]["conflicts"][0]["errorCode"], "E7619")
    done = {"completeDataSetRegistrations": [{"dataSet": "hvDataSet01", "period": "202601", "organisationUnit": "hvOuFacil01"}]}
    api().post("completeDataSetRegistrations", json=done)
    listed = api().get("completeDataSetRegistrations", params=asked).json()["completeDataSetRegistrations"]
    equal("the set is complete", [one["completed"] for one in listed], [True])
    api().post("dataStore/field-app/settings", json={"pages": 3})
    equal("what an app keeps", api().get("dataStore/field-app/settings").json(), {"pages": 3})
    api().delete("dataStore/field-app/settings")
    equal("an entry that is gone", error_of(lambda: api().get("dataStore/field-app/settings")), 404)
    sent = api().session.post(f"{server.http}/api/fileResources", files={"file": ("a.txt", b"signed", "text/plain")}).json()
    described = api().get(f"fileResources/{sent['response']['fileResource']['id']}").json()
    equal("a file", (described["name"], described["contentLength"]), ("a.txt", 6))

@test
def an_import_is_a_job_with_a_report():
    told = api().post("tracker", json={"trackedEntities": [family(1), family(2, "hvOuFacil02")]}, params={"atomicMode": "OBJECT"}).json()
    job = told["response"]["id"]
    wait_until(lambda: finished(job), what="the job")
    report = api().get(f"tracker/jobs/{job}/report").json()
    equal("all objects are made", (report["status"], report["stats"]["created"]), ("OK", 6))
    pages = list(api().get_paged("tracker/trackedEntities", page_size=1, params={**DESCENDANTS, "fields": "trackedEntity,enrollments[events[event]]"}))
    equal("the newest first", [page["trackedEntities"][0]["trackedEntity"] for page in pages], ["hvTe0000002", "hvTe0000001"])
    mark = api().get("system/info").json()["serverDate"]
    change = {"events": [{**family(1)["enrollments"][0]["events"][0], "enrollment": "hvEn0000001", "occurredAt": "2025-10-05"}]}
    api().post("tracker", json=change, params={"async": "false"})
    changed = api().get("tracker/trackedEntities", params={**DESCENDANTS, "updatedAfter": mark}).json()["trackedEntities"]
    equal("a changed event brings its entity", [entity["trackedEntity"] for entity in changed], ["hvTe0000001"])


@test
def jobs_and_their_reports_survive_kill_9():
    jobs = []
    for batch in range(3):
        body = {"trackedEntities": [family(1000 + batch * 100 + n) for n in range(100)]}
        jobs.append(api().post("tracker", json=body, params={"atomicMode": "OBJECT"}).json()["response"]["id"])
    server.kill()
    server.start()
    for job in jobs:
        wait_until(lambda job=job: finished(job), what=f"the job {job}")
        stats = api().get(f"tracker/jobs/{job}/report").json()["stats"]
        equal("every object of it took effect once", (stats["created"], stats["ignored"]), (300, 0))
    server.kill()
    server.start()
    equal("its report is there after another one", api().get(f"tracker/jobs/{jobs[0]}/report").json()["stats"]["created"], 300)
    found = api().get("tracker/trackedEntities", params={**DESCENDANTS, "pageSize": 1}).json()
    equal("no object is there twice", found["pager"]["total"], 302)


@test
def no_value_is_given_out_twice_over_kill_9():
    given, lock, done = [], threading.Lock(), threading.Event()
    path = "trackedEntityAttributes/hvAttrSeq01/generateAndReserve"

    def reserve():
        while not done.is_set():
            try:
                rows = api().get(path, params={"numberToReserve": 7, "ORG_UNIT_CODE": "HVF1"}).json()
            except Exception:  # the server is down just now
                time.sleep(0.02)
                continue
            with lock:
                given.extend(row["value"] for row in rows)

    threads = [threading.Thread(target=reserve) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            before = len(given)
            wait_until(lambda: len(given) > before + 50, what="values")
            server.kill()
            server.start()
        before = len(given)
        wait_until(lambda: len(given) > before, what="values after the last start")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    check("many were given", len(given) > 200, len(given))
    equal("each once", len(given), len(set(given)))


run()
