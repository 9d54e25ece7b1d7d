"""A clinic: phones synchronise with a box in the building, and the box with the country when it can. Three processes, and two kinds of phones."""
import contextlib
import json
import os
import sqlite3
import urllib.request

from dhis2 import Api, RequestException

from harness import CONFIG, Server, check, cli, equal, folder, integrity, run, sql, test, wait_until

country = Server()
UP = {"HAVERSACK_UPSTREAM_USER": Server.USER, "HAVERSACK_UPSTREAM_PASSWORD": Server.PASSWORD}
box = Server(sample=False, extra=["--upstream", country.http, "--upstream-interval", "1s"], env=UP)
PHONE = os.path.join(folder(), "phone.gpkg")
UPLINK = os.path.join(box.data, "upstream", "dhis2.gpkg")
LOGIN = {"HAVERSACK_USER": Server.USER, "HAVERSACK_PASSWORD": Server.PASSWORD}
ENTITY_FIELDS = "*,attributes[*],enrollments[*,notes[*],events[*,dataValues[*],notes[*]]],relationships[*]"


def tracker(*args, check_code=0):
    return cli("tracker", *args, check_code=check_code, env=LOGIN)


def api(server):
    return Api(server.http, Server.USER, Server.PASSWORD)


def entity(server, uid):
    try:
        return api(server).get(f"tracker/trackedEntities/{uid}", params={"fields": ENTITY_FIELDS}).json()
    except RequestException as error:
        return {"missing": error.code}


def name(server, uid):
    return {a["attribute"]: a["value"] for a in entity(server, uid).get("attributes", [])}.get("hvAttrName1")


def weight(server, uid):
    try:
        found = api(server).get(f"tracker/events/{uid}", params={"fields": "*"}).json()
    except RequestException:
        return None
    return {v["dataElement"]: v["value"] for v in found["dataValues"]}.get("hvDeWeight1")


def post(server, payload, strategy="CREATE_AND_UPDATE"):
    return api(server).post("tracker", json=payload, params={"async": "false", "importStrategy": strategy}).json()


def person(uid, given_name, **more):
    return {"trackedEntity": uid, "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
            "attributes": [{"attribute": "hvAttrName1", "value": given_name}], **more}


def health():
    with urllib.request.urlopen(f"{box.http}/health", timeout=5) as answer:
        return json.load(answer)["upstream"]


def settled():
    """Everything that devices did is above, and everything above is here."""
    before = health()["syncedAt"]
    wait_until(lambda: health()["reached"] and health()["waiting"] == 0 and health()["syncedAt"] != before, 30, "a round without anything waiting")


@test
def the_box_gets_what_the_country_has_and_a_phone_gets_it_from_the_box():
    wait_until(lambda: health()["reached"], 30, "the first round")
    equal("people", name(box, "hvTe0000001"), name(country, "hvTe0000001"))
    told = tracker("login", box.http, "-o", PHONE)
    equal("both programs", told["objects"]["programs"], 2)
    equal("everybody", tracker("download", PHONE)["trackedEntities"], 300)


@test
def what_is_entered_while_the_country_is_away_goes_up_later():
    country.stop()
    sql(PHONE, "UPDATE Person SET given_name = 'phone' WHERE uid = 'hvTe0000001'")
    sql(PHONE, "INSERT INTO Person (uid, given_name, org_unit) VALUES ('newPerson01', 'Nia', 'hvOuFacil01')")
    sql(PHONE, "INSERT INTO Follow_up_enrollments (uid, tracked_entity, org_unit, enrolled_at, occurred_at, age) "
        "VALUES ('newEnroll01', 'newPerson01', 'hvOuFacil01', '2025-11-01', '2025-11-01', 4)")
    sql(PHONE, "INSERT INTO Follow_up_Visit (uid, enrollment, org_unit, occurred_at, weight) VALUES ('newEvent001', 'newEnroll01', 'hvOuFacil01', '2025-11-01', 7.5)")
    sql(PHONE, "DELETE FROM Follow_up_Visit WHERE uid = 'hvEv0000500'")
    equal("the box takes it", tracker("upload", PHONE)["waiting"], 0)
    equal("also from a DHIS2 client", post(box, {"trackedEntities": [person("hvTe0000002", "dhis2.py")]})["status"], "OK")
    wait_until(lambda: not health()["reached"] and health()["waiting"] >= 5, 30, "the box tells that it waits")
    country.start()
    settled()
    equal("a changed name", name(country, "hvTe0000001"), "phone")
    equal("of both", name(country, "hvTe0000002"), "dhis2.py")
    equal("a new person", name(country, "newPerson01"), "Nia")
    equal("with a visit", weight(country, "newEvent001"), "7.5")
    equal("a deletion", weight(country, "hvEv0000500"), None)


run()
