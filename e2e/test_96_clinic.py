"""A clinic: phones synchronise with a box in the building, and the box with the country when it can. Three processes, and two kinds of phones."""
import base64
import datetime
import json
import os
import re
import time
import urllib.request

from dhis2 import Api, RequestException

from harness import Server, check, cli, cli_raw, equal, folder, integrity, run, sql, test, wait_until

country = Server()
UP = {"HAVERSACK_UPSTREAM_USER": Server.USER, "HAVERSACK_UPSTREAM_PASSWORD": Server.PASSWORD}
box = Server(sample=False, extra=["--upstream", country.http, "--upstream-interval", "2s"], env=UP)
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
    """Everything that devices did is above, and everything above is here. An administrator asks for a round, and reads how it went."""
    ask = urllib.request.Request(f"{box.http}/v1/upstream/round", method="POST")
    ask.add_header("Authorization", "Basic " + base64.b64encode(f"{Server.USER}:{Server.PASSWORD}".encode()).decode())
    with urllib.request.urlopen(ask, timeout=60) as answer:
        told = json.load(answer)
    check("a round reaches the country and leaves nothing waiting", told["reached"] and told["waiting"] == 0, told)
    return told


def one(statement, *values):
    return sql(PHONE, statement, *values)[0][0]


def reserve(server, count):
    params = {"numberToReserve": count, "ORG_UNIT_CODE": "HVF1"}
    return [v["value"] for v in api(server).get("trackedEntityAttributes/hvAttrSeq01/generateAndReserve", params=params).json()]


def refused_values(count):
    try:
        reserve(box, count)
    except RequestException as error:
        return error.code, error.description
    return None


def said():
    """What the administrator of the box reads."""
    return tracker("conflicts", UPLINK, check_code=(0, 3))


def everything(server):
    """All tracker data as it is told, without what each server says of its own times."""
    own = {"createdAt", "updatedAt", "createdAtClient", "updatedAtClient", "storedAt", "storedBy", "href"}

    def bare(value):
        if isinstance(value, dict):
            return {name: bare(member) for name, member in sorted(value.items()) if name not in own}
        if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value):
            return str(float(value))  # a copy keeps numbers as numbers: 70.0 comes as 70
        if isinstance(value, list):
            return sorted((bare(member) for member in value), key=json.dumps)
        return value

    where = {"orgUnit": "hvOuRoot001", "orgUnitMode": "DESCENDANTS", "paging": "false", "includeDeleted": "false"}
    people = api(server).get("tracker/trackedEntities", params={"program": "hvProgram01", "fields": ENTITY_FIELDS, **where}).json()
    single = api(server).get("tracker/events", params={"program": "hvEventPrg1", "fields": "*,dataValues[*],notes[*]", **where}).json()
    told = [found.get(name, found.get("instances")) for found, name in ((people, "trackedEntities"), (single, "events"))]
    return bare(told)


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


@test
def what_the_country_changes_arrives_at_the_phone():
    equal("a name", post(country, {"trackedEntities": [person("hvTe0000003", "country")]})["status"], "OK")
    note = {"enrollment": "hvEn0000003", "trackedEntity": "hvTe0000003", "program": "hvProgram01", "orgUnit": "hvOuFacil02", "enrolledAt": "2024-04-22",
            "occurredAt": "2024-04-22", "notes": [{"note": "newNote0001", "value": "seen"}]}
    equal("a note", post(country, {"enrollments": [note]})["status"], "OK")
    equal("a deletion", post(country, {"events": [{"event": "hvEv0000400"}]}, "DELETE")["status"], "OK")
    settled()
    equal("it is on the box", name(box, "hvTe0000003"), "country")
    tracker("download", PHONE)
    equal("and on the phone", one("SELECT given_name FROM Person WHERE uid = 'hvTe0000003'"), "country")
    equal("with the note", one("SELECT value FROM Notes WHERE uid = 'newNote0001'"), "seen")
    equal("without what was deleted", one("SELECT count(*) FROM Follow_up_Visit WHERE uid = 'hvEv0000400'"), 0)


@test
def a_nurse_with_an_account_of_the_box_enters_what_the_country_changes_too():
    cli("user", "add", "mary", "--password-stdin", "--data", box.data, input="marys-word\n")
    cli("user", "grant", "mary", "dhis2", "read,edit", "--data", box.data)
    units = [{"id": "hvOuFacil01"}]
    told = api(box).post("metadata", json={"users": [{"id": "clinicMary1", "username": "mary", "organisationUnits": units, "teiSearchOrganisationUnits": units}]})
    equal("she has a scope", told.json()["status"], "OK")
    mary = Api(box.http, "mary", "marys-word")
    country.stop()
    for uid, given_name in (("hvTe0000004", "Mary's"), ("newPerson02", "Register")):
        more = {"attributes": [{"attribute": "hvAttrName1", "value": given_name}]}
        if uid.startswith("new"):
            more["attributes"].append({"attribute": "hvAttrCode1", "value": "C-1"})
        told = mary.post("tracker", json={"trackedEntities": [person(uid, given_name, **more)]}, params={"async": "false"}).json()
        equal("the box takes hers", told["status"], "OK")
    told = mary.post("tracker", json={"events": [visit("hvEv0000700", "hvEn0000007", "61.5"), visit("hvEv0001000", "hvEn0000010", "62.5")]}, params={"async": "false"}).json()
    equal("and visits", told["status"], "OK")
    wait_until(lambda: health()["waiting"] >= 4 and not health()["reached"], 30, "her edits wait")
    box.kill()
    country.start()
    post(country, {"trackedEntities": [person("hvTe0000004", "country's")]})
    post(country, {"trackedEntities": [person("otherPerson", "Other", attributes=[{"attribute": "hvAttrCode1", "value": "C-1"}])]})
    post(country, {"events": [visit("hvEv0000700", "hvEn0000007", None, status="ACTIVE")]})
    post(country, {"events": [{"event": "hvEv0001000"}]}, "DELETE")
    box.start()
    wait_until(lambda: health()["reached"] and health()["waiting"] == 0, 30, "a round")


def visit(uid, enrollment, weight, status="COMPLETED"):
    values = [{"dataElement": "hvDeWeight1", "value": weight}] if weight else []
    return {"event": uid, "enrollment": enrollment, "program": "hvProgram01", "programStage": "hvStage0001", "orgUnit": "hvOuFacil01", "status": status,
            "occurredAt": "2024-08-22", "dataValues": values}


@test
def where_both_changed_the_same_field_the_conflict_is_readable_and_nothing_is_lost():
    equal("what the device entered stands", name(country, "hvTe0000004"), "Mary's")
    found = cli("conflicts", "list", box.http, check_code=3, env=LOGIN)
    equal("with the file of the copy there are the same", cli("conflicts", "list", UPLINK, check_code=3), found)
    clash = next(c for c in found if c["globalId"] == "hvTe0000004")
    equal("what was there, hers, and the country's", [clash[side]["given_name"] for side in ("base", "mine", "theirs")], ["Emeka 4", "Mary's", "country's"])
    equal("whose it is", (clash["user"], clash["fields"]), ("mary", ["given_name"]))
    event = api(country).get("tracker/events/hvEv0000700", params={"fields": "*"}).json()
    equal("different fields meet", (event["status"], event["dataValues"][0]["value"]), ("ACTIVE", "61.5"))
    cli("conflicts", "resolve", box.http, clash["id"], "--keep", "theirs", env=LOGIN)
    settled()
    equal("a decision goes up", name(country, "hvTe0000004"), "country's")
    equal("and to the devices", name(box, "hvTe0000004"), "country's")


@test
def what_the_country_refuses_is_shown_with_its_reason_and_whose_it_was():
    told = next(c for c in said()["refused"] if c["object"] == "newPerson02")
    equal("code, field, value and user", (told["code"], told["field"], told["value"], told["user"]), ("E1064", "hvAttrCode1", "C-1", "mary"))
    check("with a hint", told["hint"], told)
    check("and counted", health()["refused"] >= 1, health())
    clash = next(c for c in settled()["conflicts"] if c["object"] == "hvEv0001000")
    equal("an administrator reads it from anywhere", (clash["layer"], clash["user"]), ("Follow-up Visit", "mary"))
    with open(box.data + ".log", errors="replace") as log:
        check("and logged", any("E1064" in line and "mary" in line and "C-1" in line for line in log))
    deleted = next(c for c in said()["conflicts"] if c["object"] == "hvEv0001000")
    equal("the deleted visit is still on the box", weight(box, "hvEv0001000"), "62.5")
    cli("conflicts", "resolve", UPLINK, deleted["id"], "--keep", "theirs")
    more = [{"attribute": "hvAttrCode1", "value": "C-2"}]
    equal("she corrects the other one", post(box, {"trackedEntities": [person("newPerson02", "Register", attributes=more)]})["status"], "OK")
    settled()
    equal("it is through", name(country, "newPerson02"), "Register")
    equal("the visit is gone", weight(box, "hvEv0001000"), None)
    equal("nothing is left to do", (said(), health()["refused"]), ({"conflicts": [], "refused": []}, 0))


def entered(server, month):
    told = api(server).get("dataValueSets", params={"dataSet": "hvDataSet01", "period": month, "orgUnit": "hvOuRoot001", "children": "true"}).json()
    return [value["value"] for value in told["dataValues"]]


def enter(server, month, value):
    values = [{"dataElement": "hvDeCases01", "period": month, "orgUnit": "hvOuFacil01", "value": value}]
    return api(server).post("dataValueSets", json={"dataSet": "hvDataSet01", "dataValues": values}).json()


@test
def values_and_completions_of_reports_pass_both_ways():
    mine, theirs = ((datetime.date.today().replace(day=1) - datetime.timedelta(days=days)).strftime("%Y%m") for days in (1, 40))
    sql(PHONE, "INSERT INTO data_values (data_element, period, org_unit, value) VALUES ('hvDeCases01', ?, 'hvOuFacil01', '12')", mine)
    sql(PHONE, "INSERT INTO data_set_completions (data_set, period, org_unit) VALUES ('hvDataSet01', ?, 'hvOuFacil01')", mine)
    equal("the box takes the phone's", tracker("upload", PHONE)["waiting"], 0)
    equal("the country takes its own", enter(country, theirs, "7")["status"], "OK")
    settled()
    equal("up", entered(country, mine), ["12"])
    completed = {"dataSet": "hvDataSet01", "period": mine, "orgUnit": "hvOuRoot001", "children": "true"}
    equal("with who says that it is complete", len(api(country).get("completeDataSetRegistrations", params=completed).json()["completeDataSetRegistrations"]), 1)
    equal("down to the box", entered(box, theirs), ["7"])
    tracker("download", PHONE)
    equal("and to the phone", one("SELECT value FROM data_values WHERE period = ?", theirs), "7")


@test
def values_come_from_the_country_and_nobody_gets_one_twice():
    given = reserve(box, 40) + reserve(country, 40) + reserve(box, 40)
    equal("all are different", len(set(given)), 120)
    country.stop()
    wait_until(lambda: not health()["reached"], 30, "the country is away")
    more = reserve(box, 200)
    equal("there is a pool", (len(more), set(more) & set(given)), (200, set()))
    code, why = refused_values(900)
    check("more than the pool has is refused in words", code == 409 and "come from the country" in why, why)
    country.start()
    given += more + reserve(country, 40)
    settled()
    given += reserve(box, 900)
    equal("still all are different", len(set(given)), len(given))


@test
def a_box_that_is_killed_in_the_middle_of_a_round_loses_and_doubles_nothing():
    moments = (0.05, 0.2, 0.4, 0.7)
    for turn, moment in enumerate(moments):
        people = [person(f"hvTe{n:07}", f"turn {turn}") for n in range(20, 30)]
        events = [{"event": f"kill{turn}{n:06}", "program": "hvEventPrg1", "programStage": "hvStage0002", "orgUnit": "hvOuFacil01", "status": "COMPLETED",
                   "occurredAt": "2025-11-03", "dataValues": []} for n in range(20)]
        equal(f"turn {turn}: the box takes it", post(box, {"trackedEntities": people, "events": events})["status"], "OK")
        post(country, {"trackedEntities": [person(f"hvTe{n:07}", f"turn {turn}") for n in range(40, 50)]})
        time.sleep(moment)
        box.kill()
        box.start()
    settled()
    found = [event["event"] for event in everything(country)[1]]
    equal("every event is there once", sorted(e for e in found if e.startswith("kill")), sorted(f"kill{turn}{n:06}" for turn in range(len(moments)) for n in range(20)))
    names = {name(server, f"hvTe{n:07}") for server in (box, country) for n in (20, 29, 40, 49)}
    equal("the last name of everybody", names, {f"turn {len(moments) - 1}"})
    equal("the copy is whole", integrity(UPLINK), "ok")


@test
def in_the_end_all_three_are_equal():
    settled()
    above, here = everything(country), everything(box)
    equal("as many people", len(here[0]), len(above[0]))
    for mine, theirs in zip(here[0] + here[1], above[0] + above[1]):
        if mine != theirs:
            equal("an object", mine, theirs)
    check("box and country are equal", here == above)
    tracker("download", PHONE)
    people = {p["trackedEntity"]: {a["attribute"]: a["value"] for a in p["attributes"]}.get("hvAttrName1") for p in here[0]}
    equal("the phone has the same people", dict(sql(PHONE, "SELECT uid, given_name FROM Person WHERE uid IN (SELECT tracked_entity FROM Follow_up_enrollments)")), people)
    weights = {e["event"]: e["dataValues"][0]["value"] for p in here[0] for n in p["enrollments"] for e in n["events"] if e["dataValues"]}
    equal("and the same visits", {uid: float(w) for uid, w in sql(PHONE, "SELECT uid, weight FROM Follow_up_Visit WHERE weight IS NOT NULL")}, {uid: float(w) for uid, w in weights.items()})
    before = api(box).get("system/info").json()["serverDate"]
    settled()
    equal("rounds in which nothing happens change nothing", api(box).get("system/info").json()["serverDate"], before)


@test
def a_wrong_login_is_told_and_hinders_nobody_and_a_box_belongs_to_one_country():
    box.stop()
    args = ["serve", box.data, "--port", "0", "--upstream"]
    done = cli_raw(*args, country.http)
    check("without a login it does not start", done.returncode == 1 and "HAVERSACK_UPSTREAM_PASSWORD" in done.stderr, done.stderr)
    done = cli_raw(*args, "http://127.0.0.1:9", env=UP)
    check("nor for another country", done.returncode == 1 and "use another directory" in done.stderr, done.stderr)
    box.env = {**UP, "HAVERSACK_UPSTREAM_PASSWORD": "wrong"}
    box.start()
    equal("devices work", post(box, {"trackedEntities": [person("hvTe0000005", "later")]})["status"], "OK")
    with open(box.data + ".log", errors="replace") as log:
        wait_until(lambda: "does not accept this login" in log.read(), 30, "the log says so")
    check("it is shown", not health()["reached"], health())
    box.stop()
    box.env = UP
    box.start()
    settled()
    equal("and goes up with the right one", name(country, "hvTe0000005"), "later")


run()
